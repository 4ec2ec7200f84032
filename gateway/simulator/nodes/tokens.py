"""Stand-ins for what lives on a card: models, conditioning, guiders, sigmas, latents.

A token remembers the class that made it and what went in. Whoever draws a picture later walks back through the
tokens to find the prompt's text, the model's file, the seed and the steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway.simulator.nodes.base import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Token:
    """Something opaque of a ComfyUI type (`MODEL`, `CONDITIONING`, ...)."""

    kind: str
    class_type: str
    inputs: dict[str, Any]
    slot: int = 0

    def __str__(self) -> str:
        return f"<simulated {self.kind} of {self.class_type}>"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Latent:
    """A latent, kept as the pixels that it stands for (None: empty), in pixel sizes."""

    width: int
    height: int
    batch: int = 1
    frames: int = 1
    pixels: Array | None = None
    noise_mask: Array | None = None
    seconds: float = 0
    sources: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        return f"{{'samples': tensor(..., size=({self.batch}, 4, {self.height // 8}, {self.width // 8}))}}"


def walk(value: Any) -> Iterator[Token]:
    """Yield a token and all that it was made from, nearest first."""
    waiting: list[Any] = [value]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop(0)
        if isinstance(current, Latent):
            waiting += current.sources.values()
        if not isinstance(current, Token) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += current.inputs.values()


def find_input(value: Any, names: tuple[str, ...], kinds: type | tuple[type, ...]) -> Any:
    """Return the nearest plain input of one of these names, or None."""
    for token in walk(value):
        for name in names:
            found = token.inputs.get(name)
            if isinstance(found, kinds) and not isinstance(found, bool):
                return found
    return None


_TEXT_INPUTS = ("text", "text_g", "text_l", "t5xxl", "clip_l", "prompt")


def texts(value: Any) -> list[str]:
    """Return the prompt texts behind some conditioning, without doubles."""
    found: list[str] = []
    for token in walk(value):
        for name in _TEXT_INPUTS:
            text = token.inputs.get(name)
            if isinstance(text, str) and text.strip() and text.strip() not in found:
                found.append(text.strip())
    return found


def digest(value: Any) -> bytes:
    """Return a stable fingerprint of a value, tokens and arrays included."""
    state = hashlib.blake2b(digest_size=16)
    _feed(state, value)
    return state.digest()


def _feed(state: Any, value: Any) -> None:
    match value:
        case Token():
            state.update(f"{value.kind} {value.class_type} {value.slot}".encode())
            for name in sorted(value.inputs):
                state.update(name.encode())
                state.update(digest(value.inputs[name]))
        case Latent():
            state.update(f"{value.width} {value.height} {value.batch} {value.frames} {value.seconds}".encode())
            for part in (value.pixels, value.noise_mask):
                _feed(state, part)
        case np.ndarray():
            state.update(str(value.shape).encode())
            state.update(np.ascontiguousarray(value).tobytes())
        case _:
            state.update(repr(value).encode("utf-8", "surrogatepass"))
