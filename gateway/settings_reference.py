"""Settings as people read them: their reference (docs/reference/settings.md), and those in effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from pydantic import BaseModel, ByteSize

from gateway import settings

_REFERENCE = """\
# Settings

A flag of `comfy-gateway up` wins over the environment, which wins over `gateway.toml` (of the folder that the gateway
is started in, or `--config FILE`), which wins over the default. A dot in a name is a table of the file: `limits.upload`
is `upload` under `[limits]`. A setting that does not exist is refused in the file, and warned of in the environment
(`setting_unknown`), with what may have been meant. `comfy-gateway doctor` prints those in effect, secrets hidden.

Times are seconds, or a number with `ms`, `s`, `m`, `h`, `d` or `w`; sizes are bytes, or a number with `KiB`, `MB`, …;
lists are TOML arrays in the file, and words with commas between them in the environment. An API key is
`name:key`, or `name@tenant:key`, the key at least {shortest} characters long; jobs and assets belong to the tenant,
`default` unless named. Words may follow it: `admin` (may add and remove workers, and empty other tenants' queues),
`max_queued=500`, `max_queued_bytes=1GiB`, `max_running=4` (bounds of the tenant) and `weight=2` (its share of the
workers beside others'; 1 unless named). In `gateway.toml` they are keys of an `[[api_keys]]` table; there a key
may also have `webhook = {{ url = "…", events = […], secret = "…" }}`, which [is told](../how-to/webhooks.md) about its
jobs that name no webhook themselves. Without any API key everyone who reaches the gateway is an admin.

"""


def reference() -> str:
    """The reference of all settings as Markdown."""
    lines = ["| setting | environment | default | |", "| --- | --- | --- | --- |"]
    for section, name in settings.names():
        shape = (
            cast(type[BaseModel], settings.Settings.model_fields[section].annotation) if section else settings.Settings
        )
        field = shape.model_fields[name]
        place = f"{section}.{name}" if section else name
        variable = settings.PREFIX + place.replace(".", "__").upper()
        default = _default(field.default)
        lines.append(f"| `{place}` | `{variable}` | {default} | {field.description or ''} |")
    return _REFERENCE.format(shortest=settings.SHORTEST_KEY) + "\n".join(lines) + "\n"


def in_effect(given: settings.Settings) -> Iterator[tuple[str, str]]:
    """Every setting with its value as a person writes it, secrets hidden; empty where nothing is set."""
    hidden = settings.redacted(given)
    for section, name in settings.names():
        value = getattr(getattr(given, section) if section else given, name)
        if name == "database":
            value = hidden["database"]
        yield (f"{section}.{name}" if section else name), in_words(value)


def in_words(value: object) -> str:
    """A setting's value as gateway.toml and flags take it."""
    match value:
        case None:
            return ""
        case tuple():
            return ",".join(map(in_words, cast(tuple[object, ...], value)))
        case settings.ApiKey():
            told = [f"{name}={limit:g}" for name, limit in value.limits.items()]
            return " ".join([f"{value.name}@{value.tenant}:***", *(["admin"] if value.admin else []), *told])
        case ByteSize():
            return value.human_readable().replace(".0", "")
        case float():
            return _duration(value)
        case _:
            return str(value)


def _default(value: object) -> str:
    words = in_words(value)
    return f"`{words}`" if words else "–"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"
