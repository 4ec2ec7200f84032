"""Each scripted failure does what it says, on the wire."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.conformance.living import Client, failure, living, node, tiny


async def test_node_error_strikes_once() -> None:
    """The job fails with the message; the next one is well."""
    async with living() as (_, client):
        await client.fault(kind="node_error", message="boom")
        record = await client.run(tiny())
        assert record["status"]["status_str"] == "error"
        assert failure(record)["exception_message"] == "boom\n"
        assert failure(record)["exception_type"] == "RuntimeError"
        assert (await client.run(tiny()))["status"]["status_str"] == "success"


async def test_node_error_of_a_class_and_of_the_second_prompt() -> None:
    """Ties to a class and to a number are kept."""
    async with living() as (_, client):
        await client.fault(kind="node_error", match={"nth": 2, "node_class": "SaveImage"})
        assert (await client.run(tiny(seed=1)))["status"]["status_str"] == "success"
        failed = failure(await client.run(tiny(seed=2)))
        assert (failed["node_type"], failed["executed"]) == ("SaveImage", ["work"])
        assert (await client.run(tiny(seed=3)))["status"]["status_str"] == "success"


async def test_a_tie_to_a_prompt_id() -> None:
    """Only the named prompt is struck."""
    async with living() as (_, client):
        named = "11111111-2222-4333-8444-555555555555"
        await client.fault(kind="node_error", prompt_id=named)
        assert (await client.run(tiny(seed=1)))["status"]["status_str"] == "success"
        assert (await client.run(tiny(seed=2), prompt_id=named))["status"]["status_str"] == "error"


async def test_out_of_memory() -> None:
    """The failure has ComfyUI's type and advice."""
    async with living(card="rtx3060") as (_, client):
        await client.fault(kind="out_of_memory")
        failed = failure(await client.run(tiny()))
        assert failed["exception_type"] == "torch.OutOfMemoryError"
        assert "total capacity of 12.00 GiB" in failed["exception_message"]
        assert "TIPS:" in failed["exception_message"]


async def test_cuda_fault_stays() -> None:
    """Every later job fails, too."""
    async with living() as (_, client):
        await client.fault(kind="cuda_fault")
        for seed in range(3):
            failed = failure(await client.run(tiny(seed=seed)))
            assert failed["exception_type"] == "torch.AcceleratorError"
            assert "illegal memory access" in failed["exception_message"]
        assert (await client.get("/simulator/faults"))["card_is_broken"] is True


async def test_hang_is_not_interruptible() -> None:
    """An interrupt is answered, and nothing happens; HTTP goes on."""
    async with living() as (_, client):
        await client.fault(kind="hang", match={"node_class": "SaveImage"})
        prompt_id = await client.post(tiny())
        await client.until_executing("save")
        await client.session.post(f"{client.url}/interrupt", json={"prompt_id": prompt_id})
        assert (await client.get("/prompt"))["exec_info"]["queue_remaining"] == 1
        assert (await client.get("/queue"))["queue_running"][0][1] == prompt_id
        assert await client.get(f"/history/{prompt_id}") == {}


async def test_dead_thread() -> None:
    """HTTP answers, nothing runs any more."""
    async with living() as (sim, client):
        await client.fault(kind="dead_thread", match={"nth": 1})
        prompt_id = await client.post(tiny())
        while not sim.executor.is_dead:
            await asyncio.sleep(0.001)
        await client.post(tiny(seed=2))
        queue = await client.get("/queue")
        assert [entry[1] for entry in queue["queue_running"]] == [prompt_id]
        assert len(queue["queue_pending"]) == 1
        assert (await client.get("/system_stats"))["system"]["simulated"] is True


async def test_dropped_socket() -> None:
    """The connection is cut; a new one works."""
    async with living() as (_, client):
        await client.fault(kind="drop_socket")
        message = await asyncio.wait_for(_until_closed(client.socket), 10)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        async with client.session.ws_connect(f"{client.url}/ws?clientId=living") as socket:
            again = Client(client.url, client.session, socket)
            assert (await again.run(tiny()))["status"]["status_str"] == "success"


