"""From the bytes of whatever an author saved to the workflow in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain import errors
from gateway.domain.embedded import exif, isobmff, matroska, parts, png, sounds

Reader = Callable[[bytes], Iterator[parts.Text]]

PROMPT: Final = "prompt"
WORKFLOW: Final = "workflow"
#: Fields in which some nodes put both, as one JSON object.
BOTH: Final = frozenset({"comment", "usercomment"})

#: Values that one JSON text may have, and its bytes: in memory, each takes up to a hundred times its room.
MAX_VALUES: Final = 500_000
MAX_JSON: Final = 24 * 2**20
MAX_DIGITS: Final = 300

#: Names of the files that may carry a workflow, and of the plain ones that are one.
MEDIA_SUFFIXES: Final = frozenset({
    ".png", ".apng", ".webp", ".jpg", ".jpeg", ".mp4", ".m4v", ".m4a", ".mov", ".webm", ".mkv", ".mka",
    ".flac", ".opus", ".ogg", ".oga", ".mp3",
})  # fmt: skip
SUFFIXES: Final = MEDIA_SUFFIXES | {".json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A kind of file that may carry a workflow."""

    name: str
    offset: int
    magic: bytes
    reader: Reader


CONTAINERS: Final = (
    Container(name="PNG", offset=0, magic=png.MAGIC, reader=png.texts),
    Container(name="WebP", offset=8, magic=b"WEBP", reader=exif.webp_texts),
    Container(name="JPEG", offset=0, magic=b"\xff\xd8\xff", reader=exif.jpeg_texts),
    Container(name="MP4", offset=4, magic=b"ftyp", reader=isobmff.texts),
    Container(name="WebM", offset=0, magic=b"\x1a\x45\xdf\xa3", reader=matroska.texts),
    Container(name="FLAC", offset=0, magic=b"fLaC", reader=sounds.flac_texts),
    Container(name="Ogg", offset=0, magic=b"OggS", reader=sounds.ogg_texts),
    Container(name="MP3", offset=0, magic=b"ID3", reader=sounds.mp3_texts),
)


def container_of(data: bytes) -> Container | None:
    """The kind of picture, film or sound that begins like this; None for JSON and all else."""
    return next((kind for kind in CONTAINERS if data.startswith(kind.magic, kind.offset)), None)


def read_workflow(data: bytes, *, source: str = "the file") -> Any:
    """The JSON value that this file is, or that a picture, film or sound carries as `prompt` or `workflow`.

    `prompt` is taken before `workflow`. It is the very graph that made the file, in API format: nothing has to be
    converted, no list of node classes is needed, and titles and input nodes of the dialects are still in it. `workflow`
    is the editor's file; it is taken where there is no prompt that can be read.

    Raises `InvalidWorkflow`; its fault's `field` says where in the file.
    """
    kind = container_of(data)
    if kind is None:
        return parse_json(data, source=source)
    found = _found(kind, data, source)
    refused: list[errors.InvalidWorkflow] = []
    for text in found:
        try:
            return parse_json(text.value.encode(errors="surrogatepass"), source=source, place=text.place)
        except errors.InvalidWorkflow as error:
            refused.append(error)
    if refused:
        raise refused[0]
    message = f"{source} is a {kind.name} without a workflow in it."
    way_out = "Save it with ComfyUI's metadata, or send the workflow itself."
    raise errors.InvalidWorkflow(f"{message} {way_out}", faults=[errors.Fault(reason="no_workflow", message=message)])


def _found(kind: Container, data: bytes, source: str) -> list[parts.Text]:
    """The texts that should be a workflow, the best first. What is broken behind a good one does not matter."""
    found: dict[str, parts.Text] = {}
    try:
        for text in kind.reader(data):
            for key, inner in _workflows(text):
                found.setdefault(key, inner)
    except parts.Broken as broken:
        if not found:
            raise _refusal(source, broken.reason, broken.message, broken.place) from None
    return [found[key] for key in (PROMPT, WORKFLOW) if key in found]


def _workflows(text: parts.Text) -> Iterator[tuple[str, parts.Text]]:
    key = text.key.strip().casefold()
    if key in {PROMPT, WORKFLOW} and text.value.lstrip()[:1] in {"{", '"'}:
        yield key, text
    elif key in BOTH and text.value.lstrip().startswith("{"):
        yield from _both(text)


def _both(text: parts.Text) -> Iterator[tuple[str, parts.Text]]:
    """What a comment holds that is an object of prompt and workflow, as objects or as JSON texts."""
    try:
        value = parse_json(text.value.encode(errors="surrogatepass"), source=text.place)
    except errors.InvalidWorkflow:
        return  # somebody's comment
    for key in (PROMPT, WORKFLOW):
        inner = value.get(key)
        if inner:
            as_text = inner if isinstance(inner, str) else json.dumps(inner)
            yield key, parts.Text(key=key, value=as_text, place=f"{text.place}, {key}")


def parse_json(data: bytes, *, source: str, place: str | None = None) -> Any:
    """The value of this JSON text. Python's NaN, which ComfyUI may write, is read as null.

    Raises `InvalidWorkflow` for what is no JSON, nested too deeply, or too large to be held.
    """
    try:
        return _parsed(data)
    except parts.Broken as broken:
        raise _refusal(source, broken.reason, broken.message, place) from None


def refuse_large(data: bytes, *, source: str) -> None:
    """Raises `InvalidWorkflow` for JSON that nobody should even parse."""
    try:
        _bound(data)
    except parts.Broken as broken:
        raise _refusal(source, broken.reason, broken.message, None) from None


def _bound(data: bytes) -> None:
    if len(data) > MAX_JSON:
        raise parts.Broken("too_large", f"It is larger than {MAX_JSON // 2**20} MiB.", "")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        raise parts.Broken("too_large", f"It has more than {MAX_VALUES:,} values.", "")


def _parsed(data: bytes) -> Any:
    _bound(data)
    try:
        value = json.loads(data, parse_constant=_nothing, parse_int=_number)
        # Some nodes write the JSON of a JSON text.
        return _parsed(value.encode(errors="surrogatepass")) if isinstance(value, str) else value
    except UnicodeDecodeError:
        raise parts.Broken("not_json", "It is not UTF-8 text.", "") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise parts.Broken("not_json", f"It is not JSON: {error.msg} at {where}.", "") from None
    except ValueError:
        raise parts.Broken("not_json", "It has a number of thousands of digits.", "") from None
    except RecursionError:
        raise parts.Broken("nested_too_deeply", "It is nested too deeply.", "") from None


def _number(digits: str) -> int | float:
    """An integer; of more than 64 bits what the editor, whose numbers are all doubles, makes of it."""
    if len(digits) > MAX_DIGITS:
        raise ValueError
    value = int(digits)
    return value if -(2**63) <= value < 2**64 else float(value)


def _nothing(_constant: str) -> None:
    return None


def _refusal(source: str, reason: str, message: str, place: str | None) -> errors.InvalidWorkflow:
    where = source if place is None else f"{source}, {place}"
    return errors.InvalidWorkflow(
        f"{where}: {message}", faults=[errors.Fault(reason=reason, message=message, field=place)]
    )
