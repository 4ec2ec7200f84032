"""Content-addressed bytes: in a folder, or in a bucket (S3, GCS, Azure) through obstore.

A blob is named by its blake3 hash, `ab/cdef…`, so that equal bytes are kept once and a name never changes its
meaning. Both take a stream the same way: small ones in memory, larger ones through a file on disk. A folder is
written and read directly: what `put` returned has to be on the disk (fsync), which obstore does not do for local
files, and a small read costs a sixth (docs/decisions/blobs-in-a-folder.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import unquote, urlsplit

import obstore
import uuid_utils
from blake3 import blake3
from obstore import exceptions, store

from gateway import ports
from gateway.domain import errors

IN_MEMORY: Final = 8 * 1024 * 1024  #: what a stream may hold in memory before it goes to disk
CHUNK: Final = 1024 * 1024  #: of what is read and written at once
STALE_SECONDS: Final = 3600.0  #: age of files that an interrupted upload left behind

_PREFIX: Final = re.compile(r"[0-9a-f]{2}")
_REST: Final = re.compile(r"[0-9a-f]{62}")
_OBJECT: Final = re.compile(r"([0-9a-f]{2})/([0-9a-f]{62})")
_HASH: Final = re.compile(r"blake3:([0-9a-f]{2})([0-9a-f]{62})")


def open_blobs(url_or_path: str | Path) -> ports.Blobs:
    """Blobs in a folder (a path or `file://…`), or in the bucket that a URL names (`s3://bucket/prefix` …)."""
    place = str(url_or_path)
    if place.startswith("file://"):
        return Folder(Path(unquote(urlsplit(place).path)))
    if "://" not in place:
        return Folder(Path(place))
    try:
        return Bucket(store.from_url(place), spool=Path(tempfile.gettempdir()))
    except (exceptions.BaseError, ValueError) as error:
        raise errors.ConfigError(f"The blob store {place!r} cannot be used: {error}") from error


class Folder:
    """`ports.Blobs` in a folder of the local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"  # on the same file system, so that a rename moves a file into place
        with _disk_errors():
            self._incoming.mkdir(parents=True, exist_ok=True)
            _remove_stale(self._incoming)

    async def put(self, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> ports.Stored:
        """Store a stream, hashing as it goes; PayloadTooLarge past `limit` bytes."""
        async with _received(chunks, limit=limit, spool=self._incoming) as received:
            return await self._keep(received)

    async def put_bytes(self, data: bytes) -> ports.Stored:
        """Store bytes that are in memory."""
        return await self._keep(_Received(hash=_hash_of(data), size=len(data), data=data))

    async def read(self, hash_: str, *, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes `start` to `end` (exclusive) in chunks; OutputUnavailable."""
        left = None if end is None else max(0, end - start)
        file, chunk = await asyncio.to_thread(_open_at, self._path(hash_), start, left)
        try:
            while chunk:
                yield chunk
                if left is not None:
                    left -= len(chunk)
                if file is None:
                    return
                chunk = await asyncio.to_thread(_read, file, left)
        finally:
            if file is not None:
                file.close()

    async def delete(self, hash_: str) -> None:
        """Remove a blob; one that is gone already is no error."""
        path = self._path(hash_)
        with _disk_errors():
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def check(self) -> None:
        """StoreUnavailable when a write would fail now."""
        with _disk_errors():
            await asyncio.to_thread(self._probe)

    async def put_at(self, hash_: str) -> float | None:
        """When these bytes were last put; None when they are gone."""
        with _disk_errors():
            try:
                return (await asyncio.to_thread(self._path(hash_).stat)).st_mtime
            except FileNotFoundError:
                return None

    async def free(self) -> int | None:
        """Bytes that still fit on its disk."""
        with _disk_errors():
            return (await asyncio.to_thread(shutil.disk_usage, self._root)).free

    async def old(self, *, before: float) -> AsyncGenerator[Sequence[str]]:
        """Hashes of the blobs that were last put before that time, a folder's at once."""
        with _disk_errors():
            names = sorted(await asyncio.to_thread(os.listdir, self._root))
        for name in names:
            if _PREFIX.fullmatch(name):
                with _disk_errors():
                    yield await asyncio.to_thread(_old_in, self._root / name, before)

    def _probe(self) -> None:
        self._incoming.mkdir(exist_ok=True)  # somebody tidied up; the root itself may be a mount that is missing
        path = self._new_file()
        try:
            _write_synced(path, b"probe")
        finally:
            path.unlink(missing_ok=True)

    def _path(self, hash_: str) -> Path:
        return self._root / _name(hash_)

    def _new_file(self) -> Path:
        return self._incoming / str(uuid_utils.uuid7())

    async def _keep(self, received: _Received) -> ports.Stored:
        with _disk_errors():
            await asyncio.to_thread(self._store, received)
        return received.stored

    def _store(self, received: _Received) -> None:
        path = self._path(received.hash)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size == received.size:  # only whole files ever get this name
                os.utime(path)  # somebody is about to use it: it is not old
                return
        file = received.file or self._new_file()
        try:
            if received.file is None:
                _write_synced(file, received.data)
            _move_synced(file, path)
        except BaseException:
            file.unlink(missing_ok=True)
            raise


class Bucket:
    """`ports.Blobs` in an object store. `spool`: the folder where large uploads are collected first."""

    def __init__(self, objects: store.ObjectStore, *, spool: Path) -> None:
        self._objects = objects
        self._spool = spool

    async def put(self, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> ports.Stored:
        """Store a stream, hashing as it goes; PayloadTooLarge past `limit` bytes."""
        async with _received(chunks, limit=limit, spool=self._spool) as received:
            return await self._keep(received)

    async def put_bytes(self, data: bytes) -> ports.Stored:
        """Store bytes that are in memory."""
        return await self._keep(_Received(hash=_hash_of(data), size=len(data), data=data))

    async def read(self, hash_: str, *, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes `start` to `end` (exclusive) in chunks; OutputUnavailable."""
        if end is not None and end <= start:
            return
        wanted: Any = {"offset": start} if end is None else (start, end)
        options: Any = {"range": wanted} if start or end is not None else {}
        with _bucket_errors():
            try:
                found = await obstore.get_async(self._objects, _name(hash_), options=options)
            except FileNotFoundError:
                raise _gone(hash_) from None
            except exceptions.BaseError:
                if start and start >= (await obstore.head_async(self._objects, _name(hash_)))["size"]:
                    return  # stores refuse such a range, a file does not
                raise
            async for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    async def delete(self, hash_: str) -> None:
        """Remove a blob; one that is gone already is no error."""
        with _bucket_errors(), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._objects, _name(hash_))

    async def check(self) -> None:
        """StoreUnavailable when a write would fail now."""
        name = f"probe/{uuid_utils.uuid7()}"
        with _bucket_errors():
            await obstore.put_async(self._objects, name, b"probe")
            await obstore.delete_async(self._objects, name)

    async def put_at(self, hash_: str) -> float | None:
        """When these bytes were last put, by the bucket's clock; None when they are gone."""
        with _bucket_errors():
            try:
                return (await obstore.head_async(self._objects, _name(hash_)))["last_modified"].timestamp()
            except FileNotFoundError:
                return None

    async def free(self) -> int | None:
        """A bucket does not tell."""
        return None

    async def old(self, *, before: float) -> AsyncGenerator[Sequence[str]]:
        """Hashes of the blobs that were last put before that time."""
        with _bucket_errors():
            async for found in obstore.list(self._objects, chunk_size=500):
                old = (each["path"] for each in found if each["last_modified"].timestamp() < before)
                yield [f"blake3:{match[1]}{match[2]}" for path in old if (match := _OBJECT.fullmatch(path))]

    async def _keep(self, received: _Received) -> ports.Stored:
        content = received.file or received.data
        with _bucket_errors():
            await obstore.put_async(self._objects, _name(received.hash), content)
        return received.stored


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    """A whole stream: in memory, or in a synced file when that is set."""

    hash: str
    size: int
    data: bytes = b""
    file: Path | None = None

    @property
    def stored(self) -> ports.Stored:
        return ports.Stored(hash=self.hash, size_bytes=self.size)


@contextlib.asynccontextmanager
async def _received(chunks: AsyncIterator[bytes], *, limit: int | None, spool: Path) -> AsyncGenerator[_Received]:
    """Collect a stream. What went to disk and was not moved away is removed in the end."""
    digest = blake3()
    size = 0
    waiting: list[bytes] = []
    held = 0
    path = spool / f"{uuid_utils.uuid7()}.part"
    with contextlib.ExitStack() as stack:
        file: IO[bytes] | None = None
        async for chunk in chunks:
            size += len(chunk)
            if limit is not None and size > limit:
                raise errors.PayloadTooLarge(f"More than {limit} bytes.", details={"limit": limit})
            digest.update(chunk)
            waiting.append(chunk)
            held += len(chunk)
            if held > (CHUNK if file else IN_MEMORY):
                with _disk_errors():
                    if file is None:
                        stack.callback(path.unlink, missing_ok=True)
                        file = stack.enter_context(path.open("xb"))
                    await asyncio.to_thread(file.writelines, waiting)
                waiting, held = [], 0
        named = f"blake3:{digest.hexdigest()}"
        if file is None:
            yield _Received(hash=named, size=size, data=b"".join(waiting))
            return
        with _disk_errors():
            await asyncio.to_thread(_finish, file, waiting)
        yield _Received(hash=named, size=size, file=path)


def _hash_of(data: bytes) -> str:
    return f"blake3:{blake3(data).hexdigest()}"


def _name(hash_: str) -> str:
    """Where a blob lies. What is no hash names nothing, so it cannot lead out of the folder."""
    match = _HASH.fullmatch(hash_)
    if match is None:
        raise _gone(hash_)
    return "/".join(match.groups())


def _gone(hash_: str) -> errors.OutputUnavailable:
    return errors.OutputUnavailable(f"The bytes {hash_} are gone.")


def _finish(file: IO[bytes], rest: list[bytes]) -> None:
    file.writelines(rest)
    file.flush()
    os.fsync(file.fileno())


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())


def _move_synced(file: Path, path: Path) -> None:
    """Give a synced file its name, and sync the folder, without which the name can be lost."""
    try:
        file.rename(path)
    except FileNotFoundError:
        path.parent.mkdir(exist_ok=True)
        _sync_folder(path.parent.parent)
        file.rename(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _old_in(folder: Path, before: float) -> list[str]:
    """Hashes of the blobs in one folder that were last put before that time."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.stat().st_mtime) for entry in entries]
    return [f"blake3:{folder.name}{name}" for name, put_at in found if put_at < before and _REST.fullmatch(name)]


def _open_at(path: Path, start: int, left: int | None) -> tuple[IO[bytes] | None, bytes]:
    """The first chunk, and the file when there is more."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb", buffering=0))
        except FileNotFoundError as error:
            if not path.parent.parent.is_dir():  # all of it is away: that is no reason to call one blob lost
                raise _unavailable(error) from error
            raise _gone(f"blake3:{path.parent.name}{path.name}") from None
        except OSError as error:
            raise _unavailable(error) from error
        file.seek(start)
        chunk = _read(file, left)
        size = os.fstat(file.fileno()).st_size
        if start + len(chunk) >= size or (left is not None and len(chunk) >= left):
            return None, chunk
        stack.pop_all()
        return file, chunk


def _read(file: IO[bytes], left: int | None) -> bytes:
    with _disk_errors():
        return file.read(CHUNK if left is None else min(CHUNK, left))


def _remove_stale(folder: Path) -> None:
    before = time.time() - STALE_SECONDS
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()


_LASTING: Final = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EBADF})


@contextlib.contextmanager
def _disk_errors() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _LASTING:
            raise
        raise _unavailable(error) from error


@contextlib.contextmanager
def _bucket_errors() -> Generator[None]:
    try:
        yield
    except (exceptions.BaseError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise errors.StoreUnavailable(f"The blob store cannot be used right now: {reason}") from error


def _unavailable(error: OSError) -> errors.StoreUnavailable:
    return errors.StoreUnavailable(f"The blob folder cannot be used right now: {error.strerror}.")
