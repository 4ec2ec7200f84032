"""Clients as they should be: they come again when they are told to, follow streams, and cancel now and then."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable
from typing import Any, Final

import aiohttp
import blake3
import orjson
from PIL import Image

from tests.chaos import ledger, plan

_SUBMITTERS: Final = 6
_OPEN: Final = 120  #: jobs that clients wait for at once, at most
_CHECK_EVERY: Final = 10  #: of so many jobs the bytes of one are fetched and hashed
_JSON: Final = {"Content-Type": "application/json"}
_FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError)


class Gone(Exception):
    """The gateway does not know a job that it answered 201 for."""


class Clients:
    """All clients of one gateway."""

    def __init__(self, url: str, book: ledger.Ledger, *, hook: str) -> None:
        self._url = url
        self._hook = hook
        self._book = book
        self._room = asyncio.Semaphore(_OPEN)
        self._upload: str | None = None

    async def __aenter__(self) -> Clients:
        timeout = aiohttp.ClientTimeout(total=20, sock_connect=5)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def run(self, orders: Iterable[plan.Order]) -> None:
        """Order everything, and follow every job to its end."""
        self._upload = await self._uploaded()
        waiting = iter(orders)
        async with asyncio.TaskGroup() as group:
            for _ in range(_SUBMITTERS):
                group.create_task(self._submit_all(waiting, group))

    async def _submit_all(self, orders: Iterable[plan.Order], group: asyncio.TaskGroup) -> None:
        for order in orders:
            for _ in range(order.jobs):
                await self._room.acquire()
            for job_id in await self._submitted(order):
                self._book.accepted(job_id, order.key, order.kind)
                group.create_task(self._until_ended(job_id, order))

    # -- ordering -----------------------------------------------------------------------------------------------

    async def _submitted(self, order: plan.Order) -> list[str]:
        """Order until it was taken; the ids of its jobs."""
        path, body = self._request(order)
        headers = {**_JSON, "Idempotency-Key": order.key}
        while True:
            status, answer = await self._asked("POST", path, body, headers)
            if status == 201:
                self._book.taken.add(order.key)
                return answer["job_ids"] if order.kind == "batch" else [answer["id"]]
            if _code(answer) == "idempotency_key_reuse":  # an earlier try got through, and its answer was lost
                self._book.taken.add(order.key)
                self._book.unanswered.add(order.key)
                return await self._found(order)
            self._book.refused(_reason(status, answer))
            if status is not None and status < 500 and status != 429:
                raise AssertionError(f"an order was refused: {status} {answer}")
            await asyncio.sleep(0.3)

    def _request(self, order: plan.Order) -> tuple[str, dict[str, Any]]:
        named: dict[str, Any] = {"metadata": {"order": order.key}}
        if order.hooked:
            named["webhook"] = {"url": self._hook}
        picture = {"prompt": "a lighthouse", "steps": 2, "seed": order.seed, "width": 64, "height": 64}
        match order.kind:
            case "sd15":
                return "/v1/templates/sd15/jobs", {"inputs": picture, **named}
            case "img2img":
                inputs = {**picture, "image": self._upload}
                return "/v1/templates/img2img/jobs", {"inputs": inputs, **named}
            case "batch":
                return "/v1/batches", {"template": "sd15", "inputs": picture, "n": plan.BATCH, **named}
            case _:
                return "/api/v2/jobs", {"workflow": graph(order), **named}

    async def _found(self, order: plan.Order) -> list[str]:
        while True:
            status, answer = await self._asked("GET", f"/api/v2/jobs?metadata[order]={order.key}")
            if status == 200:
                found = [job["id"] for job in answer["jobs"]]
                if len(found) != order.jobs:
                    raise AssertionError(f"order {order.key} was taken, but has {len(found)} jobs")
                return found
            self._book.refused(_reason(status, answer))
            await asyncio.sleep(0.3)

    async def _uploaded(self) -> str:
        """An asset that orders refer to."""
        buffer = io.BytesIO()
        Image.linear_gradient("L").resize((64, 64)).save(buffer, "PNG")
        while True:
            form = aiohttp.FormData()
            form.add_field("file_path", "start.png")
            form.add_field("content_type", "image/png")
            form.add_field("file", buffer.getvalue(), filename="start.png", content_type="image/png")
            try:
                async with self._session.post(f"{self._url}/api/v2/assets", data=form) as response:
                    if response.status in {200, 201}:
                        return (await response.json())["id"]
                    self._book.refused(_reason(response.status, None))
            except _FAILURES as error:
                self._book.refused(type(error).__name__)
            await asyncio.sleep(0.3)

    # -- following ----------------------------------------------------------------------------------------------

    async def _until_ended(self, job_id: str, order: plan.Order) -> None:
        canceling = (
            None if order.cancel_after is None else asyncio.create_task(self._cancel(job_id, order.cancel_after))
        )
        try:
            while not self._book.jobs[job_id].ended:
                if not await self._stream(job_id):
                    await asyncio.sleep(0.3)
            await self._look(job_id, check=order.seed % _CHECK_EVERY == 0)
        except Gone:
            self._book.jobs[job_id].broke = "404 after its 201"
            await self._book.says(job_id, "gone")
        finally:
            if canceling is not None:
                canceling.cancel()
            self._room.release()

    async def _stream(self, job_id: str) -> bool:
        """Follow the job's stream as long as it holds; True when its end was told."""
        try:
            patience = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=40)
            async with self._session.get(f"{self._url}/api/v2/jobs/{job_id}/events", timeout=patience) as response:
                if response.status == 404:
                    raise Gone
                if response.status != 200:
                    self._book.refused(_reason(response.status, None))
                    return False
                event = ""
                async for line in response.content:
                    if line.startswith(b"event: "):
                        event = line[7:].strip().decode()
                    elif line.startswith(b"data: ") and event == "status":
                        await self._book.says(job_id, orjson.loads(line[6:])["status"])
        except _FAILURES as error:
            self._book.refused(f"stream: {type(error).__name__}")
        return self._book.jobs[job_id].ended

    async def _look(self, job_id: str, *, check: bool) -> None:
        """Read the job after its end, and now and then its bytes."""
        while True:
            status, job = await self._asked("GET", f"/api/v2/jobs/{job_id}")
            if status == 404:
                raise Gone
            if status == 200:
                break
            await asyncio.sleep(0.3)
        await self._book.says(job_id, job["status"])
        if job["status"] == "succeeded" and not job["outputs"]:
            self._book.jobs[job_id].broke = "succeeded without an output"
        if check:
            for output in job["outputs"]:
                await self._check(job_id, output)

    async def _check(self, job_id: str, output: dict[str, Any]) -> None:
        for _ in range(60):
            try:
                async with self._session.get(output["url"]) as response:
                    data = await response.read()
                    if response.status == 200:
                        whole = output["hash"] == f"blake3:{blake3.blake3(data).hexdigest()}"
                        if not whole or len(data) != output["size_bytes"]:
                            self._book.jobs[job_id].broke = "an output's bytes are not what they were"
                        return
            except _FAILURES as error:
                self._book.refused(f"content: {type(error).__name__}")
            await asyncio.sleep(0.5)
        self._book.jobs[job_id].broke = "an output's bytes cannot be had"

    async def _cancel(self, job_id: str, after: float) -> None:
        await asyncio.sleep(after)
        while True:
            status, job = await self._asked("POST", f"/api/v2/jobs/{job_id}/cancel")
            if status == 200:
                await self._book.says(job_id, job["status"])
                return
            await asyncio.sleep(0.3)

    async def everything(self) -> list[dict[str, Any]]:
        """All jobs of the gateway, as its list tells."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            status, page = await self._asked("GET", f"/api/v2/jobs?limit=100{cursor}")
            if status != 200:
                await asyncio.sleep(0.3)
                continue
            found += page["jobs"]
            if "next_cursor" not in page:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    async def hurry_deliveries(self) -> int:
        """How many webhooks are still owed; those that wait for their next try are sent now, as a person would."""
        status, page = await self._asked("GET", "/v1/webhooks/deliveries?status=pending&limit=100")
        if status != 200:
            return 1
        for one in page["deliveries"]:
            await self._asked("POST", f"/v1/webhooks/deliveries/{one['id']}/redeliver")
        return len(page["deliveries"])

    async def job(self, job_id: str) -> dict[str, Any]:
        """One job, attempts included."""
        while True:
            status, job = await self._asked("GET", f"/api/v2/jobs/{job_id}")
            if status == 200:
                return job
            await asyncio.sleep(0.3)

    async def _asked(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int | None, Any]:
        """An answer's status and JSON; (None, what went wrong) without an answer."""
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._session.request(method, self._url + path, data=data, headers=headers) as response:
                raw = await response.read()
                return response.status, orjson.loads(raw) if raw else None
        except _FAILURES as error:
            return None, type(error).__name__


def graph(order: plan.Order) -> dict[str, Any]:
    """An API-format graph that holds a card for as long as the order says."""
    steps = 8 if order.kind == "long" else 1
    nodes: dict[str, Any] = {
        "1": {"class_type": "SimulatedWork", "inputs": {"seconds": order.seconds, "seed": order.seed, "steps": steps}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "chaos"}},
    }
    if order.kind == "pair":
        nodes["3"] = {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}
        nodes["4"] = {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "inverted"}}
    if order.kind == "graph error":
        nodes["3"] = {"class_type": "WTRaise", "inputs": {"image": ["1", 0], "kind": "runtime"}}
        nodes["2"]["inputs"]["images"] = ["3", 0]
    return nodes


def _code(answer: Any) -> Any:
    return answer.get("error", {}).get("code") if isinstance(answer, dict) else answer


def _reason(status: int | None, answer: Any) -> str:
    return f"{status} {_code(answer)}" if status is not None else str(_code(answer))
