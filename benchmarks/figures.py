"""A measured number with its goal, and how much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

COMPARISON: Final = "for comparison"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """Between which values a number, or its ratio to the one beside it, has to be."""

    least: float | None = None
    most: float | None = None
    of_ratio: bool = False

    def is_met(self, value: float) -> bool:
        """Whether the value is within."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def words(self, unit: str, beside_is: str) -> str:
        """The goal for people."""
        after = f" × {beside_is}" if self.of_ratio else f" {unit}".rstrip()
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}{after}"
        return (f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}") + after


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number of the gateway. `beside` is what it is compared with, and `beside_is` says what that is;
    `direct` is a client that drives the workers itself, in the same run."""

    case: str
    figure: str
    gateway: float
    beside: float | None = None
    beside_is: str = "direct"
    goal: Goal | None = None
    unit: str = ""

    @property
    def ratio(self) -> float | None:
        """The gateway's over the other."""
        return self.gateway / self.beside if self.beside else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        value = self.ratio if self.goal.of_ratio else self.gateway
        return value is not None and self.goal.is_met(value)

    @property
    def goal_words(self) -> str:
        """The goal, or that there is none."""
        return COMPARISON if self.goal is None else self.goal.words(self.unit, self.beside_is)

    def as_dict(self) -> dict[str, Any]:
        """As it is written to disk."""
        return {
            "case": self.case,
            "figure": self.figure,
            "gateway": self.gateway,
            "unit": self.unit,
            "beside": self.beside,
            "beside_is": self.beside_is if self.beside is not None else None,
            "ratio": self.ratio,
            "goal": self.goal_words,
            "met": self.met,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything; `QUICK` is a look at whether the cases work."""

    zero_cost: int = 1500
    burst: int = 2000
    uniform: int = 320
    lognormal: int = 1000
    latency: int = 400
    queued: int = 10_000
    rounds: int = 3
    checkpoints: int = 400
    speeds: int = 200
    depth: int = 100_000
    crowd: int = 3000  #: jobs of the tenant that came first
    few: int = 50  #: jobs of the one that came after it
    interactive: int = 400
    batch: int = 5000


QUICK: Final = Scale(
    zero_cost=300,
    burst=300,
    uniform=80,
    lognormal=80,
    latency=100,
    queued=1000,
    rounds=1,
    checkpoints=120,
    speeds=40,
    depth=5000,
    crowd=300,
    few=20,
    interactive=60,
    batch=500,
)
