"""What the workers' user may do, and what ours may not see. Pure; `trial` and `reading` have asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invalidator.doctor.finding import Finding, Kind
from invalidator.doctor.servers import user_of
from invalidator.doctor.standing import AUTH
from invalidator.doctor.wording import shown
from invalidator.presence import COMMANDS
from invalidator.screen.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from invalidator.doctor.facts import Facts, Refusal
    from invalidator.doctor.servers import Server

ENOUGH = Kind("rights.enough", "ok", "Every worker may do what it needs")
DENIED = Kind(
    "rights.denied",
    "wrong",
    "A worker's user lacks a right",
    "The worker cannot subscribe, and tries for ever. A pattern has to be granted exactly as it stands in the"
    " topology.",
    "ACL SETUSER {user} +client|setname +select +ping +psubscribe +subscribe; unless it has &* already, ACL SETUSER"
    " {user} '&{pattern}'; and the same in its ACL file, or ACL SAVE.",
)
FAILED = Kind(
    "rights.failed",
    "wrong",
    "Subscribing fails",
    "A worker that does the same fails in the same way, and tries for ever.",
    "Read the server's words, and its log.",
)
NO_ECHO = Kind(
    "rights.no_echo",
    "note",
    "Workers cannot prove their subscriptions by an echo",
    "Each worker publishes to itself once every heartbeat interval, and so sees that what is published is heard. Where"
    " that is refused, PINGs show no more than that the connection answers: a subscription to an old master, say, looks"
    " alive.",
    "ACL SETUSER {user} +publish +subscribe; unless it has &* already, ACL SETUSER {user} '&invalidator:echo:*'",
)
NO_PRESENCE = Kind(
    "rights.no_presence",
    "note",
    "Publishers do not know of these workers",
    "A worker keeps a key that says that it is there. Where that is refused, publish --wait does not wait for it, and"
    " succeeds without it.",
    f"ACL SETUSER {{user}} {COMMANDS}; unless it has ~* already, ACL SETUSER {{user}} '~invalidator:*'",
)
NO_RECEIPTS = Kind(
    "rights.no_receipts",
    "note",
    "Publishers are not told what became of their messages",
    "A worker answers a message that asks for it. Where that is refused, publish --wait waits in vain, and exits 1.",
    "ACL SETUSER {user} +publish; unless it has &* already, ACL SETUSER {user} '&invalidator:reply:*'",
)
UNSEEN = Kind(
    "redis.unseen",
    "note",
    "Some of it could not be looked at",
    "What depends on it was not judged, or was judged by the server's defaults. Managed servers often refuse CONFIG.",
    "ACL SETUSER {user} {grants} (the worker itself needs none of it), or ask whoever runs the server.",
)
KINDS = (ENOUGH, DENIED, FAILED, NO_ECHO, NO_PRESENCE, NO_RECEIPTS, UNSEEN)


def findings(server: Server, facts: Facts) -> Iterator[Finding]:
    """The workers' rights, then our own."""
    loading = facts.info.get("loading") == "1"  # a finding of its own, and what everything is refused with
    patterns = {worker.name: worker.pattern for worker in server.workers}
    users = {worker.name: user_of(settings) for worker, settings in server.hears}
    for trial in facts.trials:
        pattern = patterns[trial.worker]
        evidence = f"worker {trial.worker}, as {users[trial.worker]}: {trial.step}: {trial.why}"
        if trial.denied:
            yield DENIED.found(server.subject, evidence, user=users[trial.worker], pattern=pattern)
        elif trial.unknown:
            yield AUTH.found(server.subject, evidence)
        elif trial.why and not loading:
            yield FAILED.found(server.subject, evidence)
    fine = [f"{trial.worker} ({patterns[trial.worker]})" for trial in facts.trials if not trial.why]
    if fine:
        yield ENOUGH.found(server.subject, f"connected with a name, pinged and subscribed as {listed(fine)}")
    yield from _towards_publishers(server, facts, users)
    if unseen := [each for each in facts.refused if not (loading and "loading" in each.why)]:
        words = "; ".join(f"{each.command}: {shown(each.why, 90)}" for each in unseen)
        grants = " ".join(dict.fromkeys(map(_grant, unseen)))
        yield UNSEEN.found(server.subject, words, user=server.user, grants=grants)


def _towards_publishers(server: Server, facts: Facts, users: Mapping[str, str]) -> Iterator[Finding]:
    for user, why in dict.fromkeys((users[trial.worker], trial.no_echo) for trial in facts.trials if trial.no_echo):
        yield NO_ECHO.found(server.subject, f"as {user}: {why}", user=user)
    for told in dict.fromkeys(facts.told):
        if told.no_presence:
            yield NO_PRESENCE.found(server.subject, f"as {told.user}: {told.no_presence}", user=told.user)
        if told.no_receipts:
            yield NO_RECEIPTS.found(server.subject, f"as {told.user}: {told.no_receipts}", user=told.user)


def _grant(refusal: Refusal) -> str:
    words = refusal.command.lower().split()
    return f"+{words[0]}" if words[0] in ("info", "ping") else f"+{'|'.join(words[:2])}"
