"""Following a job to its end: by its stream while that works, by asking now and then when it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from gateway.cli import client, failures, shapes

#: What is told of a job: `job` with all there is, then the stream's own events by name.
Tell = Callable[[str, Mapping[str, Any]], None]

_PAUSE = 1.0  #: between two looks while the stream does not work


async def follow(gateway: client.Gateway, job_id: str, tell: Tell) -> shapes.Job:
    """Tell what happens to the job until it has ended; returns it then."""
    pause = 0.0
    while True:
        job = await gateway.job(job_id)
        tell("job", job.raw)
        if job.ended:
            return job
        await asyncio.sleep(pause)
        began = time.monotonic()
        await _stream(gateway, job_id, tell)
        pause = _PAUSE if time.monotonic() - began < _PAUSE else 0.0


async def ended(gateway: client.Gateway, job_id: str) -> shapes.Job:
    """The job once it has ended, with as few requests as that takes."""
    while True:
        began = time.monotonic()
        try:
            async for _ in gateway.events(job_id):
                pass
        except (failures.Unreachable, failures.Refused):
            pass  # whatever it was, asking for the job meets it, too
        job = await gateway.job(job_id)
        if job.ended:
            return job
        await asyncio.sleep(_PAUSE if time.monotonic() - began < _PAUSE else 0.0)


async def _stream(gateway: client.Gateway, job_id: str, tell: Tell) -> None:
    """Tell the stream's events until it ends or breaks; the job itself is asked afterwards."""
    try:
        async for event in gateway.events(job_id):
            tell(event.name, orjson.loads(event.data))
            if event.name == "status" and '"running"' in event.data:
                tell("job", (await gateway.job(job_id)).raw)  # the stream does not say which worker
    except (failures.Unreachable, orjson.JSONDecodeError):
        return
    except failures.Refused as refused:
        if refused.http_status in {401, 403, 404}:
            raise
