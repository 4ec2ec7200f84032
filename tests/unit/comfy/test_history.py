"""History entries and what the end of a run means for its attempt."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain import model, verdict
from gateway.domain.comfy import answers, history
from gateway.domain.states import Outcome

P = "e806f788-c8f3-4191-b158-ce05cea86fef"


def entry(
    *messages: tuple[str, dict[str, Any]], status: str = "success", outputs: dict[str, Any] | None = None
) -> history.HistoryEntry:
    answer = {
        P: {
            "prompt": [0, P, {}, {}, []],
            "outputs": outputs or {},
            "status": {"status_str": status, "completed": status == "success", "messages": [list(m) for m in messages]},
        }
    }
    found = history.parse_entry(answer, P)
    assert found is not None
    return found


START = ("execution_start", {"prompt_id": P, "timestamp": 1_000_000})
SUCCESS = ("execution_success", {"prompt_id": P, "timestamp": 1_002_500})
INTERRUPTED = ("execution_interrupted", {"prompt_id": P, "node_id": "2"})


def error(kind: str, message: str) -> tuple[str, dict[str, Any]]:
    return (
        "execution_error",
        {"node_id": "2", "node_type": "KSampler", "exception_type": kind, "exception_message": message},
    )


@pytest.mark.parametrize("answer", [{}, None, [], {P: None}, {"other": {}}])
def test_no_entry_means_not_ended(answer: object) -> None:
    assert history.parse_entry(answer, P) is None


def test_a_success_tells_its_time_and_what_was_cached() -> None:
    found = entry(START, ("execution_cached", {"nodes": ["1"], "prompt_id": P}), SUCCESS)
    assert (found.verdict, found.seconds, found.cached) == (history.Verdict.SUCCESS, 2.5, ("1",))


OOM = error("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    ("found", "blocked", "cancel_asked", "outcome", "code"),
    [
        (entry(START, SUCCESS), None, False, Outcome.SUCCEEDED, None),
        (
            entry(START, error("RuntimeError", "no"), status="error"),
            None,
            False,
            Outcome.FAILED,
            "node_execution_error",
        ),
        (entry(START, OOM, status="error"), None, False, Outcome.BROKEN, "out_of_memory"),
        (
            entry(START, error("RuntimeError", "CUDA error: an illegal memory access was encountered"), status="error"),
            None,
            False,
            Outcome.BROKEN,
            "cuda_fault",
        ),
        (entry(START, INTERRUPTED, status="error"), None, True, Outcome.CANCELED, None),
        (entry(START, INTERRUPTED, status="error"), None, False, Outcome.BROKEN, "interrupted"),
        (entry(START, SUCCESS), error("Exception", "blocked")[1], False, Outcome.FAILED, "node_execution_error"),
        (
            entry(START, SUCCESS, outputs={"9": {"images": []}}),
            error("Exception", "blocked")[1],
            False,
            Outcome.SUCCEEDED,
            None,
        ),
        (entry(START, SUCCESS), None, True, Outcome.SUCCEEDED, None),
    ],
    ids=[
        "success",
        "an error of the graph is final",
        "out of memory is worth another worker",
        "so is a CUDA fault",
        "interrupted as asked",
        "interrupted by somebody else is worth another try",
        "a blocked node without any output fails although history says success",
        "a blocked node beside outputs does not",
        "it finished before the cancel took effect",
    ],
)
def test_what_an_end_means(
    found: history.HistoryEntry,
    blocked: dict[str, Any] | None,
    cancel_asked: bool,
    outcome: Outcome,
    code: str | None,
) -> None:
    end = verdict.of_history(found, blocked=blocked, cancel_asked=cancel_asked)
    assert (end.outcome, end.error.code if end.error else None) == (outcome, code)


def refusal(kind: str) -> dict[str, Any]:
    fault = {"type": kind, "message": "Value not in list", "details": "ckpt_name: 'x'", "extra_info": {}}
    return {
        "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"},
        "node_errors": {"4": {"errors": [fault], "dependent_outputs": ["9"], "class_type": "CheckpointLoaderSimple"}},
    }


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (refusal("value_not_in_list"), Outcome.BROKEN),
        ({"error": {"type": "missing_node_type", "message": "Node 'X' not found"}, "node_errors": {}}, Outcome.BROKEN),
        (refusal("value_smaller_than_min"), Outcome.FAILED),
        ({"error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs"}}, Outcome.FAILED),
        ({"error": 413}, Outcome.FAILED),
    ],
)
def test_what_a_refusal_means(body: dict[str, Any], outcome: Outcome) -> None:
    assert verdict.of_refusal(answers.refusal(body), body).outcome is outcome


def test_a_refusal_names_the_node_and_its_class() -> None:
    body = refusal("custom_validation_failed")
    error = verdict.of_refusal(answers.refusal(body), body).error
    assert error is not None
    assert (error.node_id, error.class_type) == ("4", "CheckpointLoaderSimple")
    assert error.details == {"node_errors": body["node_errors"]}


def test_a_refusal_is_told_with_node_and_field() -> None:
    assert answers.refusal(refusal("value_not_in_list")) == (
        "Prompt outputs failed validation: node 4 (CheckpointLoaderSimple): Value not in list (ckpt_name: 'x')"
    )


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"images": [{"filename": "a.png", "subfolder": "s", "type": "output"}], "animated": [True]}, ["s/a.png"]),
        ({"gifs": [{"filename": "a.mp4", "subfolder": "", "type": "output", "format": "video/h264-mp4"}]}, ["a.mp4"]),
        ({"audio": [{"filename": "a.flac", "subfolder": "audio", "type": "output"}]}, ["audio/a.flac"]),
        ({"3d": [{"filename": "a.glb", "subfolder": "", "type": "output"}]}, ["a.glb"]),
        ({"latents": [{"filename": "a.latent", "subfolder": "", "type": "output"}]}, ["a.latent"]),
        ({"anything": {"filename": "a.bin"}}, ["a.bin"]),
        ({"result": ["3d/a.glb", {"camera": 1}, ""]}, ["3d/a.glb"]),
        ({"text": ["one", "two"]}, ["one", "two"]),
        ({"images": None, "seed": [12], "note": ["not an output"]}, []),
    ],
)
def test_whatever_key_outputs_are_listed_under(output: dict[str, Any], expected: list[str]) -> None:
    items = history.items_of("9", output)
    assert [item.path if isinstance(item, history.OutputFile) else item.text for item in items] == expected


@pytest.mark.parametrize(
    ("name", "content_type", "kind"),
    [
        ("a.png", "image/png", "image"),
        ("a.webp", "image/webp", "image"),
        ("a.mp4", "video/mp4", "video"),
        ("a.webm", "video/webm", "video"),
        ("a.flac", "audio/flac", "audio"),
        ("a.mp3", "audio/mpeg", "audio"),
        ("a.txt", "text/plain", "text"),
        ("a.glb", "model/gltf-binary", "file"),
        ("a.latent", "application/octet-stream", "latent"),
        ("noextension", "application/octet-stream", "file"),
    ],
)
def test_kinds_of_output(name: str, content_type: str, kind: str) -> None:
    assert history.content_type_of(name) == content_type
    assert history.type_of(content_type, name) is model.OutputType(kind)
