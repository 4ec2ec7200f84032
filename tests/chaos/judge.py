"""What became of a run: what clients were told against what the store and the workers know."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.chaos import hooks, ledger, plan, site, strikes

#: Edges that end a job (`gateway.domain.states`), written out: a judge shares no code with the judged.
_END_EVENTS: Final = frozenset({"cancel", "refuse", "expire", "confirm_cancel", "succeed", "fail"})
#: How an attempt ends that was given up. Any other end is the worker's own word.
_GIVEN_UP: Final = frozenset({"lost", "released"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """One run, judged. The first three must be empty."""

    seed: int
    jobs: int
    seconds: float
    ends: Mapping[str, int]
    faults: Mapping[str, int]
    missed: Mapping[str, int]
    lost: Sequence[str]  #: why, for each job that did not come to its end
    ended_twice: Sequence[str]
    wrong: Sequence[str]  #: anything else that cannot be
    hooked: int  #: jobs whose end a webhook was told
    hooks_again: int  #: messages that came more than once, which is allowed
    run_again: int  #: runs beyond the first of a job
    needlessly: Sequence[str]  #: of those, where the worker still had the earlier one
    gpu_seconds: float
    gpu_wasted: float
    longest_recovery: float
    slowest: str  #: what that was
    refusals: Mapping[str, int]
    error_codes: Mapping[str, int]
    log_errors: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.ended_twice or self.wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything there is to judge by, once the run is over."""

    drawn: plan.Plan
    book: ledger.Ledger
    listed: Sequence[Mapping[str, Any]]  #: all jobs, as the list of jobs tells
    retried: Mapping[str, Mapping[str, Any]]  #: jobs that had more than one attempt, in full
    workers: Sequence[site.Worker]
    struck: Sequence[strikes.Struck]
    missed: Mapping[str, int]
    told: hooks.Receiver
    database: Path
    seconds: float
    log_errors: Mapping[str, int]


def judge(seen: Evidence) -> Findings:
    """The findings."""
    runs = [run for worker in seen.workers for run in _finished(worker)]
    recovery, slowest = _longest_recovery(seen.struck, runs)
    spent, wasted = _gpu(seen.retried, runs)
    by_job = _runs_by_job(seen.retried, runs)
    return Findings(
        seed=seen.drawn.seed,
        jobs=len(seen.book.jobs),
        seconds=seen.seconds,
        ends=dict(Counter(job["status"] for job in seen.listed)),
        faults=dict(Counter(struck.strike.kind for struck in seen.struck)),
        missed=dict(seen.missed),
        lost=tuple(_lost(seen)),
        ended_twice=tuple(_ended_twice(seen)),
        wrong=tuple(_wrong(seen)),
        hooked=len(seen.told.ends),
        hooks_again=sum(count > 1 for count in seen.told.came.values()),
        run_again=sum(max(0, len(found) - 1) for found in by_job.values()),
        needlessly=tuple(_needlessly(seen, by_job)),
        gpu_seconds=spent,
        gpu_wasted=wasted,
        longest_recovery=recovery,
        slowest=slowest,
        refusals=seen.book.refusals,
        error_codes=dict(Counter(job["error"]["code"] for job in seen.listed if job["error"])),
        log_errors=seen.log_errors,
    )


def _lost(seen: Evidence) -> Iterable[str]:
    listed = {job["id"]: job["status"] for job in seen.listed}
    for told in seen.book.jobs.values():
        status = listed.get(told.job_id)
        if status is None:
            yield f"{told.job_id} ({told.kind}): it is not there"
        elif status not in ledger.ENDS:
            yield f"{told.job_id} ({told.kind}): still {status}"
    made = Counter(job["metadata"].get("order") for job in seen.listed)
    for order in seen.drawn.orders:
        if order.key in seen.book.taken and made[order.key] < order.jobs:
            yield f"{order.key}: {made[order.key]} of {order.jobs} jobs"


def _ended_twice(seen: Evidence) -> Iterable[str]:
    with sqlite3.connect(seen.database) as store:
        found = store.execute("SELECT job_id, type FROM events ORDER BY job_id, seq").fetchall()
    ends: defaultdict[str, list[str]] = defaultdict(list)
    for job_id, kind in found:
        if kind in _END_EVENTS:
            ends[job_id].append(kind)
        elif ends[job_id]:
            yield f"{job_id}: {kind} after {ends[job_id][-1]}"
    for job_id, kinds in ends.items():
        if len(kinds) > 1:
            yield f"{job_id}: {', '.join(kinds)}"
    for job_id, messages in seen.told.ends.items():
        if len(messages) > 1:
            yield f"{job_id}: its webhook was told {', '.join(messages.values())} under {len(messages)} ids"
    for told in seen.book.jobs.values():
        if len(set(told.ends)) > 1:
            yield f"{told.job_id}: clients were told {', '.join(told.ends)}"


