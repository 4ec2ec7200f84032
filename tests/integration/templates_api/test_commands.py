"""`comfy-gateway templates …` against a gateway and against a worker, without its flags."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx
import pytest

from gateway import simulator
from gateway.cli import failures, output, template_convert, template_files, template_tables, template_versions
from tests.conftest import Start
from tests.integration.templates_api import living

Place = template_versions.Place
TITLED = '[parameters.image]\ntype = "image"\ntarget = "1.image"\ndefault_file = "a.png"\n'


@pytest.fixture
async def place(start_gateway: Start) -> Place:
    return (await start_gateway(workers=1)).url, None


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """What was printed as JSON since the last look; the gateway beside us prints its log."""
    printed = capsys.readouterr().out
    begin = re.search(r"^\{", printed, re.MULTILINE)
    assert begin is not None, printed
    return json.JSONDecoder().raw_decode(printed, begin.start())[0]


JSON = output.Screen(as_json=True)


async def test_adding_naming_trying_and_taking_back(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")  # of the terminal: nothing is cut
    living.write(tmp_path, "fox.png", living.picture(prompt=living.graph(1)))
    files = [tmp_path / "fox.png"]
    await template_versions.add(files, place, JSON, name=None, replace=False)
    (added,) = told(capsys)["templates"]
    assert (added["name"], added["runnable"]) == ("fox", True)
    with pytest.raises(failures.Refused, match="already"):
        await template_versions.add(files, place, JSON, name=None, replace=False)
    await template_versions.point("fox", "stable", "latest", place, JSON)
    assert told(capsys)["version"] == added["version"]

    living.write(tmp_path, "fox.json", living.saved(2))
    await template_versions.add([tmp_path / "fox.json"], place, JSON, name=None, replace=True)
    (second,) = told(capsys)["templates"]
    await template_versions.offer("fox", "latest", "25%", place, JSON, alias="stable")
    moved = told(capsys)
    assert (moved["version"], moved["candidate"], moved["share"]) == (added["version"], second["version"], 0.25)
    await template_versions.listing("fox", place, JSON)
    listed = told(capsys)
    assert (listed["serves"], listed["latest"]) == (added["version"], second["version"])
    await template_versions.offer("fox", None, None, place, JSON, alias="stable")
    assert told(capsys)["candidate"] is None
    await template_versions.offer("fox", "latest", "12.5%", place, output.Screen(), alias="stable")
    assert "12.5% of the orders get" in capsys.readouterr().out
    await template_versions.offer("fox", None, None, place, JSON, alias="stable")
    capsys.readouterr()
    await template_versions.point("fox", "stable", second["version"][:6], place, JSON)
    capsys.readouterr()
    await template_versions.roll_back("fox", "stable", place, JSON)
    assert told(capsys)["version"] == added["version"]
    screen = output.Screen()
    await template_versions.listing("fox", place, screen)
    assert "stable, serves the name" in capsys.readouterr().out
    await template_versions.point("fox", "stable", None, place, screen)
    await template_versions.remove("fox", place, screen)
    assert "fox is removed" in capsys.readouterr().out


async def test_what_lies_beside_a_file_goes_with_it(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = {**living.graph(), "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
    living.write(tmp_path, "drawn.json", graph)
    living.write(tmp_path, "drawn.toml", TITLED)
    with pytest.raises(failures.Wrong, match=r"a\.png cannot be read"):
        await template_versions.add([tmp_path / "drawn.json"], place, JSON, name=None, replace=False)
    living.write(tmp_path, "a.png", living.picture())
    await template_versions.add([tmp_path / "drawn.json"], place, output.Screen(), name="hen", replace=False)
    assert "hen is version" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0%", "101%", "x", "", "-1", "nan"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(failures.Wrong, match="no share"):
        template_versions.fraction(text)


async def test_files_are_checked_against_a_worker_or_those_of_a_gateway(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    good = living.write(folder, "good.json", living.saved(1))
    living.write(folder, "seen.png", living.picture(prompt=living.graph(1)))
    wrong = living.write(folder, "wrong.json", living.graph(1, width=0))

    async def check(*wanted: Path, at: Place | None, everywhere: bool = False) -> tuple[int, Any]:
        status = await template_files.check(wanted, JSON, object_info=None, place=at, everywhere=everywhere)
        return status, {Path(item["file"]).name: item for item in told(capsys)["files"]}

    status, found = await check(folder, at=None)  # nobody is asked
    assert (status, {name: item["ok"] for name, item in found.items()}) == (
        0,
        {"good.json": None, "seen.png": True, "wrong.json": True},  # what the editor saved must be converted
    )
    async with simulator.running() as worker:
        for at in ((worker.url, None), place):
            status, found = await check(folder, at=at)
            assert status == 1
            assert {name: item["ok"] for name, item in found.items()} == {
                "good.json": True,
                "seen.png": True,
                "wrong.json": False,
            }
            ((who, (fault,)),) = found["wrong.json"]["refused"].items()
            assert who == (worker.url if at != place else found["good.json"]["workers"][0])
            assert (fault["reason"], fault["node"], fault["field"], fault["nearest"]) == (
                "value_smaller_than_min",
                "1",
                "width",
                1,
            )
    await template_files.check([wrong], output.Screen(), object_info=None, place=place, everywhere=False)
    assert "smaller than the minimum of 1" in capsys.readouterr().out
    assert (await check(good, at=place, everywhere=True))[0] == 0
    with pytest.raises(failures.Unreachable):
        await check(good, at=("http://127.0.0.1:9", None))


async def test_a_pipeline_is_checked_by_the_templates_of_its_steps(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    living.write(folder, "good.json", living.graph(1))
    living.write(folder, "wrong.json", living.graph(1, width=0))
    pipeline = (
        '[[steps]]\nname = "a"\ntemplate = "{}"\n[[steps]]\nname = "b"\ntemplate = "edit"\ninputs = {{ image = "@a" }}'
    )
    for name in ("good", "wrong", "nothing"):
        (folder / f"of-{name}.pipeline.toml").write_text(pipeline.format(name))

    async def check(*wanted: Path, at: Place | None) -> tuple[int, Any]:
        status = await template_files.check(wanted, JSON, object_info=None, place=at, everywhere=False)
        return status, {Path(item["file"]).name: item for item in told(capsys)["files"]}

    assert await check(folder / "of-good.pipeline.toml", at=None) == (0, ANY)
    for at in (None, place):
        _, found = await check(folder, at=at)
        assert found["of-good.pipeline.toml"]["ok"]  # `edit` is not in this folder: it ships
        (fault,) = found["of-nothing.pipeline.toml"]["faults"]
        assert (fault["reason"], fault["field"]) == ("invalid_pipeline", "a")
        assert found["of-wrong.pipeline.toml"]["ok"] is (at is None)


async def test_pipelines_are_added_after_their_steps(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '[[steps]]\nname = "a"\ntemplate = "hen"\n[[examples]]\nname = "two words"\n'
    row = living.write(tmp_path, "row.pipeline.toml", text.replace("two words", "first"))
    hen = living.write(tmp_path, "hen.json", living.graph(1))
    with pytest.raises(failures.Refused, match="step a: There is no template"):
        await template_versions.add([row], place, JSON, name=None, replace=False)
    await template_versions.add([hen, row], place, JSON, name=None, replace=False)
    assert [each["name"] for each in told(capsys)["templates"]] == ["hen", "row"]
    source = template_tables.Source(folder=None, url=place[0], api_key=None, named=True)
    await template_tables.one("row", source, output.Screen())
    assert "Example first: comfy-gateway run row" in capsys.readouterr().out

    living.write(tmp_path, "row.pipeline.toml", text)
    with pytest.raises(failures.Refused, match=r"examples\.0\.name"):
        await template_versions.add([row], place, JSON, name="column", replace=False)


async def test_a_pipeline_has_no_graph_to_convert_to(place: Place, tmp_path: Path) -> None:
    row = living.write(tmp_path, "row.pipeline.toml", '[[steps]]\nname = "a"\ntemplate = "hen"\n')
    with pytest.raises(failures.Wrong, match="is a pipeline: templates in a row"):
        await template_convert.convert(row, JSON, object_info=None, place=place, allow_unknown=False)


async def test_a_gateways_own_templates_are_checked_by_name(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = await template_files.check(
        [Path("ip-adapter"), Path("edit")], JSON, object_info=None, place=place, everywhere=False
    )
    found = {item["file"]: item for item in told(capsys)["files"]}
    assert (status, found["edit"]["ok"], found["ip-adapter"]["ok"]) == (1, True, False)
    assert "node pack ComfyUI_IPAdapter_plus" in str(found["ip-adapter"]["faults"])


def _unbroken(text: str) -> str:
    """Lines are broken somewhere in a path that is long."""
    return "".join(text.split())


async def test_what_the_editor_saved_is_shown_and_described(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = living.write(tmp_path, "mine.json", living.saved(3))

    def source(url: str, *, named: bool) -> template_tables.Source:
        return template_tables.Source(folder=None, url=url, api_key=None, named=named)

    nobody = "http://127.0.0.1:9"
    with pytest.raises(failures.Wrong, match=f"editor.*no gateway at {nobody}") as refused:
        await template_files.show(str(file), source(nobody, named=False), JSON, object_info=None, write=True)
    assert "start the gateway" in str(refused.value.way_out)
    # The gateway of the default URL, which nobody named, converts it as well as one that was named.
    await template_files.show(str(file), source(place[0], named=False), output.Screen(), object_info=None, write=True)
    screen = capsys.readouterr().out
    assert _unbroken(f"comfy-gateway templates add {file}, then comfy-gateway run mine") in _unbroken(screen)
    assert "--write" not in screen
    assert 'target = "1.width"' in (tmp_path / "mine.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").unlink()
    await template_files.show(str(file), source(place[0], named=True), JSON, object_info=None, write=False)
    assert [item["name"] for item in told(capsys)["parameters"]] == ["width", "height"]
    await template_files.show(str(file), source(place[0], named=True), output.Screen(), object_info=None, write=False)
    screen = capsys.readouterr().out
    assert _unbroken(f"Order one: comfy-gateway run {file}") in _unbroken(screen)
    assert "--write writes them" in screen


async def test_what_nobody_could_convert_is_not_checked(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = living.write(tmp_path, "mine.json", living.saved(3))
    living.write(tmp_path, "mine.toml", '[parameters.width]\ntype = "integer"\ntarget = "33.width"\n')
    living.write(tmp_path, "row.pipeline.toml", '[[steps]]\nname = "a"\ntemplate = "mine"\n')

    async def check(converter: Place | None, screen: output.Screen) -> int:
        return await template_files.check(
            [tmp_path], screen, object_info=None, place=None, everywhere=False, converter=converter
        )

    nobody = ("http://127.0.0.1:9", None)
    assert await check(nobody, output.Screen()) == 0
    printed = capsys.readouterr()
    assert (printed.out.count("not checked"), printed.out.count("ok")) == (2, 0)  # the pipeline as well
    assert "node classes" in printed.err
    assert nobody[0] in printed.err
    assert await check(nobody, JSON) == 0
    assert {item["file"]: item["ok"] for item in told(capsys)["files"]}[str(file)] is None

    assert await check(place, JSON) == 1  # the gateway that nobody named converts, and the target is seen to be wrong
    (found,) = (item for item in told(capsys)["files"] if item["file"] == str(file))
    assert (found["ok"], found["workers"]) == (False, None)
    assert "33" in str(found["faults"])


async def test_a_template_that_was_broken_is_shown_as_it_was_and_that_is_said(
    start_gateway: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    living.write(folder, "fox.json", living.graph(1))
    running = await start_gateway(workers=1, workflows=(folder,))
    source = template_tables.Source(folder=None, url=running.url, api_key=None, named=True)
    await template_tables.one("fox", source, output.Screen())
    assert "broken" not in capsys.readouterr().err
    living.write(folder, "fox.toml", '[parameters.width]\ntype = "integer"\ntarget = "33.width"\n')
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as http:
        await living.until(living.asking(http, "/v1/templates"), lambda answer: bool(answer["broken"]))
    await template_tables.one("fox", source, output.Screen())
    printed = capsys.readouterr()
    assert "width" in printed.out
    assert "fox is broken" in " ".join(printed.err.split())
    assert "serves meanwhile); that is the one shown here" in " ".join(printed.err.split())
