"""Partner keys are remembered while their job may need them, and shown to nobody."""

from gateway.domain.model import JobId
from gateway.submission import Secrets


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_is_there_until_it_is_forgotten() -> None:
    secrets = Secrets(Clock())
    secrets.keep(JobId("a"), "key", until=10)
    assert secrets.of(JobId("a")) == "key"
    assert secrets.of(JobId("b")) is None
    secrets.forget(JobId("a"))
    secrets.forget(JobId("a"))
    assert secrets.of(JobId("a")) is None


def test_keys_of_jobs_past_retention_do_not_pile_up() -> None:
    clock = Clock()
    secrets = Secrets(clock)
    for number in range(2500):
        clock.now = float(number)
        secrets.keep(JobId(str(number)), "key", until=number + 10)
    assert secrets.of(JobId("0")) is None
    assert secrets.of(JobId("2499")) == "key"


def test_nothing_shows_a_key() -> None:
    secrets = Secrets(Clock())
    secrets.keep(JobId("a"), "hidden", until=10)
    assert "hidden" not in f"{secrets} {secrets!r}"
