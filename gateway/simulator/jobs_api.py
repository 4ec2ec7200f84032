"""The newer `/api/jobs` view of queue and history, with the traps that a real 0.33 has.

One job whose `extra_pnginfo` or workflow is no object makes the whole list fail; a re-used id shows its old entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.simulator.execution import Executor
from gateway.simulator.prompt_queue import Entry, PromptQueue

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_PREVIEWABLE = ("images", "video", "audio", "gifs", "3d")
Job = dict[str, Any]


class BadQuery(Exception):
    """A query that is refused, in the server's words."""


class JobsApi:
    """Jobs as one resource, put together from queue and history."""

    def __init__(self, queue: PromptQueue, executor: Executor) -> None:
        self._queue = queue
        self._executor = executor

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of jobs."""
        statuses = _statuses(query.get("status"))
        sort_by, newest_first = _sorting(query)
        limit, offset = _paging(query)
        jobs = self._all(statuses)
        workflow_id = query.get("workflow_id")
        if workflow_id:
            jobs = [job for job in jobs if job.get("workflow_id") == workflow_id]
        if sort_by == "execution_duration":
            jobs.sort(key=_duration, reverse=newest_first)
        else:
            jobs.sort(key=_created, reverse=newest_first)
        page = jobs[offset:] if limit is None else jobs[offset : offset + limit]
        total = len(jobs)
        return {
            "jobs": page,
            "pagination": {
                "offset": offset,
                "limit": limit,
                "total": total,
                "has_more": offset + len(page) < total,
            },
        }

    def get(self, job_id: str) -> Job | None:
        """Return one job in full; what is in history hides what runs under the same id."""
        record = self._queue.history.get(job_id)
        if record is not None:
            return _full(record)
        running = self._queue.find_running(job_id)
        if running is not None:
            return _unfinished(running, "in_progress")
        for entry in self._queue.pending():
            if entry.prompt_id == job_id:
                return _unfinished(entry, "pending")
        return None

    def cancel(self, job_id: str) -> bool:
        """Interrupt a running job or drop a waiting one; False for anything else."""
        if self._queue.find_running(job_id) is not None:
            self._executor.interrupt()
            return True
        return self._queue.delete(job_id)

    def _all(self, statuses: frozenset[str]) -> list[Job]:
        jobs: list[Job] = []
        if "in_progress" in statuses:
            jobs += [_unfinished(entry, "in_progress") for entry in self._queue.running]
        if "pending" in statuses:
            jobs += [_unfinished(entry, "pending") for entry in self._queue.pending()]
        for record in self._queue.history.values():
            if _status(record) in statuses:
                jobs.append(_finished(record))
        return jobs


def _statuses(text: str | None) -> frozenset[str]:
    names = [name.strip().lower() for name in (text or "").split(",") if name.strip()]
    unknown = [name for name in names if name not in STATUSES]
    if unknown:
        raise BadQuery(f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}")
    return frozenset(names or STATUSES)


def _sorting(query: Mapping[str, str]) -> tuple[str, bool]:
    sort_by = query.get("sort_by", "created_at")
    if sort_by not in ("created_at", "execution_duration"):
        raise BadQuery("sort_by must be 'created_at' or 'execution_duration'")
    order = query.get("sort_order", "desc")
    if order not in ("asc", "desc"):
        raise BadQuery("sort_order must be 'asc' or 'desc'")
    return sort_by, order == "desc"


def _paging(query: Mapping[str, str]) -> tuple[int | None, int]:
    limit: int | None = None
    if query.get("limit"):
        limit = _integer(query["limit"], "limit")
        if limit <= 0:
            raise BadQuery("limit must be a positive integer")
    return limit, max(_integer(query.get("offset") or "0", "offset"), 0)


def _integer(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadQuery(f"{name} must be an integer") from None


def _created(job: Job) -> tuple[float, float]:
    """Jobs of one millisecond come in the order of their numbers; the real one leaves that to chance."""
    return job.get("create_time") or 0, job.get("priority") or 0


def _duration(job: Job) -> float:
    return job.get("execution_end_time", 0) - job.get("execution_start_time", 0)


def _workflow_id(extra_data: dict[str, Any]) -> Any:
    return extra_data.get("extra_pnginfo", {}).get("workflow", {}).get("id")


def _pruned(job: Job) -> Job:
    return {name: value for name, value in job.items() if value is not None}


def _unfinished(entry: Entry, status: str) -> Job:
    return _pruned(
        {
            "id": entry.prompt_id,
            "status": status,
            "priority": entry.number,
            "create_time": entry.extra_data.get("create_time"),
            "outputs_count": 0,
            "previewable_outputs_count": 0,
            "workflow_id": _workflow_id(entry.extra_data),
        }
    )


def _status(record: dict[str, Any]) -> str:
    if record["status"]["status_str"] == "success":
        return "completed"
    interrupted = any(kind == "execution_interrupted" for kind, _ in record["status"]["messages"])
    return "cancelled" if interrupted else "failed"


def _finished(record: dict[str, Any]) -> Job:
    number, prompt_id, _, extra_data, _ = record["prompt"]
    messages = dict(record["status"]["messages"])
    end = next(
        (
            messages[kind]["timestamp"]
            for kind in ("execution_success", "execution_error", "execution_interrupted")
            if kind in messages
        ),
        None,
    )
    count, previewable, preview = _count_outputs(record["outputs"])
    return _pruned(
        {
            "id": prompt_id,
            "status": _status(record),
            "priority": number,
            "create_time": extra_data.get("create_time"),
            "execution_start_time": messages.get("execution_start", {}).get("timestamp"),
            "execution_end_time": end,
            "execution_error": messages.get("execution_error"),
            "outputs_count": count,
            "previewable_outputs_count": previewable,
            "preview_output": preview,
            "workflow_id": _workflow_id(extra_data),
        }
    )


def _full(record: dict[str, Any]) -> Job:
    return {
        **_finished(record),
        "outputs": record["outputs"],
        "execution_status": record["status"],
        "workflow": {"prompt": record["prompt"][2], "extra_data": record["prompt"][3]},
    }


def _count_outputs(outputs: dict[str, Any]) -> tuple[int, int, Job | None]:
    count = previewable = 0
    saved: Job | None = None
    other: Job | None = None
    for node_id, shown in outputs.items():
        for media, items in shown.items():
            for item in items:
                if media == "text" and isinstance(item, str):
                    other = other or {"content": item, "nodeId": node_id, "mediaType": "text"}
                if not isinstance(item, dict) or "filename" not in item:
                    continue
                count += 1
                if media in _PREVIEWABLE:
                    previewable += 1
                    found = {**item, "nodeId": node_id, "mediaType": media}
                    if item.get("type") == "output":
                        saved = saved or found
                    elif other is None or other["mediaType"] == "text":
                        other = found
    return count, previewable, saved or other
