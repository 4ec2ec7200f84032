"""Contract of `ports.Queue`: candidates in fair order, claims, fenced writes, ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import engines, windows
from gateway.domain import errors, model, pauses
from gateway.domain.comfy.graph import Requirements
from gateway.domain.costs import sketch
from gateway.domain.states import JobStatus, Outcome
from tests.contract import store_kit as kit


async def offered(store: ports.Store, clock: kit.Clock, slots: Sequence[model.Slot]) -> list[model.Candidate]:
    """The candidates that placement gets to see; nothing is claimed."""
    seen: list[model.Candidate] = []

    def look(candidates: Sequence[model.Candidate], _slots: Sequence[model.Slot]) -> list[model.Assignment]:
        seen.extend(candidates)
        return []

    assert await kit.claim(store, slots, clock, look) == ()
    return seen


async def test_a_claim_writes_the_attempt_before_anything_is_sent(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock, template="sdxl", needs_secret=True, graph=b'{"7":{}}')
    slots = await kit.lease(store, "w0", simulated=True)
    clock.now += 3
    (taken,) = await kit.claim(store, slots, clock)
    assert (taken.job_id, taken.tenant, taken.graph) == (job.id, kit.TENANT, b'{"7":{}}')
    assert (taken.template, taken.needs_secret, taken.resumed) == ("sdxl", True, False)
    assert taken.expires_at == job.expires_at
    assert await store.jobs.attempts(job.id) == (taken.attempt,)
    attempt = taken.attempt
    assert (attempt.worker, attempt.epoch, attempt.number) == ("w0", slots[0].epoch, 1)
    assert (attempt.created_at, attempt.ended_at, attempt.outcome) == (clock.now, None, None)
    running = await store.jobs.get(kit.TENANT, job.id)
    assert (running.status, running.worker, running.attempt_id) == (JobStatus.RUNNING, "w0", attempt.id)
    assert (running.started_at, running.simulated, running.tries) == (clock.now, True, 0)
    assert (await store.jobs.events(job.id))[-1].data["worker"] == "w0"


async def test_nothing_is_claimed_for_nobody(store: ports.Store, clock: kit.Clock) -> None:
    assert await kit.claim(store, await kit.lease(store, "w0"), clock) == ()
    await kit.submit_one(store, clock)
    assert await kit.claim(store, [], clock) == ()
    assert await kit.claim(store, await kit.lease(store, "w0", accepts=()), clock) == ()


async def test_jobs_of_a_class_that_an_idle_worker_is_warm_for_are_seen_behind_the_head(
    store: ports.Store, clock: kit.Clock
) -> None:
    """However many jobs of another class are before them; and only a few of them, so that a claim stays cheap."""
    for _ in range(2):
        await store.jobs.submit([kit.new_job(clock) for _ in range(windows.WINDOW)])
    behind = await store.jobs.submit([kit.new_job(clock, requirements=kit.RARE) for _ in range(40)])
    slots = await kit.lease(store, "w0")
    assert len(await offered(store, clock, slots)) == windows.WINDOW
    warm = [replace(slot, warm=frozenset({kit.RARE.key})) for slot in slots]
    seen = await offered(store, clock, warm)
    assert [job.job_id for job in seen[windows.WINDOW :]] == [job.id for job in behind[: windows.WARM_WINDOW]]
    at_head = [replace(slot, warm=frozenset({kit.PLAIN.key})) for slot in slots]
    assert len(await offered(store, clock, at_head)) == windows.WINDOW


async def test_what_placement_needs_of_a_graph_comes_with_candidate_and_claim(
    store: ports.Store, clock: kit.Clock
) -> None:
    made = sketch.Sketch(work=2.5, keys=(1, 2**32 - 1))
    job = await kit.submit_one(store, clock, sketch=made)
    slots = await kit.lease(store, "w0")
    (candidate,) = await offered(store, clock, slots)
    assert (candidate.sketch, candidate.sketch.held) == (made, frozenset(made.keys))
    assert [one.job_id for one in await store.queue.look(slots, now=clock.now)] == [job.id]
    (taken,) = await kit.claim(store, slots, clock)
    assert (taken.sketch, taken.requirements_key) == (made, kit.PLAIN.key)
    assert (await store.jobs.get(kit.TENANT, job.id)).sketch == made


async def test_a_claim_tells_whether_anything_waits(store: ports.Store, clock: kit.Clock) -> None:
    async def waiting(*slots: model.Slot) -> bool:
        return (await store.queue.claim(slots, kit.one_each, now=clock.now, new_id=kit.new_id)).waiting

    plain, other = await kit.lease(store, "w0", "w1", accepts=[kit.PLAIN])
    stale = model.Slot(worker=plain.worker, epoch=99, accepts=plain.accepts)
    assert not await waiting(plain)
    await kit.submit_one(store, clock)
    assert await waiting()
    assert await waiting(stale)
    assert not await waiting(plain)
    await kit.submit_one(store, clock, requirements=kit.RARE)
    await kit.submit_one(store, clock)
    assert await waiting(plain)  # a job that only another worker can run waits too
    await store.jobs.submit([kit.new_job(clock) for _ in range(windows.WINDOW * 2)])
    assert await waiting(plain, other)


class Offering:
    """Offers these places, and waits for what is given for them. PostgreSQL, with a transaction each, does not ask."""

    def __init__(self, clock: kit.Clock, slots: Sequence[model.Slot]) -> None:
        self._clock = clock
        self._slots = slots
        self._given: asyncio.Queue[model.Claimed] = asyncio.Queue()
        self.asked = False

    def __call__(self, needed: Mapping[str, Requirements]) -> ports.Offer:
        assert needed == {kit.PLAIN.key: kit.PLAIN}
        self.asked = True
        return ports.Offer(
            slots=self._slots, choose=kit.one_each, now=self._clock.now, new_id=kit.new_id, given=self._given.put_nowait
        )

    async def claimed(self) -> list[str]:
        """The jobs that were claimed."""
        return [claim.job_id for claim in (await self._given.get()).claims] if self.asked else []


async def test_jobs_are_claimed_in_the_transaction_that_queues_them(store: ports.Store, clock: kit.Clock) -> None:
    await store.queue.pauses()  # as dispatch asks each second
    offer = Offering(clock, await kit.lease(store, "w0"))
    first, second = await store.jobs.submit([kit.new_job(clock, priority=1), kit.new_job(clock)], offer=offer)
    assert await offer.claimed() == [first.id] * offer.asked
    status = JobStatus.RUNNING if offer.asked else JobStatus.QUEUED
    assert (await store.jobs.get(kit.TENANT, first.id)).status is status
    assert (await store.jobs.get(kit.TENANT, second.id)).status is JobStatus.QUEUED


async def test_what_is_offered_to_an_order_that_is_refused_goes_to_others(store: ports.Store, clock: kit.Clock) -> None:
    waiting = await kit.submit_one(store, clock)
    await store.queue.pauses()
    offer = Offering(clock, await kit.lease(store, "w0"))
    with pytest.raises(errors.QueueFull):
        await store.jobs.submit([kit.new_job(clock)], queue_limit=1, offer=offer)
    assert await offer.claimed() == [waiting.id] * offer.asked


async def test_nothing_is_claimed_for_orders_while_the_queue_is_paused(store: ports.Store, clock: kit.Clock) -> None:
    await store.pauses.put(pauses.Pause(kind=pauses.PauseKind.QUEUE, name="", since=clock.now))
    offer = Offering(clock, await kit.lease(store, "w0"))
    (job,) = await store.jobs.submit([kit.new_job(clock)], offer=offer)
    assert await offer.claimed() == []
    assert (await store.jobs.get(kit.TENANT, job.id)).status is JobStatus.QUEUED


async def test_requirements_of_what_is_queued_are_known(store: ports.Store, clock: kit.Clock) -> None:
    assert await store.queue.requirements() == {}
    await kit.submit_one(store, clock)
    before = await store.queue.requirements()
    await kit.submit_one(store, clock, requirements=kit.RARE)
    assert before == {kit.PLAIN.key: kit.PLAIN}
    assert await store.queue.requirements() == {kit.PLAIN.key: kit.PLAIN, kit.RARE.key: kit.RARE}


async def test_requirements_that_nothing_needs_any_more_are_forgotten(store: ports.Store, clock: kit.Clock) -> None:
    rare = await kit.submit_one(store, clock, requirements=kit.RARE, priority=1)
    waiting = await kit.submit_one(store, clock)
    (taken,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    assert taken.job_id == rare.id
    await store.jobs.cancel(kit.TENANT, waiting.id, now=clock.now)
    clock.now += 1
    assert await store.queue.requirements() == {kit.RARE.key: kit.RARE}  # it runs, and may be queued again
    await store.queue.settle(taken.attempt.id, kit.ending(clock, Outcome.SUCCEEDED))
    clock.now += 1
    assert await store.queue.requirements() == {}
    await kit.submit_one(store, clock, requirements=kit.RARE)
    assert await store.queue.requirements() == {kit.RARE.key: kit.RARE}


async def test_requirements_from_another_process_are_known_within_a_second(
    opened: kit.OpenStore, clock: kit.Clock
) -> None:
    mine, other = await opened(), await opened()
    await kit.submit_one(mine, clock, requirements=kit.RARE)
    clock.now += 1
    assert await other.queue.requirements() == {kit.RARE.key: kit.RARE}


async def test_priority_goes_first_then_age(store: ports.Store, clock: kit.Clock) -> None:
    jobs = [await kit.submit_one(store, clock, priority=priority) for priority in (0, 5, 0, -5, 5)]
    seen = await offered(store, clock, await kit.lease(store, "w0"))
    assert [candidate.job_id for candidate in seen] == [jobs[index].id for index in (1, 4, 0, 2, 3)]
    assert [candidate.priority for candidate in seen] == [5, 5, 0, 0, -5]


async def test_tenants_take_turns(store: ports.Store, clock: kit.Clock) -> None:
    await store.jobs.submit([kit.new_job(clock) for _ in range(30)])
    await store.jobs.submit([kit.new_job(clock, tenant=kit.OTHER) for _ in range(10)])
    seen = await offered(store, clock, await kit.lease(store, "w0"))
    first = Counter(candidate.tenant for candidate in seen[:20])
    assert first[kit.TENANT] in {9, 10, 11}


async def test_a_tenant_earns_no_credit_while_idle(store: ports.Store, clock: kit.Clock) -> None:
    slots = await kit.lease(store, "w0")
    for _ in range(20):
        await kit.submit_one(store, clock)
        await kit.run_one(store, clock, slots, Outcome.SUCCEEDED)
    await store.jobs.submit([kit.new_job(clock, tenant=kit.OTHER) for _ in range(6)])
    await store.jobs.submit([kit.new_job(clock) for _ in range(6)])
    seen = await offered(store, clock, slots)
    assert Counter(candidate.tenant for candidate in seen[:6])[kit.TENANT] >= 2


async def test_a_heavier_tenant_gets_more_turns(store: ports.Store, clock: kit.Clock, store_url: str) -> None:
    await kit.submit_one(store, clock, tenant=kit.OTHER)
    alter(store_url, "UPDATE tenants SET weight = 3 WHERE id = 'other'")
    await store.jobs.submit([kit.new_job(clock) for _ in range(30)])
    await store.jobs.submit([kit.new_job(clock, tenant=kit.OTHER) for _ in range(30)])
    seen = await offered(store, clock, await kit.lease(store, "w0"))
    first = Counter(candidate.tenant for candidate in seen[:24])
    assert 16 <= first[kit.OTHER] <= 20


async def test_capped_tenants_wait_and_hide_nobody(store: ports.Store, clock: kit.Clock, store_url: str) -> None:
    await store.jobs.submit([kit.new_job(clock, tenant=kit.OTHER, priority=9) for _ in range(windows.WINDOW + 5)])
    await kit.submit_one(store, clock)
    alter(store_url, "UPDATE tenants SET max_running = 2 WHERE id = 'other'")
    slots = await kit.lease(store, "w0", "w1", "w2", "w3")
    taken = await kit.claim(store, slots, clock)
    assert [claim.tenant for claim in taken] == [kit.OTHER, kit.OTHER]
    taken_next = await kit.claim(store, slots[2:], clock)
    assert [claim.tenant for claim in taken_next] == [kit.TENANT]
    await store.queue.settle(taken[0].attempt.id, kit.ending(clock, Outcome.SUCCEEDED))
    assert [claim.tenant for claim in await kit.claim(store, slots[:2], clock)] == [kit.OTHER]


async def test_a_tenants_queue_can_be_bounded(store: ports.Store, clock: kit.Clock, store_url: str) -> None:
    await kit.submit_one(store, clock)
    alter(store_url, "UPDATE tenants SET max_queued = 2 WHERE id = 'default'")
    await kit.submit_one(store, clock)
    with pytest.raises(errors.QueueFull):
        await kit.submit_one(store, clock)
    await kit.submit_one(store, clock, tenant=kit.OTHER)


async def test_jobs_that_cannot_run_here_never_hide_others(store: ports.Store, clock: kit.Clock) -> None:
    await store.jobs.submit([kit.new_job(clock, requirements=kit.RARE) for _ in range(windows.WINDOW * 3)])
    behind = await kit.submit_one(store, clock)
    plain_only, all_kinds = (
        *await kit.lease(store, "w0", accepts=[kit.PLAIN]),
        *await kit.lease(store, "w1"),
    )
    assert [candidate.job_id for candidate in await offered(store, clock, [plain_only])] == [behind.id]
    seen = await offered(store, clock, [all_kinds, plain_only])
    assert behind.id in {candidate.job_id for candidate in seen}
    assert len(seen) == windows.WINDOW + 1
    taken = await kit.claim(store, [plain_only, all_kinds], clock)
    assert {claim.attempt.worker for claim in taken} == {"w0", "w1"}


async def test_windows_of_several_classes_are_merged_in_fair_order(store: ports.Store, clock: kit.Clock) -> None:
    kinds = [Requirements(classes=frozenset({f"Node{number}"})) for number in range(5)]
    await store.jobs.submit([kit.new_job(clock, requirements=kit.RARE) for _ in range(windows.WINDOW)])
    jobs = await store.jobs.submit([kit.new_job(clock, requirements=kinds[n % 5]) for n in range(20)])
    seen = await offered(store, clock, await kit.lease(store, "w0", accepts=[*kinds, kit.PLAIN]))
    assert [candidate.job_id for candidate in seen] == [job.id for job in jobs]
    assert [candidate.requirements_key for candidate in seen] == [kinds[n % 5].key for n in range(20)]


async def test_a_job_taken_twice_by_choose_is_claimed_once(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock)

    def both(candidates: Sequence[model.Candidate], slots: Sequence[model.Slot]) -> list[model.Assignment]:
        return [model.Assignment(job_id=candidates[0].job_id, worker=slot.worker, reason="") for slot in slots]

    taken = await kit.claim(store, await kit.lease(store, "w0", "w1"), clock, both)
    assert [(claim.job_id, claim.attempt.worker) for claim in taken] == [(job.id, "w0")]


async def test_an_error_in_choose_claims_nothing(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock)

    def fail(candidates: Sequence[model.Candidate], slots: Sequence[model.Slot]) -> list[model.Assignment]:
        raise ZeroDivisionError

    slots = await kit.lease(store, "w0")
    with pytest.raises(ZeroDivisionError):
        await kit.claim(store, slots, clock, fail)
    assert (await store.jobs.get(kit.TENANT, job.id)).status is JobStatus.QUEUED
    assert len(await kit.claim(store, slots, clock)) == 1


async def test_success_settles_all_at_once(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock)
    (taken,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    odd = {"9": {"class_type": "Save\0", "errors": [{"message": "\ud800"}]}}
    await store.queue.mark_posted(taken.attempt.id, at=clock.now + 1, node_errors=odd)
    (early,) = await store.queue.add_outputs(taken.attempt.id, [kit.new_output(clock, job.id, name="a\0\ud800.png")])
    assert (await store.jobs.get(kit.TENANT, job.id)).outputs == (early,)
    late = [kit.new_output(clock, job.id, node_id="3", index=1), kit.new_output(clock, job.id, node_id="\0", index=0)]
    clock.now += 10
    ended = await store.queue.settle(
        taken.attempt.id,
        kit.ending(clock, Outcome.SUCCEEDED, outputs=tuple(late), outputs_reused=True, started_at=clock.now - 2.5),
    )
    assert ended == await store.jobs.get(kit.TENANT, job.id)
    assert (ended.status, ended.tries, ended.attempt_id, ended.worker) == (JobStatus.SUCCEEDED, 1, None, "w0")
    assert (ended.completed_at, ended.execution_ms, ended.outputs_reused) == (clock.now, 2500, True)
    assert [(output.index, output.node_id) for output in ended.outputs] == [(0, "9"), (1, "\0"), (2, "3")]
    assert ended.outputs[0].name == "a\0\ud800.png"
    assert await store.assets.get(kit.TENANT, late[0].asset.id) == late[0].asset
    (attempt,) = await store.jobs.attempts(job.id)
    assert (attempt.outcome, attempt.reason) == (Outcome.SUCCEEDED, "it succeeded")
    assert (attempt.posted_at, attempt.started_at) == (taken.attempt.created_at + 1, clock.now - 2.5)
    assert (attempt.ended_at, attempt.node_errors) == (clock.now, odd)
    assert [event.type for event in await store.jobs.events(job.id)] == [
        "submit",
        "claim",
        "output",
        "output",
        "output",
        "succeed",
    ]
    assert [event.seq for event in await store.jobs.events(job.id)] == [1, 2, 3, 4, 5, 6]
    assert [worker.jobs_done for worker in await store.workers.all()] == [1]


async def test_failure_keeps_its_error_to_the_last_character(store: ports.Store, clock: kit.Clock) -> None:
    await kit.submit_one(store, clock)
    error = model.JobError(
        code="node_execution_error",
        message="NUL \0 \ud800",
        node_id="3",
        class_type="KSampler",
        traceback="Traceback",
        details={"at": [1, None, {"x": "\0"}]},
    )
    ended = await kit.run_one(store, clock, await kit.lease(store, "w0"), Outcome.FAILED, error=error)
    assert (ended.status, ended.error, ended.execution_ms) == (JobStatus.FAILED, error, None)
    assert (await store.jobs.attempts(ended.id))[0].error == error
    assert [worker.jobs_done for worker in await store.workers.all()] == [0]


async def test_a_lost_attempt_is_queued_again_elsewhere(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock)
    slots = await kit.lease(store, "w0")
    (taken,) = await kit.claim(store, slots, clock)
    dropped = kit.new_output(clock, job.id)
    await store.queue.add_outputs(taken.attempt.id, [dropped])
    again = await store.queue.settle(
        taken.attempt.id,
        kit.ending(clock, Outcome.LOST, retry_at=clock.now + 5, outputs=(kit.new_output(clock, job.id, index=1),)),
    )
    assert (again.status, again.tries, again.attempt_id, again.outputs) == (JobStatus.QUEUED, 1, None, ())
    assert (again.started_at, again.completed_at) == (None, None)
    with pytest.raises(errors.NotFound):
        await store.assets.get(kit.TENANT, dropped.asset.id)
    assert dropped.asset.hash in await store.queue.prune(now=clock.now)
    assert await kit.claim(store, slots, clock) == ()
    clock.now += 5
    (candidate,) = await offered(store, clock, slots)
    assert candidate.avoid == {"w0"}
    (second,) = await kit.claim(store, slots, clock)
    assert (second.attempt.number, second.avoid) == (2, {"w0"})
    (made,) = await store.queue.add_outputs(second.attempt.id, [kit.new_output(clock, job.id)])
    assert made.index == 0
    assert [attempt.outcome for attempt in await store.jobs.attempts(job.id)] == [Outcome.LOST, None]


async def test_tries_run_out(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock, max_tries=2)
    slots = await kit.lease(store, "w0")
    assert (await kit.run_one(store, clock, slots, Outcome.BROKEN, avoid=False)).status is JobStatus.QUEUED
    (candidate,) = await offered(store, clock, slots)
    assert candidate.avoid == frozenset()
    ended = await kit.run_one(store, clock, slots, Outcome.LOST)
    assert (ended.status, ended.tries, ended.completed_at) == (JobStatus.FAILED, 2, clock.now)
    assert ended.error == model.JobError(code="attempt_lost", message="it lost")
    assert [attempt.number for attempt in await store.jobs.attempts(job.id)] == [1, 2]


async def test_what_is_handed_back_spends_no_try(store: ports.Store, clock: kit.Clock) -> None:
    await kit.submit_one(store, clock, max_tries=1)
    slots = await kit.lease(store, "w0")
    for _ in range(3):
        released = await kit.run_one(store, clock, slots, Outcome.RELEASED, avoid=False)
        assert (released.status, released.tries) == (JobStatus.QUEUED, 0)
    assert (await kit.run_one(store, clock, slots, Outcome.SUCCEEDED)).tries == 1


async def test_what_is_handed_back_stands_where_it_stood_before(store: ports.Store, clock: kit.Clock) -> None:
    first = await kit.submit_one(store, clock)
    await kit.submit_one(store, clock)
    slots = await kit.lease(store, "w0")
    released = await kit.run_one(store, clock, slots, Outcome.RELEASED, avoid=False)
    assert released.id == first.id
    (again,) = await kit.claim(store, slots, clock)
    assert (again.job_id, again.avoid) == (first.id, frozenset())


async def test_a_job_asked_to_stop_may_finish_first(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock)
    (taken,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    await store.queue.add_outputs(taken.attempt.id, [kit.new_output(clock, job.id)])
    ended = await store.queue.settle(taken.attempt.id, kit.ending(clock, Outcome.SUCCEEDED))
    assert (ended.status, len(ended.outputs)) == (JobStatus.SUCCEEDED, 1)


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.BROKEN, Outcome.RELEASED, Outcome.CANCELED])
async def test_a_job_asked_to_stop_is_never_queued_again(
    store: ports.Store, clock: kit.Clock, outcome: Outcome
) -> None:
    job = await kit.submit_one(store, clock)
    (taken,) = await kit.claim(store, await kit.lease(store, "w0"), clock)
    await store.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    ended = await store.queue.settle(taken.attempt.id, kit.ending(clock, outcome))
    assert (ended.status, ended.completed_at) == (JobStatus.CANCELED, clock.now)


async def test_an_ended_attempt_takes_no_more_writes(store: ports.Store, clock: kit.Clock) -> None:
    job = await kit.submit_one(store, clock)
    slots = await kit.lease(store, "w0")
    (taken,) = await kit.claim(store, slots, clock)
    await store.queue.settle(taken.attempt.id, kit.ending(clock, Outcome.LOST))
    await refuse_all(store, clock, taken)
    with pytest.raises(errors.LeaseLost):
        await store.queue.settle(model.AttemptId("unknown\0"), kit.ending(clock, Outcome.LOST))
    assert (await store.jobs.get(kit.TENANT, job.id)).outputs == ()


async def refuse_all(store: ports.Store, clock: kit.Clock, taken: model.Claim) -> None:
    """Every write about the attempt is refused, and none leaves a trace."""
    before = await store.jobs.get(taken.tenant, taken.job_id)
    output = kit.new_output(clock, taken.job_id)
    with pytest.raises(errors.LeaseLost):
        await store.queue.mark_posted(taken.attempt.id, at=clock.now, node_errors={})
    with pytest.raises(errors.LeaseLost):
        await store.queue.add_outputs(taken.attempt.id, [output])
    with pytest.raises(errors.LeaseLost):
        await store.queue.settle(taken.attempt.id, kit.ending(clock, Outcome.SUCCEEDED, outputs=(output,)))
    assert await store.jobs.get(taken.tenant, taken.job_id) == before
    with pytest.raises(errors.NotFound):
        await store.assets.get(taken.tenant, output.asset.id)


async def test_a_worker_taken_over_fences_its_former_driver_off(opened: kit.OpenStore, clock: kit.Clock) -> None:
    former, successor = await opened(), await opened()
    await kit.submit_one(former, clock)
    slots = await kit.lease(former, "w0", owner="a")
    (taken,) = await kit.claim(former, slots, clock)
    await former.workers.release(owner="a")
    await refuse_all(former, clock, taken)
    taken_over = await kit.lease(successor, "w0", owner="b")
    assert taken_over[0].epoch == slots[0].epoch + 1
    await refuse_all(successor, clock, taken)  # not adopted yet: still fenced by the old epoch
    (adopted,) = await successor.queue.open_claims([model.WorkerId("w0")])
    assert (adopted.attempt.id, adopted.attempt.epoch, adopted.resumed) == (taken.attempt.id, taken_over[0].epoch, True)
    assert (adopted.graph, adopted.job_id) == (taken.graph, taken.job_id)
    await refuse_all(former, clock, taken)
    ended = await successor.queue.settle(taken.attempt.id, kit.ending(clock, Outcome.SUCCEEDED))
    assert ended.status is JobStatus.SUCCEEDED


async def test_a_new_boot_of_the_same_host_fences_the_old_one_off(opened: kit.OpenStore, clock: kit.Clock) -> None:
    old, new = await opened(), await opened()
    await kit.submit_one(old, clock)
    await kit.submit_one(old, clock)
    slots = await kit.lease(old, "w0")
    (taken,) = await kit.claim(old, slots, clock)
    await kit.lease(new, "w0")
    await refuse_all(old, clock, taken)
    assert await kit.claim(old, slots, clock) == ()
    assert await old.queue.open_claims([model.WorkerId("w0")]) == ()
    (adopted,) = await new.queue.open_claims([model.WorkerId("w0"), model.WorkerId("unknown")])
    await new.queue.settle(adopted.attempt.id, kit.ending(clock, Outcome.RELEASED))


async def test_a_job_asked_to_stop_is_adopted_too(opened: kit.OpenStore, clock: kit.Clock) -> None:
    old, new = await opened(), await opened()
    job = await kit.submit_one(old, clock)
    await kit.claim(old, await kit.lease(old, "w0"), clock)
    await old.jobs.cancel(kit.TENANT, job.id, now=clock.now)
    await kit.lease(new, "w0")
    (adopted,) = await new.queue.open_claims([model.WorkerId("w0")])
    assert (await new.queue.settle(adopted.attempt.id, kit.ending(clock, Outcome.LOST))).status is JobStatus.CANCELED
    assert await new.queue.open_claims([]) == ()


async def test_stale_slots_get_nothing(store: ports.Store, clock: kit.Clock) -> None:
    await kit.submit_one(store, clock)
    (slot,) = await kit.lease(store, "w0")
    stale = model.Slot(worker=slot.worker, epoch=slot.epoch - 1, accepts=slot.accepts)
    unknown = model.Slot(worker=model.WorkerId("nobody"), epoch=1, accepts=slot.accepts)
    assert await kit.claim(store, [stale, unknown], clock) == ()
    await store.workers.release(owner=kit.OWNER)
    assert await kit.claim(store, [slot], clock) == ()


async def test_jobs_that_waited_too_long_expire(store: ports.Store, clock: kit.Clock) -> None:
    old = await kit.submit_one(store, clock)
    retried = await kit.submit_one(store, clock)
    slots = await kit.lease(store, "w0", "w1")
    clock.now += 100
    await store.jobs.cancel(kit.TENANT, (await kit.submit_one(store, clock)).id, now=clock.now)
    first, second = await kit.claim(store, slots, clock)
    assert {first.job_id, second.job_id} == {old.id, retried.id}
    again = {first.job_id: first, second.job_id: second}
    await store.queue.settle(again[retried.id].attempt.id, kit.ending(clock, Outcome.LOST))
    waiting = await kit.submit_one(store, clock)
    clock.now += 50
    young = await kit.submit_one(store, clock)
    expired = await store.queue.expire(now=clock.now, queued_before=clock.now - 10)
    assert set(expired) == {retried.id, waiting.id}
    assert (await store.jobs.get(kit.TENANT, waiting.id)).status is JobStatus.EXPIRED
    assert (await store.jobs.get(kit.TENANT, waiting.id)).completed_at == clock.now
    assert (await store.jobs.get(kit.TENANT, young.id)).status is JobStatus.QUEUED
    assert (await store.jobs.get(kit.TENANT, old.id)).status is JobStatus.RUNNING
    assert await store.queue.expire(now=clock.now, queued_before=clock.now - 10) == ()


def alter(store_url: str, statement: str) -> None:
    """What a tenants' administration will do one day."""
    engine = engines.backend(store_url).engine
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()
