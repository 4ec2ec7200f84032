"""Scripted failures: everything that a real worker does to a client, on demand.

A fault has a kind, may be tied to a prompt (by id, by number of prompts since it was set, or by a node class in
it), and is spent after `count` times (0: never). Without a tie, connection and process faults act at once.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.simulator.nodes import base
from gateway.simulator.options import Card
from gateway.simulator.prompt_queue import Entry

#: In a node: it raises, runs out of memory (until a /free, or however much is freed), breaks the card for good, never
#: returns, or ends the thread (with or without a word in the log).
NODE_KINDS = (
    "node_error",
    "out_of_memory",
    "memory_full",
    "cuda_fault",
    "hang",
    "dead_thread",
    "silent_death",
    "crash",
)
#: On the sockets: cut, connected but silent, neither read nor written.
SOCKET_KINDS = ("drop_socket", "mute_socket", "half_open_socket")
#: On HTTP: answers late, wrong, or never.
HTTP_KINDS = (
    "slow_history",
    "forget_history",
    "slow_post",
    "post_lost_before",
    "post_lost_after",
    "http_error",
    "slow_view",
    "view_missing",
    "slow_http",
    "free_lost",
)
KINDS = (*NODE_KINDS, *SOCKET_KINDS, *HTTP_KINDS)


class BadFault(Exception):
    """A fault that cannot be understood."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One scripted failure."""

    kind: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    prompt_id: str | None = None
    nth: int | None = None
    node_class: str | None = None
    #: How often it strikes; 0 is for ever.
    count: int = 1
    seconds: float = 1.0
    message: str = "simulated failure"
    status: int = 500
    path: str = ""
    struck: int = 0
    seen: int = 0

    @property
    def is_tied(self) -> bool:
        """Whether it waits for a certain prompt or node."""
        return self.prompt_id is not None or self.nth is not None or self.node_class is not None

    @property
    def is_spent(self) -> bool:
        """Whether it has struck as often as it may."""
        return self.count > 0 and self.struck >= self.count

    def as_json(self) -> dict[str, Any]:
        """Return the fault as the control route shows it."""
        return {name: getattr(self, name) for name in self.__slots__}


_FIELDS: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "prompt_id": (str,),
    "nth": (int,),
    "node_class": (str,),
    "count": (int,),
    "seconds": (int, float),
    "message": (str,),
    "status": (int,),
    "path": (str,),
}


def parse(data: Any) -> Fault:
    """Read a fault from JSON; the tie may stand under `match`."""
    if not isinstance(data, dict):
        raise BadFault("a fault is an object")
    match = data.get("match") or {}
    if not isinstance(match, dict):
        raise BadFault("match is an object")
    values = {**{name: value for name, value in data.items() if name != "match"}, **match}
    for name, value in values.items():
        if name not in _FIELDS:
            raise BadFault(f"unknown field {name!r}; known: {', '.join(_FIELDS)}, match")
        if not isinstance(value, _FIELDS[name]) or isinstance(value, bool):
            raise BadFault(f"{name} has the wrong type")
    if values.get("kind") not in KINDS:
        raise BadFault(f"unknown kind {values.get('kind')!r}; known: {', '.join(KINDS)}")
    return Fault(**values)


