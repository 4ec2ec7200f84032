"""Blobs come and go with their records, and never from under somebody who is about to use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain import errors, model
from tests.integration.assets import made as kit

DATA = b"the same bytes"


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[kit.Made]:
    async with kit.made(tmp_path) as made:
        yield made


async def keep(made: kit.Made, tenant: model.TenantId = kit.ALICE, path: str = "a.bin") -> model.Asset:
    library = made.parts.assets
    received = await library.receive(kit.once(DATA))
    return (await library.mint(tenant, received, file_path=path, content_type="application/x-a")).asset


async def output(made: kit.Made) -> model.NewOutput:
    return await made.parts.assets.keep_output(
        tenant=kit.ALICE,
        job_id=model.JobId(kit.new_id()),
        node_id="9",
        name="a.bin",
        index=0,
        expires_at=made.clock() + 3600,
        simulated=True,
        chunks=kit.once(DATA),
    )


async def test_an_output_that_is_not_recorded_yet_keeps_its_bytes(made: kit.Made) -> None:
    asset = await keep(made)
    kept = await output(made)
    await made.parts.assets.delete(kit.ALICE, asset.id)
    assert [chunk async for chunk in made.parts.assets.chunks(kept.asset)] == [DATA]
    made.clock.ahead = 1000
    await made.parts.assets.discard([])
    assert made.blob_files() == []


async def test_bytes_that_came_in_while_they_were_deleted_are_asked_for_again(made: kit.Made) -> None:
    asset = await keep(made)
    library = made.parts.assets
    deleted = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield DATA[:4]
        await deleted.wait()
        yield DATA[4:]

    coming = asyncio.create_task(library.receive(slow()))
    await asyncio.sleep(0)  # it has begun
    await library.delete(kit.ALICE, asset.id)
    deleted.set()
    with pytest.raises(errors.StoreUnavailable):
        await coming


async def test_uploads_and_deletions_at_once_never_leave_a_record_without_bytes(made: kit.Made) -> None:
    library = made.parts.assets

    async def come_and_go(turn: int) -> None:
        for number in range(8):
            try:
                asset = await keep(made, path=f"{turn}-{number}.bin")
            except errors.StoreUnavailable:
                continue
            assert [chunk async for chunk in library.chunks(asset)] == [DATA]
            await library.delete(kit.ALICE, asset.id)

    await asyncio.gather(*(come_and_go(turn) for turn in range(6)))
    assert made.blob_files() == []


async def test_discarding_spares_what_is_used(made: kit.Made) -> None:
    asset = await keep(made, kit.BOB)
    await made.parts.assets.discard([asset.hash, "blake3:" + "0" * 64])
    assert [chunk async for chunk in made.parts.assets.chunks(asset)] == [DATA]


@pytest.mark.parametrize(
    ("name", "head", "text", "content_type", "kind"),
    [
        ("a.png", b"", False, "image/png", model.OutputType.IMAGE),
        ("a.webp", b"", False, "image/webp", model.OutputType.IMAGE),
        ("clip.mp4", b"", False, "video/mp4", model.OutputType.VIDEO),
        ("sound.flac", b"", False, "audio/flac", model.OutputType.AUDIO),
        ("mesh.glb", b"", False, "model/gltf-binary", model.OutputType.FILE),
        ("x.latent", b"", False, "application/octet-stream", model.OutputType.LATENT),
        ("note.txt", b"", False, "text/plain", model.OutputType.TEXT),
        ("text_00001.txt", b"hi", True, "text/plain; charset=utf-8", model.OutputType.TEXT),
        ("nameless", b"\x89PNG\r\n\x1a\n", False, "image/png", model.OutputType.IMAGE),
        ("nameless", b"?", False, "application/octet-stream", model.OutputType.FILE),
    ],
)
async def test_kinds_of_outputs(
    made: kit.Made, name: str, head: bytes, text: bool, content_type: str, kind: model.OutputType
) -> None:
    kept = await made.parts.assets.keep_output(
        tenant=kit.ALICE,
        job_id=model.JobId(kit.new_id()),
        node_id="9",
        name=name,
        index=3,
        expires_at=made.clock() + 1,
        simulated=True,
        chunks=kit.once(head),
        text=text,
    )
    assert (kept.asset.content_type, kept.type, kept.index, kept.asset.simulated) == (content_type, kind, 3, True)
