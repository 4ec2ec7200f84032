"""How long jobs of one kind take, learned from those that succeeded; what is too long follows from it.

Patience is the point: a limit that is learned is far above anything seen, and needs several runs before it holds. A
cold worker loads models for minutes, a busy disk doubles that; a limit that cuts a good run costs the whole run.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_KEPT: Final = 64  #: newest runs that are remembered of a family
_ENOUGH: Final = 8  #: runs before a limit is learned from them


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How far above what was seen a learned limit lies, and what holds while nothing was learned; in seconds."""

    run: float = 86_400.0  #: the longest run of a family that is not known yet, and the longest that is ever learned
    idle: float = 1800.0  #: the longest time without a sign of life, and the shortest that is ever learned
    run_at_least: float = 3600.0
    times: float = 10.0


@dataclass(slots=True)
class _Runs:
    seconds: deque[float] = field(default_factory=lambda: deque[float](maxlen=_KEPT))
    silent: deque[float] = field(default_factory=lambda: deque[float](maxlen=_KEPT))


@dataclass(slots=True)
class Durations:
    """What was learned. Each run costs two appends; nothing is computed before somebody asks."""

    patience: Patience = field(default_factory=Patience)
    _families: dict[str, _Runs] = field(default_factory=dict[str, _Runs])
    _changed: set[str] = field(default_factory=set[str])

    def ran(self, family: str, *, seconds: float, silent: float) -> None:
        """A job succeeded after `seconds`; its worker told nothing for at most `silent` of them."""
        runs = self._families.get(family)
        if runs is None:
            runs = self._families[family] = _Runs()
        runs.seconds.append(seconds)
        runs.silent.append(silent)
        self._changed.add(family)

    def expected(self, family: str) -> float | None:
        """How long a run usually takes; None while none was seen."""
        runs = self._families.get(family)
        return statistics.median(runs.seconds) if runs else None

    def run_limit(self, family: str) -> float:
        """A run that takes longer is not going to end."""
        runs = self._families.get(family)
        if runs is None or len(runs.seconds) < _ENOUGH:
            return self.patience.run
        learned = max(self.patience.run_at_least, self.patience.times * max(runs.seconds))
        return min(learned, self.patience.run)

    def idle_limit(self, family: str) -> float:
        """A run without any sign of life for longer is not going to end."""
        runs = self._families.get(family)
        if runs is None or len(runs.silent) < _ENOUGH:
            return self.patience.idle
        return max(self.patience.idle, self.patience.times * max(runs.silent))

    def load(self, bodies: Mapping[str, Mapping[str, Any]]) -> None:
        """Take up what `changed` gave to be kept."""
        for family, body in bodies.items():
            runs = _Runs()
            runs.seconds.extend(_numbers(body.get("seconds")))
            runs.silent.extend(_numbers(body.get("silent")))
            if runs.seconds:
                self._families[family] = runs

    def changed(self) -> Mapping[str, Mapping[str, Any]]:
        """What is new since the last call, by family."""
        families, self._changed = self._changed, set()
        return {family: self._body(family) for family in families}

    def _body(self, family: str) -> Mapping[str, Any]:
        runs = self._families[family]
        return {
            "seconds": [round(value, 3) for value in runs.seconds],
            "silent": [round(value, 3) for value in runs.silent],
        }


def _numbers(value: object) -> Iterable[float]:
    if not isinstance(value, list):
        return ()
    return (float(item) for item in value if isinstance(item, int | float) and not isinstance(item, bool))
