"""Several signs, one judgement, and patience."""

from __future__ import annotations

import pytest

from gateway.domain import watchdog
from gateway.domain.comfy import answers
from gateway.domain.watchdog import Judgement, Signs

BOUNDS = watchdog.Bounds(run=1000, idle=300, dead=120)


@pytest.mark.parametrize(
    ("signs", "judgement"),
    [
        (Signs(silent=0, running=0), Judgement.WAIT),
        # A silent node on a process that computes, a card that does, or a log that grows: patience.
        (Signs(silent=290, running=290, cpu_idle=0), Judgement.WAIT),
        (Signs(silent=290, running=290, cpu_idle=290, gpu_idle=0), Judgement.WAIT),
        (Signs(silent=290, running=290, cpu_idle=290, gpu_idle=290, log_quiet=5), Judgement.WAIT),
        (Signs(silent=900, running=900, cpu_idle=0), Judgement.WAIT),
        # Nothing moves at all.
        (Signs(silent=130, running=130, cpu_idle=130), Judgement.DEAD),
        (Signs(silent=130, running=130, cpu_idle=130, gpu_idle=130, log_quiet=130), Judgement.DEAD),
        (Signs(silent=130, cpu_idle=130), Judgement.DEAD),
        # A process that we cannot look into: silence alone is no proof, only a limit.
        (Signs(silent=130, running=130), Judgement.WAIT),
        (Signs(silent=310, running=310), Judgement.TOO_LONG),
        (Signs(silent=310, running=310, log_quiet=5), Judgement.WAIT),
        (Signs(silent=310), Judgement.WAIT),
        # What was sent waits behind what others run: as long as a run of its kind may be silent.
        (Signs(silent=310, waiting=290), Judgement.WAIT),
        (Signs(silent=310, waiting=310), Judgement.BLOCKED),
        (Signs(silent=310, waiting=310, log_quiet=5), Judgement.WAIT),
        (Signs(silent=310, waiting=310, cpu_idle=0), Judgement.WAIT),
        # Frames that cannot reach us are no silence.
        (Signs(silent=None, running=900), Judgement.WAIT),
        (Signs(silent=None, running=900, log_quiet=900), Judgement.WAIT),
        (Signs(silent=None, running=900, cpu_idle=130), Judgement.DEAD),
        (Signs(silent=None, running=900, log_tells_death=True), Judgement.DEAD),
        # Its log may say for sure.
        (Signs(silent=5, running=20, log_tells_death=True), Judgement.WAIT),
        (Signs(silent=11, running=20, log_tells_death=True), Judgement.DEAD),
        (Signs(silent=11, log_tells_death=True), Judgement.DEAD),
        # However lively, a run has an end.
        (Signs(silent=0, running=1001, cpu_idle=0), Judgement.TOO_LONG),
    ],
)
def test_judgement(signs: Signs, judgement: Judgement) -> None:
    found = watchdog.judge(signs, BOUNDS)
    assert found.judgement is judgement
    assert bool(found.reason) == (judgement is not Judgement.WAIT)


def test_reasons_are_plain_words() -> None:
    dead = watchdog.judge(Signs(silent=130, cpu_idle=130, gpu_idle=125), BOUNDS)
    assert dead.reason == (
        "its execution thread is dead: it answers, but neither a frame nor its process, its card showed any life "
        "for 2 min"
    )
    long = watchdog.judge(Signs(silent=0, running=1001), BOUNDS)
    assert long.reason == "it ran for 17 min, and 17 min is the limit for jobs of its kind"


def lines(*texts: str) -> list[answers.LogLine]:
    """Pieces as ComfyUI keeps them: most of them end a line, some do not."""
    return [answers.LogLine(at=f"2026-11-21T08:09:{second:02}", text=text) for second, text in enumerate(texts)]


def test_a_log_that_stands_still_is_no_sign_of_life() -> None:
    log = watchdog.LogWatch()
    assert log.quiet(5) is None
    log.look(lines("starting"), now=10)
    log.look(lines("starting"), now=20)
    assert (log.quiet(30), log.tells_death) == (20, False)
    log.look(lines("starting", "got prompt"), now=40)
    assert log.quiet(45) == 5


@pytest.mark.parametrize(
    "pieces",
    [
        (
            "got prompt\n",
            "Exception in thread ",
            "Thread-1 (prompt_worker)",
            ":\n",
            "Traceback (most recent call last):\n",
        ),
        # The end of a long traceback, as the newest 300 pieces of a real 0.3.64 had it.
        (
            "^",
            "^",
            "\n",
            '  File "/app/ComfyUI/execution.py", line 668, in execute_async\n',
            "    await",
            "\n",
            "KeyError",
        ),
    ],
)
def test_a_log_tells_of_the_threads_end(pieces: tuple[str, ...]) -> None:
    log = watchdog.LogWatch()
    log.look(lines(*pieces), now=1)
    assert log.tells_death
    log.look(lines("starting\n"), now=2)
    assert not log.tells_death


@pytest.mark.parametrize(
    "line",
    [
        "Exception in thread Thread-5 (metrics):\n",
        "the prompt says: Exception in thread X (prompt_worker)\n",
        '!!! Exception during processing !!! nope\n  File "/app/ComfyUI/execution.py", line 496, in execute\n',
    ],
)
def test_other_lines_tell_nothing(line: str) -> None:
    log = watchdog.LogWatch()
    log.look(lines(line), now=1)
    assert not log.tells_death
