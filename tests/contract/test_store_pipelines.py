"""The Pipelines port: ordered, led on by one owner at a time, ended once."""

from __future__ import annotations

import dataclasses

import pytest

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.pipelines import model as pipelines
from gateway.domain.pipelines import moves
from gateway.domain.states import JobStatus
from tests.contract import store_kit as kit

PLAN = moves.Plan(
    steps=(
        moves.Planned(step=pipelines.Step(name="draw", template="sdxl", inputs={"prompt": "fox"}), version="v1"),
        moves.Planned(step=pipelines.Step(name="web", finish=pipelines.Finish(format="webp"), of="draw")),
    ),
    outputs=("web",),
)


async def ordered(store: ports.Store, clock: kit.Clock, owner: str = "one") -> model.Job:
    new = kit.new_job(clock)
    begin = ports.Begin(owner=owner, plans={new.id: PLAN.as_dict()})
    (job,) = await store.jobs.submit([new], begin=begin)
    return job


async def test_a_pipeline_begins_with_its_order_and_no_worker_claims_it(store: ports.Store, clock: kit.Clock) -> None:
    job = await ordered(store, clock)
    assert (job.status, job.started_at) == (JobStatus.RUNNING, clock.now)
    assert await kit.claim(store, await kit.lease(store, "w0"), clock) == ()
    assert await store.pipelines.plan(job.id) == PLAN
    assert [event.type for event in await store.jobs.events(job.id)] == ["submit", "begin"]
    plain = await kit.submit_one(store, clock)
    assert await store.pipelines.plan(plain.id) is None


async def test_one_owner_leads_it_on_until_its_time_is_up(store: ports.Store, clock: kit.Clock) -> None:
    job = await ordered(store, clock, "one")
    assert await store.pipelines.take(owner="two", seconds=60) == []
    assert await store.pipelines.take(owner="one", seconds=-1) == [job.id]
    assert await store.pipelines.take(owner="two", seconds=60) == [job.id]
    assert await store.pipelines.take(owner="one", seconds=60) == []


async def test_steps_are_found_by_name_and_listed_apart(store: ports.Store, clock: kit.Clock) -> None:
    parent = await ordered(store, clock)
    drawn = dataclasses.replace(kit.new_job(clock), parent_id=parent.id, step="draw")
    hidden = dataclasses.replace(kit.new_job(clock), parent_id=parent.id, step="web", sealed=True)
    await store.jobs.submit([drawn])
    await store.jobs.submit([hidden], begin=ports.Begin(owner="one"))
    found = await store.pipelines.steps(parent.id)
    assert {name: (job.id, job.status) for name, job in found.items()} == {
        "draw": (drawn.id, JobStatus.QUEUED),
        "web": (hidden.id, JobStatus.RUNNING),
    }
    everything = await store.jobs.page(kit.TENANT, model.JobFilter(), limit=10, cursor=None)
    assert [job.id for job in everything.jobs] == [parent.id]
    steps = await store.jobs.page(kit.TENANT, model.JobFilter(parent_id=parent.id), limit=10, cursor=None)
    assert [job.id for job in steps.jobs] == [drawn.id]


async def test_a_step_is_begun_once(store: ports.Store, clock: kit.Clock) -> None:
    parent = await ordered(store, clock)
    step = dataclasses.replace(kit.new_job(clock), parent_id=parent.id, step="draw")
    await store.jobs.submit([step])
    with pytest.raises(errors.Conflict, match="begun already"):
        await store.jobs.submit([step])
    with pytest.raises(errors.Conflict, match="begun already"):
        await store.jobs.submit([step], begin=ports.Begin(owner="two"))
    assert list(await store.pipelines.steps(parent.id)) == ["draw"]


async def test_it_ends_once_with_the_outputs_of_its_steps(store: ports.Store, clock: kit.Clock) -> None:
    parent = await ordered(store, clock)
    web = dataclasses.replace(kit.new_job(clock), parent_id=parent.id, step="web")
    await store.jobs.submit([web], begin=ports.Begin(owner="one"))
    made = kit.new_output(clock, web.id)
    output = model.Output(asset=made.asset, node_id="web", name="a.webp", type=model.OutputType.IMAGE, index=0)
    clock.now += 2
    step = await store.pipelines.end(web.id, moves.End(status=JobStatus.SUCCEEDED, outputs=(output,)), at=clock.now)
    assert step is not None
    assert step.outputs == (output,)
    end = moves.End(status=JobStatus.SUCCEEDED, outputs=step.outputs)
    job = await store.pipelines.end(parent.id, end, at=clock.now)
    assert job is not None
    handed_out = dataclasses.replace(output, asset=dataclasses.replace(output.asset, job_id=parent.id))
    assert (job.status, job.outputs, job.execution_ms) == (JobStatus.SUCCEEDED, (handed_out,), 2000)
    assert await store.pipelines.end(parent.id, end, at=clock.now) is None
    assert await store.pipelines.take(owner="one", seconds=60) == []
    assert (await store.assets.get(kit.TENANT, made.asset.id)).job_id == parent.id


@pytest.mark.parametrize("asked", [False, True])
async def test_a_pipeline_is_canceled_whether_a_client_asked_or_its_plan_is_over(
    store: ports.Store, clock: kit.Clock, *, asked: bool
) -> None:
    parent = await ordered(store, clock)
    if asked:
        assert (await store.jobs.cancel(kit.TENANT, parent.id, now=clock.now)).status is JobStatus.CANCELING
    job = await store.pipelines.end(parent.id, moves.End(status=JobStatus.CANCELED), at=clock.now)
    assert job is not None
    assert job.status is JobStatus.CANCELED


async def test_an_order_that_comes_again_is_refused_whole(store: ports.Store, clock: kit.Clock) -> None:
    new = kit.new_job(clock)
    begin = ports.Begin(owner="one", plans={new.id: PLAN.as_dict()})
    await store.jobs.submit([new], begin=begin, idempotency_key="k")
    again = kit.new_job(clock)
    with pytest.raises(errors.IdempotencyKeyReuse):
        await store.jobs.submit([again], begin=begin, idempotency_key="k")
    assert await store.pipelines.job(again.id) is None
