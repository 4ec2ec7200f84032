"""Nodes for tests and benchmarks: work that takes as long as it is told, and the `WT` nodes of the recordings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from gateway.simulator.nodes.base import (
    Array,
    Blocker,
    Context,
    Expansion,
    Node,
    NodeFailure,
    Outcome,
    ThreadDeath,
    out_of_memory,
)


async def simulated_work(
    ctx: Context, *, seconds: float, width: int = 8, height: int = 8, steps: int = 1, seed: int = 0, **_: Any
) -> tuple[Array]:
    """Hold the card for some seconds and give a picture of the seed's colour."""
    begin = time.monotonic()
    seconds *= ctx.options.slowness
    for step in range(1, steps + 1):
        if seconds > 0:
            await ctx.sleep(max(0.0, begin + seconds * step / steps - time.monotonic()))
            ctx.progress.check()
        if steps > 1:
            ctx.progress.step(step, steps)
    colour = np.array([seed >> 16 & 255, seed >> 8 & 255, seed & 255], np.float32) / np.float32(255)
    image = np.empty((1, height, width, 3), np.float32)
    image[:] = colour
    return (image,)


async def wt_sleep(ctx: Context, *, image: Array, seconds: float, tag: str, steps: int) -> tuple[Array]:
    """Sleep in steps, looking for an interrupt after each."""
    del tag
    for step in range(1, steps + 1):
        await ctx.sleep(seconds / steps)
        ctx.progress.check()
        ctx.progress.step(step, steps)
    return (image,)


async def wt_block(ctx: Context, *, image: Array, seconds: float, tag: str) -> tuple[Array]:
    """Sleep in one piece, blind to interrupts."""
    del tag
    await ctx.sleep(seconds)
    return (image,)


async def wt_block_out(ctx: Context, *, image: Array, seconds: float, tag: str) -> Outcome:
    """Do the same as an output node."""
    del image
    await ctx.sleep(seconds)
    return Outcome((), {"text": [tag]})


def wt_raise(ctx: Context, *, image: Array, kind: str) -> tuple[Array]:
    """Fail in the way asked for."""
    match kind:
        case "runtime":
            raise RuntimeError("wiretest: deliberate failure")
        case "oom":
            failure = out_of_memory(ctx.card)
            raise NodeFailure(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB of which "
                "512.00 MiB is free.",
                kind=failure.kind,
                advice=failure.advice,
            )
        case "keyerror":
            raise KeyError("nope")
        case "matmul":
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)")
        case "system_exit":
            raise ThreadDeath(kind)
        case _:
            return (image,)


def wt_blocker(ctx: Context, *, image: Array, message: str) -> tuple[Blocker]:
    """Block what depends on it."""
    del ctx, image
    return (Blocker(message or None),)


def wt_validate(ctx: Context, *, image: Array, name: str) -> tuple[Array]:
    """Pass on; its check is made before."""
    del ctx, name
    return (image,)


def wt_expand(ctx: Context, **_: Any) -> Expansion:
    """Put two inversions in its place, on the link that it was given."""
    first, second = (f"{ctx.node_id}.0.0.{index}" for index in (1, 2))
    source = ctx.prompt[ctx.node_id]["inputs"]["image"]
    graph = {
        first: {"class_type": "ImageInvert", "inputs": {"image": source}},
        second: {"class_type": "ImageInvert", "inputs": {"image": [first, 0]}},
    }
    return Expansion(graph, ([second, 0],))


def wt_progress_text(ctx: Context, *, image: Array, text: str) -> tuple[Array]:
    """Show a line of text at the node."""
    ctx.progress.text(text)
    return (image,)


def wt_text(ctx: Context, *, text: str) -> Outcome:
    """Show a text, two numbers and a flag."""
    del ctx
    return Outcome((text,), {"text": [text], "number": [1, 2.5], "flag": [True]})


def wt_always_run(ctx: Context, *, image: Array) -> tuple[Array]:
    """Pass on; never cached."""
    del ctx
    return (image,)


SIMULATOR_NODES: Mapping[str, Node] = {"SimulatedWork": Node(run=simulated_work)}

WIRETEST_NODES: Mapping[str, Node] = {
    "WTSleep": Node(run=wt_sleep),
    "WTBlock": Node(run=wt_block),
    "WTBlockOut": Node(run=wt_block_out),
    "WTAsync": Node(run=wt_block, asynchronous=True),
    "WTRaise": Node(run=wt_raise),
    "WTBlocker": Node(run=wt_blocker),
    "WTValidate": Node(run=wt_validate),
    "WTExpand": Node(run=wt_expand),
    "WTProgressText": Node(run=wt_progress_text),
    "WTText": Node(run=wt_text),
    "WTAlwaysRun": Node(run=wt_always_run, changed=lambda files, inputs: ""),
}
