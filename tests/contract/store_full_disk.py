"""A process whose disk is full for a while: `python -m tests.contract.store_full_disk FOLDER`; 0 when all is well.

A limit on file sizes makes the kernel refuse every write that lets a file grow. It holds for a whole process, its log
included, hence a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from collections.abc import Generator
from pathlib import Path

from gateway.adapters.blobs import open_blobs
from gateway.adapters.store import open_store
from gateway.domain import errors, model
from tests.contract import store_kit as kit


@contextlib.contextmanager
def no_space_left() -> Generator[None]:
    """No file of this process may grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def main(folder: Path) -> None:
    """The store and the blobs refuse what they cannot keep, and go on once there is room."""
    clock = kit.Clock()
    store = await open_store(f"sqlite:///{folder}/gateway.db", clock=clock)
    blobs = open_blobs(folder / "blobs")
    before = await kit.submit_one(store, clock)
    kept = await blobs.put_bytes(b"kept")
    with no_space_left():
        submits = (kit.submit_one(store, clock) for _ in range(5))
        refused = await asyncio.gather(*submits, blobs.put_bytes(b"refused"), return_exceptions=True)
        checks = await asyncio.gather(store.check(), blobs.check(), return_exceptions=True)
        read = await store.jobs.get(kit.TENANT, before.id)
        found = b"".join([chunk async for chunk in blobs.read(kept.hash)])
    assert [type(one) for one in refused] == [errors.StoreUnavailable] * 6, refused
    assert [type(one) for one in checks] == [errors.StoreUnavailable] * 2, checks
    assert (read, found) == (before, b"kept")
    assert list((folder / "blobs" / "incoming").iterdir()) == []
    await store.check()
    await blobs.check()
    after = await kit.submit_one(store, clock)
    page = await store.jobs.page(kit.TENANT, model.JobFilter(), limit=9, cursor=None)
    assert {job.id for job in page.jobs} == {before.id, after.id}
    await blobs.put_bytes(b"refused")
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
