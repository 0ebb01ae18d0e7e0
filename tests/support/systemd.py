"""A machine of its own for a test: systemd as process 1 of new namespaces, over an overlay of this host's files.

It needs root, and a kernel that lets root make namespaces; elsewhere a test is skipped. Nothing of the host is changed:
what the machine writes is in memory, its cgroups lie below our own, its units are the ones that a test brings and a few
stubs (never the host's: systemd would start them), and it dies with the process that started it. The network is shared,
so that a test's servers are on 127.0.0.1 for both.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from invalidator.embedded import tied
from tests.support.environments import REPOSITORY
from tests.support.required import require
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

SYSTEMD = Path("/lib/systemd/systemd")
UNITS = "/etc/systemd/system"
_LIBRARIES = "/opt/python/lib"
_NAMESPACES = ("--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--cgroup")
_TARGETS = "sysinit basic shutdown umount final network multi-user machine"

# $1 a folder for mounts, $2 a folder that both sides see, the rest is visible inside where it is outside.
_ROOT = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
shared=$2
cd "$1/root"
shift 2
for path in run var/log var/lib tmp; do
    case "$path" in tmp) mode=1777;; *) mode=755;; esac
    mount -t tmpfs -o "mode=$mode" tmpfs "$path"
done
for path in "$@"; do mkdir -p ".$path"; mount --rbind "$path" ".$path"; done
mkdir -p srv/tests; mount --bind "$shared" srv/tests
mount -t proc proc proc
mount --bind proc/sys proc/sys; mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
ln -s /proc/self/fd dev/fd; ln -s pts/ptmx dev/ptmx
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mkdir -p mnt/host
pivot_root . mnt/host
cd /
"""
# The targets that every service leans on, empty. And an interpreter with a library of its own may look for it where
# it was built, which is hidden, and then find the distribution's.
_BOOT = """
umount -l /mnt/host
mount --make-rshared /  # as a real boot has it: credentials come from a namespace of their own
mount -t tmpfs -o mode=755 tmpfs "$UNITS"  # over the host's own, of which nothing may be started
for name in $TARGETS; do printf '[Unit]\\nDefaultDependencies=no\\n' >"$UNITS/$name.target"; done
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\\nDefaultEnvironment=LD_LIBRARY_PATH=%s\\n' "$LIBRARIES" >/etc/systemd/system.conf.d/machine.conf
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=invalidator-test \
    SYSTEMD_UNIT_PATH="$UNITS" SYSTEMD_GENERATOR_PATH=/nowhere \
    "$SYSTEMD" --system --unit=machine.target --log-target=null --show-status=no
"""
# What a user does by the README, but without asking a registry: the dependencies are those of the tests' environment.
# An interpreter below /root or /home, where version managers have theirs, would be hidden from the service.
_INSTALL = """
base=$BASE_PREFIX
case "$base" in /usr|/usr/local) ;; *) mkdir -p /opt/python; mount --bind "$base" /opt/python; base=/opt/python;; esac
mkdir -p /opt/third-party
mount --bind "$SITE" /opt/third-party
"$base/bin/python$VERSION" -m venv --without-pip /opt/invalidator
echo /opt/third-party >"/opt/invalidator/lib/python$VERSION/site-packages/third-party.pth"
cd "$REPOSITORY"
"$PYTHON" -m pip --python /opt/invalidator/bin/python --quiet install --no-index --no-build-isolation --no-deps \
    --no-cache-dir --disable-pip-version-check --root-user-action=ignore --ignore-installed . plugins/*/
cd /
"""