async def _until_closed(socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    while True:
        message = await socket.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return message


async def test_mute_socket_still_answers_pings() -> None:
    """The job runs to its end without a frame; the socket is alive."""
    async with living() as (_, client):
        await client.until(lambda frame: frame["type"] == "status")
        await client.fault(kind="mute_socket", match={"nth": 1})
        prompt_id = await client.post(tiny(seconds=0.05))
        while not await client.get(f"/history/{prompt_id}"):
            await asyncio.sleep(0.01)
        await client.socket.ping()
        received = [frame["type"] for frame in client.frames]
        assert "execution_success" not in received
        assert not client.socket.closed


async def test_half_open_socket_answers_nothing() -> None:
    """Not even a ping: a client with a heartbeat finds out."""
    async with (
        living() as (_, client),
        client.session.ws_connect(f"{client.url}/ws?clientId=other", heartbeat=0.2) as socket,
    ):
        await socket.receive()
        await client.fault(kind="half_open_socket")
        message = await asyncio.wait_for(_until_closed(socket), 10)
        assert message.type in (aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


async def test_forgotten_history() -> None:
    """The job ended, and nobody knows of it."""
    async with living() as (_, client):
        await client.fault(kind="forget_history")
        prompt_id = await client.post(tiny())
        await client.until(lambda frame: frame["type"] == "executing" and frame["data"]["node"] is None)
        assert await client.get(f"/history/{prompt_id}") == {}
        assert (await client.get("/queue"))["queue_running"] == []


async def test_slow_history() -> None:
    """The answer comes late."""
    async with living() as (_, client):
        prompt_id = await client.post(tiny())
        await client.until_ended(prompt_id)
        await client.fault(kind="slow_history", seconds=0.3)
        begin = asyncio.get_running_loop().time()
        await client.get(f"/history/{prompt_id}")
        assert asyncio.get_running_loop().time() - begin >= 0.3


@pytest.mark.parametrize(("kind", "is_accepted"), [("post_lost_before", False), ("post_lost_after", True)])
async def test_lost_post(kind: str, is_accepted: bool) -> None:
    """The connection breaks before the answer; the job was taken, or it was not."""
    async with living() as (_, client):
        await client.fault(kind=kind)
        prompt_id = "11111111-2222-4333-8444-555555555555"
        with pytest.raises(aiohttp.ClientError):
            await client.post(tiny(seconds=0.05), prompt_id=prompt_id)
        log = await client.get("/simulator/log")
        assert [entry["prompt_id"] for entry in log["prompts"]] == ([prompt_id] if is_accepted else [])


async def test_slow_post_is_accepted_at_once() -> None:
    """The job runs while its POST still waits for the answer."""
    async with living() as (_, client):
        await client.fault(kind="slow_post", seconds=0.5)
        posting = asyncio.create_task(client.post(tiny()))
        await client.until(lambda frame: frame["type"] == "execution_success")
        assert not posting.done()
        await posting


async def test_http_error() -> None:
    """A route answers with a status of one's choice, as often as told."""
    async with living() as (_, client):
        await client.fault(kind="http_error", path="/queue", status=502, count=2)
        statuses: list[int] = []
        for _ in range(3):
            async with client.session.get(f"{client.url}/api/queue") as answer:
                statuses.append(answer.status)
        assert statuses == [502, 502, 200]


async def test_view_faults() -> None:
    """A file is late, then missing, then there."""
    async with living() as (_, client):
        record = await client.run(tiny())
        item = record["outputs"]["save"]["images"][0]
        await client.fault(kind="view_missing")
        await client.fault(kind="slow_view", seconds=0.2)
        async with client.session.get(f"{client.url}/view", params=item) as answer:
            assert answer.status == 404
        begin = asyncio.get_running_loop().time()
        assert (await client.bytes_of(item)).startswith(b"\x89PNG")
        assert asyncio.get_running_loop().time() - begin >= 0.2


async def test_crash_in_process() -> None:
    """Connections are reset, the port is closed, and the test is told."""
    async with living() as (sim, client):
        await client.fault(kind="crash")
        await asyncio.wait_for(sim.crashed.wait(), 10)
        with pytest.raises(aiohttp.ClientError):
            await client.get("/prompt")


async def test_faults_are_listed_counted_and_cleared() -> None:
    """The control route tells what waits and what struck."""
    async with living() as (_, client):
        await client.fault(kind="node_error", count=2)
        await client.run(tiny())
        (listed,) = (await client.get("/simulator/faults"))["faults"]
        assert (listed["kind"], listed["struck"], listed["count"]) == ("node_error", 1, 2)
        await client.session.delete(f"{client.url}/simulator/faults")
        assert (await client.get("/simulator/faults"))["faults"] == []
        assert (await client.run(tiny(seed=5)))["status"]["status_str"] == "success"


@pytest.mark.parametrize(
    "body", [[], {"kind": "nonsense"}, {"kind": "hang", "nth": "2"}, {"kind": "hang", "colour": 1}, {}]
)
async def test_bad_faults_are_refused(body: object) -> None:
    """With the reason."""
    async with living() as (_, client), client.session.post(f"{client.url}/simulator/faults", json=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]


async def test_the_log_knows_what_happened() -> None:
    """Received, started, ended, outcome; the clock is monotonic."""
    async with living(node_packs=frozenset({"wiretest"})) as (_, client):
        await client.run(tiny(seconds=0.02))
        bad = {
            **tiny(),
            "bad": node("WTRaise", image=["work", 0], kind="runtime"),
            "show": node("PreviewImage", images=["bad", 0]),
        }
        await client.run(bad)
        good, failed = (await client.get("/simulator/log"))["prompts"]
        assert (good["outcome"], failed["outcome"]) == ("success", "error")
        assert good["received"] <= good["started"] <= good["ended"] <= failed["received"]
        assert good["ended"] - good["started"] >= 0.02
