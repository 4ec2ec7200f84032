"""Whether a worker that says nothing is dead: a pure judgement over several signs, which errs on patience.

From outside a dead execution thread looks like a node that works in silence, and a model can load for minutes without
a word. So silence alone is never enough while there is another sign to look at: a process that uses CPU, a card that
computes, a log that grows. Only the worker's own log can say for sure that the thread is gone; it does not for every
way to die.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.domain.comfy import answers

#: What Python writes when a thread dies of an exception, for ComfyUI's one thread that runs prompts. ComfyUI keeps 300
#: pieces of what it printed, and a traceback comes in hundreds: often only its later frames are left (seen on 0.3.64).
#: An error that ComfyUI caught names no frame as far out as these.
_DEATH: Final = re.compile(
    r"^(Exception in thread .*\(prompt_worker\)"
    r"|  File \"[^\"\n]*\b(execution|main)\.py\", line \d+, in (execute_async|prompt_worker)$)",
    re.MULTILINE,
)


class Judgement(StrEnum):
    """What is to be done."""

    WAIT = "wait"
    TOO_LONG = "too_long"  #: the run is over a limit: stop it
    DEAD = "dead"  #: nothing runs on this worker any more
    BLOCKED = "blocked"  #: what others run there holds up its queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What is known of one attempt and its worker, in seconds until now; None: not known."""

    silent: float | None  #: since the worker last told anything about it; None: its frames do not reach us
    running: float | None = None  #: since it was first seen to run; None: it waits there
    waiting: float | None = None  #: since it was sent, while nothing of ours runs there
    cpu_idle: float | None = None
    gpu_idle: float | None = None
    log_quiet: float | None = None
    log_tells_death: bool = False

    @property
    def quiet(self) -> float:
        """How long there has been no sign of life of any kind; 0 when there is too little to look at."""
        if self.silent is None and self.cpu_idle is None:
            return 0.0
        known = (self.silent, self.cpu_idle, self.gpu_idle, self.log_quiet)
        return min(sign for sign in known if sign is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The bounds that hold for one attempt, in seconds."""

    run: float
    idle: float
    dead: float  #: silent for so long *and* with a process that does nothing, it is dead
    known_dead: float = 10.0  #: silent for so long, and its log tells of the thread's end


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The judgement with its reason in plain words."""

    judgement: Judgement
    reason: str = ""


def judge(signs: Signs, bounds: Bounds) -> Finding:
    """What the signs mean."""
    if signs.log_tells_death and (signs.silent is None or signs.silent >= bounds.known_dead):
        return Finding(judgement=Judgement.DEAD, reason="its execution thread is dead: its own log says so")
    if signs.cpu_idle is not None and signs.quiet >= bounds.dead:
        return Finding(
            judgement=Judgement.DEAD,
            reason=f"its execution thread is dead: it answers, but {_nothing(signs)} for {_span(signs.quiet)}",
        )
    if signs.running is None:
        return _waiting(signs, bounds)
    if signs.running >= bounds.run:
        return Finding(
            judgement=Judgement.TOO_LONG,
            reason=f"it ran for {_span(signs.running)}, and {_span(bounds.run)} is the limit for jobs of its kind",
        )
    if signs.quiet >= bounds.idle:
        return Finding(
            judgement=Judgement.TOO_LONG,
            reason=f"there was no sign of life for {_span(signs.quiet)}, "
            f"and {_span(bounds.idle)} is the limit for jobs of its kind",
        )
    return Finding(judgement=Judgement.WAIT)


def _waiting(signs: Signs, bounds: Bounds) -> Finding:
    """It has not begun: what others run there may take its time, like a run of ours."""
    if signs.waiting is None or min(signs.waiting, signs.quiet) < bounds.idle:
        return Finding(judgement=Judgement.WAIT)
    reason = f"what others run there holds up its queue for {_span(signs.waiting)}"
    return Finding(judgement=Judgement.BLOCKED, reason=reason)


def _nothing(signs: Signs) -> str:
    also = (", its card" if signs.gpu_idle is not None else "") + (", its log" if signs.log_quiet is not None else "")
    return f"neither a frame nor its process{also} showed any life"


def _span(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


@dataclass(slots=True)
class LogWatch:
    """What a worker's log tells from one look to the next. ComfyUI keeps the last pieces that its own process
    printed, so a thread's end that is told there is this process's, and nothing starts that thread again."""

    tells_death: bool = False
    _last: tuple[answers.LogLine, ...] | None = None
    _grew_at: float | None = None

    def look(self, lines: Iterable[answers.LogLine], *, now: float) -> None:
        """The lines as they are now."""
        seen = tuple(lines)
        if seen != self._last:
            self._last, self._grew_at = seen, now
            self.tells_death = _DEATH.search("".join(line.text for line in seen)) is not None

    def quiet(self, now: float) -> float | None:
        """How long it has not grown; None before the first look."""
        return None if self._grew_at is None else now - self._grew_at
