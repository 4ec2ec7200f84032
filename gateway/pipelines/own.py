"""Steps that the gateway does by itself: finishing pictures, and asking a check whether files may be handed out."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Final

import tenacity

from gateway import ports
from gateway.domain import errors, model
from gateway.domain.comfy.graph import Requirements
from gateway.domain.pipelines import model as pipelines
from gateway.domain.pipelines import moves
from gateway.domain.states import JobStatus
from gateway.pipelines import ties

_REFUSED: Final = frozenset({403, 422, 451})  #: a check's answers that say no
_TRIES: Final = 5


class _Refused(Exception):
    """The check says no, and the pipeline is to fail of it."""


async def begin(known: ties.Ties, parent: model.Job, step: str, *, sealed: bool) -> model.Job:
    """The job of such a step, running."""
    now = known.clock()
    new = model.NewJob(
        id=moves.step_id(parent.id, step),
        tenant=parent.tenant,
        created_at=now,
        expires_at=parent.expires_at,
        graph=b"{}",
        requirements=Requirements(),
        priority=parent.priority,
        parent_id=parent.id,
        step=step,
        sealed=sealed,
    )
    (job,) = await known.jobs.submit([new], begin=ports.Begin(owner=known.owner))
    return job


async def run(known: ties.Ties, job: model.Job, step: pipelines.Step, files: tuple[model.Output, ...]) -> moves.End:
    """Do the step; how it ended."""
    try:
        if step.finish is not None:
            made = [await _finished(known, job, step.finish, file) for file in files]
        elif step.check is not None:
            made = [file for file in files if await _passes(known, job, step.check, file)]
        else:
            made = list(files)
    except (errors.InvalidRequest, errors.OutputUnavailable, errors.TargetRefused, errors.TargetUnreachable) as error:
        return _failed(error.code, error.message)
    except _Refused as refused:
        return _failed("withheld", str(refused))
    outputs = tuple(dataclasses.replace(file, node_id=step.name, index=index) for index, file in enumerate(made))
    return moves.End(status=JobStatus.SUCCEEDED, outputs=outputs)


def _failed(code: str, message: str) -> moves.End:
    return moves.End(status=JobStatus.FAILED, error=model.JobError(code=code, message=message))


async def _finished(known: ties.Ties, job: model.Job, how: pipelines.Finish, file: model.Output) -> model.Output:
    """The picture as it is wanted; other files stay as they are."""
    if file.type is not model.OutputType.IMAGE:
        return file
    data = b"".join([chunk async for chunk in known.assets.chunks(file.asset)])
    done = await asyncio.to_thread(known.finish, data, how)
    kept = await known.assets.keep_output(
        tenant=job.tenant,
        job_id=job.id,
        node_id=job.step or "",
        name=str(PurePosixPath(file.name).with_suffix(done.suffix)),
        index=file.index,
        expires_at=job.expires_at,
        simulated=file.asset.simulated,
        chunks=_once(done.data),
    )
    return model.Output(asset=kept.asset, node_id=kept.node_id, name=kept.name, type=kept.type, index=kept.index)


async def _passes(known: ties.Ties, job: model.Job, check: pipelines.Check, file: model.Output) -> bool:
    """Whether the check lets this file pass; TargetUnreachable when it does not say."""
    data = b"".join([chunk async for chunk in known.assets.chunks(file.asset)])
    headers = {
        "Content-Type": file.asset.content_type,
        "X-Comfy-Job": str(job.parent_id),
        "X-Comfy-File": file.name.encode("ascii", "replace").decode(),
    }
    status = 0
    patient = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(errors.TargetUnreachable),
        stop=tenacity.stop_after_attempt(_TRIES),
        wait=tenacity.wait_exponential_jitter(multiplier=0.5, max=10),
        reraise=True,
    )
    async for attempt in patient:
        with attempt:
            answer = await known.outgoing.post(check.url, headers=headers, body=data, seconds=check.seconds)
            status = answer.status
            if not 200 <= status < 300 and status not in _REFUSED:
                raise errors.TargetUnreachable(f"The check answered {status}, which says neither yes nor no.")
    if 200 <= status < 300:
        return True
    if check.on_refusal == "fail":
        raise _Refused(f"the check refused {file.name}")
    return False


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
