"""Templates of a gateway that are added, and their versions: listed, named, tried, taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.adapters import templates
from gateway.cli import client, failures, output
from gateway.domain.templates import building, sidecar

Place = tuple[str, str | None]  #: URL and API key


async def add(files: Sequence[Path], place: Place, screen: output.Screen, *, name: str | None, replace: bool) -> None:
    """Send template files, with what lies beside them."""
    if name is not None and len(files) != 1:
        raise failures.Wrong("--name is for one file")
    made: list[Mapping[str, Any]] = []
    parts = [await asyncio.to_thread(_parts, file) for file in files]
    async with client.connect(*place) as gateway:
        for file, form in zip(files, parts, strict=True):
            try:
                about = await gateway.add_template(name or templates.name_of(file), form, replace=replace)
            except failures.CommandFailed as error:
                error.details = {**error.details, "templates": made}  # those before it are added
                raise
            made.append(about)
            _tell_added(about, screen)
    if screen.as_json:
        screen.json({"templates": made})


def _parts(file: Path) -> list[tuple[str, str, bytes]]:
    """Field, file name and bytes of each part of the form."""
    try:
        if file.name.endswith(templates.PIPELINE):
            return [("pipeline", file.name, file.read_bytes())]
        parts = [("workflow", file.name, file.read_bytes())]
        beside = file.with_suffix(".toml")
        if beside.is_file():
            text = beside.read_bytes()
            parts.append(("sidecar", beside.name, text))
            described = sidecar.read_sidecar(text.decode(errors="replace"), beside.name)
            defaults = building.default_files(described)
            parts += [("files", each, (file.parent / each).read_bytes()) for each in defaults]
    except OSError as error:
        raise failures.Wrong(f"{error.filename or file} cannot be read: {error.strerror}") from None
    return parts


def _tell_added(about: Mapping[str, Any], screen: output.Screen) -> None:
    if screen.as_json:
        return
    where = {True: f"runs on {', '.join(about['workers'] or ())}", False: "no worker can run it", None: "no worker yet"}
    screen.out.print(output.plain(f"{about['name']} is version {about['version']} ({where[about['runnable']]})"))
    for fault in about["lacking"]:
        screen.err.print(output.plain(f"  {fault['message']}", style="yellow"))


async def remove(name: str, place: Place, screen: output.Screen) -> None:
    """Remove a template that was added."""
    async with client.connect(*place) as gateway:
        await gateway.remove_template(name)
    screen.show(output.plain(f"{name} is removed; its versions can still be ordered"), {"name": name, "removed": True})


async def listing(name: str, place: Place, screen: output.Screen) -> None:
    """Show a template's versions and aliases."""
    async with client.connect(*place) as gateway:
        found = await gateway.template_versions(name)
    if screen.as_json:
        screen.json(found)
        return
    table = output.table("version", "", "from", "first seen", "newest since", keep=["version"])
    for each in found["versions"]:
        marks = [*(["latest"] if each["latest"] else []), *each["aliases"]]
        if each["version"] == found["serves"]:
            marks.append("serves the name")
        times = (_day(each["created_at"]), _day(each["current_at"]))
        cells = (each["version"], ", ".join(marks), each["origin"], *times)
        table.add_row(*(output.plain(cell) for cell in cells))
    screen.out.print(table)
    for alias in found["aliases"]:
        screen.out.print(output.plain(_said(name, alias)))


def _day(time: str) -> str:
    return time.partition(".")[0].replace("T", " ")


def _said(name: str, alias: Mapping[str, Any]) -> str:
    tried = f", {alias['share'] * 100:.4g}% of the orders get {alias['candidate']}" if alias["candidate"] else ""
    return f"{name}@{alias['alias']} is {alias['version']}{tried}"


async def point(name: str, alias: str, version: str | None, place: Place, screen: output.Screen) -> None:
    """Point an alias to a version; None: remove it."""
    async with client.connect(*place) as gateway:
        if version is None:
            await gateway.remove_alias(name, alias)
            screen.show(output.plain(f"{name}@{alias} is removed"), {"alias": alias, "removed": True})
            return
        moved = await gateway.move_alias(name, alias, {"version": version})
    screen.show(output.plain(_said(name, moved)), moved)


async def roll_back(name: str, alias: str, place: Place, screen: output.Screen) -> None:
    """Take back an alias' last move."""
    async with client.connect(*place) as gateway:
        moved = await gateway.roll_back(name, alias)
    screen.show(output.plain(_said(name, moved)), moved)


async def offer(
    name: str, version: str | None, share: str | None, place: Place, screen: output.Screen, *, alias: str
) -> None:
    """Give a version a share of an alias' orders; None: no candidate any more."""
    if (version is None) == (share is not None):
        raise failures.Wrong("say which version gets which share: candidate NAME VERSION --share 10%")
    async with client.connect(*place) as gateway:
        if version is None:
            moved = await gateway.withdraw(name, alias)
        else:
            moved = await gateway.offer(name, alias, {"version": version, "share": fraction(share or "")})
    screen.show(output.plain(_said(name, moved)), moved)


def fraction(text: str) -> float:
    """`10%` or `0.1` as a number from 0 to 1."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise failures.Wrong(f"{text} is no share", way_out="write it like 10% or 0.1")
    return value