class Machine:
    """Has invalidator in /opt/invalidator, with all plugins. `shared` is seen inside as /srv/tests."""

    def __init__(self, folder: Path, shared: Path) -> None:
        self._folder = folder
        self._shared = shared
        self._log = folder / "boot.log"
        self._cgroup = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """systemd's process id on this side."""

    def start(self) -> Self:
        """Install invalidator, boot, and return when systemd answers. Skips the test where that cannot be done."""
        require_machines()
        mounts = self._folder / "mounts"
        mounts.mkdir()
        visible = [REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)]
        script = f'echo $$ >"$CGROUP/cgroup.procs"; exec unshare {" ".join(_NAMESPACES)} sh -c "$0" sh "$@"'
        arguments = [str(mounts), str(self._shared), *(str(path) for path in visible if path.parts[1:2] != ("usr",))]
        self._cgroup = _own_cgroup() / f"invalidator-test-{os.getpid()}"
        self._cgroup.mkdir()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                tied(["/bin/sh", "-c", script, _ROOT + _INSTALL + _BOOT, *arguments]),
                env={**os.environ, **self._variables()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._answers, 60, self._log.read_text)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End every process in it, and take its cgroups away."""
        if self._process is not None:
            self._process.kill()  # and with it, by --kill-child and their namespace, all the others
            self._process.wait(10)
        wait_until(self._is_empty, 10, "processes of the machine are left")
        for folder, _, _ in os.walk(self._cgroup, topdown=False):
            Path(folder).rmdir()

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program inside, as root, for half a minute at most."""
        done = subprocess.run(
            self._inside(command), capture_output=True, text=True, check=False, timeout=30, env=_environment()
        )
        if check:
            assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Start a program inside, as root, with pipes to talk through."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self._inside(command), stdin=pipe, stdout=pipe, text=True, env=_environment())

    def systemctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """As root inside."""
        return self.run("systemctl", *arguments, check=check)

    def show(self, unit: str, setting: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--value", f"--property={setting}", unit).stdout.rstrip("\n")

    def path(self, inside: str) -> Path:
        """Where a file of the machine is for us."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def write(self, inside: str, text: str) -> None:
        """A file in it, for all to read."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)

    def processes(self, unit: str) -> list[int]:
        """The process ids, on this side, of a unit's processes; those that have ended and are not reaped left out."""
        group = self.show(unit, "ControlGroup")
        if not group:
            return []
        try:
            listed = (self._cgroup / group.lstrip("/") / "cgroup.procs").read_text().split()
        except OSError:
            return []
        return sorted(int(pid) for pid in listed if _is_alive(int(pid)))

    def _inside(self, command: Sequence[str]) -> list[str]:
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd"]
        return [*enter, "--", *command]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the machine did not boot: {self._log.read_text()}"
        children = children_of(self._process.pid)
        if not children or Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
            return False
        self.pid = children[0]
        with suppress(subprocess.TimeoutExpired):
            return self.systemctl("is-active", "machine.target", check=False).returncode == 0
        return False

    def _is_empty(self) -> bool:
        try:
            return "populated 0" in (self._cgroup / "cgroup.events").read_text()
        except FileNotFoundError:  # systemd takes its own away when it ends by itself
            return True

    def _variables(self) -> dict[str, str]:
        return {
            "CGROUP": str(self._cgroup),
            "UNITS": UNITS,
            "TARGETS": _TARGETS,
            "LIBRARIES": _LIBRARIES,
            "SYSTEMD": str(SYSTEMD),
            "REPOSITORY": str(REPOSITORY),
            "PYTHON": sys.executable,
            "BASE_PREFIX": sys.base_prefix,
            "VERSION": f"{sys.version_info.major}.{sys.version_info.minor}",
            "SITE": sysconfig.get_path("purelib"),
        }


def require_machines() -> None:
    """Skip the test where there can be no machine; where only the package is missing, CI fails."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can give systemd namespaces of its own")
    require("systemd-analyze")
    if shutil.which("unshare") is None or not SYSTEMD.exists():
        pytest.skip("systemd and util-linux are not on this machine")
    probe = ["unshare", *_NAMESPACES, "sh", "-c", "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, timeout=10)
    if done.returncode != 0:
        pytest.skip(f"this kernel, or the container that we are in, allows no namespaces: {done.stderr.strip()}")
    try:
        trial = _own_cgroup() / f"invalidator-trial-{os.getpid()}"
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")


def _environment() -> dict[str, str]:
    own = {"SYSTEMD_UNIT_PATH": UNITS, "SYSTEMD_PAGER": "", "LD_LIBRARY_PATH": _LIBRARIES, "LC_ALL": "C.UTF-8"}
    return {"PATH": os.environ["PATH"], **own}


def _own_cgroup() -> Path:
    """Our own place in the unified hierarchy. OSError if there is none."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split()[0] == "cgroup2":
            own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
            return Path(fields.split()[4], own.removeprefix("0::").strip("/"))
    raise OSError("the unified cgroup hierarchy is not mounted")


def children_of(pid: int) -> list[int]:
    """The process ids of a process' children, the oldest first; none once it has gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
