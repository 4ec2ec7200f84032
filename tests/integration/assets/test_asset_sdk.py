"""The official SDK's assets, unchanged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import comfy_sdk
import pytest

from tests.integration.assets import made as kit
from tests.integration.assets.conftest import Site

PICTURE = kit.picture()


@pytest.fixture
async def client(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> comfy_sdk.AsyncComfy:
    (tmp_path / "photo 🦊.png").write_bytes(PICTURE)
    monkeypatch.setenv("COMFY_BASE_URL", str(site.alice.base_url).rstrip("/"))
    return comfy_sdk.AsyncComfy(api_key=kit.SECRETS["alice"])


async def test_uploading_once_and_finding_it_again(client: comfy_sdk.AsyncComfy, site: Site, tmp_path: Path) -> None:
    async with client:
        first = client.assets.from_file(tmp_path / "photo 🦊.png")
        second = client.assets.from_file(tmp_path / "photo 🦊.png")
        first_id = await first.commit()
        second_id = await second.commit()
        assert first_id == second_id
        assert (first.created_new, second.created_new) == (True, False)
        assert first.file_path == "photo 🦊.png"
        again = await client.assets.get(first_id)
        assert again.hash == first.hash
        link = await again.get_download_url()
        assert (await site.alice.get(link.url)).content == PICTURE
        reference = await first.as_reference()
        assert reference["info"]["id"] == first_id  # pyright: ignore[reportIndexIssue]
        await first.delete()
        with pytest.raises(comfy_sdk.ComfyError):
            await client.assets.get(first_id)


async def test_many_at_once(client: comfy_sdk.AsyncComfy) -> None:
    async with client:
        handles = [client.assets.from_bytes(bytes([n]) * 100, filename=f"{n}.bin") for n in range(8)]
        ids = await asyncio.gather(*(handle.commit() for handle in handles))
        assert len(set(ids)) == 8
