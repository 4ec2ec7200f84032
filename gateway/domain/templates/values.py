"""One value for one parameter: what is taken, what is turned into what, what is refused and why.

The rules, by type. `null` counts as absent everywhere.

- `string`: a string, up to `Limits.string_length` characters; no NUL, no lone surrogates. Numbers are not strings.
- `integer`, `seed`: an integer, or a number without a fraction (`7.0`); within the bounds. Booleans are not numbers.
  A seed of -1 is drawn.
- `float`: any finite number within the bounds.
- `boolean`: true or false.
- `choice`: one of the choices, exactly. `model`: a file name; one of the choices if the template lists them.
- `image`, `mask`, `audio`, `video`, `file`: an asset reference `{"__type": "core/ASSET", "info": {"id": …}}`,
  `{"asset_id": …}`, an asset's id, a data URI, base64, or a file's name (`photo.png`) that names an uploaded asset's
  `file_path` or a file in the workers' input folder.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, assert_never

from gateway.domain import errors
from gateway.domain.comfy import structure
from gateway.domain.templates import media
from gateway.domain.templates.model import FILE_TYPES, MAX_SEED, Parameter, ParameterType

UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
FILE_NAME: Final = re.compile(r"[^\n]{1,500}\.[A-Za-z0-9]{1,8}( \[(input|output|temp)\])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one value may be."""

    string_length: int = 200_000
    inline_bytes: int = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetUse:
    """A parameter's value is this asset."""

    parameter: str
    asset_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PathUse:
    """A parameter's value is the name of a file: an uploaded asset's `file_path`, or a file that workers have."""

    parameter: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    """A parameter's value came as bytes; they become an asset before the graph is made."""

    parameter: str
    data: bytes
    media_type: str
    file_name: str


