"""The recordings' test nodes for a real ComfyUI: copy this folder into its `custom_nodes`.

They sleep, block, fail, expand and so on, as the simulator's node pack of the same name does. What belongs to
ComfyUI is imported when a node runs, so that this file can be read without it.
"""
# ruff: noqa: RUF012 - ComfyUI's interface is class attributes

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

IMAGE = ("IMAGE",)
SECONDS = ("FLOAT", {"default": 1.0, "min": 0, "max": 600})
TAG = ("STRING", {"default": ""})


def _comfy(module: str) -> Any:
    return importlib.import_module(module)


class Passing:
    """What they share: a picture in, a picture out."""

    CATEGORY = "wiretest"
    FUNCTION = "run"
    RETURN_TYPES: tuple[str, ...] = ("IMAGE",)
    REQUIRED: dict[str, Any] = {"image": IMAGE}
    OPTIONAL: dict[str, Any] = {}
    HIDDEN: dict[str, str] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        types: dict[str, Any] = {"required": cls.REQUIRED}
        if cls.OPTIONAL:
            types["optional"] = cls.OPTIONAL
        if cls.HIDDEN:
            types["hidden"] = cls.HIDDEN
        return types


class Sleep(Passing):
    """Sleeps in steps, with progress, and looks for an interrupt after each."""

    REQUIRED = {"image": IMAGE, "seconds": SECONDS, "steps": ("INT", {"default": 10, "min": 1, "max": 1000})}
    OPTIONAL = {"tag": TAG}

    def run(self, image: Any, seconds: float, steps: int, tag: str = "") -> tuple[Any]:
        """Sleep."""
        bar = _comfy("comfy.utils").ProgressBar(steps)
        for _ in range(steps):
            time.sleep(seconds / steps)
            _comfy("comfy.model_management").throw_exception_if_processing_interrupted()
            bar.update(1)
        return (image,)


class Block(Passing):
    """Sleeps in one piece, blind to interrupts."""

    REQUIRED = {"image": IMAGE, "seconds": SECONDS}
    OPTIONAL = {"tag": TAG}

    def run(self, image: Any, seconds: float, tag: str = "") -> tuple[Any]:
        """Sleep."""
        time.sleep(seconds)
        return (image,)


class BlockOut(Passing):
    """The same as an output node."""

    REQUIRED = {"image": IMAGE, "seconds": SECONDS}
    OPTIONAL = {"tag": TAG}
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def run(self, image: Any, seconds: float, tag: str = "") -> dict[str, Any]:
        """Sleep, then show the tag."""
        time.sleep(seconds)
        return {"ui": {"text": (tag,)}}


class Async(Passing):
    """The same as an asynchronous node."""

    REQUIRED = {"image": IMAGE, "seconds": SECONDS}
    OPTIONAL = {"tag": TAG}

    async def run(self, image: Any, seconds: float, tag: str = "") -> tuple[Any]:
        """Sleep."""
        await asyncio.sleep(seconds)
        return (image,)


class Raise(Passing):
    """Fails in the way asked for."""

    REQUIRED = {"image": IMAGE, "kind": (["runtime", "oom", "keyerror", "system_exit", "matmul"],)}

    def run(self, image: Any, kind: str) -> tuple[Any]:
        """Fail."""
        torch = _comfy("torch")
        match kind:
            case "runtime":
                raise RuntimeError("wiretest: deliberate failure")
            case "oom":
                raise torch.OutOfMemoryError(
                    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.64 GiB of "
                    "which 512.00 MiB is free."
                )
            case "keyerror":
                raise KeyError("nope")
            case "system_exit":
                raise SystemExit(3)
            case _:
                return (torch.zeros(2, 3) @ torch.zeros(4, 5),)


class AlwaysRun(Passing):
    """Is never cached."""

    @classmethod
    def IS_CHANGED(cls, image: Any) -> float:
        return float("nan")

    def run(self, image: Any) -> tuple[Any]:
        """Pass on."""
        return (image,)


class Text(Passing):
    """Shows a text, two numbers and a flag."""

    REQUIRED = {"text": ("STRING", {"default": "hi"})}
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def run(self, text: str) -> dict[str, Any]:
        """Show."""
        return {"ui": {"text": (text,), "number": (1, 2.5), "flag": (True,)}}


class ProgressText(Passing):
    """Shows a line at the node while it runs."""

    REQUIRED = {"image": IMAGE, "text": ("STRING", {"default": "hello"})}
    HIDDEN = {"unique_id": "UNIQUE_ID"}

    def run(self, image: Any, text: str, unique_id: str) -> tuple[Any]:
        """Show and pass on."""
        _comfy("server").PromptServer.instance.send_progress_text(text, unique_id)
        return (image,)


class Expand(Passing):
    """Puts two inversions in its place."""

    def run(self, image: Any) -> dict[str, Any]:
        """Expand."""
        builder = _comfy("comfy_execution.graph_utils").GraphBuilder()
        first = builder.node("ImageInvert", image=image)
        second = builder.node("ImageInvert", image=first.out(0))
        return {"result": (second.out(0),), "expand": builder.finalize()}


class Blocker(Passing):
    """Blocks what depends on it."""

    REQUIRED = {"image": IMAGE, "message": TAG}

    def run(self, image: Any, message: str) -> tuple[Any]:
        """Block."""
        return (_comfy("comfy_execution.graph").ExecutionBlocker(message or None),)


class Validate(Passing):
    """Refuses any name but `ok`."""

    REQUIRED = {"image": IMAGE, "name": ("STRING", {"default": "ok"})}

    @classmethod
    def VALIDATE_INPUTS(cls, name: str) -> bool | str:
        return True if name == "ok" else f"name must be ok, not {name}"

    def run(self, image: Any, name: str) -> tuple[Any]:
        """Pass on."""
        return (image,)


NODE_CLASS_MAPPINGS: dict[str, type] = {
    f"WT{item.__name__}": item
    for item in (Sleep, Block, BlockOut, Async, Raise, AlwaysRun, Text, ProgressText, Expand, Blocker, Validate)
}
