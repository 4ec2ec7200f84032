"""What the tests of placement make: candidates, places, workers that hold models, and costs that were learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.domain import model, placement
from gateway.domain.comfy.graph import Requirements
from gateway.domain.costs import book, memory
from gateway.domain.costs.sketch import Sketch

KEYS = frozenset("abcd")


def candidate(job: str, needs: str = "a", *, avoid: str = "", priority: int = 0, work: float = 1.0) -> model.Candidate:
    return model.Candidate(
        job_id=model.JobId(job),
        tenant=model.DEFAULT_TENANT,
        requirements_key=needs,
        priority=priority,
        created_at=0.0,
        avoid=frozenset(model.WorkerId(worker) for worker in avoid.split()),
        sketch=Sketch(work=work),
    )


def slot(worker: str, *, connections: int = 0, accepts: Iterable[str] = KEYS, jobs_done: int = 0) -> model.Slot:
    return model.Slot(
        worker=model.WorkerId(worker),
        epoch=1,
        accepts=frozenset(accepts),
        connections=connections,
        jobs_done=jobs_done,
    )


def worker(name: str, holds: str = "", *, ready_in: float = 0.0, accepts: Iterable[str] = KEYS) -> placement.Worker:
    """A worker that holds the models of one key."""
    held = memory.Memory().after(models(holds), frozenset()) if holds else memory.Memory()
    return placement.Worker(id=model.WorkerId(name), accepts=frozenset(accepts), ready_in=ready_in, memory=held)


def models(key: str) -> memory.Files:
    """The model files of a key: one."""
    return frozenset({f"{key}.safetensors"})


def needs(key: str) -> book.Needs:
    wanted = Requirements(classes=frozenset({"Sampler"}), models=frozenset({("Loader", "name", f"{key}.safetensors")}))
    return book.Needs.of(key, wanted)


def learned(
    *, run: float = 1.0, load: float = 3.0, keys: Iterable[str] = KEYS, slowness: Mapping[str, float] | None = None
) -> book.Costs:
    """Costs after some runs of each kind."""
    costs = book.Costs()
    for key in sorted(keys):
        kind = book.Kind.of(needs(key), Sketch())
        for _ in range(5):
            costs.observe(kind, frozenset(), run, worker="w0")
            costs.observe(kind, models(key), run + load, worker="w0")
    for name, factor in (slowness or {}).items():
        for _ in range(40):
            costs.observe(book.Kind.of(needs("a"), Sketch()), frozenset(), run * factor, worker=name)
    return costs


def outlook(
    workers: Sequence[placement.Worker] = (),
    *,
    costs: book.Costs | None = None,
    passed: Mapping[str, float] | None = None,
    now: float = 0.0,
    patience: float = 30.0,
) -> placement.Outlook:
    return placement.Outlook(
        costs=costs if costs is not None else learned(),
        needs={key: needs(key) for key in KEYS},
        workers={made.id: made for made in workers},
        now=now,
        passed={model.JobId(job): at for job, at in (passed or {}).items()},
        patience=patience,
    )


def assigned(decision: placement.Decision) -> dict[str, str]:
    return {str(done.job_id): str(done.worker) for done in decision.assignments}
