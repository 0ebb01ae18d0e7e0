"""The hooks: every door through which a plugin takes part. Each docstring says when, in which process, and how often.

A plugin implements those it needs, with `invalidator.hookimpl`, under the entry point group `invalidator`. An
implementation may leave out arguments that it does not use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from invalidator.backend import Backend, BackendContext
    from invalidator.messages import Batch, Gap, Invalidation, PurgeResult
    from invalidator.options import BackendOptions
    from invalidator.topology.models import Topology

PROJECT = "invalidator"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def backend_types() -> Mapping[str, type[BackendOptions]]:  # type: ignore[empty-body]
    """The `type:`s that this plugin brings, each with the model of its options.

    Called once when a topology is loaded, in every process that loads one. An exception makes the plugin a broken one:
    fatal if the topology names it, a warning otherwise.
    """


@hookspec(firstresult=True)
def make_backend(
    type: str,  # noqa: A002
    options: BackendOptions,
    context: BackendContext,
) -> Backend | Sequence[Backend] | None:
    """The backend of this type, or one for each server that must be purged on its own; None if the type is not yours.

    Called in the worker's process while it starts, once for each backend that the worker names, and by
    `check --connect` and `doctor`. It must not contact anything: a server that is away at this moment is no reason not
    to start. An exception is fatal for the worker.
    """


@hookspec(firstresult=True)
def purge(batch: Batch) -> PurgeResult | None:
    """Purge one batch. Backends answer it; a plugin's wrapper around it can trace, guard or dry-run every purge.

    Called in the worker's process from the lane of one backend, and answered by that backend alone, once for each batch
    and attempt. An exception is a failed attempt of that backend: counted, retried, and seen by nobody else. `doctor`
    calls it too, for a key that nobody has.
    """


@hookspec(firstresult=True)
def decode(payload: bytes, channel: bytes) -> Invalidation | None:
    """What a payload in a format of your own asks for; None leaves it to the next plugin, and at last to us.

    Called in the worker's process once for each message, on the loop that reads from Redis: keep it to microseconds. An
    exception rejects that one message, with reason `plugin`.
    """


@hookspec
def on_gap(worker: str, gap: Gap) -> None:
    """Messages may have been missed, and the subscription is confirmed again. The flush is not yours to do.

    Called in the worker's process, on its loop, once for each Gap. An exception is logged.
    """


@hookspec
def worker_started(worker: str) -> None:
    """A worker is ready: subscribed, and its start's flush done.

    Called in the worker's process, once. An exception is logged.
    """


@hookspec
def worker_stopped(worker: str) -> None:
    """A worker's process has ended, in whatever way. Called in the supervisor's process, once it has been reaped.

    It must return at once: workers are restarted from the same loop. An exception is logged.
    """


@hookspec
def topology_applied(topology: Topology) -> None:
    """A topology takes effect: at the start, and at each reload, before any of its workers is forked.

    Called in the supervisor's process. It must start no thread. An exception is fatal at the start, and fails a reload.
    What it imports, no worker has to: a worker that takes another's place hears again that much sooner.
    """