class Refused(ValueError):
    """A value that its parameter does not take; `reason` is a stable word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def fault(parameter: Parameter, reason: str, message: str) -> errors.Fault:
    """A fault of this parameter, with the first input that it sets."""
    target = parameter.targets[0] if parameter.targets else None
    return errors.Fault(
        reason=reason,
        message=message,
        parameter=parameter.name,
        node=target.node if target else None,
        field=target.input if target else None,
    )


def read(parameter: Parameter, value: Any, limits: Limits) -> Any:
    """The value as the graph takes it, or an `AssetUse`, `PathUse` or `Inline`; raises `Refused`."""
    match parameter.type:
        case ParameterType.STRING:
            return _string(value, limits.string_length)
        case ParameterType.INTEGER:
            return _bounded(parameter, _integer(value))
        case ParameterType.SEED:
            return _bounded(parameter, _integer(value), lowest=0, highest=MAX_SEED)
        case ParameterType.FLOAT:
            return _bounded(parameter, _float(value))
        case ParameterType.BOOLEAN:
            if not isinstance(value, bool):
                raise _wrong_type("true or false", value)
            return value
        case ParameterType.CHOICE:
            return _choice(parameter, value)
        case ParameterType.MODEL:
            return _choice(parameter, value) if parameter.choices else _file_name(_string(value, 1024))
        case ParameterType.IMAGE | ParameterType.MASK | ParameterType.AUDIO | ParameterType.VIDEO | ParameterType.FILE:
            return _file(parameter, value, limits)
        case _:
            assert_never(parameter.type)


def takes(parameter: Parameter, value: Any) -> bool:
    """Whether the parameter takes this value."""
    try:
        read(parameter, value, Limits())
    except Refused:
        return False
    return True


def from_text(parameter: Parameter, text: str) -> Any:
    """The JSON value that a word on a command line or in a CSV cell stands for.

    What does not look like the parameter's type stays text, so that `read` can say what is wrong with it.
    """
    if parameter.type in {ParameterType.INTEGER, ParameterType.SEED, ParameterType.FLOAT}:
        return _number_from_text(text, whole=parameter.type != ParameterType.FLOAT)
    if parameter.type == ParameterType.BOOLEAN:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower(), text)
    if parameter.type == ParameterType.CHOICE:
        return next((choice for choice in parameter.choices if _as_text(choice) == text), text)
    return text


def _number_from_text(text: str, *, whole: bool) -> Any:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return text


def _as_text(choice: str | float | bool) -> str:
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _wrong_type(wanted: str, value: object) -> Refused:
    return Refused("wrong_type", f"Takes {wanted}, not {structure.kind_of(value)}.")


def _string(value: Any, max_length: int) -> str:
    if not isinstance(value, str):
        raise _wrong_type("a string", value)
    if len(value) > max_length:
        raise Refused("too_long", f"Takes at most {max_length} characters; these are {len(value)}.")
    complaint = structure.text_complaint(value)
    if complaint is not None:
        raise Refused("invalid_text", f"The text {complaint}.")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type("an integer", value)
    if isinstance(value, float):
        if not value.is_integer():
            raise Refused("wrong_type", "Takes an integer, not a fraction.")
        return int(value)
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type("a number", value)
    complaint = structure.number_complaint(value)
    if complaint is not None:
        raise Refused("invalid_number", complaint)
    return float(value)


def _bounded(
    parameter: Parameter, value: float, *, lowest: float = structure.MIN_INTEGER, highest: float = structure.MAX_INTEGER
) -> float:
    minimum = lowest if parameter.minimum is None else parameter.minimum
    maximum = highest if parameter.maximum is None else parameter.maximum
    if value < minimum:
        raise Refused("value_smaller_than_min", f"{_digits(value)} is smaller than the minimum of {_digits(minimum)}.")
    if value > maximum:
        raise Refused("value_bigger_than_max", f"{_digits(value)} is bigger than the maximum of {_digits(maximum)}.")
    return value


def _digits(value: float) -> str:
    # str() of an integer of thousands of digits is an error of its own.
    return str(value) if abs(value) < 10**30 else "A number of more than 30 digits"


def _choice(parameter: Parameter, value: Any) -> Any:
    for choice in parameter.choices:
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return choice
    if not isinstance(value, (str, int, float, bool)):
        raise _wrong_type("one of its choices", value)
    near = suggestion(value, parameter.choices) if isinstance(value, str) else ""
    listed = ", ".join(map(repr, parameter.choices[:10])) + (", …" if len(parameter.choices) > 10 else "")
    raise Refused("value_not_in_list", f"Takes one of {listed}.{near}")


def suggestion(wrong: str, known: Iterable[object]) -> str:
    """` Did you mean 'x'?` for the nearest of `known`, or nothing."""
    found = difflib.get_close_matches(wrong[:200], [text for text in known if isinstance(text, str)], n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def _file_name(name: str) -> str:
    complaint = structure.path_complaint(name)
    if not name or complaint is not None:
        raise Refused("invalid_file_name", f"The name {complaint or 'is empty'}.")
    return name


def _file(parameter: Parameter, value: Any, limits: Limits) -> AssetUse | PathUse | Inline:
    if isinstance(value, dict):
        return AssetUse(parameter=parameter.name, asset_id=_asset_id(value))
    if not isinstance(value, str):
        raise _wrong_type("an asset reference, a data URI, base64 or a file name", value)
    if UUID.fullmatch(value):
        return AssetUse(parameter=parameter.name, asset_id=value.lower())
    if value[:8].lower().startswith(("http://", "https://")):
        raise Refused("url_not_taken", "URLs are not fetched; upload the file as an asset, or send its bytes.")
    if not value[:5].lower().startswith("data:") and FILE_NAME.fullmatch(value[:520]):
        return PathUse(parameter=parameter.name, path=_file_name(_string(value, 520)))
    return _inline(parameter, value, limits)


def _asset_id(value: dict[Any, Any]) -> str:
    identity = value.get("asset_id")
    if structure.is_asset_reference(value):
        info = value.get("info")
        identity = info.get("id") if isinstance(info, dict) else None
    if not isinstance(identity, str) or not identity or structure.text_complaint(identity) is not None:
        raise Refused("malformed_asset", 'An asset is {"__type": "core/ASSET", "info": {"id": …}}.')
    return identity


def _inline(parameter: Parameter, text: str, limits: Limits) -> Inline:
    try:
        if text[:5].lower().startswith("data:"):
            data = media.decode_data_uri(text, max_bytes=limits.inline_bytes)
        else:
            data = media.decode_base64(text, max_bytes=limits.inline_bytes)
    except media.Unreadable as error:
        raise Refused(error.reason, str(error)) from None
    return inline(parameter, data)


def inline(parameter: Parameter, data: bytes) -> Inline:
    """These bytes as the parameter's value; raises `Refused` when they are no picture, sound or film as it takes."""
    kind = media.sniff(data)
    wanted = "image" if parameter.type == ParameterType.MASK else str(parameter.type)
    if parameter.type != ParameterType.FILE and (kind is None or not _fits(kind.family, wanted)):
        what = f"a file of type {kind.media_type}" if kind else "something else"
        raise Refused(f"not_{wanted}", f"Takes {wanted} data; these bytes are {what}.")
    kind = kind or media.Kind(media_type="application/octet-stream", suffix=".bin")
    return Inline(
        parameter=parameter.name, data=data, media_type=kind.media_type, file_name=f"{parameter.name}{kind.suffix}"
    )


def _fits(family: str, wanted: str) -> bool:
    # A film may carry the sound that is wanted (webm, mp4), and an animation may stand for a film (gif, webp).
    return family == wanted or (family, wanted) in {("video", "audio"), ("image", "video")}


def is_file(parameter: Parameter) -> bool:
    """Whether the parameter takes a file's content."""
    return parameter.type in FILE_TYPES
