"""Each rule on code that it is about, and on code that is nearly the same."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.support.linting import codes, found

SYNC = "import redis\np = redis.Redis(socket_timeout=2).pubsub()\n"
AWAITED = "import asyncio, anyio\nimport redis.asyncio as redis\np = redis.Redis(socket_timeout=2).pubsub()\n"


BLOCKING = {
    "a loop": "async def f():\n    for m in p.listen(): ...",
    "a call": "async def f():\n    messages = p.listen()",
    "next": "async def f():\n    return next(p.listen())",
    "a comprehension": "async def f():\n    return [m for m in p.listen()]",
    "a method that is kept": "listen = p.listen\nasync def f():\n    for m in listen(): ...",
    "a generator from elsewhere": "messages = p.listen()\nasync def f():\n    for m in messages: ...",
    "an async function within a function": "def g():\n    async def f():\n        for m in p.listen(): ...",
}
NOT_BLOCKING = {
    "a function that is not async": "def f():\n    for m in p.listen(): ...",
    "a thread": "import asyncio\nasync def f():\n    await asyncio.to_thread(list, p.listen())",
    "an executor": "async def f(loop):\n    await loop.run_in_executor(None, next, p.listen())",
    "a function for a thread": "async def f():\n    def g():\n        for m in p.listen(): ...\n    await to_thread(g)",
    "a lambda": "async def f():\n    await to_thread(lambda: next(p.listen()))",
    "a method that is not called": "async def f():\n    await run(p.listen)",
    "get_message": "async def f():\n    while True: p.get_message(timeout=1)",
    "another object's listen": "import socket\nasync def f():\n    socket.socket().listen()",
}


@pytest.mark.parametrize("code", BLOCKING.values(), ids=BLOCKING)
def test_what_blocks_an_event_loop_is_found(code: str) -> None:
    assert codes(SYNC + code) == {"INV001"}


@pytest.mark.parametrize("code", NOT_BLOCKING.values(), ids=NOT_BLOCKING)
def test_what_blocks_no_event_loop_is_not(code: str) -> None:
    assert codes(SYNC + code) == set()


def test_a_loop_that_blocks_is_found_once() -> None:
    assert found(SYNC + "async def f():\n    messages = p.listen()\n    for m in messages: ...") == [("INV001", 4)]


def test_a_parameter_called_pubsub_is_taken_at_its_word() -> None:
    assert codes("async def f(pubsub):\n    for m in pubsub.listen(): ...") == {"INV001"}
    assert codes("async def f(pubsub):\n    async for m in pubsub.listen(): ...") == {"INV002"}
    assert codes("def f(pubsub):\n    for m in pubsub.listen(): ...") == set(), "its client may have a timeout"
    assert codes("async def f(pubsub: Radio):\n    async for m in pubsub.listen(): ...") == {"INV002"}


def test_but_not_one_that_is_known_to_be_something_else() -> None:
    assert codes("from google.cloud import pubsub\nasync def f():\n    for m in pubsub.listen(): ...") == set()
    assert codes("import air\nasync def f(pubsub: air.Radio):\n    for m in pubsub.listen(): ...") == set()
    assert codes("class R: ...\nasync def f():\n    pubsub = R()\n    async for m in pubsub.listen(): ...") == set()


ENDLESS = {
    "a loop": "async def f():\n    async for m in p.listen(): ...",
    "a comprehension": "async def f():\n    return [m async for m in p.listen()]",
    "anext": "async def f():\n    await anext(p.listen())",
    "a generator with a name": "async def f():\n    messages = p.listen()\n    async for m in messages: ...",
    "a deadline in the loop": """
        async def f():
            async for m in p.listen():
                async with asyncio.timeout(5):
                    await handle(m)
        """,
    "a deadline before the loop": """
        async def f():
            async with asyncio.timeout(5):
                await p.subscribe("x")
            async for m in p.listen(): ...
        """,
    "a deadline around the function": """
        async def f():
            async with asyncio.timeout(5):
                async def g():
                    async for m in p.listen(): ...
        """,
    "a deadline of None": """
        async def f():
            async with asyncio.timeout(None):
                async for m in p.listen(): ...
        """,
    "a deadline that never comes": """
        import math
        async def f():
            with anyio.fail_after(math.inf):
                async for m in p.listen(): ...
        """,
    "wait_for without a time": "async def f():\n    await asyncio.wait_for(anext(p.listen()), None)",
    "a scope without a deadline": """
        async def f():
            with anyio.CancelScope():
                async for m in p.listen(): ...
        """,
    "somebody's own timeout": "async def f():\n    async with timeout(5):\n        async for m in p.listen(): ...",
}
ENDING = {
    "timeout": "async def f():\n    async with asyncio.timeout(5):\n        async for m in p.listen(): ...",
    "timeout_at": "async def f(t):\n    async with asyncio.timeout_at(t):\n        async for m in p.listen(): ...",
    "by another name": """
        from asyncio import timeout as within
        async def f():
            async with open() as file, within(5):
                async for m in p.listen(): ...
        """,
    "made before": """
        async def f():
            limit = asyncio.timeout(5)
            async with limit:
                async for m in p.listen(): ...
        """,
    "fail_after": "async def f():\n    with anyio.fail_after(5):\n        async for m in p.listen(): ...",
    "move_on_after": "async def f():\n    with anyio.move_on_after(delay=5):\n        async for m in p.listen(): ...",
    "wait_for": "async def f():\n    await asyncio.wait_for(anext(p.listen()), timeout=5)",
    "wait_for, for each message": """
        async def f():
            messages = p.listen()
            while True:
                await asyncio.wait_for(messages.__anext__(), 5)
        """,
    "get_message": "async def f():\n    await p.get_message(timeout=5)",
}


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
def test_what_may_be_awaited_for_ever_is_found(code: str) -> None:
    assert codes(AWAITED + dedent(code)) == {"INV002"}


@pytest.mark.parametrize("code", ENDING.values(), ids=ENDING)
def test_what_ends_by_a_deadline_is_not(code: str) -> None:
    assert codes(AWAITED + dedent(code)) == set()


def test_without_asyncio_the_deadline_is_the_sockets() -> None:
    loop = "for m in r.pubsub().listen(): ..."
    assert found(f"import redis\nr = redis.Redis()\n{loop}") == [("INV003", 2), ("INV002", 3)]
    assert codes(f"import redis\nr = redis.Redis(socket_timeout=None)\n{loop}") == {"INV002", "INV003"}
    assert codes(f"import redis\nr = redis.Redis(socket_timeout=2)\n{loop}") == set()
    assert codes(f"import redis\nr = redis.Redis(**options)\n{loop}") == set()
    assert codes(f"import redis\nr = redis.Redis(connection_pool=pool)\n{loop}") == set()


UNBOUNDED = {
    "a client": "redis.Redis(host='x')",
    "by its other name": "redis.StrictRedis('x', 6379, 0, None)",
    "asyncio": "redis.asyncio.Redis()",
    "from a URL": "redis.from_url('redis://h/0')",
    "from a client's URL": "redis.Redis.from_url(URL)",
    "from a URL with other options": "redis.from_url('redis://h?socket_connect_timeout=2')",
    "from a URL in asyncio": "redis.asyncio.from_url(URL)",
    "a pool": "redis.ConnectionPool(host='x')",
    "a pool that waits": "redis.asyncio.BlockingConnectionPool.from_url(URL)",
    "from its module": "redis.connection.ConnectionPool()",
    "a Sentinel": "redis.sentinel.Sentinel([('h', 26379)])",
    "a Sentinel's own connections": "redis.Sentinel([('h', 26379)], sentinel_kwargs={'password': 'x'})",
    "a Cluster": "redis.RedisCluster(host='x')",
    "a Cluster from a URL": "redis.asyncio.RedisCluster.from_url(URL)",
    "None": "redis.Redis(socket_timeout=None)",
    "None beside options": "redis.Redis(**options, socket_timeout=None)",
    "only the time to connect": "redis.Redis(socket_connect_timeout=2)",
    "Valkey": "valkey.Valkey()",
    "Valkey by the old name": "valkey.asyncio.StrictRedis()",
    "Valkey from a URL": "valkey.from_url(URL)",
}
BOUNDED = {
    "a client": "redis.Redis(socket_timeout=2)",
    "by its place": "redis.Redis('x', 6379, 0, None, 2.0)",
    "of a name": "redis.asyncio.Redis(socket_timeout=TIMEOUT)",
    "in a URL": "redis.from_url('redis://h/0?db=1&socket_timeout=2')",
    "in a part of a URL": "redis.from_url(f'redis://{host}?socket_timeout={seconds}')",
    "in a URL with a name": "redis.from_url(BOUNDED)",
    "beside a URL": "redis.Redis.from_url(URL, socket_timeout=2)",
    "options": "redis.Redis(**options)",
    "arguments": "redis.Redis(*arguments)",
    "a pool": "redis.Redis(connection_pool=pool)",
    "of a pool": "redis.Redis.from_pool(pool)",
    "a Cluster": "redis.RedisCluster(socket_timeout=2)",
    "a Sentinel": "redis.Sentinel([], socket_timeout=2)",
    "a Sentinel with options": "redis.Sentinel([], sentinel_kwargs=options)",
    "a Sentinel that says it apart": "redis.Sentinel([], sentinel_kwargs={'socket_timeout': 1})",
    "the class alone": "make(redis.Redis)",
    "another function": "redis.utils.str_if_bytes(b'')",
    "another library": "fake.Redis()",
    "what has only the name": "Redis()",
}
PREAMBLE = "import redis, redis.asyncio, valkey\nimport fake\nBOUNDED = 'redis://h?socket_timeout=2'\n"


@pytest.mark.parametrize("code", UNBOUNDED.values(), ids=UNBOUNDED)
def test_a_client_that_waits_for_ever_is_found(code: str) -> None:
    assert found(PREAMBLE + code) == [("INV003", 4)]


@pytest.mark.parametrize("code", BOUNDED.values(), ids=BOUNDED)
def test_a_client_with_a_timeout_is_not(code: str) -> None:
    assert found(PREAMBLE + code) == []


def test_of_a_pool_and_its_client_the_pool_is_found() -> None:
    code = "import redis\npool = redis.ConnectionPool()\nr = redis.Redis(connection_pool=pool)\nr.pubsub().listen()"
    assert found(code) == [("INV003", 2), ("INV002", 4)]


def test_a_master_has_the_timeout_of_its_sentinel() -> None:
    sentinel = "from redis.sentinel import Sentinel\ns = Sentinel([], {})\nm = s.master_for('m'{})"
    assert found(sentinel.format("socket_timeout=2", "")) == []
    assert found(sentinel.format("sentinel_kwargs=options", "")) == [("INV003", 3)]
    assert found(sentinel.format("sentinel_kwargs=options", ", socket_timeout=2")) == []
    assert found(sentinel.format("db=1", "")) == [("INV003", 2)], "said once, where one change mends both"
    assert found(sentinel.format("db=1", ", socket_timeout=2")) == [("INV003", 2)]


RAISING = "import redis\nfrom redis.retry import Retry\nr = redis.Redis(socket_timeout=2, retry={})\n"
SILENT = {
    "by default": "import redis\nr = redis.Redis(socket_timeout=2)\np = r.pubsub(ignore_subscribe_messages=True)",
    "with retries": RAISING.format("Retry(backoff, 3)") + "p = r.pubsub(ignore_subscribe_messages=True)",
    "for ever": RAISING.format("Retry(backoff, retries=-1)") + "p = r.pubsub(ignore_subscribe_messages=True)",
    "message by message": SYNC + "p.get_message(ignore_subscribe_messages=True, timeout=1)",
    "by its place": SYNC + "p.get_message(True, 1)",
    "of a client from elsewhere": "def f(client):\n    return client.pubsub(ignore_subscribe_messages=True)",
    "of a client of a type": "from redis import Redis\ndef f(c: Redis): c.pubsub(ignore_subscribe_messages=True)",
    "of an imported client": "from app import client\np = client.pubsub(ignore_subscribe_messages=True)",
    "by its class": "from redis.client import PubSub\np = PubSub(pool, ignore_subscribe_messages=True)",
}
SAID = {
    "no retries": RAISING.format("Retry(NoBackoff(), 0)") + "p = r.pubsub(ignore_subscribe_messages=True)",
    "none at all": RAISING.format("None") + "p = r.pubsub(ignore_subscribe_messages=True)",
    "a policy with a name": "from redis.retry import Retry\nonce = Retry(x, retries=0)\n"
    + RAISING.format("once")
    + "r.pubsub(ignore_subscribe_messages=True)",
    "a policy from elsewhere": RAISING.format("POLICY") + "p = r.pubsub(ignore_subscribe_messages=True)",
    "options": "import redis\nr = redis.Redis(**options)\np = r.pubsub(ignore_subscribe_messages=True)",
    "message by message": RAISING.format("None") + "r.pubsub().get_message(ignore_subscribe_messages=True)",
    "confirmations": SYNC + "p.get_message(timeout=1)",
    "False": "import redis\nr = redis.Redis(socket_timeout=2)\np = r.pubsub(ignore_subscribe_messages=False)",
    "another function's": "import redis\nsubscribe(ignore_subscribe_messages=True)",
}


@pytest.mark.parametrize("code", SILENT.values(), ids=SILENT)
def test_a_silent_reconnect_without_its_trace_is_found(code: str) -> None:
    assert codes(code) == {"INV004"}


@pytest.mark.parametrize("code", SAID.values(), ids=SAID)
def test_a_reconnect_that_can_be_seen_is_not(code: str) -> None:
    assert codes(code) == set()


DECODED = {
    "a client": "import redis\nr = redis.Redis(socket_timeout=2, decode_responses=True)\nwith r.pubsub() as p: ...",
    "in one line": "import redis\n\np = redis.Redis(socket_timeout=2, decode_responses=True).pubsub()",
    "asyncio": "import redis.asyncio as a\nr = a.from_url(u, socket_timeout=2, decode_responses=True)\np = r.pubsub()",
    "beside options": "import redis\nr = redis.Redis(**options, decode_responses=True)\np = r.pubsub()",
    "in a URL": "import redis\nr = redis.from_url('redis://?socket_timeout=2&decode_responses=1')\nr.pubsub()",
    "of a pool": """\
        import redis
        pool = redis.ConnectionPool(socket_timeout=2, decode_responses=True)
        p = redis.Redis(connection_pool=pool).pubsub()
        """,
}
NOT_DECODED = {
    "no pubsub": "import redis\nr = redis.Redis(socket_timeout=2, decode_responses=True)\nr.get('x')",
    "another client's": """
        import redis
        text = redis.Redis(socket_timeout=2, decode_responses=True)
        data = redis.Redis(socket_timeout=2)
        p = data.pubsub()
        """,
    "False": "import redis\np = redis.Redis(socket_timeout=2, decode_responses=False).pubsub()",
    "not a literal": "import redis\np = redis.Redis(socket_timeout=2, decode_responses=flag).pubsub()",
    "a pool's": "import redis\nredis.Redis(connection_pool=pool, decode_responses=True).pubsub()",
}


@pytest.mark.parametrize("code", DECODED.values(), ids=DECODED)
def test_a_subscription_that_decodes_is_found(code: str) -> None:
    assert codes(code) == {"INV005"}


def test_and_found_where_the_option_is() -> None:
    code = (
        "import redis\nr = redis.Redis(\n    socket_timeout=2,\n    decode_responses=True,\n)\nr.pubsub()\nr.pubsub()"
    )
    assert found(code) == [("INV005", 4)]


@pytest.mark.parametrize("code", NOT_DECODED.values(), ids=NOT_DECODED)
def test_a_client_that_decodes_and_never_subscribes_is_not(code: str) -> None:
    assert codes(code) == set()
