"""One worker on the bench: a process publishes to it, and we hear what it says of that."""

from __future__ import annotations

import json
import secrets
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from invalidator.bench.answers import Answers, Ear
from invalidator.bench.load import MOST_KEYS, single
from invalidator.bench.publishing import Done, Order, Task
from invalidator.errors import UnreachableError
from invalidator.publisher.client import shown_url, user_of
from invalidator.publisher.refusals import explained
from invalidator.secret_file import read_password
from invalidator.stage.process import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from invalidator.bench.load import Load
    from invalidator.bench.subjects import Subject
    from invalidator.reply import Reply

_LISTENING = 0.05
"""Seconds after which whoever watches is told again, if nothing comes."""


class Session:
    """Publishes loads, and takes in what is answered. `patience`: seconds for what is missing at the end."""

    def __init__(self, subject: Subject, host: str, patience: float) -> None:
        self.subject = subject
        self.patience = patience + subject.delay
        self.backends = tuple(subject.lanes)
        self._host = host
        self._instance = ""
        self._nonce = secrets.token_hex(6)
        self._ear: Ear
        self._child: Child

    @contextmanager
    def opened(self, folder: Path) -> Iterator[None]:
        """With all that it takes. Raises UnreachableError."""
        settings = self.subject.settings
        file = settings.password_file
        try:
            password = read_password(file) if file else None
        except OSError as error:
            raise UnreachableError(f"{file} cannot be read: {error.strerror}") from None
        with ExitStack() as stack:
            self._ear = stack.enter_context(Ear(settings, password))
            self._child = Child(["invalidator.bench.publishing"], folder / "publishing.log")
            stack.callback(self._child.close)
            self._told(self._child.ask(msgspec.json.encode(self._order(file)).decode()))
            yield

    def introduce(self, instance: str) -> dict[str, Reply]:
        """Publish one message, and see who answers: the first word of each backend.

        Two daemons of one host may have a worker of this name: ours is probably the one with this `instance`.
        """
        heard: dict[str, Answers] = {}

        def take(receipts: list[Reply]) -> bool:
            for one in receipts:
                who = heard.setdefault(one.instance, self._answers("first", single(), one.instance))
                who.take([one])
            return any(who.is_complete for who in heard.values())

        self._publish("first", single(), take)
        if not heard:
            return {}
        self._instance = instance if instance in heard else max(heard, key=lambda who: len(heard[who].said))
        return {backend: said for (backend, _), said in heard[self._instance].said.items()}

    def run(self, name: str, load: Load, tell: Callable[[str], None]) -> tuple[Done, Answers]:
        """Publish all of it, and wait until all is answered, or patience is at its end."""
        answers = self._answers(name, load, self._instance)
        began = time.monotonic()

        def take(receipts: list[Reply]) -> bool:
            answers.take(receipts)
            tell(f"{time.monotonic() - began:.0f} s, {len(answers.said):,} of {answers.expected:,} answers")
            return answers.is_complete

        return self._publish(name, load, take), answers

    def _publish(self, name: str, load: Load, take: Callable[[list[Reply]], bool]) -> Done:
        task = Task(name=name, count=load.count, rate=load.rate, asked=load.asked)
        self._child.say(msgspec.json.encode(task).decode())
        # No thread that waits for the answer: an interruption in the middle of a lock that it shares with us would have
        # both of us wait for ever.
        while not self._child.has_answered:
            take(self._ear.take(_LISTENING))
        done = self._told(json.loads(self._child.listen()))
        until = time.monotonic() + self.patience
        while not take(self._ear.take(_LISTENING)) and time.monotonic() < until:
            pass
        return done

    def _told(self, answer: object) -> Done:
        done = msgspec.convert(answer, Done)
        if done.error:
            subject, url = self.subject, self.subject.settings.url.reveal()
            why = explained(done.error, user_of(url), subject.channel.decode("utf-8", "replace"), subject.stream)
            raise UnreachableError(f"could not publish to {shown_url(url)}: {why}")
        return done

    def _answers(self, name: str, load: Load, instance: str) -> Answers:
        ids = {f"{self._nonce}.{name}.{number}": number for number in load.asked}
        return Answers(self._host, self.subject.worker, instance, self.backends, ids)

    def _order(self, file: Path | None) -> Order:
        subject = self.subject
        url = subject.settings.url.reveal()
        return Order(
            redis={"url": url, "password_file": str(file)} if file else {"url": url},
            channel=subject.channel,
            reply=self._ear.channel,
            nonce=self._nonce,
            keys=MOST_KEYS,
            stream=subject.stream,
            keep=subject.keep,
        )
