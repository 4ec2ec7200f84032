"""Any order of calls: a machine that plays dispatch, clients, crashes and take-overs, and knows what must be true."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st

from gateway import ports
from gateway.adapters.store import open_store
from gateway.domain import errors, model, states
from gateway.domain.states import TERMINAL, Edge, JobStatus, Outcome
from tests import fixtures_postgres
from tests.contract import store_kit as kit

T = TypeVar("T")
WORKERS = ("w0", "w1", "w2")
ENDS = {Edge.CANCEL, Edge.EXPIRE, Edge.CONFIRM_CANCEL, Edge.SUCCEED, Edge.FAIL}


@dataclass(slots=True)
class Expected:
    """What must be true of a job."""

    tenant: model.TenantId
    max_tries: int
    queued_at: float
    status: JobStatus = JobStatus.QUEUED
    tries: int = 0
    attempts: int = 0
    open: model.AttemptId | None = None
    outputs: int = 0
    not_before: float = 0.0
    edges: list[str] = field(default_factory=lambda: ["submit"])

    def follow(self, edge: Edge) -> None:
        self.status = states.follow(self.status, edge)
        self.edges.append(edge)


class StoreMachine(stateful.RuleBasedStateMachine):
    """The store against a model of plain Python."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = kit.Clock()
        self.jobs: dict[model.JobId, Expected] = {}
        self.ended: list[model.AttemptId] = []
        self.runner = asyncio.Runner()
        self.url = self.new_database()
        self.store = self.run(open_store(self.url, clock=self.clock))
        self.slots = self.run(kit.lease(self.store, *WORKERS))

    def new_database(self) -> str:
        self.folder = tempfile.TemporaryDirectory()
        return f"sqlite:///{self.folder.name}/gateway.db"

    def drop_database(self) -> None:
        self.folder.cleanup()

    def run(self, call: Awaitable[T]) -> T:
        async def wait() -> T:
            return await call

        return self.runner.run(wait())

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()
        self.drop_database()

    def running(self) -> dict[model.AttemptId, model.JobId]:
        return {job.open: job_id for job_id, job in self.jobs.items() if job.open is not None}

    @stateful.rule(
        n=st.integers(1, 4),
        tenant=st.sampled_from([kit.TENANT, kit.OTHER]),
        priority=st.integers(-1, 1),
        needs=st.sampled_from([kit.PLAIN, kit.RARE]),
        max_tries=st.integers(1, 3),
    )
    def submit(self, n: int, tenant: model.TenantId, **fields: Any) -> None:
        needs = fields.pop("needs")
        orders = [kit.new_job(self.clock, tenant=tenant, requirements=needs, **fields) for _ in range(n)]
        self.run(self.store.jobs.submit(orders))
        for order in orders:
            self.jobs[order.id] = Expected(tenant, order.max_tries, self.clock.now)

    @stateful.rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @stateful.rule(names=st.sets(st.sampled_from(WORKERS), min_size=1))
    def claim(self, names: set[str]) -> None:
        slots = [slot for slot in self.slots if slot.worker in names]
        claims = self.run(kit.claim(self.store, slots, self.clock))
        due = [job for job in self.jobs.values() if job.status is JobStatus.QUEUED and job.not_before <= self.clock.now]
        assert len(claims) == min(len(slots), len(due))
        for claim in claims:
            job = self.jobs[claim.job_id]
            assert job.not_before <= self.clock.now
            job.follow(Edge.CLAIM)
            job.attempts += 1
            job.open = claim.attempt.id
            assert claim.attempt.number == job.attempts

    @stateful.precondition(lambda self: self.running())
    @stateful.rule(data=st.data(), outcome=st.sampled_from(Outcome), delay=st.integers(0, 20), late=st.integers(0, 2))
    def settle(self, data: st.DataObject, outcome: Outcome, delay: int, late: int) -> None:
        attempt, job_id = data.draw(st.sampled_from(sorted(self.running().items())))
        job = self.jobs[job_id]
        outputs = tuple(kit.new_output(self.clock, job_id, index=index) for index in range(late))
        ending = kit.ending(self.clock, outcome, retry_at=self.clock.now + delay, outputs=outputs)
        found = self.run(self.store.queue.settle(attempt, ending))
        job.tries += outcome is not Outcome.RELEASED
        edge = states.edge_after(outcome, status=job.status, tries=job.tries, max_tries=job.max_tries)
        if edge is Edge.REQUEUE:
            job.outputs, job.queued_at, job.not_before = 0, self.clock.now, self.clock.now + delay
        else:
            job.edges += ["output"] * late
            job.outputs += late
        job.follow(edge)
        job.open = None
        self.ended.append(attempt)
        assert found.status is job.status

    @stateful.precondition(lambda self: self.running())
    @stateful.rule(data=st.data())
    def add_output(self, data: st.DataObject) -> None:
        attempt, job_id = data.draw(st.sampled_from(sorted(self.running().items())))
        (output,) = self.run(self.store.queue.add_outputs(attempt, [kit.new_output(self.clock, job_id)]))
        assert output.index == self.jobs[job_id].outputs
        self.jobs[job_id].outputs += 1
        self.jobs[job_id].edges.append("output")

    @stateful.precondition(lambda self: self.ended)
    @stateful.rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def settle_what_has_ended(self, data: st.DataObject, outcome: Outcome) -> None:
        attempt = data.draw(st.sampled_from(self.ended))
        with pytest.raises(errors.LeaseLost):
            self.run(self.store.queue.settle(attempt, kit.ending(self.clock, outcome)))

    @stateful.precondition(lambda self: self.jobs)
    @stateful.rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[job_id]
        found = self.run(self.store.jobs.cancel(job.tenant, job_id, now=self.clock.now))
        if job.status is JobStatus.QUEUED:
            job.follow(Edge.CANCEL)
        elif job.status is JobStatus.RUNNING:
            job.follow(Edge.ASK_CANCEL)
        assert found.status is job.status

    @stateful.rule(age=st.integers(1, 60))
    def expire(self, age: int) -> None:
        before = self.clock.now - age
        expired = self.run(self.store.queue.expire(now=self.clock.now, queued_before=before))
        overdue = {
            job_id for job_id, job in self.jobs.items() if job.status is JobStatus.QUEUED and job.queued_at < before
        }
        assert set(expired) == overdue
        for job_id in overdue:
            self.jobs[job_id].follow(Edge.EXPIRE)

    @stateful.rule(crash=st.booleans())
    def another_boot_takes_over(self, crash: bool) -> None:
        """The old one has closed, or (a crash, as others see it) only thinks that it still drives the workers."""
        old, old_slots = self.store, self.slots
        if not crash:
            self.run(old.close())
        self.store = self.run(open_store(self.url, clock=self.clock))
        self.slots = self.run(kit.lease(self.store, *WORKERS))
        if crash:
            self.run(self.refused(old, old_slots))
            self.run(old.close())
        adopted = self.run(self.store.queue.open_claims([slot.worker for slot in self.slots]))
        assert {claim.attempt.id: claim.job_id for claim in adopted} == self.running()
        assert all(claim.resumed for claim in adopted)

    async def refused(self, old: ports.Store, old_slots: list[model.Slot]) -> None:
        assert await kit.claim(old, old_slots, self.clock) == ()
        for attempt in self.running():
            with pytest.raises(errors.LeaseLost):
                await old.queue.settle(attempt, kit.ending(self.clock, Outcome.SUCCEEDED))

    @stateful.invariant()
    def every_job_is_where_it_must_be(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        for job_id, job in self.jobs.items():
            found = await self.store.jobs.get(job.tenant, job_id)
            assert (found.status, found.tries, found.attempt_id) == (job.status, job.tries, job.open)
            assert [output.index for output in found.outputs] == list(range(job.outputs))
            assert (found.completed_at is not None) == (found.status in TERMINAL)
            attempts = await self.store.jobs.attempts(job_id)
            assert [attempt.number for attempt in attempts] == list(range(1, job.attempts + 1))
            assert [attempt.id for attempt in attempts if attempt.ended_at is None] == [
                attempt for attempt in [job.open] if attempt is not None
            ]
            kinds = [event.type for event in await self.store.jobs.events(job_id)]
            assert kinds == job.edges
            assert len([kind for kind in kinds if kind in ENDS]) == (job.status in TERMINAL)
        queued = [job_id for job_id, job in self.jobs.items() if job.status is JobStatus.QUEUED]
        positions = [await self.store.jobs.queue_position(job_id) for job_id in queued]
        assert sorted(position or 0 for position in positions) == list(range(1, len(queued) + 1))


PLAY = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@pytest.mark.slow
def test_any_order_of_calls_on_sqlite() -> None:
    stateful.run_state_machine_as_test(StoreMachine, settings=PLAY)


@pytest.mark.slow
@pytest.mark.postgres
def test_any_order_of_calls_on_postgres(
    postgres_server: fixtures_postgres.PostgresServer, migrated_template: str
) -> None:
    class PostgresMachine(StoreMachine):
        databases: ClassVar[list[str]] = []

        def new_database(self) -> str:
            self.databases.append(postgres_server.create(template=migrated_template))
            return postgres_server.url(self.databases[-1])

        def drop_database(self) -> None:
            postgres_server.drop(self.databases.pop())

    stateful.run_state_machine_as_test(PostgresMachine, settings=settings(PLAY, max_examples=5))
