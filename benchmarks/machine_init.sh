#!/bin/sh
# The first process of the machine of benchmarks/machine.py. Its root is the host's, read-only, under a layer on a disk
# of its own; `share`, a folder of the host's, is the one place where it writes there. The kernel hands over its
# arguments `share`, `machine` and `begin` as variables. It runs `share`/command and ends. When anything here
# fails, this process ends and the machine with it.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
date --set="@$begin" > /dev/null
"$machine/busybox" insmod "$machine"/lib/modules/*/kernel/fs/overlayfs/overlay.ko
mount -t ext4 -o discard /dev/ubda /mnt
mkdir /mnt/upper /mnt/work /mnt/root /mnt/disk
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
mkdir -p disk run/lock old lib
mount --bind /mnt/disk disk
pivot_root . old
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mount -t cgroup2 cgroup /sys/fs/cgroup
rm -rf /lib/modules
ln -s "$machine/lib/modules" /lib/modules
ln -sf "$machine/busybox" /sbin/modprobe
"$machine/busybox" ifconfig lo 127.0.0.1 up
mount -t hostfs -o "$share" share "$share"
sh "$share/command" > "$share/output" 2>&1 < /dev/null && code=0 || code=$?
echo "$code" > "$share/code"
sync
exec "$machine/busybox" poweroff -f
