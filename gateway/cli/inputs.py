"""From words on a command line, cells and JSON values to a template's inputs; files are uploaded on the way.

prompt="a red fox"     text as it is          prompt=@fox.txt   the text of a file ("@@" for a text that begins so)
seed=7 hires=true      typed by the template  prompt=-          the text of stdin
image=photo.png        a file to upload       image=-           the bytes of stdin
image=asset:photo.png  an upload by its name  image=<id>        an asset by its id
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import hashlib
import mimetypes
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.cli import client, failures
from gateway.domain import errors
from gateway.domain.templates import binding, values
from gateway.domain.templates import model as templates

_MOST_TEXT = 1 << 20
_TOLD = 80  #: characters of a name that is none


@dataclass(frozen=True, slots=True)
class Upload:
    """A value that is a file on this machine."""

    path: Path


_STDIN = 0


async def stdin() -> bytes:
    """All of stdin. Somebody who waits for its end may leave with Ctrl-C."""
    loop = asyncio.get_running_loop()
    read: asyncio.Future[bytes] = loop.create_future()
    # a daemon, and no buffer whose lock it would hold, so that the program can end meanwhile
    threading.Thread(target=_read_stdin, args=(loop, read), daemon=True).start()
    return await read


def _read_stdin(loop: asyncio.AbstractEventLoop, read: asyncio.Future[bytes]) -> None:
    chunks: list[bytes] = []
    try:
        while chunk := os.read(_STDIN, 1 << 16):
            chunks.append(chunk)
    except OSError:  # there is none
        chunks.clear()
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_tell, read, b"".join(chunks))


def _tell(read: asyncio.Future[bytes], data: bytes) -> None:
    if not read.done():
        read.set_result(data)


async def given(
    words: Sequence[str], parameters: Sequence[templates.Parameter], *, taken: bool = False
) -> dict[str, Any]:
    """The inputs that `name=value` words mean, as `from_words` has it. `taken`: stdin has been read already."""
    wanted = not taken and any(word.partition("=")[2] == "-" for word in words)
    return from_words(words, parameters, piped=await stdin() if wanted else b"", taken=taken)


def from_words(
    words: Sequence[str], parameters: Sequence[templates.Parameter], *, piped: bytes = b"", taken: bool = False
) -> dict[str, Any]:
    """The inputs that `name=value` words mean, files as `Upload`. Wrong with everything that is wrong.

    `piped`: what came from stdin. `taken`: it was read for something else.
    """
    faults: list[errors.Fault] = []
    pairs = dict(_pairs(words, faults))
    if list(pairs.values()).count("-") + taken > 1:
        faults.append(errors.Fault(reason="stdin_twice", message="Only one thing can be read from stdin (`-`)."))
    known = {parameter.name: parameter for parameter in parameters}
    found: dict[str, Any] = {}
    for name, text in pairs.items():
        parameter = known.get(name)
        if parameter is None:
            faults.append(unknown(name, known))
            continue
        try:
            found[name] = _word(parameter, text, piped)
        except values.Refused as refused:
            faults.append(values.fault(parameter, refused.reason, refused.message))
    if faults:
        raise refusal([*faults, *_others(known, found, faults)])
    return found


def _pairs(words: Sequence[str], faults: list[errors.Fault]) -> Sequence[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            message = f"{word!r} is not a value: write name=value."
            faults.append(errors.Fault(reason="not_a_value", message=message))
        elif name in dict(pairs):
            faults.append(errors.Fault(reason="given_twice", message="Given twice.", parameter=name))
        else:
            pairs.append((name, text))
    return pairs


def unknown(name: str, known: Mapping[str, object]) -> errors.Fault:
    """The fault of a name that is no parameter, with the nearest one."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else f" There are {', '.join(known)}."
    return errors.Fault(reason="unknown_parameter", message=f"There is no such parameter.{hint}", parameter=name)


def _others(
    known: Mapping[str, templates.Parameter], found: Mapping[str, Any], faults: Sequence[errors.Fault]
) -> list[errors.Fault]:
    """What the gateway would find wrong besides, so that all comes at once."""
    told = {fault.parameter for fault in faults}
    more: list[errors.Fault] = []
    for parameter in known.values():
        if parameter.name in told:
            continue
        if parameter.name not in found:
            if parameter.required:
                more.append(values.fault(parameter, "missing_input", "This input is required."))
            continue
        try:
            check(parameter, found[parameter.name])
        except values.Refused as refused:
            more.append(values.fault(parameter, refused.reason, refused.message))
    return more


