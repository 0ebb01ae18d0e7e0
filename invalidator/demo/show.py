"""The demo from its beginning to its verdict, in order."""

from __future__ import annotations

import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import click

from invalidator.demo import display, faults
from invalidator.demo.topology import topology
from invalidator.demo.verdict import Verdict
from invalidator.stage import building, oracle, truth

if TYPE_CHECKING:
    from collections.abc import Callable

    from invalidator.stage.building import Stage
    from invalidator.stage.process import Child

RATE = 2000.0
"""Changes published in a second."""
_MOST_PRODUCTS = 20_000
_STOP_TIMEOUT = 15.0
_FRAME = 0.125


def run(seconds: float, *, guards: bool) -> Verdict:
    """The whole job. Raises UnreachableError when something that it needs does not start."""
    products = building.HOT + min(_MOST_PRODUCTS, int(RATE * seconds / 2) + 1)
    with (
        tempfile.TemporaryDirectory(prefix="invalidator-demo-") as directory,
        building.built(Path(directory), products) as built,
        building.open_for_business(built, topology(built, guards=guards)),
        truth.opened(built.truth) as database,
    ):
        _introduce(built, seconds, products)
        progress = display.Progress(seconds, kinds=tuple(built.addresses))
        built.shop.ask("read")
        with display.opened() as view, building.writing(built, RATE, seconds) as writer:
            outcomes = _watch(built, database, progress, view, writer)
            quiet = oracle.await_quiet(built)
        built.shop.ask("pause")
        return Verdict(
            published=database.published,
            unheard=database.unheard,
            seconds=seconds,
            products=products,
            faults=tuple(outcomes),
            findings=oracle.examine(built, database),
            readings=built.readings(),
            quiet=quiet,
            stop=built.daemon.terminate(_STOP_TIMEOUT),
        )


def _introduce(built: Stage, seconds: float, products: int) -> None:
    click.echo(f"{products:,} products in {', '.join(built.addresses)}; {RATE:,.0f} changes a second for {seconds:g} s")
    for absent in built.caches.absent:
        click.echo(f"without {absent}")


def _watch(
    built: Stage, database: truth.Truth, progress: display.Progress, view: display.View, writer: Child
) -> list[str]:
    """Show what goes on, until the writer is done and so are the faults. What came of them."""
    began = time.monotonic()
    over = threading.Event()

    def show() -> None:
        progress.elapsed = time.monotonic() - began
        progress.published = database.published
        progress.readings = built.readings()
        view.update(progress)

    with ThreadPoolExecutor(1) as executor:
        try:  # from here on, as a signal may end this at any line, and the thread would go on waiting for its moment
            mischief = executor.submit(_spoil, built, progress, over)
            while writer.is_running or not mischief.done():
                show()
                writer.check_end()
                if mischief.done():
                    mischief.result()  # what failed there fails here, and now
                time.sleep(_FRAME)
        finally:
            over.set()
    writer.check_end()
    progress.note("all is published; waiting until nothing is pending")
    show()
    return mischief.result()


def _spoil(built: Stage, progress: display.Progress, over: threading.Event) -> list[str]:
    """The faults, each at its share of the time. They block, so this runs in a thread beside the display."""
    outage = min(1.0, 0.15 * progress.seconds)
    plan: tuple[tuple[float, str, Callable[[], str]], ...] = (
        (0.3, "kill -9 of the worker", lambda: faults.kill_a_worker(built)),
        (
            0.55,
            "the subscription is cut, and Redis takes no new connection",
            lambda: faults.cut_the_subscription(built, outage),
        ),
    )
    outcomes = []
    for share, intention, fault in plan:
        if not over.wait(max(0.0, share * progress.seconds - progress.elapsed)):
            progress.note(intention)
            outcomes.append(fault())
            progress.note(outcomes[-1])
    return outcomes
