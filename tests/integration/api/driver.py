"""Plays dispatch through the store's ports, one step at a time, and a fleet that lives in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import uuid_utils

from gateway import assets, ports
from gateway.domain import errors, model
from gateway.domain.states import JobStatus, Outcome

WORKER = model.WorkerId("w1")


def new_id() -> str:
    return str(uuid_utils.uuid7())


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


def first_come(candidates: Sequence[model.Candidate], slots: Sequence[model.Slot]) -> Sequence[model.Assignment]:
    """The first candidate for the first worker."""
    return [
        model.Assignment(job_id=candidate.job_id, worker=slot.worker, reason="test")
        for candidate, slot in zip(candidates, slots, strict=False)
    ]


class Driver:
    """One worker's dispatch, step by step."""

    def __init__(self, store: ports.Store, bus: ports.Bus, kept: assets.Assets) -> None:
        self._store = store
        self._bus = bus
        self._assets = kept
        self._epoch = 0

    async def start(self) -> None:
        """Make the worker known and take its lease."""
        await self._store.workers.put(
            model.Worker(id=WORKER, url="http://w1", kind=model.WorkerKind.REMOTE, created_at=time.time())
        )
        self._epoch = (await self._store.workers.lease([WORKER], owner="test", seconds=600))[WORKER]

    async def claim(self) -> model.Claim:
        """Give the next queued job to the worker."""
        accepts = frozenset(await self._store.queue.requirements())
        slot = model.Slot(worker=WORKER, epoch=self._epoch, accepts=accepts)
        claimed = await self._store.queue.claim([slot], first_come, now=time.time(), new_id=new_id)
        (claim,) = claimed.claims
        self._bus.publish(claim.job_id, model.StatusChanged(status=JobStatus.RUNNING))
        return claim

    def progress(self, claim: model.Claim, value: float) -> None:
        """Tell how far it is."""
        made = model.Progress(value=value, nodes_done=int(value * 10), nodes_total=10, current_node="3")
        self._bus.publish(claim.job_id, model.ProgressMade(progress=made))

    def preview(self, claim: model.Claim, data: bytes, content_type: str) -> None:
        """Show a picture of work in progress."""
        made = model.Preview(node_id="3", content_type=content_type, data=data)
        self._bus.publish(claim.job_id, model.PreviewMade(preview=made))

    async def kept(self, claim: model.Claim, data: bytes, *, name: str, index: int = 0) -> model.NewOutput:
        """Keep an output's bytes."""
        return await self._assets.keep_output(
            tenant=claim.tenant,
            job_id=claim.job_id,
            node_id="9",
            name=name,
            index=index,
            expires_at=time.time() + 3600,
            simulated=False,
            chunks=chunks(data),
        )

    async def output(self, claim: model.Claim, data: bytes, *, name: str, index: int = 0) -> None:
        """Record an output while the job runs."""
        made = await self.kept(claim, data, name=name, index=index)
        for output in await self._store.queue.add_outputs(claim.attempt.id, [made]):
            self._bus.publish(claim.job_id, model.OutputMade(output=output))

    async def settle(
        self,
        claim: model.Claim,
        outcome: Outcome = Outcome.SUCCEEDED,
        *,
        outputs: Sequence[model.NewOutput] = (),
        error: model.JobError | None = None,
    ) -> model.Job:
        """End the attempt."""
        now = time.time()
        ending = model.Ending(
            outcome=outcome, reason="test", ended_at=now, started_at=now, outputs=tuple(outputs), error=error
        )
        job = await self._store.queue.settle(claim.attempt.id, ending)
        self._bus.publish(claim.job_id, model.StatusChanged(status=job.status))
        return job


class Fleet:
    """Workers that are only listed."""

    def __init__(self) -> None:
        self.known: dict[str, model.WorkerView] = {}

    def views(self) -> Sequence[model.WorkerView]:
        return tuple(self.known.values())

    async def add(self, url: str, *, worker_id: str | None = None, depth: int = 1) -> model.WorkerView:
        name = worker_id or url.rpartition("/")[2]
        if name in self.known:
            raise errors.Conflict(f"there is a worker {name} already")
        self.known[name] = model.WorkerView(
            id=model.WorkerId(name),
            url=url,
            kind=model.WorkerKind.REMOTE,
            state=model.WorkerState.STARTING,
            since=time.time(),
            depth=depth,
        )
        return self.known[name]

    async def remove(self, worker_id: str, *, drain: bool) -> model.WorkerView | None:
        view = self.known.get(worker_id)
        if view is None:
            raise errors.NotFound("there is no such worker")
        if drain and view.jobs:
            self.known[worker_id] = view = replace(view, state=model.WorkerState.DRAINING)
            return view
        del self.known[worker_id]
        return None
