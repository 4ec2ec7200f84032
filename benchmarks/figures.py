"""A measured number, and how much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number. `direct` is the same thing measured straight at the workers in the same run."""

    case: str
    figure: str
    gateway: float
    direct: float | None = None
    goal: str = ""
    met: bool | None = None
    unit: str = ""

    @property
    def ratio(self) -> float | None:
        """The gateway's over direct's."""
        return self.gateway / self.direct if self.direct else None


@dataclass(slots=True, kw_only=True)
class Scale:
    """How much of everything; `--quick` takes less."""

    zero_cost: int = 1500
    uniform: int = 320
    lognormal: int = 400
    latency: int = 400
    queued: int = 10_000
    rounds: int = 3
    checkpoints: int = 400
    speeds: int = 200
    depth: int = 100_000
