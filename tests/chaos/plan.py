"""What happens in a run: orders and faults, drawn from a seed. The same seed makes the same plan."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class On(StrEnum):
    """What a fault strikes."""

    GATEWAY = "gateway"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A kind of fault: what it strikes, how many cards of the deck it is, how long it lasts (seconds, least and most).

    `script` is what a simulator is told to do; None where the harness does it to a process or a file.
    """

    on: On
    cards: int
    lasts: tuple[float, float] = (0.0, 0.0)
    script: dict[str, Any] | None = None
    by_prompt: bool = False  #: it strikes the prompt that is running there


#: Everything that is done to the gateway and its workers.
FAULTS: Final[dict[str, Fault]] = {
    "server killed": Fault(on=On.GATEWAY, cards=6),
    "supervisor killed": Fault(on=On.GATEWAY, cards=2),
    "gateway stopped": Fault(on=On.GATEWAY, cards=1),
    "server frozen": Fault(on=On.GATEWAY, cards=2, lasts=(0.5, 2.0)),
    "disk full": Fault(on=On.GATEWAY, cards=3, lasts=(0.5, 3.0)),
    "database locked": Fault(on=On.GATEWAY, cards=2, lasts=(1.0, 7.0)),
    "blobs gone": Fault(on=On.GATEWAY, cards=2, lasts=(0.5, 3.0)),
    "worker killed": Fault(on=On.WORKER, cards=8, lasts=(0.0, 2.0)),
    "worker frozen": Fault(on=On.WORKER, cards=3, lasts=(0.5, 3.0)),
    "worker crashes": Fault(on=On.WORKER, cards=3, script={"kind": "crash"}, by_prompt=True),
    "socket cut": Fault(on=On.WORKER, cards=5, script={"kind": "drop_socket"}),
    "socket mute": Fault(on=On.WORKER, cards=3, script={"kind": "mute_socket"}),
    "socket half open": Fault(on=On.WORKER, cards=3, script={"kind": "half_open_socket"}),
    "history forgotten": Fault(on=On.WORKER, cards=4, script={"kind": "forget_history"}, by_prompt=True),
    "history late": Fault(on=On.WORKER, cards=3, lasts=(0.2, 3.0), script={"kind": "slow_history"}),
    "answer to POST late": Fault(on=On.WORKER, cards=3, lasts=(0.2, 3.0), script={"kind": "slow_post"}),
    "POST lost": Fault(on=On.WORKER, cards=3, script={"kind": "post_lost_before"}),
    "answer to POST lost": Fault(on=On.WORKER, cards=5, script={"kind": "post_lost_after"}),
    "HTTP error": Fault(on=On.WORKER, cards=3, script={"kind": "http_error", "path": "/history", "count": 3}),
    "HTTP late": Fault(on=On.WORKER, cards=2, lasts=(0.2, 3.0), script={"kind": "slow_http", "count": 5}),
    "file late": Fault(on=On.WORKER, cards=2, lasts=(0.2, 3.0), script={"kind": "slow_view"}),
    "file missing": Fault(on=On.WORKER, cards=2, script={"kind": "view_missing"}),
    "out of memory": Fault(on=On.WORKER, cards=2, script={"kind": "out_of_memory"}),
    "CUDA fault": Fault(on=On.WORKER, cards=2, script={"kind": "cuda_fault"}),
    "thread dead": Fault(on=On.WORKER, cards=2, script={"kind": "dead_thread"}),
    "node hangs": Fault(on=On.WORKER, cards=1, script={"kind": "hang"}),
}

#: Shares of the kinds of orders.
KINDS: Final[dict[str, float]] = {
    "work": 0.62,  # moments on the card, one picture
    "long": 0.06,  # seconds on the card: these run when something dies
    "pair": 0.08,  # two pictures
    "sd15": 0.10,
    "img2img": 0.04,  # takes an upload
    "batch": 0.05,
    "graph error": 0.05,  # fails, and must not be tried again
}
BATCH: Final = 4  #: jobs of one batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one client orders, in one request."""

    key: str  #: its idempotency key, and in its metadata
    kind: str
    seconds: float
    seed: int
    cancel_after: float | None = None  #: seconds from its 201
    hooked: bool = False  #: a webhook is told

    @property
    def jobs(self) -> int:
        """How many jobs it makes."""
        return BATCH if self.kind == "batch" else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One fault. It is due when so many jobs have ended, whatever the clock says."""

    due: int
    kind: str
    worker: int
    seconds: float

    @property
    def fault(self) -> Fault:
        """What kind of fault it is."""
        return FAULTS[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All orders in order, all faults in order."""

    seed: int
    orders: tuple[Order, ...]
    strikes: tuple[Strike, ...]

    @property
    def jobs(self) -> int:
        """How many jobs are ordered."""
        return sum(order.jobs for order in self.orders)


def draw(seed: int, *, jobs: int, workers: int, faults: int) -> Plan:
    """The plan of a seed."""
    chance = random.Random(seed)
    orders = tuple(_orders(chance, seed, jobs))
    return Plan(seed=seed, orders=orders, strikes=tuple(_strikes(chance, jobs=jobs, workers=workers, faults=faults)))


def _orders(chance: random.Random, seed: int, jobs: int) -> Iterator[Order]:
    left = jobs
    while left > 0:
        (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
        kind = "work" if left < BATCH else kind
        order = Order(
            key=f"chaos-{seed}-{jobs - left}",
            kind=kind,
            seconds=round(chance.uniform(1.0, 4.0) if kind == "long" else chance.uniform(0.0, 0.2), 3),
            seed=chance.getrandbits(24),
            cancel_after=round(chance.uniform(0.0, 2.0), 3) if chance.random() < 0.04 else None,
            hooked=chance.random() < 0.3,
        )
        left -= order.jobs
        yield order


def _strikes(chance: random.Random, *, jobs: int, workers: int, faults: int) -> Iterator[Strike]:
    deck: list[str] = []
    for number in range(faults):
        if not deck:
            deck = [kind for kind, fault in FAULTS.items() for _ in range(fault.cards)]
            chance.shuffle(deck)
        kind = deck.pop()
        yield Strike(
            due=round(jobs * (0.02 + 0.9 * (number + chance.random()) / faults)),
            kind=kind,
            worker=chance.randrange(workers),
            seconds=round(chance.uniform(*FAULTS[kind].lasts), 3),
        )
