"""The systemd units: one text for both, for a daemon alone on its host and for one of several topologies.

`examples/systemd/` holds what it makes for the usual place; `invalidator init --systemd` fills in where it is itself.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from invalidator.doors.tidings import EXTEND_SECONDS, STOP_MARGIN
from invalidator.topology.settings import SupervisorSettings

PROGRAM = "/opt/invalidator/bin/invalidator"
"""Where the README installs it."""
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9@+_.,/-]+")

_UNIT = """\
# Made by `invalidator init --systemd`. To change a setting, use `systemctl edit {unit}`: this file may be made anew.
[Unit]
Description={title}
Documentation=https://github.com/invalidator/invalidator
After=network.target
# It is started again for as long as it takes. What cannot pass by itself is exit code 78, and that is final; see below.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} run -c {file}
# Waits until what has changed is in force, and fails, changing nothing, when the file is wrong.
ExecReload={program} reload --wait -c {file}
# Settings for the topology's ${{NAME}}. No secrets: those come by LoadCredential=, for the topology's ${{cred:NAME}}.
EnvironmentFile=-/etc/invalidator/{config}.env

# Ready means that every subscription is confirmed. While Redis is down the daemon asks for more time, again and again.
TimeoutStartSec=60s
# A little more than the default of supervisor.stop_timeout. For a longer one the daemon asks by itself.
TimeoutStopSec={stop:.0f}s
# Fed by the supervisor's loop alone. Twice what the daemon asks for at once when it needs time, or more.
WatchdogSec={watchdog:.0f}s
# Not SIGABRT: a core has passwords in it. The kernel then ends the workers with their supervisor.
WatchdogSignal=SIGKILL
LimitCORE=0
Restart=always
RestartSec=1s
# The topology is wrong: it will be as wrong the next time.
RestartPreventExitStatus=78
# The daemon stops its workers itself, in time for what they have in hand; what is left of them is then killed.
KillMode=mixed
# A worker that is too large is killed alone, and replaced.
OOMPolicy=continue

# A user of its own that exists only while it runs, and a group of the host: applications whose users are in it can
# read the tables of `type: lru` below /run/{name}. Nobody else can.
DynamicUser=yes
Group=invalidator-readers
# Not to be preserved: with DynamicUser= it would lie below /run/private, where no application can go.
RuntimeDirectory={name}
RuntimeDirectoryMode=0750
StateDirectory={name}
StateDirectoryMode=0700
ConfigurationDirectory=invalidator
UMask=0077

# PrivateUsers= is not here: root's commands would come to the control socket as nobody's. Nor is ProcSubset=pid: the
# tables carry the boot's id, which is in /proc/sys. Nor IPAddressDeny=: only you know where your caches are.
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# A table may be given to a group of ours: its `group:`.
SystemCallFilter=@chown
# A refusal, and not a death: a library may try what it can do without.
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def units(program: str = PROGRAM) -> dict[str, str]:
    """The texts of both units by their files' names. `program` is absolute; raises ValueError for an unusual path."""
    if not _PLAIN_PATH.fullmatch(program):
        raise ValueError(f"{program!r} cannot stand in a unit: use a path of letters, digits and @ + _ . , - /")
    return {
        "invalidator.service": _unit("invalidator", "invalidator", "Keeps this host's caches coherent", program),
        "invalidator@.service": _unit("invalidator-%i", "%i", "Keeps this host's caches coherent: %i", program),
    }


def hidden(program: str) -> str:
    """Why the unit's user could not run this program; empty if there is no reason to be seen."""
    for path in (program, sys.base_prefix):
        if Path(path).parts[1:2] and Path(path).parts[1] in ("home", "root", "tmp"):
            return f"{path} is hidden from the service by its sandbox: install it elsewhere, as in /opt/invalidator"
    return ""


def write(folder: Path) -> None:
    """Write the examples again, below `folder`, the repository."""
    for name, text in units().items():
        (folder / "examples" / "systemd" / name).write_text(text, encoding="utf-8")


def _unit(name: str, config: str, title: str, program: str) -> str:
    stop_timeout: float = SupervisorSettings.model_fields["stop_timeout"].default
    return _UNIT.format(
        unit="invalidator" if name == config else "invalidator@…",
        title=title,
        program=program,
        name=name,
        config=config,
        file=f"/etc/invalidator/{config}.yaml",
        stop=stop_timeout + STOP_MARGIN,
        watchdog=2 * EXTEND_SECONDS,
    )


if __name__ == "__main__":
    write(Path())
