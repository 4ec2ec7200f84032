"""Templates as tables: from the gateway, or from folders on this machine where no gateway runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.adapters import templates as folders
from gateway.cli import client, failures, ordering, output
from gateway.domain.templates import describe, library
from gateway.domain.templates import model as templates

if TYPE_CHECKING:
    from rich.console import RenderableType

_FIRST_WORDS = 60
_FIRST_PARAMETERS = 4
_FIRST_CHOICES = 4
_ROOMY = 100  #: columns in which a parameter's description has one, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where templates are looked for. `named`: somebody said which gateway, so that no other place will do."""

    folder: Path | None
    url: str
    api_key: str | None
    named: bool

    def local(self) -> library.Library:
        """The templates on this machine."""
        if self.folder is not None:
            return folders.load(self.folder)
        shipped, own = folders.load(folders.builtin_folder()), Path("workflows")
        return shipped.with_over(folders.load(own)) if own.is_dir() else shipped


async def listing(source: Source, screen: output.Screen) -> int:
    """Show all templates. Returns 1 when a file is broken."""
    found = await _all(source, screen)
    broken: Sequence[Mapping[str, Any]] = found["broken"]
    if screen.as_json:
        screen.json(found)
    else:
        screen.out.print(_listing_table(found["templates"]))
        for each in broken:
            screen.note(_broken(each), style="red")
        for each in found.get("waiting") or ():
            screen.err.print(output.plain(f"{each['name']} waits: {each['reason']}", style="yellow"))
    return failures.FAILED if broken else failures.DONE


def _broken(each: Mapping[str, Any]) -> str:
    serving = f" (version {each['serving']} serves meanwhile)" if each.get("serving") else ""
    return f"{each['name']} is broken: {each['reason']}{serving}"


async def _all(source: Source, screen: output.Screen) -> Mapping[str, Any]:
    if source.folder is None:
        try:
            async with client.connect(source.url, source.api_key) as gateway:
                return await gateway.templates()
        except failures.Unreachable as lost:
            if source.named:
                raise
            screen.note(f"({lost.message}; these are the templates on this machine)")
    found = source.local()
    return {
        "templates": [describe.summary(template) for template in found.templates],
        "broken": [{"name": each.name, "source": each.source, "reason": each.reason} for each in found.broken],
        "waiting": [{"name": each.name, "source": each.source, "reason": each.reason} for each in found.waiting],
    }


def _listing_table(templates: Sequence[Mapping[str, Any]]) -> RenderableType:
    asked = any(each.get("runnable") is not None for each in templates)
    columns = ("name", "what it does", *(("runs here",) if asked else ()), "parameters")
    table = output.table(*columns, keep=["name", "runs here"])
    for each in templates:
        runs = {True: "yes", False: "no", None: "?"}[each.get("runnable")]
        more = ", …" if len(each["parameters"]) > _FIRST_PARAMETERS else ""
        parameters = ", ".join(each["parameters"][:_FIRST_PARAMETERS]) + more
        about = str(each.get("description") or each.get("title") or "")
        cells = (each["name"], about.split(". ", maxsplit=1)[0].rstrip("."), *((runs,) if asked else ()), parameters)
        table.add_row(*(output.plain(str(cell)) for cell in cells))
    return table


async def one(name: str, source: Source, screen: output.Screen) -> None:
    """Show one template; and where its file was changed for the worse, that this is what was there before."""
    show(await _described(name, source, screen), screen)


async def _described(name: str, source: Source, screen: output.Screen) -> Mapping[str, Any]:
    if source.folder is None:
        try:
            async with client.connect(source.url, source.api_key) as gateway:
                found = (await ordering.known_template(gateway, name)).raw
                broken = (each for each in (await gateway.templates())["broken"] if each["name"] == found["name"])
                for each in broken:
                    screen.note(f"{_broken(each)}; that is the one shown here", style="red")
                return found
        except failures.Unreachable as lost:
            if source.named:
                raise
            screen.note(f"({lost.message}; this is the template on this machine)")
    return describe.detail(source.local().get(name))


