"""A CDN as a backend: gather, pack, take tokens, ask, and read what the vendor says to each call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from invalidator.backend import Backend, targets_of
from invalidator.cdn.gathering import Pace
from invalidator.cdn.plan import Planner, spared
from invalidator.cdn.token import read_token, redacted
from invalidator.cdn.vendor import Fault, Named
from invalidator.errors import BackendError
from invalidator.http import Client, Response, Timeouts
from invalidator.messages import Failure, PurgeResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from invalidator.cdn.ledger import Ledger
    from invalidator.cdn.options import CdnOptions
    from invalidator.cdn.packing import Parcel
    from invalidator.cdn.vendor import Vendor
    from invalidator.http import Request
    from invalidator.messages import Batch, Target

ROUNDS = 8
"""Calls over each connection in one purge, so that all of them can be answered within its deadline."""
BACK_OFF = (1.0, 60.0)
"""Seconds, at least and at most, for which everybody is silent after a 429 that does not say for how long."""
_LONGEST_LINE = 2000


class _Outcome(NamedTuple):
    parcel: Parcel
    fault: Fault | None


class CdnBackend(Backend):
    """Purges one zone or service. `ledger` is what is left of the account's limits, for all workers of this host."""

    def __init__(self, options: CdnOptions, vendor: Vendor, ledger: Ledger, pace: Pace | None = None) -> None:
        origin, _ = options.base
        timeouts = options.timeouts
        self._options = options
        self._vendor = vendor
        self._ledger = ledger
        self._planner = Planner(pace or Pace())
        self._client = Client(
            origin,
            connections=options.connections,
            timeouts=Timeouts(timeouts.connect, timeouts.read, timeouts.total),
            ca_file=options.ca_file,
        )

    def purge(self, batch: Batch) -> PurgeResult:
        """Ask for what can be asked for now, and put off the rest. Raises BackendError when no call was answered."""
        named, unsafe = self._named(batch)
        if not named:
            return PurgeResult(tuple(unsafe))
        token = read_token(self._secret(), self._options.token_file)
        now = time.monotonic()
        asked, covered = spared(named, self._vendor.everything)
        plan = self._planner.plan(
            asked,
            self._vendor.size,
            now,
            soft=batch.soft,
            hurry=batch.last or bool(batch.cause),
            fullness=self._fullness(),
        )
        allowed, waiting, wait = self._allowed(plan.ready)
        outcomes = self._ask(allowed, token, batch) if allowed else []
        self._planner.done(allowed, soft=batch.soft)
        failed, again = self._sorted(outcomes, token, soft=batch.soft)
        later = [
            *((parcel, now + wait) for parcel in waiting),
            *plan.later,
            *((parcel, now) for parcel in again),
        ]
        if not unsafe and not later:
            _raise_if_silent(failed, len(outcomes))
        # What a call for everything would have covered is asked for by itself, if that call was refused.
        uncovered = covered if failed or later else []
        asked_to = max((fault.retry_after for _, fault in failed), default=0.0)
        soonest = min((at for _, at in later), default=0.0) - time.monotonic()
        return PurgeResult(
            failures=(*unsafe, *_failures(failed)),
            retry_after=max(0.0, soonest, asked_to),
            deferred=(
                *(unit.target for parcel, _ in later for unit in parcel.units),
                *(target for target, _ in uncovered),
            ),
        )

    def connect(self) -> None:
        """Prove token and zone (or service) without purging. Raises BackendError."""
        token = read_token(self._secret(), self._options.token_file)
        timeouts = self._options.timeouts

        def ask(request: Request) -> Response:
            (answer,) = self._client.exchange([request], time.monotonic() + timeouts.connect + timeouts.total)
            if isinstance(answer, BackendError):
                raise answer
            return answer

        try:
            self._vendor.prove(ask, token)
        except BackendError as error:
            detail = redacted(error.detail, token)
            raise BackendError(error.reason, detail, retry=error.retry, retry_after=error.retry_after) from None

    def preview(self, batch: Batch) -> Iterator[str]:
        """A line for each call: its method, its path, and its body. The token is not among them."""
        named, unsafe = self._named(batch)
        asked, _ = spared(named, self._vendor.everything)
        plan = Planner().plan(asked, self._vendor.size, 0.0, soft=batch.soft, hurry=True, fullness=lambda _: 1.0)
        for parcel in plan.ready:
            softly = "soft " if batch.soft and parcel.units[0].target.kind in self._options.soft_kinds() else ""
            for values in parcel.calls(self._vendor.size(parcel.group)):
                request = self._vendor.request(parcel.group, values, "", soft=batch.soft)
                line = f"{softly}{request.method} {request.target} {request.body.decode()}".rstrip()
                yield line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}… ({len(values)} in all)"
        for failure in unsafe:
            yield f"refused: {failure.target.kind} {failure.target.value!r:.200}: {failure.detail}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _named(self, batch: Batch) -> tuple[list[tuple[Target, Named]], list[Failure]]:
        """The targets in the vendor's words, and those that have none."""
        named: list[tuple[Target, Named]] = []
        unsafe: list[Failure] = []
        kinds = self._options.kinds()
        for target in targets_of(batch):
            if known := self._planner.known(target, soft=batch.soft):
                named.append((target, Named(known[0], known[1].values)))
                continue
            if target.kind not in kinds:
                unsafe.append(Failure(target, "unsupported", retry=False, detail="not with these options"))
                continue
            try:
                named.append((target, self._vendor.name(target)))
            except ValueError as error:
                unsafe.append(Failure(target, "unsafe", retry=False, detail=str(error)))
        return named, unsafe

    def _allowed(self, ready: Sequence[Parcel]) -> tuple[list[Parcel], list[Parcel], float]:
        """What there are tokens for, what there are none for, and the seconds until there are some."""
        chosen: list[Parcel] = []
        room = ROUNDS * self._options.connections
        for parcel in ready:
            room -= len(parcel.calls(self._vendor.size(parcel.group)))
            if room < 0 and chosen:
                break
            chosen.append(parcel)
        if not chosen:
            return [], [], 0.0
        granted = self._ledger.take(map(self._cost, chosen))
        allowed = [parcel for parcel, given in zip(chosen, granted.given, strict=True) if given]
        waiting = [parcel for parcel, given in zip(chosen, granted.given, strict=True) if not given]
        return allowed, [*waiting, *ready[len(chosen) :]], granted.wait

    def _fullness(self) -> Callable[[str], float]:
        """By group: how much is left of what a call takes, be it full or not."""
        shares = self._ledger.shares()

        def of(group: str) -> float:
            drawn = zip(shares, self._vendor.cost(group, 0), strict=True)
            return min((share for share, cost in drawn if cost), default=1.0)

        return of

    def _cost(self, parcel: Parcel) -> tuple[float, ...]:
        calls = parcel.calls(self._vendor.size(parcel.group))
        costs = [self._vendor.cost(parcel.group, len(values)) for values in calls]
        return tuple(map(sum, zip(*costs, strict=True)))

    def _ask(self, parcels: Sequence[Parcel], token: str, batch: Batch) -> list[_Outcome]:
        """What became of each parcel: the worst of what its calls were answered."""
        calls = [
            (parcel, self._vendor.request(parcel.group, values, token, soft=batch.soft))
            for parcel in parcels
            for values in parcel.calls(self._vendor.size(parcel.group))
        ]
        answers = self._client.exchange([request for _, request in calls], batch.deadline)
        wall = time.time()
        faults: dict[int, Fault] = {}
        for (parcel, _), answer in zip(calls, answers, strict=True):
            if isinstance(answer, BackendError):
                found: Fault | None = Fault(answer.reason, answer.retry, answer.detail, answer.retry_after)
            else:
                found = self._vendor.fault(parcel.group, answer, wall)
            known = faults.get(id(parcel))
            if found and (known is None or (found.retry and not known.retry)):
                faults[id(parcel)] = found._replace(detail=redacted(found.detail, token))
        self._heed(faults.values())
        return [_Outcome(parcel, faults.get(id(parcel))) for parcel in parcels]

    def _heed(self, faults: Iterable[Fault]) -> None:
        """One worker was told that it is too many: all of them are."""
        if limited := [fault.retry_after for fault in faults if fault.reason == "rate_limited"]:
            least, most = BACK_OFF
            token_time = max((1 / limit.rate for limit in self._ledger.limits), default=least)
            self._ledger.refused(max(limited) or min(most, max(least, token_time)))

    def _sorted(
        self, outcomes: Iterable[_Outcome], token: str, *, soft: bool
    ) -> tuple[list[tuple[Parcel, Fault]], list[Parcel]]:
        """Of what was not done: what has failed, and what comes again, as nothing is known of it yet."""
        failed: list[tuple[Parcel, Fault]] = []
        again: list[Parcel] = []
        for parcel, fault in outcomes:
            if fault is None:
                continue
            if self._comes_again(parcel, fault, token, soft=soft):
                again.append(parcel)
            else:
                failed.append((parcel, fault))
        return failed, again

    def _comes_again(self, parcel: Parcel, fault: Fault, token: str, *, soft: bool) -> bool:
        """Whether the call was refused for what may not be the fault of its targets."""
        if fault.retry:
            return False
        if fault.reason == "rejected" and len(parcel.units) > 1:
            self._planner.suspect(parcel, soft=soft)
            return True
        return fault.reason == "auth" and self._has_changed(token)

    def _has_changed(self, token: str) -> bool:
        """Whether the token was rotated while we asked with the old one."""
        if self._options.token_file is None:
            return False
        try:
            return read_token(None, self._options.token_file) != token
        except BackendError:
            return True

    def _secret(self) -> str | None:
        return self._options.token.get_secret_value() if self._options.token else None


def _raise_if_silent(failed: Sequence[tuple[Parcel, Fault]], asked: int) -> None:
    """One error says it all when nothing was done, and costs the lane less than a failure for each target."""
    faults = [fault for _, fault in failed if fault.retry]
    if faults and len(faults) == asked:
        worst = max(faults, key=lambda fault: fault.retry_after)
        raise BackendError(worst.reason, worst.detail, retry_after=worst.retry_after)


def _failures(failed: Iterable[tuple[Parcel, Fault]]) -> Iterator[Failure]:
    for parcel, fault in failed:
        for unit in parcel.units:
            yield Failure(unit.target, fault.reason, fault.retry, fault.detail)