def check(parameter: templates.Parameter, value: Any) -> None:
    """Raise `values.Refused` for a value that the parameter does not take; files and absent values pass."""
    drawn = parameter.type is templates.ParameterType.SEED and value == -1
    if value is not None and not isinstance(value, Upload) and not drawn:
        values.read(parameter, value, values.Limits())


def refusal(faults: Sequence[errors.Fault]) -> failures.Wrong:
    """All faults as one error."""
    count = "one value is" if len(faults) == 1 else f"{len(faults)} things are"
    return failures.Wrong(f"{count} wrong, nothing was ordered", faults=faults)


def _word(parameter: templates.Parameter, text: str, piped: bytes) -> Any:
    if values.is_file(parameter):
        return _inline(parameter, piped) if text == "-" else file_value(text.removeprefix("@"), Path())
    if text == "-":
        return _decoded(piped).removesuffix("\n")
    if text.startswith("@@"):
        return values.from_text(parameter, text[1:])
    if text.startswith("@"):
        return values.from_text(parameter, _text_of(Path(text[1:])))
    return values.from_text(parameter, text)


def file_value(text: str, folder: Path) -> Any:
    """What a file parameter's text means: an asset, bytes in the text itself, or a file below `folder`."""
    if text.startswith("asset:"):
        return text.removeprefix("asset:")
    if values.UUID.fullmatch(text) or text[:5].lower() == "data:":
        return text
    try:
        path = folder / Path(text).expanduser()
        if path.is_file():
            return Upload(path)
        message = f"There is no file {str(path)!r}. An uploaded file is named asset:{text}."
    except (OSError, RuntimeError, ValueError) as error:  # no such user; a name too long, or with a NUL
        why = error.strerror if isinstance(error, OSError) else error
        message = f"{text[:_TOLD]!r} is no file: {why}."
    raise values.Refused("no_such_file", message)


def _inline(parameter: templates.Parameter, data: bytes) -> str:
    import base64

    if not data:
        raise values.Refused("empty", "Nothing came from stdin.")
    kind = "application/octet-stream"
    if parameter.type is not templates.ParameterType.FILE:
        kind = values.inline(parameter, data).media_type
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_TEXT:
            raise values.Refused("too_long", f"The file {str(path)!r} is larger than 1 MiB.")
        return _decoded(path.read_bytes()).removesuffix("\n")
    except OSError as error:
        message = f"The file {str(path)!r} cannot be read: {error.strerror}."
        raise values.Refused("unreadable_file", message + " A text that begins with @ is written @@…") from None


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise values.Refused("not_text", "This is not UTF-8 text.") from None


@dataclass(slots=True, kw_only=True)
class Uploader:
    """Brings files to the gateway, each content once."""

    gateway: client.Gateway
    known: dict[tuple[str, int, int], str] = field(default_factory=dict[tuple[str, int, int], str])
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  #: many orders may begin with the same file

    async def uploaded(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs with asset references in place of files."""
        return {name: await self._value(value) for name, value in inputs.items()}

    async def _value(self, value: Any) -> Any:
        return binding.reference(await self.asset(value.path)) if isinstance(value, Upload) else value

    async def asset(self, path: Path) -> str:
        """The id of an asset with this file's bytes; they are sent only if the gateway has not got them."""
        try:
            key = await asyncio.to_thread(_identity, path)
            async with self.turn:
                if key not in self.known:
                    self.known[key] = await self._bring(path)
        except OSError as error:
            raise failures.Wrong(f"{path} cannot be read: {error.strerror}") from None
        return self.known[key]

    async def _bring(self, path: Path) -> str:
        content_hash = await asyncio.to_thread(hash_of, path)
        name = upload_name(path)
        if await self.gateway.has_bytes(content_hash):
            try:
                return await self.gateway.mint(content_hash, name)
            except failures.Refused as refused:
                if refused.http_status != 404:  # else gone between the two requests
                    raise
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return await self.gateway.upload(path, file_path=name, content_type=content_type, content_hash=content_hash)


def _identity(path: Path) -> tuple[str, int, int]:
    about = path.stat()
    return str(path.resolve()), about.st_mtime_ns, about.st_size


def upload_name(path: Path) -> str:
    """What the gateway is to call the file: its own name, where that can be one."""
    good = path.name.isprintable() and "\\" not in path.name and ":" not in path.name
    if good and path.name.isascii() and len(path.name) <= 200:
        return path.name
    return f"{hashlib.blake2b(path.name.encode(errors='replace'), digest_size=8).hexdigest()}{path.suffix[:16]}"


def hash_of(path: Path) -> str:
    """The content's hash as the gateway writes them."""
    from blake3 import blake3

    digest = blake3()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return f"blake3:{digest.hexdigest()}"
