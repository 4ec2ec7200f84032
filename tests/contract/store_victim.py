"""A process that submits jobs and says so, to be killed: `python store_victim.py URL`."""

from __future__ import annotations

import asyncio
import sys

from gateway.adapters.store import open_store
from tests.contract import store_kit as kit


async def main(url: str) -> None:
    clock = kit.Clock()
    store = await open_store(url, clock=clock)

    async def submit_for_ever() -> None:
        while True:
            job = await kit.submit_one(store, clock)
            sys.stdout.write(f"{job.id}\n")
            sys.stdout.flush()

    await asyncio.gather(*(submit_for_ever() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
