"""`comfy-gateway templates add` where not all can be added."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from gateway.cli import failures, output, template_versions
from tests.integration.cli.standing_in import refused


def adding(added: list[str]) -> web.Application:
    """A gateway that takes every template but `bad`."""

    async def add(request: web.Request) -> web.Response:
        await request.post()
        name = request.query["name"]
        if name == "bad":
            return refused(409, "template_exists")
        added.append(name)
        about = {"name": name, "version": "1", "workers": [], "runnable": None, "lacking": []}
        return web.json_response(about, status=201)

    app = web.Application()
    app.router.add_post("/v1/templates", add)
    return app


async def add(url: str, *files: Path) -> None:
    screen = output.Screen(as_json=True, err=Console(file=io.StringIO()))
    await template_versions.add(files, (url, None), screen, name=None, replace=False)


async def test_those_before_one_that_is_refused_are_told(aiohttp_app: Any, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.json" for name in ("good", "bad", "more")]
    for file in files:
        file.write_text("{}")
    added: list[str] = []
    with pytest.raises(failures.Refused) as caught:
        await add(await aiohttp_app(adding(added)), *files)
    assert [about["name"] for about in caught.value.details["templates"]] == added == ["good"]


async def test_a_file_that_is_not_there_adds_none(aiohttp_app: Any, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text("{}")
    added: list[str] = []
    with pytest.raises(failures.Wrong, match=r"none\.json cannot be read"):
        await add(await aiohttp_app(adding(added)), tmp_path / "good.json", tmp_path / "none.json")
    assert added == []
