"""The templates that ship, ordered with nothing but their defaults; and an answer that is the picture itself."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gateway.adapters import templates
from gateway.domain.comfy import object_info
from tests.integration.api import driver
from tests.integration.assets import made as kit
from tests.integration.templates_api.conftest import Site

SHIPPED = templates.load(templates.builtin_folder())


def test_none_of_them_is_broken() -> None:
    assert SHIPPED.broken == ()


async def test_each_can_be_ordered_with_its_defaults(site: Site) -> None:
    site.made.known.library = SHIPPED
    for template in SHIPPED.templates:
        assert (await site.alice.get(f"/v1/templates/{template.name}")).status_code == 200
        answer = await site.order(template.name, {})
        if answer.status_code == 422:  # it takes something for which there is no default
            required = {item.name for item in template.parameters if item.required}
            assert {fault["parameter"] for fault in answer.json()["error"]["details"]["faults"]} == required
            continue
        assert answer.status_code == 201, (template.name, answer.text)
        used = answer.json()["inputs"]
        for parameter in template.parameters:
            if parameter.default_file is not None:
                assert await site.bytes_of(used[parameter.name]) == template.files[parameter.default_file]


async def test_a_pack_that_no_worker_has_is_named_with_where_to_get_it(
    site: Site, catalog: object_info.NodeCatalog
) -> None:
    site.made.known.library = SHIPPED
    site.made.known.catalogs = (catalog,)
    pack = "it comes with the node pack ComfyUI_IPAdapter_plus (https://github.com/cubiq/ComfyUI_IPAdapter_plus)."
    told = (await site.order("ip-adapter", {})).json()["error"]["details"]["faults"]
    shown = (await site.alice.get("/v1/templates/ip-adapter")).json()["lacking"]
    for faults in (told, shown):
        of_pack = {fault["class_type"]: fault["message"] for fault in faults if "node pack" in fault["message"]}
        assert of_pack == {
            name: f"No node class {name!r} here; {pack}" for name in ("IPAdapterModelLoader", "IPAdapterAdvanced")
        }


async def finish(site: Site, name: str, data: bytes) -> None:
    """Play dispatch: run the queued job, which makes one file."""
    parts = site.made.parts
    worker = driver.Driver(parts.store, parts.bus, parts.assets)
    await worker.start()
    claim = await worker.claim()
    await worker.settle(claim, outputs=[await worker.kept(claim, data, name=name)])


@pytest.mark.parametrize(("accept", "kind"), [("image/*", "image/png"), ("application/json", "application/json")])
async def test_waiting_for_the_picture_itself(site: Site, accept: str, kind: str) -> None:
    picture = kit.picture("blue")
    headers = {"Prefer": "wait=20", "Accept": accept}
    waiting = asyncio.create_task(site.alice.post("/v1/templates/plain/jobs", json={}, headers=headers))
    await kit.signals_of(site.made.parts.bus)
    await finish(site, "plain_00001_.png", picture)
    answer = await asyncio.wait_for(waiting, 10)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    if kind == "image/png":
        assert answer.content == picture
        assert answer.headers["content-disposition"] == 'inline; filename="plain_00001_.png"'
        return
    (output,) = answer.json()["outputs"]
    async with httpx.AsyncClient() as anyone:
        assert (await anyone.get(output["url"])).content == picture


async def test_an_output_is_an_asset_and_can_be_an_input(site: Site) -> None:
    picture = kit.picture("blue")
    first = (await site.order("plain", {})).json()
    await finish(site, "plain_00001_.png", picture)
    (output,) = (await site.alice.get(first["urls"]["self"])).json()["outputs"]
    second = (await site.order("restyle", {"image": output["id"]})).json()
    assert await site.bytes_of(second["inputs"]["image"]) == picture
    named = (await site.order("restyle", {"image": "plain_00001_.png"})).json()
    assert named["inputs"]["image"] == "plain_00001_.png"  # a job's file name is no upload's path
    refused = await site.alice.delete(f"/api/v2/assets/{output['id']}")
    assert refused.json()["error"]["code"] == "asset_in_use"


async def test_outputs_are_counted_by_the_batch(site: Site) -> None:
    batch = (await site.alice.post("/v1/batches", json={"template": "plain", "inputs": {}, "n": 2})).json()
    await finish(site, "plain_00001_.png", kit.picture("blue"))
    now = (await site.alice.get(batch["urls"]["self"])).json()
    assert (now["outputs"], now["ended"], now["done"], now["finished"]) == (1, 1, 0.5, False)
