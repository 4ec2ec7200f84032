"""Contract of `ports.Blobs`, over a folder and over an object store."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3

from gateway import ports
from gateway.adapters import blobs as adapter
from gateway.domain import errors

LARGE = adapter.IN_MEMORY + 3 * adapter.CHUNK + 17


@pytest.fixture(params=["folder", "object store"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> ports.Blobs:
    return adapter.open_blobs(tmp_path / "blobs" if request.param == "folder" else "memory:///")


async def stream(data: bytes, chunk: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), chunk):
        yield data[start : start + chunk]


async def read(blobs: ports.Blobs, hash_: str, *, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(hash_, start=start, end=end)])


@pytest.mark.parametrize("size", [0, 1, adapter.CHUNK, adapter.IN_MEMORY, LARGE])
async def test_bytes_come_back_under_their_hash(blobs: ports.Blobs, size: int) -> None:
    data = os.urandom(size)
    stored = await blobs.put(stream(data))
    assert stored == ports.Stored(hash=f"blake3:{blake3(data).hexdigest()}", size_bytes=size)
    assert await read(blobs, stored.hash) == data
    assert await blobs.put_bytes(data) == stored
    assert await read(blobs, stored.hash) == data


@pytest.mark.parametrize("size", [1000, LARGE])
async def test_ranges(blobs: ports.Blobs, size: int) -> None:
    data = os.urandom(size)
    stored = await blobs.put_bytes(data)
    for start, end in [
        (0, 1),
        (0, size),
        (5, 5),
        (7, 3),
        (size - 3, size),
        (3, size + 99),
        (1, size - 1),
        (size, None),
    ]:
        assert await read(blobs, stored.hash, start=start, end=end) == data[start:end]
    assert await read(blobs, stored.hash, start=size - 10) == data[-10:]


async def test_a_stream_past_its_limit_leaves_nothing(blobs: ports.Blobs, tmp_path: Path) -> None:
    for size in (100, LARGE):
        data = os.urandom(size)
        with pytest.raises(errors.PayloadTooLarge):
            await blobs.put(stream(data), limit=size - 1)
        with pytest.raises(errors.OutputUnavailable):
            await read(blobs, f"blake3:{blake3(data).hexdigest()}")
        assert (await blobs.put(stream(data), limit=size)).size_bytes == size
    assert list(tmp_path.rglob("incoming/*")) == []


async def test_a_stream_that_breaks_leaves_nothing(blobs: ports.Blobs, tmp_path: Path) -> None:
    async def broken(size: int) -> AsyncIterator[bytes]:
        async for chunk in stream(os.urandom(size)):
            yield chunk
        raise ConnectionResetError

    for size in (10, LARGE):
        with pytest.raises(ConnectionResetError):
            await blobs.put(broken(size))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_deleted_blob_is_gone(blobs: ports.Blobs) -> None:
    stored = await blobs.put_bytes(b"x")
    await blobs.delete(stored.hash)
    await blobs.delete(stored.hash)
    with pytest.raises(errors.OutputUnavailable):
        await read(blobs, stored.hash)
    assert await blobs.put_bytes(b"x") == stored
    assert await read(blobs, stored.hash) == b"x"


@pytest.mark.parametrize(
    "hash_", ["", "blake3:", "blake3:../../../etc/passwd", "sha256:" + "a" * 64, "blake3:" + "A" * 64, "a" * 64, "\0"]
)
async def test_what_is_no_hash_names_nothing(blobs: ports.Blobs, hash_: str) -> None:
    with pytest.raises(errors.OutputUnavailable):
        await read(blobs, hash_)
    with pytest.raises(errors.OutputUnavailable):
        await blobs.delete(hash_)


async def test_equal_bytes_at_once_are_kept_once(blobs: ports.Blobs) -> None:
    data = os.urandom(200_000)
    stored = await asyncio.gather(*(blobs.put(stream(data)) for _ in range(10)))
    assert len(set(stored)) == 1
    assert await read(blobs, stored[0].hash) == data


async def test_a_reader_may_stop_in_the_middle(blobs: ports.Blobs) -> None:
    stored = await blobs.put_bytes(os.urandom(LARGE))
    chunks = blobs.read(stored.hash)
    assert await anext(chunks)
    await chunks.aclose()  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_blob_deleted_under_a_reader_is_read_to_the_end(blobs: ports.Blobs) -> None:
    data = os.urandom(LARGE)
    stored = await blobs.put_bytes(data)
    chunks = blobs.read(stored.hash)
    got = await anext(chunks)
    await blobs.delete(stored.hash)
    got += b"".join([chunk async for chunk in chunks])
    assert got == data


async def test_blobs_can_be_checked(blobs: ports.Blobs, tmp_path: Path) -> None:
    await blobs.check()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_folder_is_found_again(tmp_path: Path) -> None:
    stored = await adapter.open_blobs(str(tmp_path)).put_bytes(b"abc")
    assert await read(adapter.open_blobs(f"file://{tmp_path}"), stored.hash) == b"abc"
    digest = stored.hash.removeprefix("blake3:")
    assert (tmp_path / digest[:2] / digest[2:]).read_bytes() == b"abc"


async def test_what_an_interrupted_upload_left_is_removed_in_time(tmp_path: Path) -> None:
    adapter.open_blobs(tmp_path)
    stale, young = tmp_path / "incoming" / "a.part", tmp_path / "incoming" / "b.part"
    for path in (stale, young):
        path.write_bytes(b"half")
    long_ago = time.time() - adapter.STALE_SECONDS - 60
    os.utime(stale, times=(long_ago, long_ago))
    adapter.open_blobs(tmp_path)
    assert (stale.exists(), young.exists()) == (False, True)


async def test_a_folder_that_goes_away_is_unavailable(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    blobs = adapter.open_blobs(root)
    (root / "incoming").rmdir()
    root.rmdir()
    with pytest.raises(errors.StoreUnavailable):
        await blobs.put_bytes(b"abc")
    with pytest.raises(errors.StoreUnavailable):
        await blobs.check()


@pytest.mark.parametrize("place", ["ftp://example.invalid/x", "s3://", "://"])
def test_places_that_are_no_blob_store_are_refused(place: str) -> None:
    with pytest.raises(errors.ConfigError):
        adapter.open_blobs(place)


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(errors.StoreUnavailable):
        adapter.open_blobs(tmp_path / "file" / "blobs")


async def test_old_blobs_are_listed_and_a_put_makes_them_new(blobs: ports.Blobs) -> None:
    kept = [await blobs.put_bytes(bytes([number])) for number in range(5)]
    hashes = {stored.hash for stored in kept}
    assert {one async for some in blobs.old(before=time.time() + 60) for one in some} == hashes
    assert [one async for some in blobs.old(before=time.time() - 60) for one in some] == []


async def test_known_bytes_that_come_again_are_not_old(tmp_path: Path) -> None:
    blobs = adapter.open_blobs(tmp_path)
    stored = await blobs.put_bytes(b"again")
    (file,) = (path for path in tmp_path.glob("??/*") if path.is_file())
    os.utime(file, (1000, 1000))
    assert [one async for some in blobs.old(before=2000) for one in some] == [stored.hash]
    await blobs.put_bytes(b"again")
    assert [one async for some in blobs.old(before=2000) for one in some] == []


async def test_what_is_no_blob_is_not_listed(tmp_path: Path) -> None:
    blobs = adapter.open_blobs(tmp_path)
    for name in ("notes.txt", "ab/short", "zz/" + "0" * 62, "incoming/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [one async for some in blobs.old(before=time.time() + 60) for one in some] == []


async def test_a_folder_that_vanished_and_came_back(tmp_path: Path) -> None:
    """As a network share does: everything says so, nothing is taken for lost, and nobody restarts anything."""
    root, away = tmp_path / "blobs", tmp_path / "away"
    blobs = adapter.open_blobs(root)
    stored = await blobs.put_bytes(b"kept")
    root.rename(away)
    for doing in (
        blobs.put_bytes(b"new"),
        read(blobs, stored.hash),
        blobs.check(),
        blobs.free(),
        blobs.put(stream(b"x")),
    ):
        with pytest.raises(errors.StoreUnavailable):
            await doing
    with pytest.raises(errors.StoreUnavailable):
        assert [some async for some in blobs.old(before=1)]
    assert not root.exists(), "a mount point is not written to while nothing is mounted"
    away.rename(root)
    await blobs.check()
    assert await read(blobs, stored.hash) == b"kept"
    assert (await blobs.free() or 1) > 0


async def test_a_folder_that_was_tidied_up_mends_itself(tmp_path: Path) -> None:
    blobs = adapter.open_blobs(tmp_path)
    (tmp_path / "incoming").rmdir()
    await blobs.check()
    await blobs.put_bytes(b"new")


async def test_when_bytes_were_put(blobs: ports.Blobs) -> None:
    before = time.time() - 5
    stored = await blobs.put_bytes(b"now")
    put_at = await blobs.put_at(stored.hash)
    assert put_at is not None
    assert put_at > before
    await blobs.delete(stored.hash)
    assert await blobs.put_at(stored.hash) is None