def show(about: Mapping[str, Any], screen: output.Screen, *, orders: Sequence[str] = (), written: bool = False) -> None:
    """Show a template's description. `orders`: the commands that order one, where it is not the name alone; `written`:
    its parameters become a file right now."""
    if screen.as_json:
        screen.json(about)
        return
    out = screen.out
    out.print(output.plain(f"{about['name']}: {about['title']}", style="bold"))
    if about.get("description"):
        out.print(output.plain(str(about["description"])))
    if about.get("inferred") and not written:
        out.print(output.plain("The parameters were found in the graph; --write writes them as a file.", style="dim"))
    out.print()
    out.print(_parameter_table(about["parameters"], out.width))
    out.print()
    below = [line for each in about["parameters"] if (line := _below(each, out.width))]
    for line in below:
        out.print(output.plain(line, style="dim"))
    if below:
        out.print()
    for line in _needs(about):
        out.print(output.plain(line), soft_wrap=True)  # URLs are whole, so that they can be copied
    for each in about.get("examples") or ():
        out.print(output.plain(f"Example {each['name']}: {_told(about, each['inputs'])}", style="dim"))
        files = _files(about, each["inputs"])
        if files:
            out.print(output.plain(f"  with {', '.join(files)} of its author's folder, or files of yours", style="dim"))
    out.print(output.plain(f"Order one: {', then '.join(orders or (example(about),))}", style="dim"))


def _parameter_table(parameters: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    described = ("what it is",) if width >= _ROOMY else ()
    table = output.table("parameter", "type", "default", "takes", *described, keep=["parameter", "type"])
    for each in parameters:
        cells = (each["name"], each["type"], _default(each, width), _range(each), _described_as(each))
        table.add_row(*(output.plain(str(cell or "")) for cell in cells[: 4 + len(described)]))
    return table


def _below(parameter: Mapping[str, Any], width: int) -> str | None:
    """What the table has no room for: all choices of many, and on a narrow screen what the parameter is."""
    choices = list(map(str, parameter.get("choices") or ()))
    cut = f"takes {', '.join(choices)}" if len(choices) > _FIRST_CHOICES else ""
    told = str(_described_as(parameter) or "") if width < _ROOMY else ""
    words = " ".join(part for part in (told, f"It {cut}." if told and cut else cut) if part)
    return f"{parameter['name']}: {words}" if words else None


def _described_as(parameter: Mapping[str, Any]) -> object:
    return parameter.get("description") or parameter.get("title")


def _default(parameter: Mapping[str, Any], width: int) -> str:
    if parameter.get("required"):
        return "(required)"
    if parameter.get("default_file"):
        return str(parameter["default_file"])
    if parameter["type"] == "seed":
        return "(drawn)"
    default = parameter.get("default")
    text = "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
    longest = max(_FIRST_WORDS, width - _ROOMY)
    return text if len(text) <= longest else f"{text[:longest]}…"


def _range(parameter: Mapping[str, Any]) -> str:
    choices = list(map(str, parameter.get("choices") or ()))
    if len(choices) > _FIRST_CHOICES:
        return f"one of {len(choices)}, see below"
    if choices:
        return ", ".join(choices)
    low, high = (_number(parameter.get(name)) for name in ("minimum", "maximum"))
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else f"to {high}" if high else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}" if abs(value) < 1_000_000 else str(int(value))


def _needs(about: Mapping[str, Any]) -> list[str]:
    needs: Mapping[str, Any] = about.get("requirements") or {}
    lines = [f"Needs the file {_with_place(each)}" for each in needs.get("files") or ()]
    lines += [
        f"Needs the node pack {each['name']}{' from ' + each['url'] if each.get('url') else ''}"
        for each in needs.get("packs") or ()
    ]
    if about.get("workers"):
        lines.append(f"Runs on {', '.join(about['workers'])}")
    lines += [f"No worker can run it: {each['message']}" for each in about.get("lacking") or ()]
    return lines


def _with_place(file: Mapping[str, Any]) -> str:
    folder = f"models/{file['folder']}/" if file.get("folder") else ""
    return f"{folder}{file['file']}" + (f" from {file['url']}" if file.get("url") else "")


def _files(about: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[str]:
    """The files that an example takes: they lie beside the template, and a gateway does not have them."""
    types = {each["name"]: each["type"] for each in about["parameters"]}
    return [str(value) for name, value in inputs.items() if types.get(name) in templates.FILE_TYPES]


def _told(about: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """The command that orders this."""
    words = (f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in inputs.items())
    return shlex.join(["comfy-gateway", "run", str(about["name"]), *words])


def example(about: Mapping[str, Any], what: str | None = None) -> str:
    """A command that orders this template, or the file that it is in."""
    values = {"string": '"a red fox"', "image": "photo.png", "seed": "7", "mask": "mask.png"}
    given = [
        f"{each['name']}={values.get(each['type'], '…')}"
        for each in about["parameters"]
        if each.get("required") or each.get("role") in {"prompt", "image", "seed"}
    ]
    return " ".join(["comfy-gateway run", shlex.quote(what or about["name"]), *given[:3]])
