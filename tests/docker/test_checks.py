"""The checks inside a real image: what fails them, and what is left when they cannot finish."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from builder.checks.container import LABEL, describe_owner, remove_orphans
from tests.docker.test_interruption import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker.models.containers import Container

    from tests.docker.conftest import Lab

SITE = "/opt/env/lib/python3.11/site-packages"


def refuse(lab: Lab, step: str, last: str) -> str:
    """Return what a build says whose image a step and a last instruction have spoilt."""
    lab.define()
    lab.add_step(step)
    with (lab.root / "templates" / "Dockerfile.j2").open("a") as template:
        template.write(f"\n{last}\n")
    done = lab.build()
    assert done.returncode == 9, done.stderr
    assert not lab.client.images.list(name=lab.name)
    return done.stderr


def find_containers(lab: Lab, pid: int) -> list[Container]:
    """Return the containers of checks that belong to a process."""
    here, _, _ = describe_owner().rpartition(" ")
    return list(lab.client.containers.list(all=True, filters={"label": f"{LABEL}={here} {pid}"}, ignore_removed=True))


def test_no_variable_of_the_image_turns_the_checks_off(lab: Lab) -> None:
    said = refuse(lab, "mkdir -p /root/.cache/pip && echo > /root/.cache/pip/x", "ENV PYTHONOPTIMIZE=1")
    assert "✗ no-caches: 1 files left: /root/.cache/pip/x" in said


def test_another_python_in_front_is_found(lab: Lab) -> None:
    said = refuse(lab, "install -D /bin/true /opt/front/python", "ENV PATH=/opt/front:$PATH")
    assert "✗ command: `python` is /opt/front/python" in said


OVERWRITE = (
    f"cd {SITE} && mkdir six-99.0.dist-info && printf 'Name: six\\nVersion: 99.0\\n' > six-99.0.dist-info/METADATA"
    " && printf 'six.py,,\\nsix-99.0.dist-info/METADATA,,\\n' > six-99.0.dist-info/RECORD"
)


# struct vfs_cap_data of linux/capability.h: revision 2, in effect from the start, CAP_NET_RAW (13).
GIVE_CAPABILITY = (
    '/opt/env/bin/python -Ic "import os, struct; '
    "os.setxattr('/bin/true', 'security.capability', struct.pack('<5I', 0x02000001, 1 << 13, 0, 0, 0))\""
)
GIVE_BASE_CAPABILITY = GIVE_CAPABILITY.replace("/opt/env", "/opt/conda")


@pytest.mark.parametrize(
    ("step", "last", "words"),
    [
        (OVERWRITE, "", "✗ owners: conda and pip both own 1 files: pip installed over conda's: "),
        (f"echo >> {SITE}/six.py", "", "✗ files: 1 of "),
        (f"rm {SITE}/six.py", "", "site-packages/six.py is missing (six "),
        (
            f"echo 'import os; os._exit(0)' > {SITE}/sitecustomize.py",
            "",
            "✗ owners: 1 modules or programs belong to no package: ",
        ),
        (
            f"rm {SITE}/__pycache__/six*; echo 'raise OSError(7)' > {SITE}/six.py",
            "",
            "✗ imports: six: import six: OSError: 7",
        ),
        ("true", "ENV PIP_CONSTRAINT=", "✗ constraint: PIP_CONSTRAINT names no file"),
        ("true > /etc/imgbuild/constraints.txt", "", "✗ constraint: missing: "),
        ("echo machine a login b password c > /root/.netrc", "", "✗ no-secrets: looks like a secret: /root/.netrc"),
        (
            "mkdir /app && echo DATABASE_URL=postgres://u:pw@db.example/x > /app/.env",
            f"LABEL build.note=ghp_{'a' * 36}",
            "✗ no-secrets: looks like a secret: /app/.env, label build.note",
        ),
        ("echo > /var/cache/apt/pkgcache.bin", "", "✗ no-caches: 1 files left: /var/cache/apt/pkgcache.bin"),
        ("date > /var/log/dpkg.log", "", "✗ no-caches: 1 files left: /var/log/dpkg.log"),
        (
            "date > /var/cache/debconf/config.dat-old",
            "",
            "✗ no-caches: 1 files left: /var/cache/debconf/config.dat-old",
        ),
        ("true", "ENV PIP_INDEX_URL=https://index.example", "✗ no-settings: set in the image: PIP_INDEX_URL"),
        (f"sed -i '2i Requires-Dist: kit-absent' {SITE}/six-*/METADATA", "", "✗ pip-check: six "),
        ("true", "ENV HF_TOKEN=x", "✗ no-secrets: looks like a secret: variable HF_TOKEN"),
        ("chmod u+s /bin/true", "", "✗ no-setuid: 1 setuid or setgid files: /usr/bin/true"),
        (GIVE_CAPABILITY, "", "✗ no-setuid: 1 files with capabilities: /usr/bin/true"),
        (
            "mkdir -p /home/user/.local/lib/python3.11/site-packages/six",
            "",
            "✗ command: /home/user/.local/lib/python3.11/site-packages has modules",
        ),
        ("true", "USER 0", "✗ user: the image's default user is root"),
        (
            f"mkdir /data && echo ghp_{'a' * 36} > /data/token",
            "VOLUME /data",
            "✗ no-secrets: looks like a secret: /data/token, what `docker history` shows in line ",
        ),
        (
            f"curl --header PRIVATE-TOKEN:glpat-{'a' * 20} https://git.example || true",
            "",
            "✗ no-secrets: looks like a secret: what `docker history` shows in line ",
        ),
        (
            f"rm {SITE}/__pycache__/six*; echo 'import ctypes; ctypes.string_at(0)' >> {SITE}/six.py",
            "",
            "✗ imports: packages.py gave no verdict and ended with exit status 139: Fatal Python error: Segmentation",
        ),
        (
            f"rm {SITE}/__pycache__/six*; echo 'raise SystemExit(0)' > {SITE}/six.py",
            "",
            "✗ imports: six: import six: SystemExit: 0",
        ),
        ("true", 'ENTRYPOINT ["/bin/true"]', "the image's container ended by itself, with exit status 0"),
        ("rm /bin/sleep", "", "the image's container ended by itself, with exit status 127"),
    ],
)
def test_spoilt_image_is_refused_with_the_reason(lab: Lab, step: str, last: str, words: str) -> None:
    assert words in refuse(lab, step, last)


def test_capabilities_that_debians_packages_give_are_taken_away(lab: Lab) -> None:
    lab.define(apt=["iputils-ping"])  # its maintainer script gives it cap_net_raw, with the setcap that it depends on
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert lab.shell(lab.ref, "/sbin/getcap /bin/ping && ls -l /bin/ping", user="0").startswith("-rwxr-xr-x")


def test_capabilities_that_a_base_without_getcap_gives_are_taken_away(lab: Lab) -> None:
    lab.define()
    lab.add_step(f"{GIVE_BASE_CAPABILITY} && ! command -v getcap", first=True)
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert lab.shell(lab.ref, "/opt/env/bin/python -c 'import os; print(os.listxattr(\"/bin/true\"))'") == "[]\n"


def test_neither_the_base_nor_debians_packages_leave_logs_or_times(lab: Lab) -> None:
    lab.define(apt=["openssh-server"])  # asks debconf, registers alternatives, makes libraries known to ldconfig
    lab.add_step("date > /var/log/of-the-base.log", first=True)
    assert lab.build().returncode == 0
    names = "-path '/var/log/*' -o -name '*-old' -o -name aux-cache"
    left = f"find /var/log /var/cache /var/lib/dpkg -type f -size +0 \\( {names} \\)"
    assert lab.shell(lab.ref, left, user="0") == ""


def test_image_has_a_limit_of_size(lab: Lab) -> None:
    lab.define(**{"max-size": "100 MB"})
    done = lab.build()
    assert done.returncode == 9
    assert "GB unpacked, the definition allows 0.10 GB" in done.stderr


def test_image_has_checks_of_its_own_and_inherits_them(lab: Lab) -> None:
    lab.define()
    own = lab.folder / "checks" / "site.py"
    own.parent.mkdir()
    own.write_text(
        "from verdict import Failed, run_checks\n"
        "def has_six(expected):\n    import six\n    raise Failed(six.__name__ + ' is here')\nrun_checks([has_six])\n"
    )
    child = lab.root / "images" / f"{lab.name}-child" / "image.yaml"
    child.parent.mkdir()
    child.write_text(f"name: {lab.name}-child\nextends: {lab.name}\n")
    done = lab.build()
    assert done.returncode == 9
    assert "✗ has-six: six is here" in done.stderr
    assert f"{lab.name}-child-py3.11-cpu: failed: 1 of 28 checks failed: has-six" in done.stderr
    own.write_text("raise SystemExit(3)\n")
    said = lab.build().stderr
    assert f"✗ own_site: images/{lab.name}/checks/site.py gave no verdict and ended with exit status 3" in said


def test_images_are_tested_again_and_another_lock_is_told(lab: Lab) -> None:
    lab.define()
    missing = lab.run("test", "--all")
    assert missing.returncode == 5, missing.stderr
    assert lab.build().returncode == 0
    done = lab.run("test", "--all", "--json")
    assert done.returncode == 0, done.stderr
    (proof,) = json.loads(done.stdout)
    found = {it["check"]: it["verdict"] for it in proof["checks"]}
    assert found["files"] == found["size"] == "pass"
    assert found["device"] == "skip"
    assert proof["passed"] is True
    lab.define(conda=["six", "click"])
    assert lab.run("lock").returncode == 0
    other = lab.run("test", "--all")
    assert other.returncode == 9
    assert "was built from another lock" in other.stderr


def test_words_that_a_package_prints_at_start_are_no_verdicts(lab: Lab) -> None:
    lab.define()
    lab.add_step(f"echo 'import sys; sys.stdout.write(\"welcome\")' > {SITE}/chatty.pth")
    done = lab.build()
    assert f"1 of 27 checks failed: owners\n  ✗ owners: 1 modules or programs belong to no package: {SITE[9:]}/ch" in (
        done.stderr
    )


@contextlib.contextmanager
def halfway(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    """Start a build whose checks take a minute each, and hand it over once their container runs."""
    lab.define()
    lab.add_step(f"echo 'import time; time.sleep(60)' > {SITE}/slow.pth")
    command = lab.command("build", "--all", "--progress", "plain")
    with subprocess.Popen(
        command, env=lab.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for(
                lambda: any(it.status == "running" for it in find_containers(lab, process.pid)), "the checks", process
            )
            yield process
        finally:
            process.kill()


def require_engine_error(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate()
    assert process.returncode == 7, said
    assert "Traceback" not in said
    assert "\n  → " in said


def test_container_of_a_killed_run_is_removed_by_the_next(lab: Lab) -> None:
    with halfway(lab) as process:
        process.kill()
        # Once it is no process any more, another test's imgbuild may remove its container.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert find_containers(lab, process.pid)
    (lab.root / "templates" / "Dockerfile.j2").unlink()
    done = lab.build()
    assert done.returncode == 0, done.stderr
    assert not find_containers(lab, process.pid)


def test_container_that_is_stopped_meanwhile_is_no_fault_of_the_image(lab: Lab) -> None:
    with halfway(lab) as process:
        for container in find_containers(lab, process.pid):
            container.kill()
        require_engine_error(process)


class Wire:
    """A socket that leads to the engine until it is cut."""

    def __init__(self, path: Path, engine: str) -> None:
        self.engine = engine.removeprefix("unix://")
        self.ends: list[socket.socket] = []
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(str(path))
        self.door.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = self.door.accept()[0], socket.socket(socket.AF_UNIX)
                far.connect(self.engine)
                self.ends += near, far
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for end in (self.door, *self.ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for end in (self.door, *self.ends):
            end.close()


def test_engine_that_is_lost_is_no_fault_of_the_image(lab: Lab, tmp_path: Path) -> None:
    wire = Wire(tmp_path / "wire", lab.url)
    lab.env["DOCKER_HOST"] = f"unix://{tmp_path}/wire"
    try:
        with halfway(lab) as process:
            wire.cut()
            require_engine_error(process)
    finally:
        wire.cut()
        remove_orphans(lab.client)


def test_image_that_nobody_knows_to_have_passed_is_checked(lab: Lab, tmp_path: Path) -> None:
    """As one of `docker buildx bake`, which names what it builds."""
    lab.define()
    assert lab.build().returncode == 0
    again = lab.build()
    assert "checking the image" not in again.stderr
    lab.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    unknown = lab.build()
    assert "checking the image" in unknown.stderr, unknown.stderr
    assert "is up to date" in unknown.stderr
    assert "checking the image" not in lab.build().stderr
