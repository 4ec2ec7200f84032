"""Fetching what an attempt produced: each file streamed from the worker into the blobs, once, in the order made.

Files are fetched as soon as a node reports them, while the run goes on; whatever history lists beyond that is fetched
at the end. Outputs of a run that goes on for longer are recorded at once, so that clients see them early; those of
a run that ends within moments wait for its settle and share its transaction.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
import tenacity

from gateway import assets, ports
from gateway.dispatch import trying
from gateway.domain import errors, model
from gateway.domain.comfy import graph, history

_log = structlog.get_logger("gateway.collect")
_GATHER_SECONDS: Final = 0.05  #: outputs wait this long for the end of the run before they are recorded on their own
_PARALLEL: Final = 4  #: files of one job fetched at once

Item = history.OutputFile | history.OutputText


@dataclass(slots=True, kw_only=True)
class Collector:
    """Collects one attempt's outputs. `known` remembers files of this worker's boot that are stored already: a fully
    cached run lists files of an earlier one, which may be gone by now (decision 11 of the design)."""

    claim: model.Claim
    client: ports.WorkerClient
    assets: assets.Assets
    queue: ports.Queue
    bus: ports.Bus
    folder: str  #: the job's own subfolder on the worker
    simulated: bool
    known: dict[tuple[str, str], model.Asset]
    canceled: Callable[[], bool] = lambda: False  #: nobody wants the outputs any more
    _tasks: dict[Item, asyncio.Task[model.NewOutput]] = field(default_factory=dict[Item, asyncio.Task[model.NewOutput]])
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PARALLEL))
    _unrecorded: list[model.NewOutput] = field(default_factory=list[model.NewOutput])
    _before: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    _recorder: asyncio.Task[None] | None = None
    _recording: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        """What an adopted attempt recorded before comes again, and is not to be recorded again."""
        self._before.update(self.claim.recorded)

    def produced(self, node: str, output: Mapping[str, Any]) -> None:
        """A node has its result: begin to fetch what it lists."""
        for item in history.items_of(node, output):
            self._begin(item)

    def _begin(self, item: Item) -> None:
        if item in self._tasks:
            return
        task = asyncio.create_task(self._fetch(item, len(self._tasks)))
        task.add_done_callback(self._fetched)
        self._tasks[item] = task

    def _fetched(self, task: asyncio.Task[model.NewOutput]) -> None:
        if task.cancelled() or task.exception() is not None:
            return
        output = task.result()
        if self._before[output.node_id, output.asset.hash] > 0:
            self._before[output.node_id, output.asset.hash] -= 1
            return
        self._unrecorded.append(output)
        if self._recorder is None or self._recorder.done():
            self._recorder = asyncio.create_task(self._record_soon())

    async def _record_soon(self) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        async with self._recording:
            batch, self._unrecorded = self._unrecorded, []
            try:
                recorded = await self.queue.add_outputs(self.claim.attempt.id, batch) if batch else ()
            except (errors.StoreUnavailable, errors.LeaseLost) as error:
                _log.warning("outputs_not_recorded_yet", job=self.claim.job_id, reason=error.message)
                self._unrecorded = batch + self._unrecorded
                return
        for output in recorded:
            self.bus.publish(self.claim.job_id, model.OutputMade(output=output))

    async def finish(self, outputs: Mapping[str, Mapping[str, Any]]) -> tuple[model.NewOutput, ...]:
        """The run has ended with these outputs: fetch the rest; returns what is not recorded yet, in order.

        WorkerError or NotFound when a file cannot be had.
        """
        for node, output in outputs.items():
            self.produced(node, output)
        if self._tasks:
            await asyncio.gather(*self._tasks.values())
        async with self._recording:  # what is being recorded right now is recorded whole: never cancel that
            pending, self._unrecorded = self._unrecorded, []
        if self._recorder is not None:
            self._recorder.cancel()
        return tuple(sorted(pending, key=lambda output: output.index))

    async def close(self) -> None:
        """Stop fetching."""
        tasks: list[asyncio.Task[Any]] = [*self._tasks.values()]
        if self._recorder is not None:
            tasks.append(self._recorder)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, item: Item, index: int) -> model.NewOutput:
        return await trying.patiently(
            lambda: self._fetch_once(item, index), errors.StoreUnavailable, self._while_wanted
        )

    def _while_wanted(self) -> tenacity.AsyncRetrying:
        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(errors.StoreUnavailable),
            stop=lambda _: self.canceled(),  # for as long as it takes: nothing new is claimed meanwhile
            wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5),
            before_sleep=self._log_waiting,
            reraise=True,
        )

    def _log_waiting(self, state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1:
            error = state.outcome.exception() if state.outcome else None
            _log.warning("output_waits_for_storage", job=self.claim.job_id, reason=str(error))

    async def _fetch_once(self, item: Item, index: int) -> model.NewOutput:
        async with self._gate:
            if isinstance(item, history.OutputText):
                return await self._keep(
                    item.node, f"text_{index + 1:05}.txt", index, _once(item.text.encode()), text=True
                )
            name = graph.own_name(item.path, self.folder) if item.folder == "output" else item.filename
            key = (item.folder, item.path)
            try:
                output = await self._fetch_file(item, name, index)
            except errors.NotFound:
                if key not in self.known:
                    raise
                asset = self.known[key]
                return await self._keep(item.node, name, index, self.assets.chunks(asset))
            self.known[key] = output.asset
            return output

    async def _fetch_file(self, file: history.OutputFile, name: str, index: int) -> model.NewOutput:
        return await trying.patiently(
            lambda: self._keep(file.node, name, index, self.client.view(file)), errors.WorkerError, _a_few_times
        )

    async def _keep(
        self, node: str, name: str, index: int, chunks: AsyncIterator[bytes], *, text: bool = False
    ) -> model.NewOutput:
        return await self.assets.keep_output(
            tenant=self.claim.tenant,
            job_id=self.claim.job_id,
            node_id=node,
            name=name,
            index=index,
            expires_at=self.claim.expires_at,
            simulated=self.simulated,
            chunks=chunks,
            text=text,
        )


def _a_few_times() -> tenacity.AsyncRetrying:
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(errors.WorkerError),
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=5),
        reraise=True,
    )


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
