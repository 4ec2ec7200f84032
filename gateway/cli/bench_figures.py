"""What jobs of a bench tell, in figures. Pure: everything comes from the gateway's own answers about them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.cli import output, shapes

if TYPE_CHECKING:
    from rich.console import RenderableType

_PERCENTS = (50, 90, 99)
_PHASES = ("queue", "run", "total")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A job right after it was ordered, with its first estimate, and at its end."""

    first: shapes.Job
    last: shapes.Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How good the first estimates were: of so many jobs, the shares that were done by them."""

    jobs: int
    by_p50: float
    by_p90: float
    error: float  #: seconds that half of the jobs ended away from their p50, at most

    @classmethod
    def of(cls, seen: Sequence[Seen]) -> Calibration | None:
        """Of jobs that got an estimate and succeeded; None without any."""
        known = [_estimate(each) for each in seen if each.last.succeeded and each.first.raw.get("eta")]
        if not known:
            return None
        return cls(
            jobs=len(known),
            by_p50=statistics.mean(end <= p50 for end, p50, _ in known),
            by_p90=statistics.mean(end <= p90 for end, _, p90 in known),
            error=statistics.median(abs(end - p50) for end, p50, _ in known),
        )

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        shares = {"done_by_p50": round(self.by_p50, 4), "done_by_p90": round(self.by_p90, 4)}
        return {"jobs": self.jobs, **shares, "median_error_ms": round(self.error * 1000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one worker did."""

    worker: str
    jobs: int
    busy: float  #: seconds that it ran them; while files are fetched the next one may run already


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All figures of a bench."""

    name: str
    outcomes: Mapping[str, int]  #: how many jobs, by status
    complaints: Mapping[str, int]  #: how many jobs, by the error's code
    seconds: float  #: from the first order to the last end
    done: int
    latencies: Mapping[str, Sequence[float]]  #: milliseconds of jobs that succeeded, by phase
    estimates: Mapping[str, Calibration]  #: by the status in which the first estimate was given
    shares: Sequence[Share]
    simulated: bool
    warmed: int = 0  #: jobs right before those, to learn from

    @property
    def per_second(self) -> float:
        """Jobs that succeeded, a second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "workload": self.name,
            "jobs": sum(self.outcomes.values()),
            "outcomes": dict(self.outcomes),
            "errors": dict(self.complaints),
            "seconds": round(self.seconds, 3),
            "jobs_per_second": round(self.per_second, 3),
            "latency_ms": {
                phase: {f"p{percent}": round(quantile(values, percent), 1) for percent in _PERCENTS}
                for phase, values in self.latencies.items()
                if values
            },
            "eta": {status: calibration.as_dict() for status, calibration in self.estimates.items()},
            "workers": [
                {
                    "id": share.worker,
                    "jobs": share.jobs,
                    "share": round(share.jobs / max(self.done, 1), 4),
                    "busy": round(self._busy(share), 4),
                }
                for share in self.shares
            ],
            "simulated": self.simulated,
        }

    def _busy(self, share: Share) -> float:
        return min(1.0, share.busy / self.seconds) if self.seconds > 0 else 0.0

    def tables(self) -> list[tuple[str, RenderableType]]:
        """For people: a title and a table each."""
        found = [("Latency", self._latency_table()), ("Workers", self._worker_table())]
        if self.estimates:
            learned = f", after {self.warmed} to learn from" if self.warmed else ""
            found.insert(1, (f"Estimates: the first `eta` of each job{learned}", self._estimate_table()))
        return found if self.done else []

    def _latency_table(self) -> RenderableType:
        names = {"queue": "waited", "run": "ran", "total": "in all"}
        made = output.table("", *(f"p{percent}" for percent in _PERCENTS), right=["p50", "p90", "p99"])
        for phase, values in self.latencies.items():
            if values:
                made.add_row(names[phase], *(milliseconds(quantile(values, percent)) for percent in _PERCENTS))
        return made

    def _estimate_table(self) -> RenderableType:
        columns = ("jobs", "done by p50", "done by p90", "median error")
        made = output.table("given when", *columns, right=columns)
        for status, found in self.estimates.items():
            error = milliseconds(found.error * 1000)
            made.add_row(status, str(found.jobs), f"{found.by_p50:.0%}", f"{found.by_p90:.0%}", error)
        made.add_row(output.plain("ideally", style="dim"), "", *(output.plain(x, style="dim") for x in ("50%", "90%")))
        return made

    def _worker_table(self) -> RenderableType:
        made = output.table("worker", "jobs", "share", "busy", right=["jobs", "share", "busy"])
        for share in self.shares:
            part = share.jobs / max(self.done, 1)
            made.add_row(output.plain(share.worker), str(share.jobs), f"{part:.0%}", f"{self._busy(share):.0%}")
        return made

    @property
    def sentence(self) -> str:
        """The first line."""
        others = [f"{count} {status}" for status, count in self.outcomes.items() if status != "succeeded"]
        told = f"{self.done} jobs of {self.name} in {self.seconds:.1f} s: {self.per_second:.1f} a second"
        told += f", {self.per_second * 3600:,.0f} an hour"
        return ", ".join([told, *others])


