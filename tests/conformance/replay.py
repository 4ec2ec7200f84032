"""Does again to a live server what was done to the recorded one, and compares the answers and the frames.

Before each request the replay waits until every open socket has received what the recorded client had received by
then; so it needs no sleeps, and it works on quick and slow servers alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import yarl

from tests.conformance import normal, uploads
from tests.conformance.recordings import Event, Recording

#: A frame that the recorded client had, and that the live one must get within this time.
PATIENCE_S = 20.0
Hook = Callable[["Replay", Event], Awaitable[None]]


@dataclass(slots=True)
class Connection:
    """One live socket and all that it received."""

    socket: aiohttp.ClientWebSocketResponse
    reader: asyncio.Task[None] | None = None
    frames: list[Event] = field(default_factory=list[Event])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Receive until it closes."""
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.frames.append({"kind": "text", "json": json.loads(message.data)})
            elif message.type is aiohttp.WSMsgType.BINARY:
                self.frames.append(_binary(bytes(message.data)))
            self.arrived.set()

    async def wait_for(self, enough: Callable[[list[Event]], bool], what: str) -> None:
        """Wait until the frames are enough."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while not enough(self.frames):
                    self.arrived.clear()
                    await self.arrived.wait()
            except asyncio.CancelledError:
                last = [str(frame)[:200] for frame in self.frames[-4:]]
                raise AssertionError(f"frames did not come: {what}; the last ones: {last}") from None


def _binary(data: bytes) -> Event:
    kind = int.from_bytes(data[:4], "big")
    event: Event = {"kind": "binary", "event_type": kind}
    if kind == 3:
        size = int.from_bytes(data[4:8], "big")
        event |= {"node_id": data[8 : 8 + size].decode(), "text": data[8 + size :].decode()}
    if kind == 4:
        size = int.from_bytes(data[4:8], "big")
        event["metadata"] = json.loads(data[8 : 8 + size])
    return event


@dataclass(slots=True, kw_only=True)
class Replay:
    """One recording, played to one server."""

    url: str
    recording: Recording
    session: aiohttp.ClientSession
    hooks: dict[str, Hook] = field(default_factory=dict[str, Hook])
    #: Labels of requests whose answers are facts of the machine; their keys are compared, not their values.
    loose: tuple[str, ...] = ()
    #: Labels of jobs, or paths of lists, whose order a real server leaves to chance.
    any_order: tuple[str, ...] = ()
    #: Labels of requests that are left out.
    left_out: tuple[str, ...] = ()
    names: normal.Names = field(default_factory=normal.Names)
    connections: dict[str, Connection] = field(default_factory=dict[str, Connection])
    closed_early: set[str] = field(default_factory=set[str])
    unordered: set[str] = field(default_factory=set[str])
    problems: list[str] = field(default_factory=list[str])

    async def run(self) -> None:
        """Play all events, then compare what the sockets were told."""
        await self.prime()
        try:
            for event in self.recording.events:
                await self._play(event)
            for conn in self.connections:
                await self._compare_frames(conn)
        finally:
            for connection in self.connections.values():
                await self._hang_up(connection)

    async def prime(self) -> None:
        """Put into the server's cache what an earlier recording had left in it."""
        cached = next(
            (
                event["json"]["data"]["nodes"]
                for event in self.recording.events
                if event["kind"] == "text" and event["json"]["type"] == "execution_cached"
            ),
            [],
        )
        first = next(
            (event["body"] for event in self.recording.events if event.get("path") == "/prompt" and "body" in event),
            None,
        )
        if not cached or first is None:
            return
        prompt = {name: first["prompt"][name] for name in cached}
        prompt["show"] = {"class_type": "PreviewImage", "inputs": {"images": [cached[0], 0]}}
        async with self.session.post(f"{self.url}/prompt", json={"prompt": prompt}) as answer:
            prompt_id = (await answer.json())["prompt_id"]
        await self.until_ended(prompt_id)

    async def until_ended(self, prompt_id: str) -> None:
        """Wait until a job is in the history."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                async with self.session.get(f"{self.url}/history/{prompt_id}") as answer:
                    if await answer.json():
                        return
                await asyncio.sleep(0.01)

    async def _play(self, event: Event) -> None:
        kind = event["kind"]
        if kind in self.hooks:
            await self.hooks[kind](self, event)
        elif kind == "http":
            await self._catch_up(event["t"])
            await self._request(event)
        elif kind == "connecting":
            await self._catch_up(event["t"])
            await self._connect(event)
        elif kind == "send":
            await self._send(event)
        elif kind == "closed" and event["conn"] in self.connections:
            await self._close(event)

    async def _connect(self, event: Event) -> None:
        await self._until_remaining(event["conn"])
        url = yarl.URL(self.url + event.get("path", "/ws")).with_query(event.get("query") or {})
        connection = Connection(await self.session.ws_connect(url, max_msg_size=0))
        connection.reader = asyncio.create_task(connection.read())
        self.connections[event["conn"]] = connection

    async def _until_remaining(self, conn: str) -> None:
        """Wait until as many jobs are left as the recorded socket was greeted with."""
        greeting = next(
            (frame["json"]["data"] for frame in self.recording.frames(conn) if frame["kind"] == "text"), None
        )
        if greeting is None or "status" not in greeting:
            return
        expected = greeting["status"]["exec_info"]["queue_remaining"]
        async with asyncio.timeout(PATIENCE_S):
            while True:
                async with self.session.get(f"{self.url}/prompt") as answer:
                    if (await answer.json())["exec_info"]["queue_remaining"] == expected:
                        return
                await asyncio.sleep(0.01)

    async def _send(self, event: Event) -> None:
        data = event["json"]
        socket = self.connections[event["conn"]].socket
        await socket.send_str(data if isinstance(data, str) else json.dumps(data))

    async def _close(self, event: Event) -> None:
        """Close a socket after it got what the recorded one got."""
        conn = event["conn"]
        await self._catch_up(event["t"])
        if event["t"] < self.recording.events[-1]["t"] - 0.1:
            self.closed_early.add(conn)
        await self._hang_up(self.connections[conn])

    async def _hang_up(self, connection: Connection) -> None:
        await connection.socket.close()
        if connection.reader is not None:
            await connection.reader

    async def _catch_up(self, until: float) -> None:
        for conn, connection in self.connections.items():
            if connection.socket.closed:
                continue
            had = [frame for frame in self.recording.frames(conn) if frame["t"] < until]
            goal = _goal(had)
            await connection.wait_for(goal.reached, f"{goal} on {conn} before t={until}")
            self._learn_sid(had, connection.frames)

    def _nobody_listens(self) -> bool:
        return all(connection.socket.closed for connection in self.connections.values())

    def _learn_sid(self, recorded: list[Event], live: list[Event]) -> None:
        """Learn the client id that a server made up."""
        sids = [frame["json"]["data"].get("sid") for frames in (recorded, live) for frame in frames[:1]]
        if len(sids) == 2 and all(sids):
            self.names.ids[sids[0]] = sids[1]

    async def _request(self, event: Event) -> None:
        label = event.get("label")
        if label in self.left_out or event["path"] in self.left_out:
            return
        path = self.names.text(event["path"])
        if path.startswith("/history/") and event.get("json") and self._nobody_listens():
            await self.until_ended(path.removeprefix("/history/"))
        url = yarl.URL(self.url + path, encoded="%" in path)
        if event.get("query"):
            url = url.update_query(self.names.query(event["query"]))
        body = event.get("body")
        data: Any = None
        if isinstance(body, dict | list):
            data = self.names.text(json.dumps(body))
        elif "raw" in event:
            data = event["raw"]
        headers = {"Content-Type": "application/json", **event.get("headers", {})} if data is not None else None
        if isinstance(body, str):
            data = uploads.form(event)
        request = self.session.request(event["method"], url, data=data, headers=headers or event.get("headers"))
        async with request as answer:
            await self._compare_answer(event, answer, await answer.read())

    async def _compare_answer(self, event: Event, answer: aiohttp.ClientResponse, body: bytes) -> None:
        where = f"{event['method']} {event['path']} {event.get('query') or ''} [{event.get('label')}]"
        if answer.status != event["status"]:
            self.problems.append(f"{where}: {answer.status} instead of {event['status']}: {body[:200]!r}")
            return
        self._compare_headers(where, event, answer)
        if "json" in event:
            value = json.loads(body)
            if event["path"].endswith("/prompt"):
                self.names.pair(event["json"], value)
                if event.get("label") in self.any_order:
                    self.unordered.add(value["prompt_id"])
            self.names.pair_files(event["json"], value)
            self._compare_json(where, event, value)
        elif "text" in event and "head" not in event["method"].lower():
            expected, got = event["text"], body.decode("utf-8", "replace")
            if expected != got and not expected.endswith("<cut>"):
                self.problems.append(f"{where}: body {got[:200]!r} instead of {expected[:200]!r}")
        elif "magic" in event and body[:4].hex(" ") != event["magic"]:
            self.problems.append(f"{where}: bytes {body[:4].hex(' ')} instead of {event['magic']}")

    def _compare_headers(self, where: str, event: Event, answer: aiohttp.ClientResponse) -> None:
        for name, expected in event.get("answer_headers", {}).items():
            got = answer.headers.get(name)
            if normal.live(got) != normal.live(expected):
                self.problems.append(f"{where}: header {name} {got!r} instead of {expected!r}")

    def _compare_json(self, where: str, event: Event, value: Any) -> None:
        if isinstance(event["json"], str) and event["json"].startswith("<omitted"):
            return
        if event["path"] in self.loose or event.get("label") in self.loose:
            missing = normal.shape(event["json"], value)
            if missing:
                self.problems.append(f"{where}: lacks {missing[:10]}")
            return
        expected, got = normal.recorded(event["json"], self.names), normal.live(value)
        if event["path"] in self.any_order:
            expected["jobs"].sort(key=lambda job: job["id"])
            got["jobs"].sort(key=lambda job: job["id"])
        if not same(expected, got):
            self.problems.append(f"{where}:\n{_difference(expected, got)}")

    async def _compare_frames(self, conn: str) -> None:
        expected = normal.told(self.recording.frames(conn), self.names)
        got = normal.told(self.connections[conn].frames, normal.Names())
        for prompt_id, frames in expected.jobs.items():
            seen = got.jobs.get(prompt_id, [])
            if prompt_id in self.unordered:
                frames, seen = (sorted(_kind(frame) for frame in items) for items in (frames, seen))  # noqa: PLW2901
            elif conn in self.closed_early and len(frames) - 2 <= len(seen) < len(frames):
                frames = frames[: len(seen)]  # noqa: PLW2901 - the last ones may have been on their way
            if not same(frames, seen):
                self.problems.append(f"frames of {conn} for {prompt_id}:\n{_difference(frames, seen)}")
        for prompt_id in got.jobs.keys() - expected.jobs.keys():
            self.problems.append(f"frames of {conn} for {prompt_id}: not recorded: {got.jobs[prompt_id][:3]}")
        if expected.other != got.other:
            self.problems.append(f"other frames of {conn}:\n{_difference(expected.other, got.other)}")
        if (expected.greeting, expected.statuses) != (got.greeting, got.statuses):
            self.problems.append(f"status frames of {conn}: {got.statuses} instead of {expected.statuses}")


@dataclass(frozen=True, slots=True)
class Goal:
    """How far a socket is, counted in frames that do not depend on how quick a server is."""

    jobs: int
    statuses: int

    def reached(self, frames: list[Event]) -> bool:
        """Whether the frames are at least these."""
        now = _goal(frames)
        return now.jobs >= self.jobs and now.statuses >= self.statuses


def _goal(frames: list[Event]) -> Goal:
    jobs = statuses = 0
    stepping: set[tuple[str, str]] = set()
    for frame in frames:
        if frame["kind"] != "text" or frame["json"]["type"] == "progress":
            continue
        if frame["json"]["type"] == "status":
            statuses += 1
        elif frame["json"]["type"] != "progress_state":
            jobs += 1
        else:
            data = frame["json"]["data"]
            steps = {(data["prompt_id"], name) for name in _steps(data["nodes"])}
            jobs += 1 if steps - stepping or not steps else 0
            stepping |= steps
    return Goal(jobs, statuses)


def _steps(nodes: Any) -> list[str]:
    """List the nodes that are between their start and their end."""
    if not isinstance(nodes, dict):
        return ["<long>"]
    return [
        name for name, node in nodes.items() if isinstance(node, dict) and node["state"] == "running" and node["value"]
    ]


def _kind(frame: Any) -> str:
    return str(frame.get("type", sorted(frame)))


def same(expected: Any, got: Any) -> bool:
    """Compare; what was cut out of the recording equals anything."""
    if isinstance(expected, str) and expected.startswith(("<omitted", "<long>")):
        return True
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(same(item, got[key]) for key, item in expected.items())
    if isinstance(expected, list | tuple) and isinstance(got, list | tuple):
        return len(expected) == len(got) and all(map(same, expected, got))
    return expected == got


def _difference(expected: Any, got: Any) -> str:
    """Show where two values part."""
    if isinstance(expected, dict) and isinstance(got, dict):
        parts = [
            f"  {key}: {_difference(expected.get(key, '<absent>'), got.get(key, '<absent>'))}"
            for key in sorted({*expected, *got}, key=str)
            if not same(expected.get(key, "<absent>"), got.get(key, "<absent>"))
        ]
        return "\n".join(parts)[:1500]
    if isinstance(expected, list) and isinstance(got, list):
        for index, (left, right) in enumerate(zip(expected, got, strict=False)):
            if not same(left, right):
                return f"  [{index}]: {_difference(left, right)}"
        shorter = min(len(got), len(expected))
        first = str((*got, *expected)[shorter:][:1])[:300]
        return f"  {len(got)} items instead of {len(expected)}: {first}"
    return f"{str(got)[:300]!r} instead of {str(expected)[:300]!r}"


@contextlib.asynccontextmanager
async def client() -> AsyncGenerator[aiohttp.ClientSession]:
    """Open an HTTP client without a time limit of its own."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session
