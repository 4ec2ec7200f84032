"""Webhook deliveries as tables, and telling them again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.cli import client, failures, job_tables, output, shapes

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST_DEAD = 10_000
_LOOK_THROUGH = 1000  #: of the newest deliveries, for one whose id ends so
_STYLES: Mapping[str, str] = {"delivered": "green", "pending": "yellow", "dead": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which deliveries."""

    status: str | None
    job: str | None
    limit: int


async def listing(wish: Wish, url: str, api_key: str | None, screen: output.Screen) -> None:
    """Show a table of deliveries."""
    async with client.connect(url, api_key) as gateway:
        filters = {} if wish.status is None else {"status": wish.status}
        if wish.job is not None:
            filters["job"] = (await job_tables.find(gateway, wish.job)).id
        found = [one async for one in gateway.deliveries(filters, limit=wish.limit)]
    if screen.as_json:
        screen.json({"deliveries": found})
    elif found:
        screen.out.print(table(found, now=time.time()))
    else:
        screen.note("There are no such deliveries.")


def table(found: Sequence[Mapping[str, Any]], *, now: float) -> RenderableType:
    """The deliveries, one a row."""
    made = output.table(
        *("id", "job", "event", "status", "tries", "answer", "age", "why"),
        right=["tries", "answer", "age"],
        keep=["id", "job", "event", "status", "age"],
    )
    for one in found:
        made.add_row(
            output.plain(_short(one["id"])),
            output.plain(shapes.short(one["job_id"])),
            output.plain(one["type"]),
            output.plain(one["status"], style=_STYLES.get(one["status"], "")),
            str(one["tries"]),
            str(one["response_status"] or ""),
            output.duration(now - shapes.epoch(one["created_at"])),
            output.plain(one["error"] or ""),
        )
    return made


def _short(delivery_id: str) -> str:
    """The end of a delivery's id, from the end of its job's on: enough to tell it from others."""
    stem, separator, number = delivery_id.rpartition("_")
    return f"{shapes.short(stem)}{separator}{number}"


async def _find(gateway: client.Gateway, text: str) -> Mapping[str, Any]:
    """The delivery of this id, or the newest ones' only one whose id ends so; Wrong when there is none."""
    try:
        return await gateway.delivery(text)
    except failures.Refused as refused:
        if refused.http_status != 404:
            raise
    found = [each async for each in gateway.deliveries({}, limit=_LOOK_THROUGH) if each["id"].endswith(text)]
    if len(found) == 1:
        return await gateway.delivery(found[0]["id"])
    if found and text:
        raise failures.Wrong(f"several deliveries' ids end with {text}", way_out="give more of it")
    raise failures.Wrong(f"there is no delivery {text}", way_out="`comfy-gateway webhooks list` shows them")


async def one(delivery_id: str, url: str, api_key: str | None, screen: output.Screen) -> None:
    """Show one delivery."""
    async with client.connect(url, api_key) as gateway:
        found = await _find(gateway, delivery_id)
    screen.show(_facts(found), found)


def _facts(one: Mapping[str, Any]) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    rows = {
        "delivery": one["id"],
        "event": one["type"],
        "job": one["job_id"],
        "to": one["url"],
        "status": one["status"],
        "happened": one["created_at"],
        "tries": str(one["tries"]),
        "latest try": one["tried_at"],
        "answer": one["response_status"],
        "why": one["error"],
        "next try": one["next_try_at"],
        "ended": one["ended_at"],
    }
    for name, value in rows.items():
        if value is not None:
            style = _STYLES.get(one["status"], "") if name == "status" else ""
            grid.add_row(output.plain(name, style="dim"), output.plain(str(value), style=style))
    return grid


async def redeliver(wanted: Sequence[str], url: str, api_key: str | None, screen: output.Screen, *, dead: bool) -> None:
    """Tell these deliveries again, or all dead ones."""
    if bool(wanted) == dead:
        raise failures.Wrong("which deliveries?", way_out="name them, or say --dead for all that were given up")
    async with client.connect(url, api_key) as gateway:
        if dead:
            ids = [one["id"] async for one in gateway.deliveries({"status": "dead"}, limit=_MOST_DEAD)]
        else:
            ids = [(await _find(gateway, each))["id"] for each in wanted]
        told = [await gateway.redeliver(delivery_id) for delivery_id in reversed(ids)]
    if screen.as_json:
        screen.json({"deliveries": told})
    elif told:
        screen.note(f"{len(told)} will be told again.")
    else:
        screen.note("There are no dead deliveries.")
