"""How names are followed, what flake8 makes of it, and that no file is too strange."""

from __future__ import annotations

import ast
import asyncio
import json
import subprocess
import sys
import sysconfig
import time
from importlib.metadata import distribution
from pathlib import Path

import pytest

from invalidator_flake8.resolver import Resolver
from invalidator_flake8.rules import findings
from invalidator_flake8.source import Source
from tests.support.linting import codes, found

TUTORIAL = """
import redis

class CacheInvalidationSubscriber:
    def __init__(self, redis_url: str, channel: str):
        self.channel = channel
        self.pool = redis.ConnectionPool.from_url(
            redis_url,
            max_connections=10,
            socket_timeout=2.0,
            socket_keepalive=True,
            retry_on_timeout=True,
            health_check_interval=30,
            decode_responses=True,
        )
        self.client = redis.Redis(connection_pool=self.pool)
        self.pubsub = self.client.pubsub(ignore_subscribe_messages=True)

    def run(self):
        self.pubsub.subscribe(self.channel)
        while True:
            self.client.ping()
            message = self.pubsub.get_message(timeout=1.0)
            if message and message["type"] == "message":
                self._process_invalidation(message["data"])
"""


def test_the_subscriber_that_tutorials_show_is_found_guilty() -> None:
    assert found(TUTORIAL) == [("INV005", 14), ("INV004", 17)]


def test_and_is_acquitted_once_it_is_mended() -> None:
    mended = TUTORIAL.replace("            decode_responses=True,\n", "").replace("ignore_subscribe_messages=True", "")
    assert found(mended) == []


@pytest.mark.parametrize(
    "imported",
    [
        "import redis\nR = redis.Redis",
        "import redis as r\nR = r.client.Redis",
        "import redis.client\nR = redis.client.Redis",
        "from redis import Redis as R",
        "from redis import *\nR = Redis",
        "from valkey.client import StrictValkey as R",
        "from redis import asyncio as aioredis\nR = aioredis.Redis",
        "import redis.asyncio as aioredis\nR = aioredis.client.Redis",
        "try:\n    from redis import Redis as R\nexcept ImportError:\n    R = None",
        "def f():\n    global R\n    from redis import Redis as R",
    ],
)
def test_a_client_is_known_by_whatever_name_it_is_imported(imported: str) -> None:
    assert codes(f"{imported}\ndef make():\n    return R()") == {"INV003"}


@pytest.mark.parametrize(
    "imported",
    ["from .redis import Redis as R", "from app.redis import Redis as R", "import fakeredis\nR = fakeredis.Redis", ""],
)
def test_what_comes_from_elsewhere_is_not_taken_for_one(imported: str) -> None:
    assert codes(f"# redis\n{imported}\ndef make():\n    return R()") == set()


@pytest.mark.parametrize(
    "bound",
    [
        "p = redis.Redis(**o).pubsub()",
        "r = redis.Redis(**o)\n    p = r.pubsub()",
        "(r, other) = (redis.Redis(**o), 1)\n    p = r.pubsub()",
        "p = (r := redis.Redis(**o)).pubsub()",
        "r: redis.Redis = made()\n    p = r.pubsub()",
        "r = None\n    if not r:\n        r = redis.Redis(**o)\n    p = r.pubsub()",
        "r = given or redis.Redis(**o)\n    p = r.pubsub()",
        "r = given if given else redis.Redis(**o)\n    p = r.pubsub()",
        "with redis.Redis(**o) as r, r.pubsub() as p: ...",
        "with closing(redis.Redis(**o)) as r: p = r.pubsub()",
        "p = stack.enter_context(redis.Redis(**o)).pubsub()",
        "r = cast('Any', redis.Redis(**o))\n    p = r.pubsub()",
        "p = redis.sentinel.Sentinel([], socket_timeout=1).master_for('m').pubsub()",
        "p = redis.client.PubSub(pool)",
        "r = redis.Redis(**o)\n    if gone():\n        r = None\n    p = r.pubsub()",
        "p = 1\n    p = redis.Redis(**o).pubsub()",
        "def made(): return redis.Redis(**o)\n    p = made().pubsub()",
        "async def made():\n        r = redis.Redis(**o)\n        return r\n    p = (await made()).pubsub()",
        "def made() -> redis.Redis: ...\n    p = made().pubsub()",
        "@contextmanager\n    def made(): yield redis.Redis(**o)\n    with made() as r: p = r.pubsub()",
        "class A:\n        @property\n        def r(self): return redis.Redis(**o)\n    p = A().r.pubsub()",
    ],
)
def test_a_subscription_is_followed_through_names(bound: str) -> None:
    imports = "import redis\nfrom contextlib import closing\nfrom typing import cast\n"
    assert codes(f"{imports}async def f():\n    {bound}\n    messages = p.listen()") == {"INV001"}


@pytest.mark.parametrize(
    "rebound",
    ["p = redis.Redis(**o).pubsub()\n    p = air.Radio()", "p = redis.Redis(**o).pubsub()\n    for p in radios: ..."],
)
def test_a_name_that_is_bound_again_is_something_else(rebound: str) -> None:
    assert codes(f"import redis, air\nasync def f():\n    {rebound}\n    for m in p.listen(): ...") == set()


