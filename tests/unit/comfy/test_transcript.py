"""A Transcript says what history says, in every recording of a run that was heard from its beginning to its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest

from gateway.domain.comfy import frames, history, transcript
from tests.conformance import recordings

P = "e806f788-c8f3-4191-b158-ce05cea86fef"
RUN = (
    frames.ExecutionStart(P, 1.5),
    frames.ExecutionCached(P, ("1",)),
    frames.Executing(P, "2"),
    frames.Executed(P, "2", {"images": [{"filename": "a.png"}]}),
    frames.ExecutionSuccess(P, 2.0),
    frames.Executing(P, None),
)


def told(*run: frames.Frame) -> history.HistoryEntry | None:
    made = transcript.Transcript()
    for frame in run:
        made.take(frame)
    return made.entry()


def test_a_whole_run_is_what_history_has() -> None:
    assert told(*RUN) == history.HistoryEntry(
        verdict=history.Verdict.SUCCESS,
        error=None,
        outputs={"2": {"images": [{"filename": "a.png"}]}},
        cached=("1",),
        started_at=1.5,
        ended_at=2.0,
    )


@pytest.mark.parametrize("missing", [0, 1, 4, 5])
def test_a_run_of_which_something_is_missing_tells_nothing(missing: int) -> None:
    assert told(*(frame for number, frame in enumerate(RUN) if number != missing)) is None


@pytest.mark.parametrize(
    "more", [frames.ExecutionError(P, {"exception_message": "blocked"}), frames.ExecutionInterrupted(P), RUN[0]]
)
def test_a_run_of_which_anything_else_is_told_is_left_to_history(more: frames.Frame) -> None:
    assert told(*RUN[:4], more, *RUN[4:]) is None


def runs_of(recording: recordings.Recording) -> Iterator[tuple[str, history.HistoryEntry]]:
    """The prompts that one connection was told the whole story of, with that story."""
    heard: dict[tuple[str, str], transcript.Transcript] = defaultdict(transcript.Transcript)
    for event in recording.events:
        if event["kind"] != "text":
            continue
        frame = frames.decode_text(event["json"])
        prompt = frames.prompt_of(frame)
        if prompt is not None:
            heard[event["conn"], prompt].take(frame)
    for (_, prompt), made in heard.items():
        entry = made.entry()
        if entry is not None:
            yield prompt, entry


def entries_of(recording: recordings.Recording) -> dict[str, history.HistoryEntry]:
    """What the recorded answers of /history say."""
    found: dict[str, history.HistoryEntry] = {}
    for event in recording.events:
        answer = event.get("json")
        if event["kind"] == "http" and "/history" in event["path"] and isinstance(answer, dict):
            parsed = {prompt: history.parse_entry(answer, prompt) for prompt in answer}
            found.update((prompt, entry) for prompt, entry in parsed.items() if entry is not None)
    return found


@pytest.mark.parametrize(("version", "least"), [("0.3.64", 53), ("0.33", 75)])
def test_recorded_runs_agree_with_history(version: str, least: int) -> None:
    compared = 0
    for recording in recordings.load(version).values():
        written = entries_of(recording)
        for prompt, entry in runs_of(recording):
            if prompt in written:
                compared += 1
                assert entry == written[prompt], (recording.name, prompt)
    assert compared >= least