def _wrong(seen: Evidence) -> Iterable[str]:
    wanted = {order.key: order.jobs for order in seen.drawn.orders}
    for key, count in Counter(job["metadata"].get("order") for job in seen.listed).items():
        if count > wanted.get(key, 0):
            yield f"{key}: ordered {wanted.get(key, 0)} jobs, there are {count}"
    yield from seen.told.after_end
    yield from _untold(seen)
    untaken = len(wanted.keys() - seen.book.taken)
    if untaken:
        yield f"{untaken} orders were never taken: {dict(seen.book.refusals)}"
    listed = {job["id"]: job for job in seen.listed}
    for told in seen.book.jobs.values():
        if told.broke:
            yield f"{told.job_id} ({told.kind}): {told.broke}"
        job = listed.get(told.job_id)
        if job is None:
            continue
        if told.ends and told.ends[-1] != job["status"]:
            yield f"{told.job_id} ({told.kind}): told {told.ends[-1]}, is {job['status']}"
        if told.kind == "graph error" and job["status"] == "succeeded":
            yield f"{told.job_id}: succeeded, but its graph is wrong"
        if job["status"] == "succeeded" and len(job["outputs"]) != (2 if told.kind == "pair" else 1):
            yield f"{told.job_id} ({told.kind}): {len(job['outputs'])} outputs"


def _untold(seen: Evidence) -> Iterable[str]:
    """Ends that a webhook was to be told, and was not."""
    hooked = {order.key for order in seen.drawn.orders if order.hooked}
    for job in seen.listed:
        told = set(seen.told.ends.get(job["id"], {}).values())
        if job["metadata"].get("order") in hooked and told != {job["status"]}:
            yield f"{job['id']}: is {job['status']}, its webhook was told {', '.join(told) or 'nothing'}"


def _finished(worker: site.Worker) -> Iterable[ledger.Run]:
    """The worker's runs; those that a death cut off end with it."""
    for run in worker.runs.values():
        if run.started is None or run.ended is not None:
            yield run
            continue
        death = min((at for at in worker.deaths if at >= run.started), default=None)
        yield run if death is None else _ended(run, death)


def _ended(run: ledger.Run, at: float) -> ledger.Run:
    return ledger.Run(
        worker=run.worker, prompt=run.prompt, received=run.received, started=run.started, ended=at, outcome="died"
    )


def _runs_by_job(
    retried: Mapping[str, Mapping[str, Any]], runs: Sequence[ledger.Run]
) -> dict[str, list[tuple[Mapping[str, Any], ledger.Run]]]:
    """Attempts that really began on a worker, by job, in order."""
    by_prompt = {run.prompt: run for run in runs if run.started is not None}
    return {
        job_id: [(attempt, by_prompt[attempt["id"]]) for attempt in job["attempts"] if attempt["id"] in by_prompt]
        for job_id, job in retried.items()
    }


def _needlessly(seen: Evidence, by_job: Mapping[str, Sequence[tuple[Mapping[str, Any], ledger.Run]]]) -> Iterable[str]:
    """Attempts that were given up although their worker lived on and had run them well, or still did."""
    for job_id, attempts in by_job.items():
        for (attempt, run), (after, _) in itertools.pairwise(attempts):
            worker = seen.workers[run.worker]
            again = _seconds(after["created_at"])
            died = any((run.started or 0) <= at <= again for at in worker.deaths)
            # One that never ended ran on a thread that had died, or hung: there was nothing to adopt.
            kept = run.outcome in {"success", "interrupted"} and run.prompt not in worker.forgotten
            if attempt["outcome"] in _GIVEN_UP and kept and not died:
                yield f"{job_id}: attempt {attempt['number']} on worker {run.worker}: {attempt['reason']}"


def _gpu(retried: Mapping[str, Mapping[str, Any]], runs: Sequence[ledger.Run]) -> tuple[float, float]:
    """Seconds that cards worked, and those of them whose result was thrown away: all attempts but the last."""
    given_up = {attempt["id"] for job in retried.values() for attempt in job["attempts"][:-1]}
    spent = wasted = 0.0
    seen: set[str] = set()
    for run in runs:
        if run.started is None or run.ended is None:
            continue
        spent += run.ended - run.started
        if run.prompt in given_up or run.prompt in seen:
            wasted += run.ended - run.started
        seen.add(run.prompt)
    return spent, wasted


def _longest_recovery(struck: Sequence[strikes.Struck], runs: Sequence[ledger.Run]) -> tuple[float, str]:
    """From a fault to work again: until the gateway is ready, until the worker begins a run that ends well."""
    longest, what = 0.0, "nothing"
    for one in struck:
        seconds = one.recovered
        if seconds is None:
            begun = (
                run.started
                for run in runs
                if run.worker == one.strike.worker and run.outcome == "success" and (run.started or 0) > one.at
            )
            first = min((at for at in begun if at is not None), default=None)
            seconds = 0.0 if first is None else first - one.at - one.strike.seconds
        if seconds > longest:
            longest, what = seconds, one.strike.kind
    return longest, what


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
