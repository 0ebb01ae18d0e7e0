"""The first moments of a worker's process: it sees to it that it cannot outlive its supervisor, and is a worker."""

from __future__ import annotations

import ctypes
import encodings.idna  # noqa: F401  each connection to a name looks it up: in a successor, that would take milliseconds
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NamedTuple

from invalidator import logs, signals
from invalidator.errors import EXIT_BUG, InvalidatorError
from invalidator.pipeline.assembly import assemble

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.pipeline.assembly import Part

_PR_SET_PDEATHSIG = 1
# Looked up before any fork: loading a library in a child is slow, and may be too late.
_PRCTL = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


class Ties(NamedTuple):
    """What ties a worker to its supervisor: its pid, both ends of the lifeline, and the files that are not for us."""

    parent: int
    lifeline_read: int
    lifeline_write: int
    not_ours: tuple[int, ...]


def be_worker(part: Part, ties: Ties, announce: Callable[[], None]) -> None:
    """Everything that the forked process does. Signals are blocked when it begins. Raises SystemExit."""
    signals.forget_inherited()
    die_with(ties.parent)
    for fd in (ties.lifeline_write, *ties.not_ours):
        os.close(fd)
    log = logs.get_logger().bind(worker=part.spec.name)
    try:
        worker = assemble(part, ties.lifeline_read, announce, log)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        worker.run(max(0.1, part.topology.supervisor.stop_timeout * 0.9))
    except InvalidatorError as error:
        log.error("worker.failed", error=str(error))
        sys.exit(error.exit_code)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the last chance to say why; the supervisor sees only a number
        log.error("worker.crashed", error=repr(error), traceback=traceback.format_exc()[-2000:])
        sys.exit(EXIT_BUG)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, in whatever state it is: stopped, spinning or blocked.

    The parent may have died before the kernel was told; then we have been given to somebody else by now.
    """
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_BUG)
