"""A TCP proxy that does on purpose what networks do by accident. It needs no rights, and works wherever Python does.

    with opened(("127.0.0.1", 6379)) as proxy:
        …                                # proxy.address stands in for the server's
        proxy.stall()                    # a black hole: connections stand, and nothing comes through
        proxy.heal()

What is told to it has happened when the call returns, for every connection that the proxy had accepted by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_CHUNK = 65536
_WAITING = 64
"""Chunks under way in one direction: what stalls must hold up its sender some day, as a network does."""
_RESET = struct.pack("ii", 1, 0)
GARBAGE = b"\xff\x00?!\r\n$-7\r\n"
"""What is no reply in Redis' protocol."""


class Proxy:
    """Every method may be called from any thread. `address` is `127.0.0.1:PORT`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._open = asyncio.Event()
        self._open.set()
        self._delay = self._jitter = 0.0
        self._chance = random.Random()  # of its own thread: the module's belongs to whoever has seeded it
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accept, sock=listener))
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End every connection in good order, and take no new one until `heal`."""
        self._do(self._end_all, refuse=True)

    def drop(self) -> None:
        """End every connection in good order. New ones are welcome: a proxy was restarted."""
        self._do(self._end_all, refuse=False)

    def reset(self) -> None:
        """End every connection with a RST. New ones are welcome."""

        def abort() -> None:
            for line in list(self._lines):
                line.reset()

        self._do(abort)

    def stall(self) -> None:
        """Nothing comes through any more, in either direction, and nobody is told. New connections stall as well."""
        self._do(self._open.clear)

    def strand(self) -> None:
        """The same for the connections of this moment, and for ever: a firewall has forgotten them. New ones work."""

        def forget() -> None:
            for line in self._lines:
                line.stranded = True

        self._do(forget)

    def delay(self, seconds: float, jitter: float = 0.0) -> None:
        """What is sent from now on takes so long, give or take `jitter`, in each direction. Nothing overtakes."""

        def slow() -> None:
            self._delay, self._jitter = seconds, jitter

        self._do(slow)

    def garble(self) -> None:
        """Put something into the stream to each client that no server would say."""

        def spoil() -> None:
            for line in list(self._lines):
                line.client.write(GARBAGE)

        self._do(spoil)

    def heal(self) -> None:
        """Be an ordinary proxy again. What was stranded stays so, until either end gives it up."""

        def mend() -> None:
            self._refusing = False
            self._delay = self._jitter = 0.0
            self._open.set()

        self._do(mend)

    def close(self) -> None:
        """End everything."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _do(self, change: Callable[..., T], **options: bool) -> None:
        async def now() -> None:
            change(**options)

        asyncio.run_coroutine_threadsafe(now(), self._loop).result(5)

    def _end_all(self, *, refuse: bool) -> None:
        self._refusing = refuse
        for line in list(self._lines):
            line.end()

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- for the type checker: a coroutine runs in a task
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either end is gone, or we are: nobody is left to tell
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_refusing():
            return
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        line = _Line(writer, server_writer)
        if self._is_refusing():  # by now
            line.reset()
            return
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(line, reader, server_writer))
                group.create_task(self._carry(line, server_reader, writer))
        except* OSError:
            pass
        finally:
            self._lines.discard(line)
            server_writer.transport.abort()

    def _is_refusing(self) -> bool:
        return self._refusing

    async def _carry(self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING)
        deliverer = asyncio.create_task(self._deliver(line, under_way, writer))
        try:
            while chunk := await reader.read(_CHUNK):
                late = self._delay + self._chance.uniform(-self._jitter, self._jitter)
                await under_way.put((self._loop.time() + late, chunk))
            await under_way.put((0.0, b""))
            await deliverer
        finally:
            deliverer.cancel()
            line.end()

    async def _deliver(
        self, line: _Line, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, chunk = await under_way.get()
            if not chunk:
                return
            if (early := due - self._loop.time()) > 0:
                await asyncio.sleep(early)
            await self._open.wait()
            if not line.stranded and not writer.is_closing():  # what is left for one that has gone is for nobody
                with suppress(OSError):
                    writer.write(chunk)
                    await writer.drain()


class _Line:
    """One connection, and the one that we opened for it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.stranded = False

    def end(self) -> None:
        for writer in (self.client, self.server):
            writer.close()

    def reset(self) -> None:
        for writer in (self.client, self.server):
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


@contextmanager
def opened(target: tuple[str, int]) -> Iterator[Proxy]:
    """A proxy to this address, until the end of the block."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
