"""20,000 invalidations through lanes, against fakes at their limits: none is refused, and hardly a call too many."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

import invalidator_cloudflare as cloudflare
import invalidator_fastly as fastly
from invalidator import BackendContext, Target
from invalidator.cdn import AT_ONCE, CdnBackend, Ledger, Limit, shared
from invalidator.lanes.coalescer import Pending
from invalidator.lanes.deadletter import DeadLetters
from invalidator.lanes.lane import Lane
from invalidator.lanes.policy import Policy
from invalidator.lanes.receipts import Receipts
from invalidator.letters import Box
from invalidator.logs import get_logger
from invalidator.messages import Invalidation
from invalidator.slots import Region, clock
from invalidator.testing.bucket import TokenBucket
from invalidator.testing.fastly import FakeFastly
from invalidator_cloudflare.api import Cloudflare as CloudflareApi
from invalidator_fastly.api import Fastly as FastlyApi
from tests.support.vendors import CONTRACT, at_its_limit
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from invalidator import Backend
    from invalidator.testing.cloudflare import FakeCloudflare

COUNT = 20_000
AT_ONCE_RATE = float("inf")
KEYS = [Target("key", f"users:{n}") for n in range(COUNT)]
MIXED = [
    target
    for n in range(COUNT // 4)
    for target in (
        Target("key", f"users:{n}"),
        Target("tag", f"blue:{n}"),
        Target("prefix", f"orders:{n}:"),
        Target("url", f"https://shop.example/orders/{n}"),
    )
]


class Fleet:
    """Several workers' lanes to one backend each, as several processes of one host have them."""

    def __init__(self, folder: Path, backends: Sequence[Backend]) -> None:
        log = get_logger()
        self.regions = [Region(["cdn"]) for _ in backends]
        self.lanes = [
            Lane(
                backend=backend,
                purge=backend.purge,
                pending=Pending(Policy(f"w{index}", "cdn"), lambda: 0.5),
                receipts=Receipts(region.backend("cdn"), log),
                dead_letters=DeadLetters(folder, Box(f"w{index}", "cdn"), log),
                log=log,
                changed=lambda: None,
            )
            for index, (backend, region) in enumerate(zip(backends, self.regions, strict=True))
        ]

    def publish(self, targets: Sequence[Target], rate: float) -> None:
        """Each target is a message of its own, dealt to the workers in turn; `rate` a second, or all at once."""
        pause = threading.Event()
        began, sent = clock(), 0
        while sent < len(targets):
            allowed = len(targets) if rate == AT_ONCE_RATE else min(len(targets), int((clock() - began) * rate))
            for index, lane in enumerate(self.lanes):
                mine = [targets[n] for n in range(sent, allowed) if n // 4 % len(self.lanes) == index]
                if mine:
                    lane.offer([Invalidation((target,)) for target in mine], clock())
            sent = allowed
            pause.wait(0.001)

    def count(self, name: str) -> int:
        return sum(region.snapshot().backends["cdn"][name] for region in self.regions)


@contextmanager
def running(folder: Path, backends: Sequence[Backend]) -> Iterator[Fleet]:
    fleet = Fleet(folder, backends)
    for lane in fleet.lanes:
        lane.start()
    try:
        yield fleet
    finally:
        for lane in fleet.lanes:
            lane.stop()
        for lane in fleet.lanes:
            lane.join(clock() + 10)


def purged(folder: Path, backends: Sequence[Backend], targets: Sequence[Target], rate: float) -> Fleet:
    with running(folder, backends) as fleet:
        fleet.publish(targets, rate)
        wait_until(lambda: fleet.count("pending") == 0, 90, lambda: f"pending {fleet.count('pending')}")
        assert fleet.count("purged") == len(targets)
        return fleet


def zone(fake: FakeCloudflare, **options: Any) -> Any:
    return cloudflare.CloudflareOptions(
        api=fake.url,
        token=SecretStr(fake.token),
        zone=fake.zone,
        **{"plan": fake.plan, "url": "https://shop.example/{key}", "hosts": ["shop.example"], **options},
    )


def ledger(options: Any, folder: Path) -> Ledger:
    return shared(folder, CloudflareApi(options).limits, *options.identity)


def workers(options: Any, folder: Path, count: int = 1) -> list[Backend]:
    return [worker(options, BackendContext(f"w{n}", "cdn", folder)) for n in range(count)]


def worker(options: Any, context: BackendContext) -> Backend:
    backend = cloudflare.make_backend(type="cloudflare", options=options, context=context)
    assert backend is not None
    return backend


def fewest(fake: FakeCloudflare, targets: Sequence[Target]) -> int:
    def of(*kinds: str) -> list[str]:
        return [target.value for target in targets if target.kind in kinds]

    # The fake's own plan would take 500 files in a call, this contract takes 100.
    return -(-len(of("key", "url")) // 100) + fake.fewest_calls(tags=of("tag"), prefixes=of("prefix"))


@pytest.mark.parametrize(
    ("targets", "rate", "count"),
    [
        pytest.param(KEYS, AT_ONCE_RATE, 1, id="keys, one worker, a burst"),
        pytest.param(KEYS, 10_000, 3, id="keys, three workers, 10,000 a second"),
        pytest.param(MIXED, AT_ONCE_RATE, 3, id="mixed, three workers, a burst"),
        pytest.param(MIXED, 10_000, 1, id="mixed, one worker, 10,000 a second"),
        pytest.param(KEYS[:4000], 1_000, 1, id="keys, one worker, 1,000 a second"),
    ],
)
def test_none_is_refused_and_hardly_a_call_is_too_many(
    tmp_path: Path, targets: list[Target], rate: float, count: int
) -> None:
    with at_its_limit() as fake:
        purged(tmp_path, workers(zone(fake, plan=CONTRACT), tmp_path, count), targets, rate)
        print(
            f"{len(fake.purges)} calls, {fewest(fake, targets)} at least, {len(fake.refused)} refused"
        )  # see with -rP
        assert fake.refused == ()
        assert len(fake.purges) <= 1.1 * fewest(fake, targets)
        assert sum(call.count for call in fake.purges) == len(targets)


def test_fastlys_keys_go_256_at_a_time_and_none_is_refused(tmp_path: Path) -> None:
    with FakeFastly() as fake:
        fake.selects = TokenBucket(6_000, 6_000)
        options = fastly.FastlyOptions(api=fake.url, token=SecretStr(fake.token), service=fake.service)
        ledger = Ledger([Limit(6_000, 5_000), Limit(1, 10)])
        purged(tmp_path, [CdnBackend(options, FastlyApi(options), ledger)], KEYS, 10_000)
        assert fake.refused == ()
        assert len(fake.purges) <= 1.1 * fake.fewest_calls(keys=[key.value for key in KEYS])


# What each part of it is for: without it, this is what happens.


def test_without_a_bucket_calls_are_refused(tmp_path: Path) -> None:
    with at_its_limit() as fake:
        options = zone(fake, plan=CONTRACT)
        boundless = Ledger([Limit(1e9, 1e9)] * 2)
        with running(tmp_path, [CdnBackend(options, CloudflareApi(options), boundless)]) as fleet:
            fleet.publish(MIXED, AT_ONCE_RATE)
            wait_until(lambda: fake.refused, 20)


def test_without_a_common_bucket_workers_are_refused(tmp_path: Path) -> None:
    with at_its_limit() as fake:
        alone = [workers(zone(fake, plan=CONTRACT), tmp_path / str(n))[0] for n in range(3)]
        with running(tmp_path, alone) as fleet:
            fleet.publish(MIXED, AT_ONCE_RATE)
            wait_until(lambda: fake.refused, 20)


def test_without_gathering_there_are_many_more_calls(tmp_path: Path) -> None:
    with at_its_limit() as fake:
        options = zone(fake, plan=CONTRACT)
        targets = KEYS[:2_000]
        hasty = CdnBackend(options, CloudflareApi(options), ledger(options, tmp_path), AT_ONCE)
        purged(tmp_path, [hasty], targets, 1_000)
        assert len(fake.purges) > 1.1 * fewest(fake, targets)
