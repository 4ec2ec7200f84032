"""What is too long, learned from what was."""

from __future__ import annotations

from gateway.domain import durations

PATIENCE = durations.Patience(run=1000, idle=50, run_at_least=100, times=10)


def test_nothing_is_known_at_first() -> None:
    learned = durations.Durations(patience=PATIENCE)
    assert learned.expected("portrait") is None
    assert (learned.run_limit("portrait"), learned.idle_limit("portrait")) == (1000, 50)


def test_a_few_runs_teach_no_limit() -> None:
    learned = durations.Durations(patience=PATIENCE)
    for _ in range(7):
        learned.ran("portrait", seconds=1, silent=1)
    assert learned.expected("portrait") == 1
    assert learned.run_limit("portrait") == 1000


def test_a_limit_is_far_above_the_longest_run() -> None:
    learned = durations.Durations(patience=PATIENCE)
    for seconds in (2, 2, 2, 2, 2, 2, 2, 20):
        learned.ran("portrait", seconds=seconds, silent=seconds / 2)
    assert learned.expected("portrait") == 2
    assert learned.run_limit("portrait") == 200
    assert learned.idle_limit("portrait") == 100
    assert learned.run_limit("film") == 1000


def test_limits_keep_within_their_bounds() -> None:
    learned = durations.Durations(patience=PATIENCE)
    for _ in range(8):
        learned.ran("quick", seconds=0.1, silent=0.01)
        learned.ran("film", seconds=900, silent=0.01)
    assert (learned.run_limit("quick"), learned.idle_limit("quick")) == (100, 50)
    assert learned.run_limit("film") == 1000


def test_only_the_newest_runs_count() -> None:
    learned = durations.Durations(patience=PATIENCE)
    learned.ran("portrait", seconds=99, silent=1)
    for _ in range(64):
        learned.ran("portrait", seconds=11, silent=1)
    assert learned.run_limit("portrait") == 110


def test_what_was_learned_survives() -> None:
    learned = durations.Durations(patience=PATIENCE)
    for _ in range(8):
        learned.ran("portrait", seconds=20, silent=7)
    kept = learned.changed()
    assert learned.changed() == {}
    again = durations.Durations(patience=PATIENCE)
    again.load({**kept, "odd": {"seconds": "no", "silent": [True]}})
    assert (again.run_limit("portrait"), again.idle_limit("portrait")) == (200, 70)
    assert again.expected("odd") is None
