"""aiohttp sends COUNT requests over so many connections, and says how many seconds it took: `… URL METHOD COUNT N`."""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp


async def main() -> None:
    """A session, and a task for each connection."""
    url, method, count, connections = sys.argv[1:]
    numbers = iter(range(int(count)))
    connector = aiohttp.TCPConnector(limit=int(connections))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def work() -> None:
            for number in numbers:
                async with session.request(method, f"{url}k:{number:09d}") as response:
                    await response.read()

        began = time.monotonic()
        await asyncio.gather(*(work() for _ in range(int(connections))))
        print(time.monotonic() - began, flush=True)


asyncio.run(main())
