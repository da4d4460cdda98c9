#!/bin/sh
# Compiles the CPython sources /kit/source.tar in a chroot of the base's suite and leaves the tree to be packaged in
# /kit/tree. Usage: compile_python.sh X.Y PLACEHOLDER, where the placeholder is the prefix that conda will replace.
set -eu
version=$1
placeholder=$2
library=lib/python$version
export SOURCE_DATE_EPOCH=1704067200 PYTHONHASHSEED=0 LC_ALL=C.UTF-8

mkdir /kit/build
tar -xf /kit/source.tar -C /kit/build --strip-components=1
cd /kit/build

# No profile-guided optimization: it takes many times as long, and the kit's Python only has to work.
# DT_RPATH, unlike DT_RUNPATH, also finds the libraries of libraries: everything then comes from the prefix.
./configure --quiet --prefix="$placeholder" --without-ensurepip --without-static-libpython --disable-test-modules \
    OPT="-DNDEBUG -fwrapv -O2 -Wall" LDFLAGS_NODIST='-Wl,--disable-new-dtags,-rpath,\$$ORIGIN/../lib'
make --silent -j"$(nproc)"
# `make install` compiles byte code three times, with time stamps, and ignores that it cannot.
# The package gets its own below: once, in one order, without time stamps.
mv Lib/compileall.py /kit/compileall.py
make --silent install DESTDIR=/kit/install

mv "/kit/install$placeholder" /kit/tree
cd /kit/tree
mv /kit/compileall.py "$library/"
ln -s "python$version" bin/python
rm -rf share "$library/test" "$library/idlelib" "$library/tkinter" "$library/turtledemo" bin/idle*
find . -type d \( -name __pycache__ -o -name tests \) -prune -exec rm -rf {} +
strip --strip-unneeded "bin/python$version" "$library"/lib-dynload/*.so
for module in _ssl _sqlite3 _ctypes _lzma _bz2 readline zlib _uuid _curses; do
    "bin/python$version" -B -c "import $module"
done
# The build's settings name the prefix, which can be replaced in text and in binaries, but not in byte code.
"bin/python$version" -m compileall -q -x _sysconfigdata -d "$library" --invalidation-mode unchecked-hash "$library"