class Script:
    """The faults that wait to strike."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._by_entry: dict[int, dict[str, bool]] = {}
        #: Set by a CUDA fault; every later job fails until the process is started again.
        self.card_is_broken = False
        self.on_socket: Callable[[str], None] = lambda kind: None
        self.on_crash: Callable[[], None] = lambda: None

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, fault: Fault) -> None:
        """Take a fault in; what is tied to nothing and concerns no request acts at once."""
        if fault.kind in SOCKET_KINDS and not fault.is_tied:
            self.on_socket(fault.kind)
            return
        if fault.kind == "crash" and not fault.is_tied:
            self.on_crash()
            return
        self._faults.append(fault)

    def clear(self) -> None:
        """Drop all faults; a broken card stays broken."""
        self._faults.clear()
        self._by_entry.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """Return what waits and what has struck."""
        return [fault.as_json() for fault in self._faults]

    def accepted(self, entry: Entry) -> None:
        """Count a prompt; decides which faults are meant for it by number."""
        if self._faults:
            hits: dict[str, bool] = {}
            for fault in self._faults:
                fault.seen += 1
                if fault.nth is not None:
                    hits[fault.id] = fault.seen == fault.nth
            self._by_entry[id(entry)] = hits

    def find(self, kinds: tuple[str, ...], entry: Entry | None = None, node_class: str | None = None) -> Fault | None:
        """Return the first fault of these kinds that concerns the prompt (or no prompt), and count it."""
        for fault in self._faults:
            if fault.kind in kinds and not fault.is_spent and self._concerns(fault, entry, node_class):
                fault.struck += 1
                return fault
        return None

    def _concerns(self, fault: Fault, entry: Entry | None, node_class: str | None) -> bool:
        if entry is None:
            return not fault.is_tied
        if fault.prompt_id is not None and fault.prompt_id != entry.prompt_id:
            return False
        if fault.nth is not None and not self._by_entry.get(id(entry), {}).get(fault.id, False):
            return False
        if fault.node_class is None:
            return True
        if node_class is not None:
            return fault.node_class == node_class
        return any(node.get("class_type") == fault.node_class for node in entry.prompt.values())

    def freed(self) -> None:
        """Models were unloaded and results forgotten: what the memory was full of is gone."""
        self._faults = [fault for fault in self._faults if fault.kind != "memory_full"]

    def job_started(self, entry: Entry) -> None:
        """Strike at the start of a job: the thread, the process, the sockets."""
        if not self._faults:
            return
        while (fault := self.find(SOCKET_KINDS, entry)) is not None:
            self.on_socket(fault.kind)
        for fault in self._faults:
            if (
                fault.kind in ("dead_thread", "silent_death", "crash")
                and fault.node_class is None
                and not fault.is_spent
            ):
                if not self._concerns(fault, entry, None):
                    continue
                fault.struck += 1
                self._kill(fault)

    def _kill(self, fault: Fault) -> None:
        if fault.kind == "crash":
            self.on_crash()
        raise base.ThreadDeath(fault.kind)

    async def before_node(self, entry: Entry, node_class: str, card: Card) -> None:
        """Strike in a node."""
        if self.card_is_broken:
            raise _cuda_failure()
        if not self._faults:
            return
        fault = self.find(NODE_KINDS, entry, node_class)
        if fault is None:
            return
        match fault.kind:
            case "node_error":
                raise RuntimeError(fault.message)
            case "out_of_memory" | "memory_full":
                raise base.out_of_memory(card)
            case "cuda_fault":
                self.card_is_broken = True
                raise _cuda_failure()
            case "hang":
                await asyncio.Event().wait()
            case _:
                self._kill(fault)

    def forgets(self, entry: Entry) -> bool:
        """Whether the job's history entry is lost."""
        forgotten = bool(self._faults) and self.find(("forget_history",), entry) is not None
        self._by_entry.pop(id(entry), None)
        return forgotten

    def request(self, kinds: tuple[str, ...], path: str) -> Fault | None:
        """Return the fault that strikes a request."""
        for fault in self._faults:
            if fault.kind in kinds and not fault.is_spent and path.startswith(fault.path):
                if fault.nth is not None:
                    fault.seen += 1
                    if fault.seen != fault.nth:
                        continue
                fault.struck += 1
                return fault
        return None


def _cuda_failure() -> base.NodeFailure:
    return base.NodeFailure(
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported "
        "at some other API call, so the stacktrace below might be incorrect.\nFor debugging consider passing "
        "CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n",
        kind="torch.AcceleratorError",
    )
