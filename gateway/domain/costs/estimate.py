"""One learned duration: a running centre and spread of its logarithm.

Durations vary by factors, so everything is done on logarithms. A new value moves the centre by a tenth (more while few
are known), and never by more than three spreads, so that one strange run changes little; but the spread grows with
each surprise, so that a real change is followed within some twenty runs.
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
