"""Any order of calls: a machine that plays hosts, clients, crashes and clocks, and knows what must be true.

Two hosts submit, lease, claim, settle, adopt, reap, expire, prune, crash and come back over one database, with what
they last heard of their leases; clients cancel; the clock stands, runs and jumps back. After every call:

1. every job has the status that the one table of edges leads to, and its events are that very path;
2. a job that has ended has exactly one event that ended it, the last of its status, and no open attempt;
3. a job has an open attempt exactly while it is running or canceling, and then one; attempts are numbered in order;
4. tries count the attempts that ended, those that were handed back excepted, and never exceed `max_tries`;
5. only the boot that holds a worker's lease, under the epoch that the attempt carries, writes about the attempt;
   everybody else gets LeaseLost and changes nothing;
6. a claim takes as many jobs as there are places that are really held and jobs that are due, and none before its time;
7. outputs are those of the attempt that ended the job, in order; what an attempt that was given up made is gone;
8. what was recorded of an attempt before it is adopted is told to whoever adopts it;
9. an idempotency key orders once, whatever happens between;
10. only jobs that ended and are past their retention are forgotten;
11. queue positions are 1 to n.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st

from gateway import ports
from gateway.adapters.bus import MemoryBus
from gateway.adapters.store import open_store
from gateway.dispatch import reaping
from gateway.domain import errors, model
from gateway.domain.states import TERMINAL, Edge, JobStatus, Outcome
from tests import fixtures_postgres
from tests.contract import store_kit as kit
from tests.contract import store_model

T = TypeVar("T")
WORKERS = tuple(model.WorkerId(name) for name in ("w0", "w1", "w2"))
HOSTS = ("here", "there")

hosts = st.sampled_from(HOSTS)
some_workers = st.sets(st.sampled_from(WORKERS), min_size=1)


class StoreMachine(stateful.RuleBasedStateMachine):
    """The store against a model of plain Python."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = kit.Clock()
        self.boots = 0
        self.jobs: dict[model.JobId, store_model.Expected] = {}
        self.open: dict[model.AttemptId, store_model.Open] = {}
        self.ended: list[model.AttemptId] = []
        self.keys: set[str] = set()
        self.leases = {worker: store_model.Lease() for worker in WORKERS}
        self.runner = asyncio.Runner()
        self.url = self.new_database()
        self.hosts = {name: self.run(self.boot(name)) for name in HOSTS}
        self.run(self.add_workers())
        self.renew("here", set(WORKERS), live=True)

    def new_database(self) -> str:
        self.folder = tempfile.TemporaryDirectory()
        return f"sqlite:///{self.folder.name}/gateway.db"

    def drop_database(self) -> None:
        self.folder.cleanup()

    def run(self, call: Awaitable[T]) -> T:
        async def wait() -> T:
            return await call

        return self.runner.run(wait())

    async def boot(self, name: str) -> store_model.Host:
        self.boots += 1
        return store_model.Host(owner=name, store=await open_store(self.url, clock=self.clock), boot=self.boots)

    async def add_workers(self) -> None:
        for worker in WORKERS:
            await self.any_store.workers.put(kit.new_worker(worker))

    @property
    def any_store(self) -> ports.Store:
        return self.hosts["here"].store

    def teardown(self) -> None:
        for host in self.hosts.values():
            self.run(host.store.close())
        self.runner.close()
        self.drop_database()

    def fenced(self, host: store_model.Host, attempt: model.AttemptId) -> bool:
        """Whether this host may write about the attempt."""
        lease, running = self.leases[self.open[attempt].worker], self.open[attempt]
        return lease.boot == host.boot and lease.epoch == running.epoch

    # -- clients ------------------------------------------------------------------------------------------------

    @stateful.rule(
        host=hosts,
        n=st.integers(1, 4),
        tenant=st.sampled_from([kit.TENANT, kit.OTHER]),
        priority=st.integers(-1, 1),
        requirements=st.sampled_from([kit.PLAIN, kit.RARE]),
        max_tries=st.integers(1, 3),
        key=st.none() | st.sampled_from("abc"),
    )
    def submit(self, host: str, n: int, key: str | None, **fields: Any) -> None:
        fields["expires_at"] = self.clock.now + 60
        orders = [kit.new_job(self.clock, **fields) for _ in range(n)]
        call = self.hosts[host].store.jobs.submit(orders, idempotency_key=key)
        taken = f"{fields['tenant']}:{key}"
        if key is not None and taken in self.keys:
            with pytest.raises(errors.IdempotencyKeyReuse):
                self.run(call)
            return
        self.run(call)
        if key is not None:
            self.keys.add(taken)
        for order in orders:
            self.jobs[order.id] = store_model.Expected(
                tenant=order.tenant,
                max_tries=order.max_tries,
                queued_at=self.clock.now,
                expires_at=order.expires_at,
            )

    @stateful.precondition(lambda self: self.jobs)
    @stateful.rule(data=st.data(), host=hosts)
    def cancel(self, data: st.DataObject, host: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[job_id]
        found = self.run(self.hosts[host].store.jobs.cancel(job.tenant, job_id, now=self.clock.now))
        if job.status is JobStatus.QUEUED:
            job.follow(Edge.CANCEL)
        elif job.status is JobStatus.RUNNING:
            job.follow(Edge.ASK_CANCEL)
        assert found.status is job.status

    @stateful.rule(host=hosts, tenant=st.sampled_from([None, kit.TENANT, kit.OTHER]), running=st.booleans())
    def cancel_all(self, host: str, tenant: model.TenantId | None, running: bool) -> None:
        """Everything that waits, and what runs with `running`: of one tenant, or of everybody."""
        edges = {JobStatus.QUEUED: Edge.CANCEL} | ({JobStatus.RUNNING: Edge.ASK_CANCEL} if running else {})
        expected: dict[str, JobStatus] = {}
        for job_id, job in self.jobs.items():
            if job.status in edges and tenant in {None, job.tenant}:
                job.follow(edges[job.status])
                expected[job_id] = job.status
        store = self.hosts[host].store

        async def cancel() -> dict[str, JobStatus]:
            found = store.jobs.cancel_queued(tenant, now=self.clock.now, running=running)
            return {one.job_id: one.status async for chunk in found for one in chunk}

        assert self.run(cancel()) == expected

    # -- clocks -------------------------------------------------------------------------------------------------

    @stateful.rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @stateful.rule(seconds=st.integers(1, 200))
    def the_clock_jumps_back(self, seconds: int) -> None:
        self.clock.now -= seconds

    # -- leases -------------------------------------------------------------------------------------------------

    @stateful.rule(host=hosts, workers=some_workers, live=st.booleans())
    def renew(self, host: str, workers: set[model.WorkerId], live: bool) -> None:
        """`live`: for long. Otherwise it runs out at once, and the host goes on believing in it."""
        this = self.hosts[host]
        seconds = 600.0 if live else -1.0
        held = self.run(this.store.workers.lease(sorted(workers), owner=this.owner, seconds=seconds))
        expected = {worker: self.leases[worker].take(this, live=live) for worker in workers}
        assert held == {worker: epoch for worker, epoch in expected.items() if epoch is not None}
        this.epochs.update(held)

    @stateful.rule(host=hosts)
    def release(self, host: str) -> None:
        this = self.hosts[host]
        self.run(this.store.workers.release(owner=this.owner))
        for lease in self.leases.values():
            if lease.owner == this.owner:
                lease.free()

    # -- dispatch -----------------------------------------------------------------------------------------------

    @stateful.rule(host=hosts, workers=some_workers)
    def claim(self, host: str, workers: set[model.WorkerId]) -> None:
        """With the leases as the host last heard of them."""
        this = self.hosts[host]
        keys = frozenset({kit.PLAIN.key, kit.RARE.key})
        believed = [worker for worker in sorted(workers) if worker in this.epochs]
        slots = [model.Slot(worker=worker, epoch=this.epochs[worker], accepts=keys) for worker in believed]
        held = [
            worker
            for worker in believed
            if self.leases[worker].boot == this.boot and self.leases[worker].epoch == this.epochs[worker]
        ]
        claims = self.run(kit.claim(this.store, slots, self.clock))
        due = [job for job in self.jobs.values() if job.status is JobStatus.QUEUED and job.not_before <= self.clock.now]
        assert len(claims) == min(len(held), len(due))
        for claim in claims:
            assert claim.attempt.worker in held
            job = self.jobs[claim.job_id]
            assert job.not_before <= self.clock.now
            job.follow(Edge.CLAIM)
            job.attempts += 1
            job.open = claim.attempt.id
            assert claim.attempt.number == job.attempts
            self.open[claim.attempt.id] = store_model.Open(
                job_id=claim.job_id, worker=claim.attempt.worker, epoch=self.leases[claim.attempt.worker].epoch
            )

    @stateful.precondition(lambda self: self.open)
    @stateful.rule(
        data=st.data(),
        host=hosts,
        outcome=st.sampled_from(Outcome),
        delay=st.integers(0, 20),
        late=st.integers(0, 2),
    )
    def settle(self, data: st.DataObject, host: str, outcome: Outcome, delay: int, late: int) -> None:
        attempt = data.draw(st.sampled_from(sorted(self.open)))
        job_id = self.open[attempt].job_id
        job = self.jobs[job_id]
        outputs = tuple(kit.new_output(self.clock, job_id, index=index) for index in range(late))
        retry_at = self.clock.now + delay
        ending = kit.ending(self.clock, outcome, retry_at=retry_at, outputs=outputs)
        call = self.hosts[host].store.queue.settle(attempt, ending)
        if not self.fenced(self.hosts[host], attempt):
            with pytest.raises(errors.LeaseLost):
                self.run(call)
            return
        found = self.run(call)
        self.settled(attempt, outcome, outputs=[(one.node_id, one.asset.hash) for one in outputs], retry_at=retry_at)
        assert found.status is job.status

    def settled(
        self, attempt: model.AttemptId, outcome: Outcome, *, outputs: list[tuple[str, str]], retry_at: float
    ) -> None:
        job = self.jobs[self.open.pop(attempt).job_id]
        job.settle(outcome, outputs=outputs, now=self.clock.now, retry_at=retry_at)
        self.ended.append(attempt)

    @stateful.precondition(lambda self: self.open)
    @stateful.rule(data=st.data(), host=hosts)
    def add_output(self, data: st.DataObject, host: str) -> None:
        attempt = data.draw(st.sampled_from(sorted(self.open)))
        job_id = self.open[attempt].job_id
        new = kit.new_output(self.clock, job_id)
        call = self.hosts[host].store.queue.add_outputs(attempt, [new])
        if not self.fenced(self.hosts[host], attempt):
            with pytest.raises(errors.LeaseLost):
                self.run(call)
            return
        (output,) = self.run(call)
        assert output.index == len(self.jobs[job_id].outputs)
        self.jobs[job_id].outputs.append((new.node_id, new.asset.hash))
        self.jobs[job_id].edges.append("output")

    @stateful.precondition(lambda self: self.ended)
    @stateful.rule(data=st.data(), host=hosts, outcome=st.sampled_from(Outcome))
    def settle_what_has_ended(self, data: st.DataObject, host: str, outcome: Outcome) -> None:
        attempt = data.draw(st.sampled_from(self.ended))
        with pytest.raises(errors.LeaseLost):
            self.run(self.hosts[host].store.queue.settle(attempt, kit.ending(self.clock, outcome)))

    @stateful.rule(host=hosts)
    def adopt(self, host: str) -> None:
        """What is open on the workers that the host holds is told to it, with what is recorded already."""
        this = self.hosts[host]
        adopted = self.run(this.store.queue.open_claims(WORKERS))
        mine = {one: running for one, running in self.open.items() if self.leases[running.worker].boot == this.boot}
        assert {claim.attempt.id: claim.job_id for claim in adopted} == {
            one: running.job_id for one, running in mine.items()
        }
        for claim in adopted:
            assert claim.resumed
            assert sorted(claim.recorded) == sorted(self.jobs[claim.job_id].outputs)
            assert claim.canceling == (self.jobs[claim.job_id].status is JobStatus.CANCELING)
            mine[claim.attempt.id].epoch = self.leases[claim.attempt.worker].epoch

    @stateful.rule(host=hosts, present=st.sets(st.sampled_from(WORKERS)))
    def reap(self, host: str, present: set[model.WorkerId]) -> None:
        """Workers that this host does not know, and that nobody drives: what is open there is handed back."""
        this = self.hosts[host]
        reaper = reaping.Reaper(
            queue=this.store.queue,
            workers=this.store.workers,
            bus=MemoryBus(),
            clock=self.clock,
            owner=this.owner,
            present=lambda: present,
        )
        self.run(reaper.sweep())
        gone = [worker for worker in WORKERS if worker not in present]
        taken = [worker for worker in gone if self.leases[worker].take(this, live=True) is not None]
        for attempt in [one for one, running in self.open.items() if running.worker in taken]:
            self.settled(attempt, Outcome.RELEASED, outputs=[], retry_at=0.0)

    # -- hosts --------------------------------------------------------------------------------------------------

    @stateful.rule(host=hosts, crash=st.booleans())
    def restart(self, host: str, crash: bool) -> None:
        """The old boot has closed, or (a crash, as others see it) only thinks that it still drives its workers."""
        old = self.hosts[host]
        if not crash:
            self.run(old.store.close())
        self.hosts[host] = self.run(self.boot(host))
        self.renew(host, set(WORKERS), live=True)
        if crash:
            self.run(self.refused(old))
            self.run(old.store.close())
        self.adopt(host)

    async def refused(self, old: store_model.Host) -> None:
        """Whatever the old boot held, the new one of the same host has now."""
        for attempt, running in self.open.items():
            assert self.leases[running.worker].boot != old.boot
            with pytest.raises(errors.LeaseLost):
                await old.store.queue.settle(attempt, kit.ending(self.clock, Outcome.SUCCEEDED))

    # -- time limits --------------------------------------------------------------------------------------------

    @stateful.rule(host=hosts, age=st.integers(1, 60))
    def expire(self, host: str, age: int) -> None:
        before = self.clock.now - age
        expired = self.run(self.hosts[host].store.queue.expire(now=self.clock.now, queued_before=before))
        overdue = {
            job_id for job_id, job in self.jobs.items() if job.status is JobStatus.QUEUED and job.queued_at < before
        }
        assert set(expired) == overdue
        for job_id in overdue:
            self.jobs[job_id].follow(Edge.EXPIRE)

    @stateful.rule(host=hosts)
    def prune(self, host: str) -> None:
        self.run(self.hosts[host].store.queue.prune(now=self.clock.now))
        for job_id in [one for one, job in self.jobs.items() if job.ended and job.expires_at <= self.clock.now]:
            with pytest.raises(errors.NotFound):
                self.run(self.any_store.jobs.get(self.jobs[job_id].tenant, job_id))
            del self.jobs[job_id]

    # -- what must be true --------------------------------------------------------------------------------------

    @stateful.invariant()
    def every_job_is_where_it_must_be(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        for job_id, job in self.jobs.items():
            await self.compare_one(job_id, job)
        queued = [job_id for job_id, job in self.jobs.items() if job.status is JobStatus.QUEUED]
        positions = [await self.any_store.jobs.queue_position(job_id) for job_id in queued]
        assert sorted(position or 0 for position in positions) == list(range(1, len(queued) + 1))

    async def compare_one(self, job_id: model.JobId, job: store_model.Expected) -> None:
        jobs = self.any_store.jobs
        found = await jobs.get(job.tenant, job_id)
        assert (found.status, found.tries, found.attempt_id) == (job.status, job.tries, job.open)
        assert job.tries <= job.max_tries
        assert [(output.node_id, output.asset.hash) for output in found.outputs] == job.outputs
        assert [output.index for output in found.outputs] == list(range(len(job.outputs)))
        assert (found.completed_at is not None) == (found.status in TERMINAL)
        attempts = await jobs.attempts(job_id)
        assert [attempt.number for attempt in attempts] == list(range(1, job.attempts + 1))
        open_ones = [attempt.id for attempt in attempts if attempt.ended_at is None]
        assert open_ones == [attempt for attempt in [job.open] if attempt is not None]
        assert bool(open_ones) == (job.status in {JobStatus.RUNNING, JobStatus.CANCELING})
        kinds = [event.type for event in await jobs.events(job_id)]
        assert kinds == job.edges
        assert [kind for kind in kinds if kind in store_model.ENDS] == (kinds[-1:] if job.ended else [])


PLAY = settings(
    max_examples=15,
    stateful_step_count=40,
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
