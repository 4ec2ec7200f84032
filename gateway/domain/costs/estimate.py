"""Learned durations: a running centre and spread of the logarithm of one, and a running average of many.

Durations vary by factors, so everything is done on logarithms. A new value moves the centre by a tenth (more while few
are known), and never by more than three spreads, so that one strange run changes little; but the spread grows with
each surprise, so that a real change is followed within some twenty runs.

That is the right guess for one run. What many runs take together is their average times their number, and an average
must not wander as quickly: it is learned apart, over about a hundred.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Self

_GAIN: Final = 0.1
_FIRST_SPREAD: Final = 0.25
_LEAST_SPREAD: Final = 0.02
_SURPRISE: Final = 3.0
_LEAST: Final = 1e-4  #: nothing is taken to be quicker, in seconds
_SLOW_GAIN: Final = 0.02
_FEW_TELL_LITTLE: Final = 0.5  #: by which part single values may differ, however alike the first few are
_SIGMA: Final = 1.2533  #: a normal distribution's standard deviation, in mean absolute deviations


@dataclass(slots=True)
class Estimate:
    """What is believed of one duration after `count` observations."""

    centre: float = 0.0
    spread: float = _FIRST_SPREAD
    count: int = 0

    @property
    def seconds(self) -> float:
        """The duration to expect: as many are longer as are shorter."""
        return math.exp(self.centre)

    @property
    def sigma(self) -> float:
        """The standard deviation of the logarithm."""
        return self.spread * _SIGMA

    def observe(self, seconds: float) -> None:
        """Learn of one more."""
        value = math.log(max(seconds, _LEAST))
        if self.count == 0:
            self.centre = value
        else:
            error = value - self.centre
            gain = max(_GAIN, 1.0 / (self.count + 1))
            limit = _SURPRISE * self.spread
            self.centre += gain * min(max(error, -limit), limit)
            self.spread += max(_GAIN, gain / 2) * (min(abs(error), 2 * limit) - self.spread)
            self.spread = max(self.spread, _LEAST_SPREAD)
        self.count = min(self.count + 1, 1_000_000)

    def as_body(self) -> list[float]:
        """As it is kept."""
        return [round(self.centre, 5), round(self.spread, 5), self.count]

    @classmethod
    def of_body(cls, body: Any) -> Self:
        """What `as_body` made."""
        centre, spread, count = body
        return cls(centre=float(centre), spread=max(float(spread), _LEAST_SPREAD), count=int(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """What many take, each, in seconds; `count`: of how many that was learned, as far as they count still."""

    mean: float
    deviation: float = 0.0
    count: float = 100.0

    @property
    def doubt(self) -> float:
        """By which part of it the mean may be wrong: one standard deviation."""
        if self.mean <= 0 or self.count <= 0:
            return 0.0
        return max(self.deviation / self.mean, _FEW_TELL_LITTLE) / math.sqrt(self.count)


@dataclass(slots=True)
class Mean:
    """A running average, and how far values are from it."""

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0

    def observe(self, seconds: float) -> None:
        """Learn of one more."""
        self.count = min(self.count + 1, 1_000_000)
        gain = max(_SLOW_GAIN, 1.0 / self.count)
        error = seconds - self.mean
        self.mean += gain * error
        self.variance = (1 - gain) * (self.variance + gain * error * error)

    @property
    def average(self) -> Average:
        """What was learned."""
        known = min(self.count, 2 / _SLOW_GAIN - 1)
        return Average(mean=self.mean, deviation=math.sqrt(self.variance), count=known)

    def as_body(self) -> list[float]:
        """As it is kept."""
        return [round(self.mean, 5), round(self.variance, 7), self.count]

    @classmethod
    def of_body(cls, body: Any) -> Self:
        """What `as_body` made."""
        mean, variance, count = body
        return cls(mean=float(mean), variance=max(0.0, float(variance)), count=int(count))
