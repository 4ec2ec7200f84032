"""What the frames of one run say of it when none was missed: the same as history.

Both come from the same messages of the server, and all recordings of runs that were heard from beginning to end agree
(tests/unit/comfy/test_transcript.py). Whether any frame was missed is for whoever listens to know
(docs/decisions/when-frames-are-believed.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.comfy import frames, history


@dataclass(slots=True)
class Transcript:
    """The frames of one prompt that history is made of."""

    _outputs: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    _turns: list[frames.Frame] = field(default_factory=list[frames.Frame])  #: what begins and what ends the run

    def take(self, frame: frames.Frame) -> None:
        """Take one frame of this prompt, in order."""
        match frame:
            case frames.Executed(node=node, output=output):
                if output:
                    self._outputs[node] = output
            case (
                frames.ExecutionStart()
                | frames.ExecutionCached()
                | frames.ExecutionSuccess()
                | frames.ExecutionError()
                | frames.ExecutionInterrupted()
                | frames.Executing(node=None)
            ):
                self._turns.append(frame)
            case _:
                pass

    def entry(self) -> history.HistoryEntry | None:
        """What history says of the run; None unless it began, succeeded and ended, in this order, and nothing else was
        said of it."""
        match self._turns:
            case [
                frames.ExecutionStart(at=began),
                frames.ExecutionCached(nodes=nodes),
                frames.ExecutionSuccess(at=ended),
                frames.Executing(node=None),
            ]:
                return history.HistoryEntry(
                    verdict=history.Verdict.SUCCESS,
                    error=None,
                    outputs=self._outputs,
                    cached=nodes,
                    started_at=began,
                    ended_at=ended,
                )
            case _:
                return None
