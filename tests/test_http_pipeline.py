"""Several requests in one write: who gets which answer, and what becomes of the rest when a connection fails."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from invalidator.http import Client, Request, Response, Timeouts, parse_origin
from invalidator.http.pipeline import MOST_BYTES, RESPITE, Job, Pipeline, Waiting
from invalidator.testing import Conversation, RecordingServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

END = b"\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
PATHS = tuple(f"/{number}" for number in range(16))


@contextmanager
def talking(script: Callable[[Conversation], None], **options: Any) -> Iterator[tuple[RecordingServer, Client]]:
    server = RecordingServer(script)
    client = Client(parse_origin(f"http://{server.address}"), **{"connections": 1, "pipeline": 8, **options})
    try:
        with server:
            yield server, client
    finally:
        client.close()


def ask(client: Client, *paths: str, method: str = "PURGE", body: bytes = b"") -> list[int | str]:
    """The status of each answer, or the reason why there is none."""
    requests = [Request(method, path, "shop.example", body=body) for path in paths]
    answers = client.exchange(requests, time.monotonic() + 5.0)
    return [answer.status if isinstance(answer, Response) else answer.reason for answer in answers]


def path_of(request: bytes) -> bytes:
    return request.split()[1]


def echo(talk: Conversation) -> None:
    while True:
        path = path_of(talk.read_until(END))
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))


def gathering(*sizes: int) -> Callable[[Conversation], None]:
    """Answers nothing before so many requests have come, and then all of them in one write; at the end one by one."""

    def script(talk: Conversation) -> None:
        for size in sizes:
            paths = [path_of(talk.read_until(END)) for _ in range(size)]
            talk.send(
                b"".join(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path) for path in paths)
            )
        echo(talk)

    return script


# What works.


def test_more_and_more_requests_go_together_once_the_connection_has_answered_one() -> None:
    with talking(gathering(1, 2, 4, 8, 1, 2)) as (server, client):
        for _ in range(2):  # anew in each exchange: a kept connection may be stale
            requests = [Request("PURGE", path, "shop.example") for path in PATHS[:15]]
            answers = client.exchange(requests, time.monotonic() + 5.0)
            assert [answer.body.decode() for answer in answers if isinstance(answer, Response)] == [*PATHS[:15]]
        assert len(server.received) == 1


def test_without_a_pipeline_each_request_waits_for_the_answer_of_the_one_before() -> None:
    with talking(gathering(1, 2), pipeline=1, timeouts=Timeouts(read=0.3)) as (_, client):
        assert ask(client, "/a", "/b") == [200, "timeout"], "the negative control of the test above"


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("piece", [1, 7, 64])
def test_how_the_answers_are_cut_makes_no_difference(connections: int, piece: int) -> None:
    def cutting(talk: Conversation) -> None:
        while True:
            path = path_of(talk.read_until(END))
            head = b"Content-Length: %d" % len(path) if int(path[1:]) % 3 else b"Transfer-Encoding: chunked"
            body = path if int(path[1:]) % 3 else b"%x\r\n%s\r\n0\r\n\r\n" % (len(path), path)
            answer = b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (head, body)
            for place in range(0, len(answer), piece):
                talk.send(answer[place : place + piece])

    with talking(cutting, connections=connections) as (server, client):
        paths = [f"/{number}" for number in range(100)]
        answers = client.exchange([Request("PURGE", path, "a") for path in paths], time.monotonic() + 5.0)
        assert [answer.body.decode() for answer in answers if isinstance(answer, Response)] == paths
        assert len(server.received) == connections


@pytest.mark.parametrize("special", [{"method": "HEAD"}, {"body": b"{}"}])
def test_what_is_not_plain_goes_alone(special: dict[str, Any]) -> None:
    together: list[int] = []

    def script(talk: Conversation) -> None:
        for number in range(99):
            talk.read_until(END)
            together.append(server.recorded(talk.number).count(END) - number)
            talk.send(OK)

    with talking(script) as (server, client):
        assert ask(client, *PATHS, **special) == [200] * 16
        assert max(together) == 1
        assert ask(client, *PATHS) == [200] * 16
        assert max(together) == 8, "the negative control: what is plain does not"


def test_the_time_for_an_answer_runs_from_when_it_is_its_turn() -> None:
    def slow(talk: Conversation) -> None:
        while True:
            talk.read_until(END)
            talk.wait(0.05)
            talk.send(OK)

    with talking(slow, timeouts=Timeouts(read=0.35, total=0.35)) as (server, client):
        assert ask(client, *PATHS[:15]) == [200] * 15, "the last eight go together, and take 0.4 s in all"
        assert len(server.received) == 1


# What fails.


def first_of_two(then: Callable[[Conversation], None]) -> Callable[[Conversation], None]:
    """The first connection answers one request, and when two have come after it does as it is told; others echo."""

    def script(talk: Conversation) -> None:
        if talk.number:
            echo(talk)
        talk.read_until(END)
        talk.send(OK)
        talk.read_until(END)
        talk.read_until(END)
        then(talk)

    return script


@pytest.mark.parametrize(
    ("then", "outcome"),
    [
        (lambda talk: None, 200),  # a stale one, as far as can be known
        (lambda talk: talk.reset(), 200),
        (lambda talk: talk.send(OK), 200),
        (lambda talk: talk.send(CLOSE), 200),
        (lambda talk: talk.send(OK[:-1]), "closed"),
        (lambda talk: talk.send(b"SSH-2.0-x\r\n"), "protocol"),
        (lambda talk: talk.hang(), "timeout"),
    ],
)
def test_only_the_request_whose_turn_it_was_is_blamed(then: Callable[[Conversation], None], outcome: int | str) -> None:
    with talking(first_of_two(then), timeouts=Timeouts(read=0.3)) as (server, client):
        assert ask(client, "/0", "/1", "/2", "/3") == [200, outcome, 200, 200]
        assert server.received[1].count(b"/2 ") == 1


def test_after_a_failure_nothing_is_sent_together_for_a_while() -> None:
    together: list[int] = []

    def script(talk: Conversation) -> None:
        if talk.number == 0:
            first_of_two(Conversation.reset)(talk)
        for number in range(99):
            talk.read_until(END)
            together.append(server.recorded(talk.number).count(END) - number)
            talk.send(OK)

    with talking(script) as (server, client):
        for _ in range(2):
            assert ask(client, *PATHS) == [200] * 16
        assert together == [1] * 31
        other = Client(client.origin, connections=1, pipeline=8)
        assert ask(other, *PATHS) == [200] * 16
        assert max(together) == 8, "the negative control: who has seen no failure"
        other.close()


def test_bytes_that_nobody_asked_for_are_no_answer_to_a_later_request() -> None:
    def surplus(talk: Conversation) -> None:
        talk.send(OK + OK + b"HTTP/1.1 500 Injected\r\nContent-Length: 0\r\n\r\n")
        talk.read_all()

    with talking(first_of_two(surplus)) as (server, client):
        assert ask(client, "/0", "/1", "/2", "/3") == [200] * 4
        assert len(server.received) == 2


# Who goes with whom.


def job(place: int, size: int = 10, **options: bool) -> Job:
    return Job(place, bytes(size), **options)


def waiting(*jobs: Job) -> Waiting:
    made = Waiting()
    for each in jobs:
        made.add(each)
    return made


def test_requests_are_shared_among_the_connections() -> None:
    assert len(waiting(*map(job, range(8))).next(16, 4)) == 2
    assert len(waiting(*map(job, range(9))).next(16, 4)) == 3
    assert len(waiting(*map(job, range(90))).next(16, 4)) == 16
    assert len(waiting(job(0)).next(16, 4)) == 1


def test_what_is_written_at_once_is_bounded() -> None:
    half = MOST_BYTES // 2
    assert [each.place for each in waiting(job(0, half), job(1, half), job(2, 1)).next(9, 1)] == [0, 1]
    assert [each.place for each in waiting(job(0, 2 * MOST_BYTES), job(1, 1)).next(9, 1)] == [0]


def test_a_request_that_is_to_go_alone_does() -> None:
    jobs = waiting(job(0), job(1), job(2, alone=True), job(3))
    assert [[each.place for each in jobs.next(9, 1)] for _ in range(3)] == [[0, 1], [2], [3]]


def test_what_comes_back_is_first_again_in_its_order_and_alone() -> None:
    jobs = waiting(job(2))
    jobs.back([job(0), job(1, again=True)])
    assert jobs.clear() == [job(0, alone=True), job(1, alone=True, again=True), job(2)]
    assert len(jobs) == 0


def test_a_failure_ends_the_pipeline_for_a_while() -> None:
    pipeline = Pipeline(8)
    assert [pipeline.after(together, 0.0) for together in (1, 2, 4, 8)] == [2, 4, 8, 8]
    pipeline.failed(100.0)
    assert pipeline.after(4, 100.0 + RESPITE - 0.1) == 1
    assert pipeline.after(1, 100.0 + RESPITE) == 2
    assert Pipeline(1).after(1, 0.0) == 1