@pytest.mark.parametrize(
    "kind", ["redis.Redis", "'redis.Redis'", "redis.Redis | None", "Optional[redis.Redis]", "redis.Redis[bytes]"]
)
def test_an_annotation_says_what_a_parameter_is(kind: str) -> None:
    code = "import redis\nfrom typing import Optional\nasync def f(c: {}):\n    messages = c.pubsub().listen()"
    assert codes(code.format(kind)) == {"INV001"}


def test_a_function_sees_what_a_name_has_become_and_no_names_of_its_class() -> None:
    again = "import redis\np = 1\np = redis.Redis(**o).pubsub()\nasync def f():\n    messages = p.listen()"
    assert codes(again) == {"INV001"}
    assert codes(again.replace("p = 1", "p = redis.asyncio.Redis(**o).pubsub()")) == {"INV001"}
    own = "import redis\nclass A:\n    p = redis.Redis(**o).pubsub()\n    async def f(self):\n        x = {}.listen()"
    assert codes(own.format("self.p")) == {"INV001"}
    assert codes(own.format("p")) == set()


def test_what_an_object_has_is_known_in_all_of_its_methods() -> None:
    code = """
        import redis.asyncio as aioredis
        class Worker:
            subscription = None
            def __init__(self, url):
                self.client: aioredis.Redis = aioredis.from_url(url, socket_timeout=2)
            async def start(self):
                self.subscription = self.client.pubsub()
            async def run(this):
                async def inner():
                    async for message in this.subscription.listen(): ...
                await inner()
            @staticmethod
            async def elsewhere(self):
                async for message in self.subscription.listen(): ...
        class Other:
            async def run(self):
                async for message in self.subscription.listen(): ...
        """
    assert found(code) == [("INV002", 11)]


def test_flake8_runs_the_rules_and_knows_what_noqa_means(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import redis\n\na = redis.Redis()\nb = redis.Redis()  # noqa: INV003 -- why\n")
    (tmp_path / "good.py").write_text("import redis\n\na = redis.Redis(socket_timeout=2)\n")
    assert flake8(tmp_path, "good.py") == (0, "")
    status, said = flake8(tmp_path, "bad.py")
    assert status == 1
    assert said.startswith("bad.py:3:5: INV003 Redis() without socket_timeout")
    assert said.count("\n") == 1


def flake8(folder: Path, *names: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "flake8", "--isolated", "--jobs=1", "--select=INV", *names]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.returncode, done.stdout


def test_it_needs_the_standard_library_alone() -> None:
    assert not distribution("invalidator-flake8").requires
    code = "import sys, json, invalidator_flake8; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=HERE, capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) <= {*sys.stdlib_module_names, "invalidator_flake8", "__main__"}


HERE = Path(__file__).parents[1]
STRANGE = {
    "itself": "r = r.pubsub()\nfor m in r.listen(): ...",
    "in a circle": "a = b\nb = c\nc = a\nfor m in a.pubsub().listen(): ...",
    "an object of itself": "class A:\n    def f(self):\n        self.a = self.a.pubsub().listen()",
    "a function of itself": "def f():\n    return f().pubsub()\nfor m in f().listen(): ...",
    "a long sum": "x = " + " + ".join(["redis"] * 900),
    "a long chain": "for m in redis" + ".pubsub()" * 90 + ".listen(): ...",
    "many names": "import redis\na0 = redis.Redis()\n"
    + "".join(f"a{n + 1} = a{n}\n" for n in range(2000))
    + "a2000.x()",
    "deep functions": "".join(f"{' ' * n}def f():\n" for n in range(90)) + " " * 90 + "next(pubsub.listen())",
    "targets": "import redis\n[*a, (b, c.d[0], *e)] = x = redis.Redis().pubsub(), *y\nfor a[0] in b: ...\ndel a, b.c",
    "stars": "import redis\nredis.Redis(*a, **b, **{})\nredis.from_url()\nredis.Redis.from_url(*u)\nredis.Sentinel()",
    "half a library": "import redis\nredis()\nredis.from_url.from_url()\nredis.Redis.Redis()\nredis.retry.Retry()",
    "scopes": "import redis\nnonlocal x\nglobal y\nlambda self: self.x\nclass C:\n    f = lambda s: s.pubsub",
    "a match": "import redis\nmatch r:\n    case redis.Redis(x=[*_, {'a': b, **c}]) as r if r.pubsub(): r.listen()",
    "wild annotations": "def f(a: 1, b: 'x[', c: '\\0', d: [1], e: (lambda: 1), *p: a):\n    a.pubsub(), b.x, c.x",
    "waiting": "import asyncio as a\na.wait_for()\nasync def f(pubsub):\n    a.wait_for(*[anext(pubsub.listen())])",
}


@pytest.mark.parametrize("code", STRANGE.values(), ids=STRANGE)
def test_no_code_is_too_strange(code: str) -> None:
    findings(Resolver(Source(ast.parse(code))))


def test_nothing_is_found_in_the_standard_library_and_it_does_not_take_long() -> None:
    modules = [*Path(asyncio.__file__).parent.glob("*.py"), *Path(sysconfig.get_path("stdlib")).glob("a*.py")]
    trees = [ast.parse(path.read_bytes()) for path in modules]
    assert len(trees) > 30
    parsing = time.process_time()
    for path in modules:
        ast.parse(path.read_bytes())
    reading = time.process_time()
    assert not [finding for tree in trees for finding in findings(Resolver(Source(tree)))]
    assert time.process_time() - reading < 5 * (reading - parsing), "compared with what it takes to parse them"
