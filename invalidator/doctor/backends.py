"""What the trial of a backend means. Pure; `canary` has tried it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.doctor.finding import Finding, Kind

if TYPE_CHECKING:
    from invalidator.doctor.canary import Outcome, Trial

PURGES = Kind("backend.purges", "ok", "The backend really purges")
ACCEPTS = Kind("backend.accepts", "ok", "The backend takes purges")
REACHED = Kind("backend.reached", "ok", "The backend can be reached")
DRY = Kind(
    "backend.dry_run",
    "note",
    "The backend purges nothing: dry_run",
    "Every worker that has it only says what it would purge; whatever it holds stays stale.",
    "Take dry_run out of the topology when you have seen enough.",
)
UNREACHABLE = Kind(
    "backend.unreachable",
    "wrong",
    "A backend cannot be reached",
    "What is to be purged there waits, and is served stale meanwhile; invalidator_pending counts it.",
    "See that it runs and listens there, and that the topology names it rightly. Where it is a file or a socket: run"
    " the doctor as the daemon's user.",
)
HANGING = Kind(
    "backend.hanging",
    "wrong",
    "A backend does not answer",
    "It takes a connection and then says nothing, or name resolution hangs. Purges there run into their timeout, wait,"
    " and what it holds is served stale.",
    "On its host: is the process stopped (ps: T), swapping, or cut off? kill -CONT PID continues it.",
)
AUTH = Kind(
    "backend.auth",
    "wrong",
    "A backend does not let us purge",
    "Every purge there is refused until its credentials or rights are corrected; what it holds stays stale.",
    "With a token (token, token_file, or headers of http): it must be valid, and its permissions must cover purging"
    " this zone, service or cache. Otherwise correct the user, the password or the access list: the user needs the"
    " right to delete a key.",
)
BROKEN = Kind(
    "backend.broken",
    "wrong",
    "A backend cannot be made from these options",
    "No worker that names it can start.",
    "Correct the options: invalidator plugins {type} tells them.",
)
REFUSED = Kind(
    "backend.refuses",
    "wrong",
    "A backend refuses purges",
    "It answers, and does not do what a purge needs: what it holds stays stale.",
    "Read what it said: a replica or a cluster's node instead of a primary, a method or command that is not allowed, a"
    " version that is too old, or a proxy in between.",
)
KEPT = Kind(
    "backend.keeps",
    "wrong",
    "A backend says that it purged, and did not",
    "A key that was stored there could still be read after its purge succeeded. Something in between does not pass"
    " deletes on, or a plugin answers in the backend's place.",
    "Name the servers themselves instead of a proxy, balancer or replica; see whether a plugin answers purges:"
    " invalidator plugins.",
)
UNPLANTABLE = Kind(
    "backend.unusable",
    "wrong",
    "A backend holds nothing",
    "A key could not be stored there, as an application would: it serves no application now.",
    "Read what it said: out of memory, read-only; for lru: no daemon vouches for its table, or it was never made.",
)
UNPROVEN = Kind(
    "backend.unproven",
    "note",
    "The backend takes purges, and that they work could not be proven",
    "Storing a key to look for needs a right that this user lacks. Purging does not need it.",
    "Nothing has to be done; to have it proven, grant the user the right to set and read invalidator:doctor:*.",
)
UNHELD = Kind(
    "backend.unheld",
    "warning",
    "A backend does not keep what is stored",
    "A key was stored and could not be read back before it was purged: it evicts at once, or two servers answer here.",
    "See its evictions and memory, and whether a proxy or a balancer spreads keys over several servers: name each.",
)
KINDS = (
    PURGES, ACCEPTS, REACHED, DRY, UNREACHABLE, HANGING, AUTH, BROKEN, REFUSED, KEPT, UNPLANTABLE, UNPROVEN, UNHELD
)  # fmt: skip
_KIND_OF: dict[Outcome, Kind] = {
    "hanging": HANGING,
    "broken": BROKEN,
    "unreachable": UNREACHABLE,
    "reached": REACHED,
    "dry": DRY,
    "refused": REFUSED,
    "unplanted": UNPLANTABLE,
    "unheld": UNHELD,
    "kept": KEPT,
    "accepted": ACCEPTS,
    "purged": PURGES,
}
_DONE: dict[Outcome, str] = {
    "hanging": "no answer",
    "broken": "",
    "unreachable": "connecting failed",
    "reached": "connected; no purge was tried, as this type holds no canary",
    "dry": "connected; no purge was tried",
    "refused": "purging one key, invalidator:doctor:…, failed",
    "unplanted": "storing a key, invalidator:doctor:…, failed",
    "unheld": "a key, invalidator:doctor:…, was stored and could not be read back",
    "kept": "a key, invalidator:doctor:…, was stored, purged with success, and can still be read",
    "accepted": "the purge of a key that nobody has, invalidator:doctor:…, was accepted; not proven, as this type"
    " cannot hold one for us",
    "purged": "a key, invalidator:doctor:…, was stored, read, purged, and is gone",
}


def finding(trial: Trial, patience: float) -> Finding:
    """The finding about one backend, or one of its servers."""
    subject = f"backend {trial.backend}"
    done = f"no answer within {patience:g} s" if trial.outcome == "hanging" else _DONE[trial.outcome]
    took = f" ({trial.seconds * 1000:.0f} ms)" if trial.outcome in ("purged", "accepted", "reached") else ""
    said = ": ".join(part for part in (trial.reason, trial.detail) if part)
    evidence = ": ".join(part for part in (trial.node, done + took, said) if part)
    return _kind(trial).found(subject, f"type {trial.type}, {evidence}", type=trial.type)


def _kind(trial: Trial) -> Kind:
    if trial.reason == "auth" and trial.outcome in ("unreachable", "refused"):
        return AUTH
    if trial.reason == "auth" and trial.outcome == "unplanted":
        return UNPROVEN
    if trial.outcome == "unreachable" and trial.reason not in ("unreachable", "closed", "timeout"):
        return REFUSED
    if trial.reason == "timeout" and trial.outcome in ("unreachable", "refused"):
        return HANGING
    return _KIND_OF[trial.outcome]
