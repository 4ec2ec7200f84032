"""What every attempt needs beside its claim and its worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway import assets, ports
from gateway.dispatch import foresight, learning
from gateway.domain import model, retrying


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, in seconds, before asking or giving up."""

    silence: float = 5.0  #: without a frame, before asking over HTTP
    no_socket: float = 1.0  #: the same while the socket is down
    after_end: float = 0.02  #: between reads of history once a frame said that the end is coming; doubles to 0.5
    refused: float = 2.0  #: nobody listens at the worker's address: its process, and so its queue, is gone
    unreachable: float = 30.0  #: it does not answer: it may be alive, so longer
    cancel_again: float = 2.0  #: an interrupt can be missed
    retry: float = 1.0  #: before a lost job is tried again; doubles with each try
    retry_most: float = 60.0
    free_again: float = 0.7  #: between two requests to free memory: the first may be lost
    free_settles: float = 5.0  #: at most, for the memory to be free
    alone: float = 600.0  #: for so long a job waits to have the card that it filled for itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The same for all attempts of a gateway."""

    queue: ports.Queue
    bus: ports.Bus
    assets: assets.Assets
    clock: ports.Clock
    secret_of: Callable[[model.JobId], str | None]
    patience: Patience
    learning: learning.Learning
    foresight: foresight.Foresight
    chance: Callable[[], float]  #: 0..1, for jitter
    larger: Callable[[model.Claim, int], bool]  #: whether a worker with more card memory than that could run it
    backoff: retrying.Backoff = field(default_factory=retrying.Backoff)
