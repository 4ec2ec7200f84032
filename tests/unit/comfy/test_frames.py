"""Frames: what real servers send is decoded, what makes no sense is `Unknown`, and nothing raises."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.comfy import frames

PROMPT = "e806f788-c8f3-4191-b158-ce05cea86fef"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 2}}, "sid": "abc"}},
            frames.QueueStatus(2, "abc"),
        ),
        ({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}, frames.QueueStatus(0)),
        (
            {"type": "execution_start", "data": {"prompt_id": PROMPT, "timestamp": 1}},
            frames.ExecutionStart(PROMPT, 0.001),
        ),
        (
            {"type": "execution_cached", "data": {"nodes": ["1", "2"], "prompt_id": PROMPT, "timestamp": 1}},
            frames.ExecutionCached(PROMPT, ("1", "2")),
        ),
        (
            {"type": "executing", "data": {"node": "7", "display_node": "7", "prompt_id": PROMPT}},
            frames.Executing(PROMPT, "7"),
        ),
        ({"type": "executing", "data": {"node": None, "prompt_id": PROMPT}}, frames.Executing(PROMPT, None)),
        ({"type": "executing", "data": {"node": "7"}}, frames.Executing(None, "7")),
        (
            {
                "type": "progress_state",
                "data": {
                    "prompt_id": PROMPT,
                    "nodes": {
                        "3": {"value": 2, "max": 20, "state": "running", "node_id": "3"},
                        "4": {"value": 1.0, "max": 1.0, "state": "finished", "node_id": "4"},
                    },
                },
            },
            frames.ProgressState(
                PROMPT, {"3": frames.NodeState(2.0, 20.0, False), "4": frames.NodeState(1.0, 1.0, True)}
            ),
        ),
        (
            {"type": "progress", "data": {"value": 3, "max": 20, "prompt_id": PROMPT, "node": "3"}},
            frames.Progress(PROMPT, "3", 3.0, 20.0),
        ),
        (
            {"type": "executed", "data": {"node": "9", "output": {"images": []}, "prompt_id": PROMPT}},
            frames.Executed(PROMPT, "9", {"images": []}),
        ),
        (
            {"type": "executed", "data": {"node": "9", "output": None, "prompt_id": PROMPT}},
            frames.Executed(PROMPT, "9", {}),
        ),
        ({"type": "execution_success", "data": {"prompt_id": PROMPT}}, frames.ExecutionSuccess(PROMPT)),
        ({"type": "execution_interrupted", "data": {"prompt_id": PROMPT}}, frames.ExecutionInterrupted(PROMPT)),
        ({"type": "assets.seed.started", "data": {}}, frames.Unknown("assets.seed.started")),
        ({"type": "progress", "data": {"value": "x"}}, frames.Unknown("progress")),
        ({"type": ["odd"], "data": {}}, frames.Unknown("['odd']")),
        ([1, 2], frames.Unknown("not an object")),
    ],
)
def test_text_frames(message: object, expected: frames.Frame) -> None:
    assert frames.decode_text(message) == expected


def test_an_execution_error_keeps_everything_it_says() -> None:
    data = {"prompt_id": PROMPT, "node_id": "2", "exception_type": "RuntimeError"}
    frame = frames.decode_text({"type": "execution_error", "data": data})
    assert frame == frames.ExecutionError(PROMPT, data)
    assert frames.prompt_of(frame) == PROMPT


def packed(kind: int, *parts: bytes | int) -> bytes:
    return struct.pack(">I", kind) + b"".join(
        part if isinstance(part, bytes) else struct.pack(">I", part) for part in parts
    )


def test_binary_frames() -> None:
    metadata = orjson.dumps({"prompt_id": PROMPT, "node_id": "3", "image_type": "image/png"})
    assert frames.decode_binary(packed(1, 1, b"jpeg"), orjson.loads) == frames.PreviewImage(
        None, None, "image/jpeg", b"jpeg"
    )
    assert frames.decode_binary(packed(1, 2, b"png"), orjson.loads) == frames.PreviewImage(
        None, None, "image/png", b"png"
    )
    assert frames.decode_binary(packed(3, 2, b"42", "ä".encode()), orjson.loads) == frames.NodeText("42", "ä")
    assert frames.decode_binary(packed(4, len(metadata), metadata, b"bytes"), orjson.loads) == frames.PreviewImage(
        PROMPT, "3", "image/png", b"bytes"
    )


@pytest.mark.parametrize("message", [b"", b"\0", packed(1), packed(1, 9, b"x"), packed(4, 4, b"null"), packed(77)])
def test_odd_binary_frames_are_unknown(message: bytes) -> None:
    assert isinstance(frames.decode_binary(message, orjson.loads), frames.Unknown)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["status", "executing", "progress", "progress_state", "executed", "x"])},
        optional={
            "data": st.dictionaries(st.sampled_from(["prompt_id", "node", "nodes", "status", "value"]), json_values)
        },
    )
)
def test_no_text_frame_raises(message: dict[str, Any]) -> None:
    frames.decode_text(message)


@given(st.binary(max_size=64))
def test_no_binary_frame_raises(message: bytes) -> None:
    frames.decode_binary(message, orjson.loads)
