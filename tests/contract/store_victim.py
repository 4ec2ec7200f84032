"""A process that submits jobs and says so, to be killed: `python store_victim.py URL [JOBS]`.

With JOBS it orders batches of so many, one after the other.
"""

from __future__ import annotations

import asyncio
import sys

from gateway.adapters.store import open_store
from tests.contract import store_kit as kit


async def main(url: str, jobs: int = 1) -> None:
    clock = kit.Clock()
    store = await open_store(url, clock=clock)

    async def order_for_ever() -> None:
        while True:
            batch = kit.new_batch(clock)
            sys.stdout.write(f"ordering {batch.id}\n")
            sys.stdout.flush()
            await store.jobs.submit([kit.new_job(clock, batch_index=index) for index in range(jobs)], batch=batch)
            sys.stdout.write(f"ordered {batch.id}\n")
            sys.stdout.flush()

    async def submit_for_ever() -> None:
        while True:
            job = await kit.submit_one(store, clock)
            sys.stdout.write(f"{job.id}\n")
            sys.stdout.flush()

    await (order_for_ever() if jobs > 1 else asyncio.gather(*(submit_for_ever() for _ in range(8))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
