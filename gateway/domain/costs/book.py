"""What was learned of costs: how long runs take, how long models take to load, how quick each worker is.

A run's time = (time of its kind on a plain worker + time of the models that had to be loaded) × the worker's slowness.
Each is learned online from finished runs. Kinds are told apart by what a graph needs (node classes and model files),
by its amount of work (a doubling is another kind; within one, time grows with work) and by which of its results were
cached. What was never seen is guessed from what is nearest: the same graph with other amounts of work, then any graph
of the same node classes; a model that was never loaded takes as long as models do. Of a kind that was only ever seen
with its models loading, half the time is taken to be loading, until a warm run tells.

With nothing learned there is no estimate at all, and placement falls back to counting connections.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from gateway.domain.comfy.graph import Requirements
from gateway.domain.costs.estimate import Average, Estimate, Mean
from gateway.domain.costs.memory import Files
from gateway.domain.costs.sketch import Sketch

_COLD_SHARE: Final = 0.5  #: of a cold run that is loading, while nothing tells
_LEAST_SHARE: Final = 0.02  #: of a cold run that is loading at least
_EVEN: Final = 1.15  #: workers whose speeds differ by less are taken to be equally quick
_DOUBT: Final = 0.6  #: and by less than so many of the spreads of their runs
_SURE: Final = 3  #: runs after which a worker's slowness is believed
_FACTOR: Final = 30.0  #: no worker is taken to be slower or quicker than this
_SAVING: Final = 0.5
_ANY: Final = "*"  #: the key of how long any job takes a place
_MORE: Final = "+"  #: the key of how much longer that is than its run
_MOST: Final = 5_000  #: entries of a table
_OUTLIER: Final = 20.0  #: what takes so many times what is usual counts as so long in an average
_MOST_SIGMA: Final = 1.0  #: of an average that is guessed from the newest runs; while they change, they spread
_CHANGED: Final = 0.5  #: standard deviations by which an average may differ from what the newest runs say
_NOISE: Final = 0.35  #: and by which part of it
_FEW: Final = 10.0  #: as many runs as the newest stand for


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Requirements, as far as costs depend on them."""

    key: str
    family: str
    models: Files = frozenset()

    @classmethod
    def of(cls, key: str, wanted: Requirements) -> Needs:
        """Of requirements and their key."""
        family = hashlib.blake2b("\0".join(sorted(wanted.classes)).encode(), digest_size=6).hexdigest()
        return cls(key=key, family=family, models=Files(file for _, _, file in wanted.models))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What runs are compared by. `needs` names the requirements, `family` the node classes alone."""

    needs: str
    family: str
    models: Files = frozenset()  #: all model files that such a graph names
    work: float = 1.0
    bucket: int = 0

    @classmethod
    def of(cls, needs: Needs, sketch: Sketch) -> Kind:
        """The kind of a graph with these needs and this sketch."""
        return cls(needs=needs.key, family=needs.family, models=needs.models, work=sketch.work, bucket=sketch.bucket)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run would cost on one worker, in seconds. `sigma` is how sure that is, as a logarithm."""

    load: float = 0.0
    run: float = 0.0
    sigma: float = 0.3

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.load + self.run


class Learner(Protocol):
    """Learns a duration."""

    def observe(self, seconds: float) -> None: ...

    def as_body(self) -> list[float]: ...

    @classmethod
    def of_body(cls, body: Any) -> Self: ...


L = TypeVar("L", bound=Learner)


@dataclass(slots=True)
class Table(Generic[L]):
    """What was learned, by key; what was not used for longest goes when there is too much."""

    kind: type[L]
    entries: dict[str, L] = field(default_factory=dict[str, L])
    changed: set[str] = field(default_factory=set[str])

    def get(self, key: str) -> L | None:
        """What is known under this key."""
        return self.entries.get(key)

    def observe(self, key: str, seconds: float) -> None:
        """Learn of one more."""
        found = self.entries.pop(key, None) or self.kind()
        found.observe(seconds)
        self.entries[key] = found  # the newest last
        self.changed.add(key)
        if len(self.entries) > _MOST:
            del self.entries[next(iter(self.entries))]

    def take_changed(self) -> dict[str, dict[str, Any]]:
        """Bodies of what was learned since the last call, by key."""
        keys, self.changed = self.changed, set()
        return {key: {"e": self.entries[key].as_body()} for key in keys if key in self.entries}

    def restore(self, bodies: Mapping[str, Mapping[str, Any]]) -> None:
        """Take what was kept; what makes no sense is left out."""
        for key, body in list(bodies.items())[:_MOST]:
            try:
                self.entries[key] = self.kind.of_body(body["e"])
            except (KeyError, TypeError, ValueError):
                continue


