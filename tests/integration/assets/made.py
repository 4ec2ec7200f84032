"""The parts of a gateway over real store and blobs, without workers, for tests of assets and orders."""

from __future__ import annotations

import asyncio
import io
import itertools
import struct
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uuid_utils
from PIL import Image

from gateway import assets, authoring, ports, submission
from gateway.adapters import blobs, bus, images, store
from gateway.api import auth, parts
from gateway.domain import errors, model
from gateway.domain.comfy import object_info
from gateway.domain.templates import library
from gateway.domain.templates import model as templates

ALICE = model.TenantId("alice")
BOB = model.TenantId("bob")
SECRETS = {"alice": "alice's own secret", "bob": "bob's own secret"}
KEYS = tuple(auth.ApiKey.of(secret, tenant=model.TenantId(name)) for name, secret in SECRETS.items())


class Clock:
    """The time, which a test can move on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass(kw_only=True)
class Known:
    """What the workers of a test tell, and which templates there are."""

    catalogs: Sequence[object_info.NodeCatalog] = ()
    library: library.Library = field(default_factory=library.Library)


class NoFiles:
    """No template files."""

    def look(self) -> ports.FoundFiles:
        return ports.FoundFiles(own={}, shipped={})


async def no_object_info(worker: model.WorkerId) -> Mapping[str, object]:
    raise errors.WorkerUnreachable(f"{worker} is not there")


def shelf(store: ports.Store, workers: Callable[[], authoring.Known], **more: Any) -> authoring.Shelf:
    """Templates over a real store; without files, unless a test has some."""
    given: dict[str, Any] = {"files": NoFiles(), "object_info": no_object_info, **more}
    return authoring.Shelf(authoring.Ties(store=store.templates, workers=workers, clock=time.time, **given))


class Fixed(authoring.Shelf):
    """A shelf whose templates a test puts there."""

    def __init__(self, ties: authoring.Ties, known: Known) -> None:
        super().__init__(ties)
        self._known = known

    def library(self) -> library.Library:
        return self._known.library

    async def find(self, reference: str, *, key: str | None = None) -> templates.Template:
        return self._known.library.get(reference.partition("@")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A gateway's parts, and what they were made of."""

    parts: parts.Parts
    clock: Clock
    known: Known
    secrets: submission.Secrets
    blob_folder: Path

    def blob_files(self) -> list[Path]:
        """The files that hold stored bytes."""
        return [path for path in self.blob_folder.rglob("*") if path.is_file()]


class NoFleet:
    """No workers."""

    def views(self) -> Sequence[model.WorkerView]:
        return ()

    async def add(self, url: str, *, worker_id: str | None = None, depth: int = 1) -> model.WorkerView:
        raise NotImplementedError

    async def remove(self, worker_id: str, *, drain: bool) -> model.WorkerView | None:
        raise NotImplementedError


def new_id() -> str:
    return str(uuid_utils.uuid7())


@asynccontextmanager
async def made(
    folder: Path,
    *,
    keys: Sequence[auth.ApiKey] = (),
    limits: parts.Limits | None = None,
    rules: submission.Rules | None = None,
) -> AsyncGenerator[Made]:
    """The parts over `folder`. Seeds are drawn 1000, 1001, …"""
    clock, known, seeds = Clock(), Known(), itertools.count(1000)
    opened = await store.open_store(f"sqlite:///{folder}/gateway.db", clock=clock)
    kept = blobs.open_blobs(folder / "blobs")
    news = bus.MemoryBus()
    everything = assets.Assets(
        opened.assets, kept, clock=clock, new_id=new_id, signer=assets.Signer(b"s" * 32), retention=3600.0
    )
    secrets = submission.Secrets(clock)
    shelf_ties = authoring.Ties(
        files=NoFiles(),
        store=opened.templates,
        workers=lambda: {model.WorkerId(f"w{n}"): each for n, each in enumerate(known.catalogs, 1)},
        object_info=no_object_info,
        clock=clock,
    )
    fixed = Fixed(shelf_ties, known)
    ties = submission.Ties(
        jobs=opened.jobs,
        assets=everything,
        bus=news,
        secrets=secrets,
        find=fixed.find,
        catalogs=lambda: known.catalogs,
        probe=images.probe_image,
        bomb_probe=images.refuse_bomb,
        clock=clock,
        new_id=new_id,
        draw_seed=lambda: next(seeds),
    )
    try:
        yield Made(
            parts=parts.Parts(
                store=opened,
                blobs=kept,
                bus=news,
                assets=everything,
                submission=submission.Submission(ties, rules),
                fleet=NoFleet(),
                templates=fixed,
                access=auth.Access(keys=tuple(keys)),
                clock=clock,
                version="0.0.test",
                limits=limits or parts.Limits(),
            ),
            clock=clock,
            known=known,
            secrets=secrets,
            blob_folder=folder / "blobs",
        )
    finally:
        await opened.close()


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def signals_of(news: ports.Bus) -> Sequence[model.Signal]:
    """The signals that wait for dispatch; there must be some."""
    return await asyncio.wait_for(news.next_signals(), 5)


def picture(color: str = "red", *, size: tuple[int, int] = (8, 6), kind: str = "PNG") -> bytes:
    """A real picture."""
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind)
    return out.getvalue()


def animation(frames: int, *, size: tuple[int, int]) -> bytes:
    """A GIF of many frames, each of which changes one pixel."""
    header = b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + bytes(6)
    pixel = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return header + (b"\x21\xf9\x04\0\0\0\0\0" + pixel) * frames + b"\x3b"


def png(width: int, height: int, data: bytes, *, more: bytes = b"") -> bytes:
    """A PNG of which header and content need not agree."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A tiny picture with a compressed text of 200 MB."""
    packer = zlib.compressobj(9)
    body = b"Comment\0\0" + b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    return png(1, 1, zlib.compress(b"\0\0"), more=chunk)
