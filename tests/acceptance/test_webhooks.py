"""Webhooks of the installed program while it is killed and started again, and its commands about them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from tests.acceptance.program import Running, call, up
from tests.integration.webhooks.receiver import Got, Receiver, receiving

QUICK = ("--simulate", "1", "--simulate-args", "--card instant", "--webhooks-allow-private", "all")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def order(gateway: Running, hook: dict[str, Any]) -> str:
    """Order a picture; returns the job's id."""
    body = json.dumps({"inputs": {"prompt": "a red fox", "steps": 1}, "webhook": hook}).encode()
    request = urllib.request.Request(
        gateway.url + "/v1/templates/sd15/jobs", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["id"]


async def told(gateway: Running, receiver: Receiver, number: int) -> Got:
    """The last of so many requests that the receiver has got."""
    try:
        return (await receiver.until(lambda got: len(got) >= number, seconds=60))[number - 1]
    except TimeoutError:
        raise AssertionError(f"{len(receiver.got)} of {number} came:\n{gateway.output}") from None


@pytest.mark.parametrize("whole", [False, True], ids=["the server", "the supervisor and all under it"])
async def test_what_was_owed_when_it_was_killed_is_told_after_the_restart(tmp_path: Path, whole: bool) -> None:
    async with receiving() as receiver:
        receiver.hold.clear()
        with up(tmp_path, *QUICK) as gateway:
            await asyncio.to_thread(gateway.workers, "idle", 1)
            hook = {"url": receiver.url, "events": ["output", "succeeded"], "secret": SECRET}
            job = await asyncio.to_thread(order, gateway, hook)
            first = await told(gateway, receiver, 1)  # the job has ended, or is about to; nothing was answered
            await asyncio.to_thread(gateway.says, "job_succeed")
            server = gateway.server()
            assert server is not None
            if whole:
                gateway.process.kill()
                gateway.process.wait()
            else:
                os.kill(server, signal.SIGKILL)
                receiver.hold.set()
                await _all_told(gateway, receiver, first, job)
        if whole:
            receiver.hold.set()
            with up(tmp_path, *QUICK) as gateway:
                await _all_told(gateway, receiver, first, job)


async def _all_told(gateway: Running, receiver: Receiver, first: Got, job: str) -> None:
    again, last = await told(gateway, receiver, 2), await told(gateway, receiver, 3)
    assert (first.type, again.type, last.type) == ("job.output", "job.output", "job.succeeded")
    assert first.id == again.id != last.id
    for each in (first, again, last):
        standardwebhooks.Webhook(SECRET).verify(each.body, dict(each.headers))
    assert last.json["data"]["id"] == job
    assert SECRET not in gateway.output


async def test_deliveries_on_the_command_line(tmp_path: Path) -> None:
    async with receiving() as receiver:
        receiver.answers.append(410)
        with up(tmp_path, *QUICK) as gateway:
            await asyncio.to_thread(gateway.workers, "idle", 1)
            job = await asyncio.to_thread(order, gateway, {"url": receiver.url, "events": ["succeeded"]})
            first = await told(gateway, receiver, 1)
            await asyncio.to_thread(gateway.says, "webhook_dead")
            where = ("--url", gateway.url)

            async def run(*arguments: str) -> str:
                done = await asyncio.to_thread(call, tmp_path, "webhooks", *arguments, *where)
                assert done.returncode == 0, done.stderr
                return done.stdout

            listed = json.loads(await run("list", "--status", "dead", "--job", job[-8:], "--json"))["deliveries"]
            assert [one["id"] for one in listed] == [first.id]
            end = first.id[first.id.rindex("_") - 8 :]
            (row,) = [line for line in (await run("list")).splitlines() if line.startswith(end)]
            assert row.split()[1:4] == [job[-8:], "job.succeeded", "dead"]
            assert "410" in await run("show", first.id)
            assert await run("show", end) == await run("show", first.id)
            for word in ("nobody", ""):
                assert (await asyncio.to_thread(call, tmp_path, "webhooks", "show", word, *where)).returncode == 2
            await run("redeliver", end)
            assert (await told(gateway, receiver, 2)).id == first.id
            await asyncio.to_thread(gateway.says, "webhook_delivered")
            assert json.loads(await run("show", first.id, "--json"))["status"] == "delivered"
            assert json.loads(await run("list", "--status", "dead", "--json")) == {"deliveries": []}
            await run("redeliver", "--dead")
            wrong = await asyncio.to_thread(call, tmp_path, "webhooks", "redeliver", *where)
            assert wrong.returncode != 0
            assert "--dead" in wrong.stderr
