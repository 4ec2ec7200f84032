"""What `comfy-gateway queue` does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from gateway.cli import client, failures, job_tables, output, shapes

_LOOK_SECONDS: Final = 0.5  #: between two looks at what is being drained


def target(*, template: str | None, tenant: str | None, worker: str | None) -> Mapping[str, str]:
    """What is meant, for the gateway; Wrong when it is several."""
    given = {"template": template, "tenant": tenant, "worker": worker}
    meant = {name: value for name, value in given.items() if value}
    if len(meant) > 1:
        raise failures.Wrong(f"--{' and --'.join(meant)} exclude each other")
    return meant


async def show(url: str, api_key: str | None, screen: output.Screen) -> None:
    """What is paused."""
    async with client.connect(url, api_key) as gateway:
        found = await gateway.pauses()
    if screen.as_json:
        screen.json({"pauses": found})
    elif not found:
        screen.note("Nothing is paused.")
    else:
        made = output.table("paused", "since", "by", "running", right=["running"], keep=["paused"])
        for one in found:
            made.add_row(_subject(one), str(one["since"]), str(one["by"] or ""), str(one["running"]))
        screen.out.print(made)


async def pause(meant: Mapping[str, str], url: str, api_key: str | None, screen: output.Screen) -> None:
    """Pause it."""
    async with client.connect(url, api_key) as gateway:
        _tell(screen, await gateway.pause({**meant}))


async def drain(meant: Mapping[str, str], url: str, api_key: str | None, screen: output.Screen) -> None:
    """Pause it, and wait until it is empty."""
    async with client.connect(url, api_key) as gateway:
        one = await gateway.pause({**meant, "drain": True})
        if not one["empty"]:
            screen.note(f"Waiting for {one['running']} that run.")
        while not one["empty"]:
            await asyncio.sleep(_LOOK_SECONDS)
            found = [
                each for each in await gateway.pauses() if (each["kind"], each["name"]) == (one["kind"], one["name"])
            ]
            if not found:
                raise failures.Wrong(f"{_subject(one)} was resumed by somebody else")
            one = found[0]
        _tell(screen, one)


async def resume(meant: Mapping[str, str], url: str, api_key: str | None, screen: output.Screen) -> None:
    """End the pause."""
    async with client.connect(url, api_key) as gateway:
        try:
            await gateway.resume(meant)
        except failures.Refused as refused:
            if refused.http_status != 404:
                raise
            named = ", ".join(_subject(each) for each in await gateway.pauses())
            way_out = f"paused: {named}" if named else "nothing is paused"
            raise failures.Wrong(refused.message, way_out=way_out) from None
    if screen.as_json:
        screen.json({"resumed": dict(meant)})
    else:
        screen.out.print(output.plain(f"{_meant(meant)} takes work again"))


async def prioritize(job_id: str, priority: int, url: str, api_key: str | None, screen: output.Screen) -> None:
    """Change a queued job's priority."""
    async with client.connect(url, api_key) as gateway:
        job = await job_tables.find(gateway, job_id)
        changed = await gateway.prioritize(job.id, priority)
    if screen.as_json:
        screen.json(changed.raw)
        return
    place = changed.raw.get("queue_position")
    where = f", now number {place} of the queue" if place else ""
    screen.out.print(output.plain(f"{shapes.short(changed.id)}  priority {priority}{where}"))


def _tell(screen: output.Screen, one: Mapping[str, Any]) -> None:
    if screen.as_json:
        screen.json(one)
        return
    rest = "nothing of it runs" if one["empty"] else f"{one['running']} run on"
    screen.out.print(output.plain(f"{_subject(one)} is paused; {rest}"))


def _meant(meant: Mapping[str, str]) -> str:
    return next((f"{kind} {name}" for kind, name in meant.items()), "the queue")


def _subject(one: Mapping[str, Any]) -> str:
    return "the queue" if one["kind"] == "queue" else f"{one['kind']} {one['name']}"
