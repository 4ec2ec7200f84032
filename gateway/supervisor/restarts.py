"""When to start a process again that ended. Pure: time and chance come in as arguments."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.settings import Restart


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How often in a row a process ended before it had lived long enough."""

    failures: int = 0

    def after(self, lived: float, policy: Restart) -> Record:
        """The record after another end."""
        return Record(failures=1 if lived >= policy.steady_after else self.failures + 1)

    def hopeless(self, policy: Restart) -> bool:
        """Whether this is a crash loop, which only a person ends."""
        return self.failures >= policy.give_up_after

    def delay(self, policy: Restart, chance: float) -> float:
        """Seconds to wait: doubled each time, and up to a quarter more or less by `chance` (0..1), so that the
        workers of one machine do not all come back in the same second."""
        doubled = policy.first_delay * 2 ** min(max(self.failures - 1, 0), 30)
        return min(doubled, policy.most_delay) * (0.75 + chance / 2)