def _estimates() -> Table[Estimate]:
    return Table(Estimate)


@dataclass(slots=True)
class Costs:
    """All that was learned. It only ever grows by `observe`, and is asked by `cost`."""

    runs: Table[Estimate] = field(default_factory=_estimates)  #: seconds for a unit of work, by kind
    colds: Table[Estimate] = field(default_factory=_estimates)  #: the same of runs that loaded all their models
    loads: Table[Estimate] = field(default_factory=_estimates)  #: seconds, by the set of files, or by a single one
    slowness: Table[Estimate] = field(default_factory=_estimates)  #: factors, by worker
    places: Table[Mean] = field(default_factory=lambda: Table(Mean))  #: of any job
    _usual: float = 1.0  #: the slowness of a worker that is not known yet

    def __bool__(self) -> bool:
        return bool(self.runs.entries or self.colds.entries)

    # -- asking -------------------------------------------------------------------------------------------------

    def cost(self, kind: Kind, missing: Files, *, factor: float = 1.0, cached: int = 0) -> Cost | None:
        """What such a run costs on a worker of that slowness, which would have to load the `missing` files and holds
        the results that the bits of `cached` name; None when nothing like it was seen."""
        plain = self._run(kind, cached)
        if plain is None:
            return None
        load = self._load(kind, missing) * factor if missing else 0.0
        return Cost(load=load, run=plain.seconds * kind.work * factor, sigma=plain.sigma)

    @property
    def usual(self) -> Estimate | None:
        """How long any job takes a place of a worker, loading included."""
        return self.runs.get(_ANY)

    @property
    def average(self) -> Average | None:
        """What jobs take a place on average. When the newest runs say something quite different, they are believed."""
        newest = self.usual
        if newest is None:
            return None
        sigma = min(newest.sigma, _MOST_SIGMA)
        mean = newest.seconds * math.exp(sigma**2 / 2)
        learned = self.places.get(_ANY)
        if learned is not None:
            average = learned.average
            if abs(average.mean - mean) <= max(_CHANGED * average.deviation, _NOISE * average.mean):
                return average
        return Average(mean=mean, deviation=mean * math.sqrt(math.expm1(sigma**2)), count=_FEW)

    def overhead(self, worker: str | None = None) -> float:
        """How much longer a job takes a place than it runs, in seconds: of this worker, or of any."""
        found = (self.runs.get(f"{_MORE}{worker}") if worker is not None else None) or self.runs.get(_MORE)
        return 0.0 if found is None else found.seconds

    def factor(self, worker: str) -> float:
        """How much slower than a plain worker this one is; as all others unless it is sure to differ."""
        found = self.slowness.get(worker)
        if found is None or found.count < _SURE:
            return self._usual
        sure = abs(found.centre - math.log(self._usual)) > max(math.log(_EVEN), found.spread * _DOUBT)
        return found.seconds if sure else self._usual

    def _run(self, kind: Kind, cached: int) -> Estimate | None:
        if cached:
            found = self.runs.get(_key(kind, cached))
            if found is not None:
                return found
        for key in _near(kind):
            found = self.runs.get(key)
            if found is not None:
                return found
        for key in _near(kind):
            found = self.colds.get(key)
            if found is not None:
                return Estimate(centre=found.centre + math.log(1 - _COLD_SHARE), spread=found.spread + 0.3, count=1)
        return None

    def _load(self, kind: Kind, missing: Files) -> float:
        found = self.loads.get(_set(missing))
        if found is not None:
            return found.seconds
        cold, warm = self.colds.get(_key(kind)), self.runs.get(_key(kind))
        if cold is not None and missing == kind.models:
            share = cold.seconds * _COLD_SHARE if warm is None else max(0.0, cold.seconds - warm.seconds)
            return share * kind.work
        usual = self.loads.get("")
        each = usual.seconds if usual is not None else self._guess(kind)
        return sum(one.seconds if (one := self.loads.get(_set((file,)))) is not None else each for file in missing)

    def _guess(self, kind: Kind) -> float:
        """A load before any was measured: as long as a run that was only seen cold seems to load."""
        for key in _near(kind):
            cold = self.colds.get(key)
            if cold is not None:
                warm = self.runs.get(key)
                rest = cold.seconds - warm.seconds if warm is not None else cold.seconds * _COLD_SHARE
                return max(0.0, rest) * kind.work
        return 0.0

    # -- learning -----------------------------------------------------------------------------------------------

    def observe(self, kind: Kind, missing: Files, seconds: float, *, worker: str, cached: int = 0) -> None:
        """Learn of a run that took `seconds` by its worker's clock."""
        if seconds <= 0:
            return
        plain = self.runs.get(_key(kind))
        warm = (self.runs.get(_key(kind, cached)) if cached else None) or plain
        if missing:
            self._observe_cold(kind, missing, seconds / self.factor(worker), warm)
            return
        if warm is not None and not _is_saving(seconds / kind.work, warm):
            self._observe_speed(worker, seconds / (warm.seconds * kind.work))
        each = seconds / self._raw_factor(worker) / kind.work
        if cached:
            self.runs.observe(_key(kind, cached), each)
        if not cached or plain is None or not _is_saving(each, plain):
            for key in _near(kind):
                self.runs.observe(key, each)

    def observe_place(self, seconds: float) -> None:
        """Learn of a job that took a place for so long, by our clock, which may have been set back meanwhile."""
        if seconds <= 0:
            return
        before = self.usual
        most = seconds if before is None else _OUTLIER * before.seconds
        self.runs.observe(_ANY, seconds)
        self.places.observe(_ANY, min(seconds, most))

    def observe_way(self, seconds: float, *, run: float, worker: str) -> None:
        """Learn of a job that had a place to itself for so long, `run` of it by its worker's clock."""
        self.runs.observe(_MORE, seconds - run)
        self.runs.observe(f"{_MORE}{worker}", seconds - run)

    def _observe_cold(self, kind: Kind, missing: Files, seconds: float, warm: Estimate | None) -> None:
        if missing == kind.models:
            for key in _near(kind):
                self.colds.observe(key, seconds / kind.work)
        if warm is None:
            return
        load = max(seconds - warm.seconds * kind.work, seconds * _LEAST_SHARE)
        self.loads.observe(_set(missing), load)
        self.loads.observe("", load / len(missing))
        if len(missing) > 1:
            for file in missing:
                if self.loads.get(_set((file,))) is None:
                    self.loads.observe(_set((file,)), load / len(missing))

    def _observe_speed(self, worker: str, ratio: float) -> None:
        self.slowness.observe(worker, min(max(ratio, 1 / _FACTOR), _FACTOR))
        self._recentre()

    def _recentre(self) -> None:
        centres = [one.centre for one in self.slowness.entries.values() if one.count >= _SURE]
        self._usual = math.exp(statistics.median_low(centres)) if centres else 1.0

    def _raw_factor(self, worker: str) -> float:
        found = self.slowness.get(worker)
        return found.seconds if found is not None and found.count >= _SURE else 1.0

    # -- keeping ------------------------------------------------------------------------------------------------

    def tables(self) -> Iterator[tuple[str, Table[Any]]]:
        """The tables, under the names that they are kept by."""
        yield "cost_run", self.runs
        yield "cost_cold", self.colds
        yield "cost_load", self.loads
        yield "cost_slowness", self.slowness
        yield "cost_place", self.places

    def restore(self, kept: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """Take what was kept of each table."""
        for name, table in self.tables():
            table.restore(kept.get(name, {}))
        self._recentre()


def _is_saving(each: float, plain: Estimate) -> bool:
    """Whether a run was so quick that more of it must have been cached than of most."""
    return each < plain.seconds * _SAVING


def _near(kind: Kind) -> tuple[str, str, str]:
    """Keys under which a kind is known, the nearest first."""
    return _key(kind), kind.needs, f"~{kind.family}"


def _key(kind: Kind, cached: int = 0) -> str:
    return f"{kind.needs}:{kind.bucket}:{cached:x}" if cached else f"{kind.needs}:{kind.bucket}"


def _set(files: Iterable[str]) -> str:
    return "\n".join(sorted(files))
