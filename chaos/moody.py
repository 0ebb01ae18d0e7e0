"""An HTTP cache in a mood: stands before the real one, and passes requests on, or answers them itself.

Runs as `python -m chaos.moody ADDRESS`, and prints the address that it listens on. A line on its standard input is its
mood, `{}` the answer: `fine`, `429`, `503`, `half` (of what comes at once, the second half is not done, and the line is
cut) or `silent`. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys

_END = b"\r\n\r\n"
_REFUSAL = b"HTTP/1.1 %s\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"
_REFUSALS = {"429": _REFUSAL % b"429 Too Many Requests", "503": _REFUSAL % b"503 Service Unavailable"}


class Moody:
    """All connections share its mood."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self.mood = "fine"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with one of its own to the real cache."""
        behind, onward = await asyncio.open_connection(*self._address)
        answers = asyncio.create_task(self._pass_back(behind, writer))
        try:
            rest = b""
            while data := await reader.read(1 << 16):
                *requests, rest = (rest + data).split(_END)
                if self._act([request + _END for request in requests], writer, onward):
                    break
        except ConnectionError:
            pass
        finally:
            answers.cancel()
            writer.close()
            onward.close()

    def _act(self, requests: list[bytes], writer: asyncio.StreamWriter, onward: asyncio.StreamWriter) -> bool:
        """Whether to hang up afterwards."""
        if self.mood in _REFUSALS:
            writer.write(_REFUSALS[self.mood] * len(requests))
        elif self.mood == "half":
            onward.write(b"".join(requests[: len(requests) // 2]))
            return True
        elif self.mood == "fine":
            onward.write(b"".join(requests))
        return False

    @staticmethod
    async def _pass_back(behind: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await behind.read(1 << 16):
            writer.write(data)


async def _main(address: str) -> None:
    moody = Moody(address)
    server = await asyncio.start_server(moody.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    loop = asyncio.get_running_loop()
    while word := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        moody.mood = word
        print("{}", flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
