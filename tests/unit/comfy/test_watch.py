"""A Watch: frames of one prompt add up to progress that never falls, early outputs, and hints of the end."""

from __future__ import annotations

from gateway.domain import model
from gateway.domain.comfy import frames, watch

P = "e806f788-c8f3-4191-b158-ce05cea86fef"
CLASSES = {"1": "EmptyLatentImage", "2": "KSampler", "3": "VAEDecode", "4": "SaveImage"}


def moved(signs: tuple[watch.Sign, ...]) -> list[model.Progress]:
    return [sign.progress for sign in signs if isinstance(sign, watch.Moved)]


def states(**nodes: bool) -> frames.ProgressState:
    return frames.ProgressState(P, {key[1:]: frames.NodeState(1, 1, done) for key, done in nodes.items()})


def test_a_run_from_start_to_end() -> None:
    made = watch.Watch(classes=CLASSES)
    assert made.feed(frames.ExecutionStart(P))[0] == watch.Started()
    made.feed(frames.ExecutionCached(P, ("1",)))
    made.feed(frames.Executing(P, "2"))
    (progress,) = moved(made.feed(frames.Progress(P, "2", 10, 20)))
    assert progress == model.Progress(
        value=0.375,
        nodes_done=1,
        nodes_total=4,
        current_node="2",
        current_node_class="KSampler",
        step=10,
        steps=20,
        message="KSampler 10/20",
    )
    made.feed(states(_2=True))
    made.feed(frames.Executing(P, "4"))
    output = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}
    assert made.feed(frames.Executed(P, "4", output)) == (watch.Produced("4", output),)
    assert made.feed(frames.ExecutionSuccess(P)) == (watch.Ended(watch.EndHint.COMING),)
    assert made.feed(frames.Executing(P, None)) == (watch.Ended(watch.EndHint.WRITTEN),)


def test_progress_never_falls() -> None:
    made = watch.Watch(classes=CLASSES)
    seen: list[float] = []
    for frame in (
        frames.Executing(P, "2"),
        frames.Progress(P, "2", 19, 20),
        frames.Executing(P, "3"),
        states(_2=True),
        frames.Progress(P, "3", 0, 5),
        states(_2=True, _3=True),
    ):
        seen += [progress.value for progress in moved(made.feed(frame))]
    assert seen == sorted(seen)


def test_nodes_that_the_graph_does_not_have_count_for_nothing() -> None:
    """Subgraph expansion makes nodes like `2.0.0.1` appear; they are not the client's."""
    made = watch.Watch(classes=CLASSES)
    (progress,) = moved(made.feed(frames.Executing(P, "99")))
    assert (progress.current_node, progress.current_node_class, progress.nodes_done) == ("99", None, 0)


def test_a_preview_without_ids_belongs_to_the_node_that_runs() -> None:
    made = watch.Watch(classes=CLASSES)
    made.feed(frames.Executing(P, "2"))
    (sign,) = made.feed(frames.PreviewImage(None, None, "image/jpeg", b"x"))
    assert sign == watch.Previewed(model.Preview(node_id="2", content_type="image/jpeg", data=b"x"))


def test_an_error_frame_is_kept_because_history_may_call_the_run_a_success() -> None:
    made = watch.Watch(classes=CLASSES)
    assert made.feed(frames.ExecutionError(P, {"node_id": "3"})) == (watch.Ended(watch.EndHint.COMING),)
    assert made.error == {"node_id": "3"}
