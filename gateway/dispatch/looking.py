"""Asking a worker what became of a prompt: `/queue` first and then `/history`, because a prompt leaves the one exactly
when it enters the other."""

from __future__ import annotations

from dataclasses import dataclass

from gateway import ports
from gateway.domain import model
from gateway.domain.comfy import history


@dataclass(frozen=True, slots=True)
class Missing:
    """The worker knows the prompt neither as queued nor as ended."""


@dataclass(frozen=True, slots=True)
class Present:
    """The prompt waits there, or runs."""

    running: bool


Found = history.HistoryEntry | Present | Missing


async def withdraw(client: ports.WorkerClient, prompt_id: model.AttemptId) -> Found:
    """Take it out of the worker's queue unless it has begun; what the worker knows of it then. WorkerError: it may have
    left the queue or not."""
    await client.withdraw(prompt_id)
    return await look(client, prompt_id, history_first=False)


async def look(client: ports.WorkerClient, prompt_id: model.AttemptId, *, history_first: bool) -> Found:
    """What the worker knows of it; with `history_first` one request does when it has ended. WorkerError."""
    if history_first:
        entry = await client.history(prompt_id)
        if entry is not None:
            return entry
    there = await client.queue()
    if prompt_id in there:
        return Present(running=prompt_id in there.running)
    return await client.history(prompt_id) or Missing()
