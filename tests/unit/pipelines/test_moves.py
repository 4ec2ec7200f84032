"""What is to be done next for a pipeline, from how its steps stand."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gateway.domain import model as domain
from gateway.domain.pipelines import model, moves
from gateway.domain.states import JobStatus

PLAN = moves.Plan(
    steps=(
        moves.Planned(step=model.Step(name="a", template="one"), version="v1", nodes={"mask": "7"}),
        moves.Planned(step=model.Step(name="b", template="one")),
        moves.Planned(step=model.Step(name="c", template="two", inputs={"image": "@a.mask", "other": "@b", "n": 1})),
        moves.Planned(step=model.Step(name="d", finish=model.Finish(format="webp"), of="c")),
    ),
    outputs=("c", "d"),
)


def job(name: str, status: JobStatus = JobStatus.SUCCEEDED, *nodes: str) -> domain.Job:
    return domain.Job(
        id=domain.JobId(f"job-{name}"),
        tenant=domain.DEFAULT_TENANT,
        status=status,
        created_at=0.0,
        expires_at=1.0,
        outputs=tuple(output(f"{name}{index}", node, index) for index, node in enumerate(nodes)),
        error=domain.JobError(code="node_error", message="it broke") if status is JobStatus.FAILED else None,
    )


def output(name: str, node: str, index: int) -> domain.Output:
    asset = domain.Asset(
        id=domain.AssetId(name), tenant=domain.DEFAULT_TENANT, hash="h", size_bytes=1, content_type="image/png",
        created_at=0.0,
    )  # fmt: skip
    return domain.Output(asset=asset, node_id=node, name=name, type=domain.OutputType.IMAGE, index=index)


def begun(**steps: domain.Job) -> dict[str, domain.Job]:
    return steps


def test_what_an_order_gives_is_no_reference() -> None:
    pipeline = model.Pipeline(
        steps=(model.Step(name="a", template="one"), model.Step(name="b", template="two", inputs={"image": "@a"})),
        inputs={"prompt": (model.Target("b", "prompt"),)},
        outputs=("b",),
    )
    made = moves.plan(pipeline, {"prompt": "@fox"}, {})
    again = moves.Plan.from_dict(json.loads(json.dumps(made.as_dict())))
    assert again == made
    done = begun(a=job("a", JobStatus.SUCCEEDED, "7"))
    move = moves.next_move(again, done, canceling=False)
    assert isinstance(move, moves.Start)
    (planned,) = move.steps
    assert moves.inputs_of(planned, again, done) == {
        "image": {"__type": "core/ASSET", "info": {"id": "a0"}},
        "prompt": "@fox",
    }


@pytest.mark.parametrize(
    ("found", "starts"),
    [
        pytest.param(begun(), ["a", "b"], id="what needs nothing begins together"),
        pytest.param(begun(a=job("a")), ["b"], id="what was not begun"),
        pytest.param(begun(a=job("a"), b=job("b")), ["c"], id="what has all its files"),
        pytest.param(begun(a=job("a"), b=job("b"), c=job("c")), ["d"], id="a step of our own"),
    ],
)
def test_steps_begin_when_what_they_take_is_there(found: dict[str, domain.Job], starts: list[str]) -> None:
    move = moves.next_move(PLAN, found, canceling=False)
    assert isinstance(move, moves.Start)
    assert [planned.step.name for planned in move.steps] == starts


def test_it_waits_for_what_runs() -> None:
    found = begun(a=job("a"), b=job("b", JobStatus.RUNNING))
    assert moves.next_move(PLAN, found, canceling=False) == moves.Wait()


def test_it_succeeds_with_the_files_of_its_outputs_in_order() -> None:
    found = begun(
        a=job("a"), b=job("b"), c=job("c", JobStatus.SUCCEEDED, "9", "9"), d=job("d", JobStatus.SUCCEEDED, "d")
    )
    move = moves.next_move(PLAN, found, canceling=False)
    assert isinstance(move, moves.End)
    assert [(output.name, output.index) for output in move.outputs] == [("c0", 0), ("c1", 1), ("d0", 2)]


def test_a_failed_step_stops_the_others_and_then_fails_all() -> None:
    found = begun(a=job("a", JobStatus.FAILED), b=job("b", JobStatus.RUNNING))
    assert moves.next_move(PLAN, found, canceling=False) == moves.Stop(jobs=(domain.JobId("job-b"),))
    move = moves.next_move(PLAN, {**found, "b": job("b", JobStatus.CANCELED)}, canceling=False)
    assert isinstance(move, moves.End)
    assert (move.status, move.error and move.error.message) == (JobStatus.FAILED, "Step a: it broke")


def test_a_cancel_stops_what_runs_and_then_all() -> None:
    found = begun(a=job("a", JobStatus.RUNNING), b=job("b"))
    assert moves.next_move(PLAN, found, canceling=True) == moves.Stop(jobs=(domain.JobId("job-a"),))
    ended = begun(a=job("a", JobStatus.CANCELED), b=job("b"))
    assert moves.next_move(PLAN, ended, canceling=True) == moves.End(status=JobStatus.CANCELED)
    assert moves.next_move(PLAN, begun(), canceling=True) == moves.End(status=JobStatus.CANCELED)


def test_references_become_assets() -> None:
    found = begun(a=job("a", JobStatus.SUCCEEDED, "5", "7"), b=job("b", JobStatus.SUCCEEDED, "9"))
    inputs = moves.inputs_of(PLAN.steps[2], PLAN, found)
    assert inputs["image"]["info"] == {"id": "a1"}
    assert inputs["other"]["info"] == {"id": "b0"}
    assert inputs["n"] == 1
    with pytest.raises(moves.NoSuchFile, match=r"no @a\.mask: the step made 0 files"):
        moves.inputs_of(PLAN.steps[2], PLAN, {**found, "a": job("a", JobStatus.SUCCEEDED, "5")})


def test_a_plan_is_what_it_was_after_it_was_stored() -> None:
    plan = dataclasses.replace(PLAN, done={"a": "job-z"}, sealed=True, needs_key=True)
    assert moves.Plan.from_dict(plan.as_dict()) == plan


def test_progress_counts_all_steps() -> None:
    found = begun(a=job("a"), b=job("b", JobStatus.RUNNING))
    told = {"b": domain.Progress(value=0.5, nodes_done=1, nodes_total=2, step=3, steps=6)}
    progress = moves.progress(PLAN, found, told)
    assert (progress.value, progress.nodes_done, progress.nodes_total) == (0.375, 1, 4)
    assert (progress.current_node, progress.step, progress.steps) == ("b", 3, 6)


def test_the_id_of_a_step_is_always_the_same() -> None:
    parent = domain.JobId("01a1feb3-e155-72a7-919d-eb9af8b2d911")
    assert moves.step_id(parent, "a") == moves.step_id(parent, "a") != moves.step_id(parent, "b")