def report(name: str, seen: Sequence[Seen], *, warmed: int = 0) -> Report:
    """Everything that these jobs tell; `warmed` others went before."""
    done = [each.last for each in seen if each.last.succeeded]
    ended = [each.last.raw for each in seen if each.last.raw.get("completed_at")]
    begin = min((shapes.epoch(raw["created_at"]) for raw in ended), default=0.0)
    end = max((shapes.epoch(raw["completed_at"]) for raw in ended), default=0.0)
    codes = [(each.last.raw.get("error") or {}).get("code") for each in seen]
    by_status = {status: [each for each in seen if each.first.status == status] for status in ("queued", "running")}
    found = {status: Calibration.of(those) for status, those in by_status.items()}
    return Report(
        name=name,
        outcomes=Counter(each.last.status for each in seen),
        complaints=Counter(str(code) for code in codes if code),
        seconds=end - begin,
        done=len(done),
        latencies=_latencies(done),
        estimates={status: calibration for status, calibration in found.items() if calibration is not None},
        shares=_shares(done),
        simulated=any(job.simulated for job in done),
        warmed=warmed,
    )


def _latencies(done: Sequence[shapes.Job]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {phase: [] for phase in _PHASES}
    for job in done:
        metrics: Mapping[str, Any] = job.raw.get("metrics") or {}
        spent = shapes.epoch(job.raw["completed_at"]) - shapes.epoch(job.raw["created_at"])
        values = {"queue": metrics.get("queue_ms"), "run": metrics.get("execution_ms"), "total": spent * 1000}
        for phase, value in values.items():
            if value is not None:
                found[phase].append(float(value))
    return found


def _shares(done: Sequence[shapes.Job]) -> list[Share]:
    workers = sorted({job.worker for job in done if job.worker})
    return [
        Share(
            worker=worker,
            jobs=sum(job.worker == worker for job in done),
            busy=sum(job.seconds or 0.0 for job in done if job.worker == worker),
        )
        for worker in workers
    ]


def _estimate(each: Seen) -> tuple[float, float, float]:
    eta = each.first.raw["eta"]
    return shapes.epoch(each.last.raw["completed_at"]), shapes.epoch(eta["p50"]), shapes.epoch(eta["p90"])


def quantile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent are not above, between the nearest two."""
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def milliseconds(value: float) -> str:
    """`84 ms`, `1.25 s`, `3 min 05 s`."""
    if value < 1000:
        return f"{value:.0f} ms"
    return f"{value / 1000:.2f} s" if value < 10_000 else output.duration(value / 1000)
