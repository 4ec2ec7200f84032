"""The execution of prompts, one at a time: cache, order, frames, errors and the end, as recorded.

End of a job, in this order: `execution_success` (or error, or interrupted), the history entry and the status
frame, `executing` with node null. Some failures end the loop itself; a real server then answers HTTP for ever and
runs nothing, and so does this one.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import traceback
from typing import Any

import structlog

from gateway.simulator import faults, runs, worklog
from gateway.simulator.catalog import Catalog, Class
from gateway.simulator.files import Files
from gateway.simulator.graph import Order, Signatures, is_link
from gateway.simulator.nodes import base
from gateway.simulator.nodes.models import names_model
from gateway.simulator.options import Card, Options
from gateway.simulator.progress import NodeProgress, PromptProgress
from gateway.simulator.prompt_queue import Entry, PromptQueue
from gateway.simulator.sockets import Sockets

_log = structlog.get_logger(__name__)
#: Values in a node's inputs (pixels times channels) from which it runs in a thread.
_HEAVY = 200_000
_PREVIEW_METHODS = frozenset({"latent2rgb", "taesd", "auto"})


class Executor:
    """Takes prompts from the queue and runs them."""

    def __init__(
        self,
        *,
        options: Options,
        card: Card,
        catalog: Catalog,
        nodes: base.Nodes,
        files: Files,
        queue: PromptQueue,
        sockets: Sockets,
        script: faults.Script,
        log: worklog.WorkLog,
    ) -> None:
        self._options = options
        self._card = card
        self._catalog = catalog
        self._nodes = nodes
        self._files = files
        self._queue = queue
        self._sockets = sockets
        self._script = script
        self._worklog = log
        self._cache: dict[bytes, runs.Result] = {}
        self._loaders: dict[bytes, None] = {}  # keys, the one used last at the end
        self._asynchronous = frozenset(name for name, node in nodes.items() if node.asynchronous)
        self._interrupt = False
        self._free: set[str] = set()
        self.client_id: Any = None
        self.last_node: str | None = None
        self.is_dead = False
        #: Model files loaded, with their size in GB.
        self.resident: dict[str, float] = {}

    def interrupt(self) -> None:
        """Ask the running prompt to stop at the next place where it looks; nothing when idle."""
        self._interrupt = True

    def free(self, *, unload: bool, forget: bool, lost: bool = False) -> None:
        """Unload models and forget results between two jobs; a lost one waits for the end of the next job."""
        self._free |= {name for name, wanted in (("unload", unload), ("forget", forget)) if wanted}
        if not lost:
            self._queue.nudge()

    async def run(self) -> None:
        """Run what comes, until something kills the loop."""
        try:
            while True:
                self._queue.rest()
                entry = self._queue.take()
                if entry is None:
                    self._act_on_free()
                    await self._queue.wait()
                    continue
                await self._run_entry(entry)
                self._act_on_free()
        except (base.ThreadDeath, KeyError, IndexError, TypeError, AttributeError, ValueError) as cause:
            # What escapes here ends a real server's execution thread, too; see recordings 26a to 26j.
            self.is_dead = True
            if str(cause) not in {
                "system_exit",
                "silent_death",
            }:  # Python says nothing of a thread that ends by SystemExit
                self._worklog.print("Exception in thread Thread-1 (prompt_worker):")
            _log.warning("execution thread died", cause=repr(cause), stack=traceback.format_exc())

    def _act_on_free(self) -> None:
        if "unload" in self._free:
            self.resident.clear()
        if "forget" in self._free:
            self._cache.clear()
            self._loaders.clear()
            self.resident.clear()
        if self._free:
            self._script.freed()
        self._free.clear()

    async def _run_entry(self, entry: Entry) -> None:
        record = self._worklog.started(entry.prompt_id)
        self._script.job_started(entry)
        self._interrupt = False
        self.client_id = entry.extra_data.get("client_id")
        run = self._begin(entry)
        outcome = await self._attempt(run)
        self.last_node = None
        if self._options.end_delay_s > 0:
            await asyncio.sleep(self._options.end_delay_s)
        else:
            await asyncio.sleep(0)
        record.loads = sum(
            names_model(run.prompt[node]["class_type"], run.prompt[node]["inputs"])
            for node in run.executed
            if node in run.prompt
        )
        record.end(outcome)
        self._worklog.print("Prompt executed")
        forgotten = self._script.forgets(entry)
        self._queue.finish(entry, None if forgotten else runs.history(run, outcome))
        if self.client_id is not None:
            self._sockets.send("executing", {"node": None, "prompt_id": entry.prompt_id}, self.client_id)
        await asyncio.sleep(0)

    def _begin(self, entry: Entry) -> runs.Run:
        progress = PromptProgress(entry, self._sockets, self.client_id)
        method = entry.extra_data.get("preview_method") if self._options.is_new else None
        if not isinstance(method, str) or method not in (*_PREVIEW_METHODS, "none"):
            method = self._options.preview_method
        run = runs.Run(
            entry=entry,
            prompt=entry.prompt,
            keys={},
            progress=progress,
            previews=method in _PREVIEW_METHODS,
        )
        self._tell(run, "execution_start", {})
        run.keys = Signatures(entry.prompt, self._changed).all()
        if not self._options.is_new:
            self._drop_others(run)
        cached = [node_id for node_id in entry.prompt if run.keys[node_id] in self._cache]
        self._tell(run, "execution_cached", {"nodes": cached})
        return run

    async def _attempt(self, run: runs.Run) -> str:
        try:
            await self._run_nodes(run)
        except runs.NodeFailed as failure:
            self._tell(run, "execution_error", runs.failure_data(run, failure))
            return "error"
        except runs.NodeInterrupted as stop:
            data = {
                "node_id": stop.node_id,
                "node_type": run.prompt[stop.node_id]["class_type"],
                "executed": list(run.executed),
            }
            self._tell(run, "execution_interrupted", data, to_all=True)
            return "interrupted"
        finally:
            for task in run.tasks.values():
                task.cancel()
        self._tell(run, "execution_success", {})
        return "success"

    def _tell(self, run: runs.Run, kind: str, data: dict[str, Any], *, to_all: bool = False) -> None:
        message = {"prompt_id": run.entry.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        run.messages.append([kind, message])
        if self.client_id is not None or to_all:
            self._sockets.send(kind, message, self.client_id)

    async def _run_nodes(self, run: runs.Run) -> None:
        order = run.order = Order(run.prompt, self._catalog, lambda item: self._has(run, item), self._asynchronous)
        for output in run.entry.outputs:
            order.add(output)
        while order:
            node_id = order.next()
            if node_id is None:
                await self._await_one(run, order)
                continue
            await self._visit(run, order, node_id)

    async def _await_one(self, run: runs.Run, order: Order) -> None:
        done, _ = await asyncio.wait(run.tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        for node_id, task in run.tasks.items():
            if task in done:
                order.release(node_id)

    def _has(self, run: runs.Run, node_id: str) -> bool:
        return node_id in run.results or run.keys.get(node_id) in self._cache

    def _result(self, run: runs.Run, node_id: str) -> runs.Result | None:
        return run.results.get(node_id) or self._cache.get(run.keys.get(node_id, b""))

    async def _visit(self, run: runs.Run, order: Order, node_id: str) -> None:
        found = self._catalog.classes[run.prompt[node_id]["class_type"]]
        if node_id in run.tasks:
            result = await self._guard(run, node_id, run.tasks.pop(node_id))
        elif node_id in run.expanded:
            result = self._collect(run, node_id)
        else:
            known = self._result(run, node_id)
            if known is not None:
                self._show_cached(run, node_id, known)
                order.done(node_id)
                return
            run.progress.start(node_id, parent=run.parents.get(node_id))
            if self.client_id is not None:
                shown = run.parents.get(node_id, node_id)
                self.last_node = shown
                data = {"node": node_id, "display_node": shown, "prompt_id": run.entry.prompt_id}
                self._sockets.send("executing", data, run.sid)
            started = await self._start(run, order, found, node_id)
            if started is None:
                return
            result = started
        self._finish(run, order, node_id, result)

    async def _start(self, run: runs.Run, order: Order, found: Class, node_id: str) -> runs.Result | None:
        """Run a node; None when it goes on by itself or put a graph in its place."""
        inputs = self._gather(run, found, node_id)
        if self._interrupt:
            self._interrupt = False
            raise runs.NodeInterrupted(node_id)
        if self._wait_for_lazy(run, order, node_id, inputs):
            return None
        call = self._call(run, found, node_id, inputs)
        if found.name in self._asynchronous:
            run.tasks[node_id] = asyncio.create_task(call)
            order.hold(node_id)
            return None
        result = await self._guard(run, node_id, call, inputs)
        if len(result.outputs) == 1 and isinstance(result.outputs[0], base.Expansion):
            self._expand(run, order, node_id, result.outputs[0])
            return None
        return result

    def _wait_for_lazy(self, run: runs.Run, order: Order, node_id: str, inputs: dict[str, list[Any]]) -> bool:
        """Put a node back until the lazy inputs that it turns out to need are there."""
        lazy = self._nodes[run.prompt[node_id]["class_type"]].lazy
        if lazy is None:
            return False
        links = run.prompt[node_id]["inputs"]
        missing = [links[name][0] for name in lazy(inputs) if is_link(links.get(name))]
        missing = [source for source in missing if not self._has(run, source)]
        if missing:
            order.replace(node_id, run.prompt, missing)
        return bool(missing)

    async def _guard(
        self, run: runs.Run, node_id: str, call: Any, inputs: dict[str, list[Any]] | None = None
    ) -> runs.Result:
        try:
            return await call
        except base.Interrupted:
            self._interrupt = False
            raise runs.NodeInterrupted(node_id) from None
        except (base.ThreadDeath, asyncio.CancelledError):
            raise
        except Exception as error:
            raise runs.NodeFailed(node_id, error, inputs or {}) from error

    def _finish(self, run: runs.Run, order: Order, node_id: str, result: runs.Result) -> None:
        if result.ui is not None:
            run.ui[node_id] = result.ui
            if self.client_id is not None:
                data = {
                    "node": node_id,
                    "display_node": node_id,
                    "output": result.ui,
                    "prompt_id": run.entry.prompt_id,
                }
                self._sockets.send("executed", data, run.sid)
        run.results[node_id] = result
        self._store(run, node_id, result)
        run.progress.finish(node_id)
        run.executed.append(node_id)
        order.done(node_id)

    def _show_cached(self, run: runs.Run, node_id: str, known: runs.Result) -> None:
        if self.client_id is not None:
            data = {
                "node": node_id,
                "display_node": node_id,
                "output": known.ui,
                "prompt_id": run.entry.prompt_id,
            }
            self._sockets.send("executed", data, run.sid)
        if known.ui is not None:
            run.ui[node_id] = known.ui
        run.progress.finish(node_id)

    def _store(self, run: runs.Run, node_id: str, result: runs.Result) -> None:
        key = run.keys.get(node_id)
        if key is None or self._options.cache == "none":
            return
        self._cache[key] = result
        if self._options.cache == "lru":
            while len(self._cache) > self._options.cache_size:
                del self._cache[next(iter(self._cache))]
        elif self._options.is_new:
            self._drop_others(run)

    def _drop_others(self, run: runs.Run) -> None:
        """Keep only what the running prompt can use (the classic cache)."""
        if self._options.cache != "classic" or len(self._cache) <= 0:
            return
        mine = {*run.keys.values(), *self._held_loaders(run)}
        for key in [key for key in self._cache if key not in mine]:
            del self._cache[key]

    def _held_loaders(self, run: runs.Run) -> list[bytes]:
        """The keys of the loaders that were used last, as many as there is room for."""
        if self._options.models_held <= 1:
            return []
        for node_id, node in run.prompt.items():
            if names_model(node["class_type"], node["inputs"]):
                key = run.keys[node_id]
                self._loaders.pop(key, None)
                self._loaders[key] = None
        while len(self._loaders) > self._options.models_held:
            del self._loaders[next(iter(self._loaders))]
        return list(self._loaders)

    def _changed(self, name: str, inputs: dict[str, Any]) -> str | None:
        node = self._nodes.get(name)
        return None if node is None or node.changed is None else node.changed(self._files, inputs)

    def _gather(self, run: runs.Run, found: Class, node_id: str) -> dict[str, list[Any]]:
        inputs: dict[str, list[Any]] = {}
        declared = {spec.name for spec in found.inputs}
        for name, value in run.prompt[node_id]["inputs"].items():
            if is_link(value):
                source = self._result(run, value[0])
                inputs[name] = source.outputs[int(value[1])] if source is not None else [None]
            elif name in declared or "." in name:
                inputs[name] = [value]
        if "prompt" in found.hidden:
            inputs["prompt"] = [run.entry.prompt]
        if "extra_pnginfo" in found.hidden:
            inputs["extra_pnginfo"] = [run.entry.extra_data.get("extra_pnginfo")]
        return inputs

    async def _call(self, run: runs.Run, found: Class, node_id: str, inputs: dict[str, list[Any]]) -> runs.Result:
        await self._script.before_node(run.entry, found.name, self._card)
        blocker = runs.find_blocker(inputs)
        if blocker is not None:
            return self._blocked(run, found, node_id, blocker)
        node = self._nodes[found.name]
        context = self._context(run, found, node_id)
        hidden = found.hidden
        plain = {name: values for name, values in inputs.items() if name not in hidden}
        if found.takes_lists:
            results = [await self._invoke(node, context, plain)]
        else:
            count = max((len(values) for values in plain.values()), default=1)
            results = [
                await self._invoke(
                    node, context, {name: values[min(index, len(values) - 1)] for name, values in plain.items()}
                )
                for index in range(count)
            ]
        return runs.merge(found, results)

    async def _invoke(self, node: base.Node, context: base.Context, inputs: dict[str, Any]) -> base.Outcome:
        if inspect.iscoroutinefunction(node.run):
            result = await node.run(context, **inputs)
        elif runs.weight(inputs) > _HEAVY:
            result = await asyncio.to_thread(node.run, context, **inputs)
        else:
            result = node.run(context, **inputs)
        if isinstance(result, base.Outcome):
            return result
        return base.Outcome((result,) if isinstance(result, base.Expansion) else result)

    def _context(self, run: runs.Run, found: Class, node_id: str) -> base.Context:
        progress = NodeProgress(
            run.progress,
            self._sockets,
            node_id,
            previews=run.previews,
            interrupted=lambda: self._interrupt,
        )
        return base.Context(
            node_id=node_id,
            class_type=found.name,
            options=self._options,
            card=self._card,
            files=self._files,
            progress=progress,
            prompt=run.entry.prompt,
            extra_pnginfo=run.entry.extra_data.get("extra_pnginfo"),
            sleep=asyncio.sleep,
            resident=self.resident,
        )

    def _blocked(self, run: runs.Run, found: Class, node_id: str, blocker: base.Blocker) -> runs.Result:
        if blocker.message is not None and self.client_id is not None:
            data = runs.blocked_data(run, node_id, found.name, blocker.message)
            self._sockets.send("execution_error", data, run.sid)
        return runs.Result([[base.Blocker()] for _ in found.outputs], None)

    def _expand(self, run: runs.Run, order: Order, node_id: str, expansion: base.Expansion) -> None:
        """Put a node's own little graph in its place; the node ends when that has run."""
        run.prompt = {**run.prompt, **expansion.graph}
        for inner in expansion.graph:
            run.parents[inner] = node_id
        run.expanded[node_id] = expansion.outputs
        order.replace(node_id, run.prompt, [link[0] for link in expansion.outputs])

    def _collect(self, run: runs.Run, node_id: str) -> runs.Result:
        outputs: list[list[Any]] = []
        for link in run.expanded[node_id]:
            source = self._result(run, link[0])
            outputs.append(source.outputs[link[1]] if source is not None else [None])
        return runs.Result(outputs, None)
