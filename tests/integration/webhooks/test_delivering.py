"""Webhooks of a whole gateway: a job's events reach a real receiver, signed, in order, once at a time."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest
import standardwebhooks
from standardwebhooks import WebhookVerificationError

from gateway import app, settings, simulator
from tests.integration.webhooks.conftest import INSTANT, Start
from tests.integration.webhooks.receiver import Got, Receiver, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = "k" * 24


def ended(got: Any) -> bool:
    return any(each.type in {"job.succeeded", "job.failed", "job.canceled", "job.expired"} for each in got)


def verified(secret: str | bytes, got: Got) -> Any:
    return standardwebhooks.Webhook(secret).verify(got.body, dict(got.headers))


async def test_a_job_is_told_from_its_start_to_its_end(start: Start, receiver: Receiver) -> None:
    hooked = await start()
    job = await hooked.order(webhook={"url": receiver.url, "secret": SECRET}, metadata={"project": "foxes"})
    assert job["webhook"]["url"] == receiver.url
    got = await receiver.until(ended)

    assert [each.type for each in got] == ["job.started", "job.output", "job.succeeded"]
    assert receiver.most_at_once == 1
    assert len({each.id for each in got}) == 3
    started, output, succeeded = (verified(SECRET, each) for each in got)
    assert started["data"]["id"] == job["id"]
    assert (started["data"]["status"], started["data"]["outputs"]) == ("running", [])
    whole = await hooked.get(f"/api/v2/jobs/{job['id']}")
    told = succeeded["data"]
    for name in ("id", "status", "completed_at", "metadata", "inputs", "template", "worker", "metrics", "webhook"):
        assert told[name] == whole[name], name
    assert succeeded["timestamp"] == whole["completed_at"]
    assert output["data"]["id"] == told["outputs"][0]["id"] == whole["outputs"][0]["id"]
    assert output["data"]["job_id"] == job["id"]
    picture = await hooked.client.get(output["data"]["url"])
    assert (picture.status_code, len(picture.content)) == (200, output["data"]["size_bytes"])

    assert SECRET not in str(job) + str(whole) + str(await hooked.deliveries())
    listed = await hooked.until(lambda found: len(found) == 3, job=job["id"], status="delivered")
    assert [each["type"] for each in listed] == ["job.succeeded", "job.output", "job.started"]
    assert [each["id"] for each in listed] == [each.id for each in reversed(got)]


async def test_the_gateways_own_secret_signs_where_none_is_given(
    start: Start, receiver: Receiver, tmp_path: Path
) -> None:
    hooked = await start()
    await hooked.order(webhook={"url": receiver.url, "events": ["succeeded"]})
    (got,) = await receiver.until(ended)
    secret = (tmp_path / "data" / "webhook-secret").read_text().strip()
    assert (tmp_path / "data" / "webhook-secret").stat().st_mode & 0o077 == 0
    assert verified(secret, got)["type"] == "job.succeeded"
    with pytest.raises(WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(got.body, dict(got.headers))


async def test_a_plain_secret_signs_as_it_is(start: Start, receiver: Receiver) -> None:
    hooked = await start(webhooks={"secret": "the operator's passphrase"})
    await hooked.order(webhook={"url": receiver.url, "events": ["job.succeeded"], "secret": "correct horse battery"})
    await hooked.order(webhook={"url": receiver.url, "events": ["job.succeeded"]})
    first, second = sorted(await receiver.count(2), key=lambda each: each.json["data"]["created_at"])
    assert verified(b"correct horse battery", first)
    assert verified(b"the operator's passphrase", second)


async def test_a_failed_delivery_stays_visible_and_is_told_again_under_its_id(start: Start, receiver: Receiver) -> None:
    hooked = await start()
    receiver.answers += [500, {"status": 429, "headers": {"Retry-After": "7200"}}, 410, 204]
    job = await hooked.order(webhook={"url": receiver.url, "events": ["succeeded"]})

    async def tried(times: int) -> dict[str, Any]:
        await receiver.count(times)
        (one,) = await hooked.until(lambda found: found[0]["response_status"] == answers[times - 1], job=job["id"])
        return one

    async def again(one: dict[str, Any]) -> None:
        answer = await hooked.client.post(one["urls"]["redeliver"])
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")

    answers = [500, 429, 410, 204]
    one = await tried(1)
    assert (one["status"], one["tries"], one["error"]) == ("pending", 1, "The receiver answered 500.")
    assert one["next_try_at"] > one["tried_at"]
    await again(one)
    one = await tried(2)
    assert (one["status"], one["tries"]) == ("pending", 2)
    assert one["next_try_at"][:13] != one["tried_at"][:13]  # two hours later
    await again(one)
    one = await tried(3)
    assert (one["status"], one["next_try_at"]) == ("dead", None)
    assert [each["id"] for each in await hooked.deliveries(status="dead")] == [one["id"]]
    await again(one)
    one = await tried(4)
    assert (one["status"], one["error"]) == ("delivered", None)
    assert {each.id for each in receiver.got} == {one["id"]}
    assert await hooked.get(one["urls"]["self"]) == one


async def test_a_key_has_a_webhook_of_its_own(start: Start, receiver: Receiver) -> None:
    keys = [
        {"name": "app", "key": KEY, "webhook": {"url": receiver.url + "/key", "events": ["succeeded"]}},
        {"name": "bare", "key": KEY[::-1] + "x", "tenant": "bare"},
    ]
    hooked = await start(api_keys=keys)
    of_key = await hooked.order(key=KEY)
    of_job = await hooked.order(key=KEY, webhook={"url": receiver.url + "/job", "events": ["succeeded"]})
    of_none = await hooked.order(key=KEY, webhook=None)
    bare = await hooked.order(key=KEY[::-1] + "x")
    assert "webhook" not in of_none
    assert "webhook" not in bare
    got = await receiver.count(2)
    assert {each.path: each.json["data"]["id"] for each in got} == {
        "/hook/key": of_key["id"],
        "/hook/job": of_job["id"],
    }
    answer = await hooked.client.get("/v1/webhooks/deliveries", headers={"authorization": f"Bearer {KEY[::-1]}x"})
    assert answer.json() == {"deliveries": []}


async def test_each_job_of_a_batch_and_of_a_workflow_is_told(start: Start, receiver: Receiver) -> None:
    hooked = await start()
    hook = {"url": receiver.url, "events": ["succeeded"]}
    order = {"template": "sd15", "inputs": {"prompt": "a fox", "steps": 1, "seed": 1}, "n": 3, "webhook": hook}
    batch = (await hooked.client.post("/v1/batches", json=order)).json()
    graph = await hooked.get(f"/api/v2/jobs/{batch['job_ids'][0]}/workflow")
    order = {"workflow": graph["workflow"], "webhook": hook}
    raw = (await hooked.client.post("/api/v2/jobs", json=order)).json()
    got = await receiver.count(4)
    assert {each.json["data"]["id"] for each in got} == {*batch["job_ids"], raw["id"]}
    assert {each.json["data"]["batch_id"] for each in got} == {batch["id"], None}


async def test_a_form_may_name_a_webhook(start: Start, receiver: Receiver) -> None:
    hooked = await start()
    form = {"prompt": "a fox", "steps": "1", "webhook": f'{{"url": "{receiver.url}", "events": ["succeeded"]}}'}
    answer = await hooked.client.post(
        "/v1/templates/sd15/jobs", files={key: (None, text) for key, text in form.items()}
    )
    assert answer.status_code == 201, answer.text
    (got,) = await receiver.count(1)
    assert got.json["data"]["id"] == answer.json()["id"]


async def test_a_job_that_is_canceled_in_the_queue_is_told(start: Start, receiver: Receiver) -> None:
    hooked = await start(options=simulator.Options(card="instant", step_ms=200))
    first = await hooked.order(inputs={"prompt": "a fox", "steps": 100})
    second = await hooked.order(webhook={"url": receiver.url})
    await hooked.client.post(second["urls"]["cancel"])
    (got,) = await receiver.count(1)
    assert (got.type, got.json["data"]["status"]) == ("job.canceled", "canceled")
    await hooked.client.post(first["urls"]["cancel"])


async def test_a_slow_receiver_slows_no_other(start: Start, receiver: Receiver) -> None:
    hooked = await start(webhooks={"per_host": 2, "at_once": 4})
    async with receiving() as slow:
        slow.hold.clear()
        for _ in range(4):
            await hooked.order(webhook={"url": slow.url, "events": ["succeeded"]})
        await slow.count(2)
        quick = await hooked.order(webhook={"url": receiver.url, "events": ["succeeded"]})
        (got,) = await receiver.until(ended)
        assert got.json["data"]["id"] == quick["id"]
        assert slow.most_at_once == 2
        slow.hold.set()
        await slow.count(4)
        assert len({each.id for each in slow.got}) == 4


async def test_progress_for_those_who_ask(start: Start, receiver: Receiver) -> None:
    hooked = await start(options=simulator.Options(card="instant", step_ms=50), webhooks={"progress_interval": 0})
    events = ["progress", "succeeded"]
    job = await hooked.order(
        webhook={"url": receiver.url, "events": events, "secret": SECRET}, inputs={"prompt": "a fox", "steps": 10}
    )
    got = await receiver.until(ended)
    told = [verified(SECRET, each) for each in got if each.type == "job.progress"]
    assert told
    assert {each["data"]["id"] for each in told} == {job["id"]}
    values = [each["data"]["progress"]["value"] for each in told if each["data"]["progress"]]
    assert values == sorted(values)
    assert [each["type"] for each in await hooked.deliveries(job=job["id"])] == ["job.succeeded"]


async def test_what_cannot_be_told_is_refused_at_once(start: Start) -> None:
    hooked = await start(webhooks={"allow_private": "none"})
    rows: list[tuple[Any, list[str]]] = [
        ({"url": "http://127.0.0.1/"}, ["webhook.url"]),
        ({"url": "http://[::ffff:10.0.0.1]/"}, ["webhook.url"]),
        ({"url": "http://169.254.169.254/latest"}, ["webhook.url"]),
        ({"url": "nowhere", "events": ["ended"]}, ["webhook.url", "webhook.events"]),
        ({"url": "https://a.example", "event": ["succeeded"]}, ["webhook.event"]),
        ({"events": ["succeeded"]}, ["webhook.url"]),
        ({"url": "https://a.example", "secret": "short"}, ["webhook.secret"]),
        ("https://a.example", ["webhook"]),
    ]
    for hook, places in rows:
        order = {"inputs": {"prompt": "a fox"}, "webhook": hook}
        answer = await hooked.client.post("/v1/templates/sd15/jobs", json=order)
        assert answer.status_code == 422, hook
        assert [fault["field"] for fault in answer.json()["error"]["details"]["faults"]] == places, hook
    assert (await hooked.get("/api/v2/jobs"))["jobs"] == []


async def test_a_name_of_a_private_address_is_refused_when_it_is_reached(start: Start, receiver: Receiver) -> None:
    hooked = await start(webhooks={"allow_private": "none"})
    url = receiver.url.replace("127.0.0.1", "localhost")
    job = await hooked.order(webhook={"url": url, "events": ["succeeded"]})
    found = await hooked.until(lambda found: found and found[0]["error"], job=job["id"])
    assert "private address" in found[0]["error"]
    assert (found[0]["response_status"], receiver.got) == (None, [])


async def test_numbers_tell_what_is_owed(start: Start, receiver: Receiver) -> None:
    hooked = await start()
    await hooked.order(webhook={"url": receiver.url, "events": ["succeeded"]})
    receiver.answers.append(410)
    await hooked.order(webhook={"url": receiver.url, "events": ["succeeded"]})
    await receiver.count(2)
    wanted = (
        'comfy_gateway_webhook_tries_total{outcome="delivered"} 1.0',
        'comfy_gateway_webhook_tries_total{outcome="dead"} 1.0',
        'comfy_gateway_webhook_deliveries{status="pending"} 0.0',
        'comfy_gateway_webhook_deliveries{status="dead"} 1.0',
        "comfy_gateway_webhook_oldest_seconds 0.0",
    )
    async with asyncio.timeout(20):
        while True:
            text = (await hooked.client.get("/metrics")).text
            if all(line in text for line in wanted):
                return
            await asyncio.sleep(0.1)


async def test_unknown_deliveries_and_filters(start: Start) -> None:
    hooked = await start()
    for method, path in (("GET", "msg_1_2"), ("POST", "msg_1_2/redeliver"), ("GET", hashlib.sha256().hexdigest())):
        answer = await hooked.client.request(method, f"/v1/webhooks/deliveries/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    for query, code in (({"status": "gone"}, "invalid_request"), ({"cursor": "x"}, "invalid_cursor")):
        answer = await hooked.client.get("/v1/webhooks/deliveries", params=query)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert await hooked.deliveries(job="no such job", status="pending,dead") == []
    answer = await hooked.client.post("/api/v2/jobs", json={"workflow": {}, "webhook_url": "http://x"})
    assert "webhook" in answer.json()["error"]["message"]


async def test_a_redirect_is_a_failure(start: Start, receiver: Receiver) -> None:
    hooked = await start()
    receiver.answers.append({"status": 302, "headers": {"Location": receiver.url + "/elsewhere"}})
    job = await hooked.order(webhook={"url": receiver.url, "events": ["succeeded"]})
    found = await hooked.until(lambda found: found and found[0]["response_status"], job=job["id"])
    assert (found[0]["response_status"], found[0]["status"], len(receiver.got)) == (302, "pending", 1)


async def test_stopping_waits_for_what_is_under_way(receiver: Receiver, tmp_path: Path) -> None:
    """See also the acceptance test, in which the server is killed instead."""
    async with simulator.running(INSTANT) as worker:
        given = settings.load(
            {"data_dir": tmp_path, "port": 0, "workers": [worker.url], "webhooks": {"allow_private": "all"}}
        )
        receiver.hold.clear()
        async with app.running(given) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
            hook = {"url": receiver.url, "events": ["succeeded"]}
            order = {"inputs": {"prompt": "a fox", "steps": 1}, "webhook": hook}
            job = (await client.post("/v1/templates/sd15/jobs", json=order)).json()
            await receiver.count(1)
            answering = asyncio.create_task(_answer_once(gateway.parts.stopping, receiver))
        await answering
        async with app.running(given) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
            (one,) = (await client.get("/v1/webhooks/deliveries", params={"job": job["id"]})).json()["deliveries"]
    assert (one["status"], one["tries"], len(receiver.got)) == ("delivered", 1, 1)


async def _answer_once(stopping: asyncio.Event, receiver: Receiver) -> None:
    await stopping.wait()
    receiver.hold.set()
