"""What the end of a run means for the attempt: pure functions over what the worker told.

Worth another try is what the worker did (lost memory, a CUDA fault, an interruption that nobody asked us for, a model
that this worker lacks); an error of the graph itself is not: it would fail again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.domain import model, retrying
from gateway.domain.comfy import answers, history
from gateway.domain.states import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an attempt ended and why, in plain words."""

    outcome: Outcome
    reason: str
    error: model.JobError | None = None


def of_history(
    entry: history.HistoryEntry,
    *,
    blocked: Mapping[str, Any] | None,
    cancel_asked: bool,
    overdue: str | None = None,
) -> Verdict:
    """The verdict of a history entry. `overdue` says why we stopped it ourselves.

    `blocked` is an `execution_error` frame of the run: a node blocked with a message sends one although history calls
    the run a success; when nothing at all came out, that error is the result.
    """
    if entry.verdict is history.Verdict.INTERRUPTED:
        if cancel_asked:
            return Verdict(outcome=Outcome.CANCELED, reason="canceled while it ran")
        if overdue is not None:
            return too_late(overdue)
        message = "somebody else interrupted it on the worker"
        return Verdict(
            outcome=Outcome.BROKEN, reason=message, error=model.JobError(code="interrupted", message=message)
        )
    if entry.verdict is history.Verdict.ERROR or (blocked and not entry.outputs):
        error = history.job_error(entry.error or blocked or {})
        again = error.code in {retrying.CUDA_FAULT, retrying.OUT_OF_MEMORY}
        return Verdict(outcome=Outcome.BROKEN if again else Outcome.FAILED, reason=error.message, error=error)
    return Verdict(outcome=Outcome.SUCCEEDED, reason="finished")


def too_late(reason: str) -> Verdict:
    """The verdict of a run that we stopped: another worker may be quicker, or less stuck."""
    message = f"it was stopped: {reason}"
    return Verdict(outcome=Outcome.BROKEN, reason=message, error=model.JobError(code=retrying.TIMEOUT, message=message))


def of_refusal(message: str, body: Mapping[str, Any]) -> Verdict:
    """The verdict of a 4xx answer to `POST /prompt`. A node or model file that this worker lacks is worth another
    worker; everything else is the graph's own fault."""
    faults = answers.node_faults(body)
    kinds = {fault.reason for fault in faults}
    head = body.get("error")
    if isinstance(head, dict):
        kinds.add(str(head.get("type")))
    error = model.JobError(
        code="invalid_workflow",
        message=f"the worker refused the workflow: {message}",
        node_id=faults[0].node if faults else None,
        class_type=faults[0].class_type if faults else None,
        details={"node_errors": body.get("node_errors") or {}},
    )
    lacking = bool(kinds & {"value_not_in_list", "missing_node_type"})
    return Verdict(outcome=Outcome.BROKEN if lacking else Outcome.FAILED, reason=error.message, error=error)
