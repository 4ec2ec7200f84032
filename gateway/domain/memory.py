"""What is known of the card memory that jobs need: learned from jobs that ran out of it.

Knowledge is kept per family (a template, or a kind of graph) and size. A larger job of the same family needs at least
as much; a job that succeeds on a smaller card, or at a larger size, proves older knowledge wrong. Two things are
learned: *too small*, when a job ran out of memory alone on a card that was freed before, and *tight*, when it ran out
of it in the company of what else was loaded there. Where it is tight a job runs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.domain import model, retrying
from gateway.domain.comfy import sizes

_MOST: Final = 16  #: facts that are kept of a family


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a job needs, in bytes of a card's memory; 0: nothing is known."""

    more_than: int = 0  #: so much is too little
    tight: int = 0  #: up to so much it needs the card for itself

    def __bool__(self) -> bool:
        return bool(self.more_than or self.tight)


NOTHING: Final = Demand()


@dataclass(slots=True)
class _Facts:
    """Card memory by size of job."""

    too_small: dict[int, int] = field(default_factory=dict[int, int])
    tight: dict[int, int] = field(default_factory=dict[int, int])


@dataclass(slots=True)
class Memory:
    """What was learned. It costs a look into a dictionary for a family that never ran out of memory."""

    _families: dict[str, _Facts] = field(default_factory=dict[str, _Facts])
    _changed: set[str] = field(default_factory=set[str])

    def __bool__(self) -> bool:
        return bool(self._families)

    def demand(self, family: str, size: int) -> Demand:
        """What a job of this size needs."""
        facts = self._families.get(family)
        if facts is None:
            return NOTHING
        return Demand(more_than=_at(facts.too_small, size), tight=_at(facts.tight, size))

    def ran_out(self, family: str, size: int, *, vram: int, alone: bool) -> None:
        """A job ran out of memory on a card with `vram` bytes."""
        facts = self._families.setdefault(family, _Facts())
        _note(facts.too_small if alone else facts.tight, size, vram)
        self._changed.add(family)

    def fitted(self, family: str, size: int, *, vram: int, alone: bool) -> None:
        """A job succeeded on a card with `vram` bytes."""
        facts = self._families.get(family)
        if facts is None:
            return
        kept = _without(facts.too_small, size, vram), facts.tight if alone else _without(facts.tight, size, vram)
        if kept != (facts.too_small, facts.tight):
            facts.too_small, facts.tight = kept
            self._changed.add(family)

    def load(self, bodies: Mapping[str, Mapping[str, Any]]) -> None:
        """Take up what `changed` gave to be kept."""
        for family, body in bodies.items():
            facts = _Facts(too_small=_pairs(body.get("too_small")), tight=_pairs(body.get("tight")))
            if facts.too_small or facts.tight:
                self._families[family] = facts

    def changed(self) -> Mapping[str, Mapping[str, Any]]:
        """What is new since the last call, by family."""
        families, self._changed = self._changed, set()
        return {
            family: {
                "too_small": sorted(self._families[family].too_small.items()),
                "tight": sorted(self._families[family].tight.items()),
            }
            for family in families
        }


def _at(facts: Mapping[int, int], size: int) -> int:
    return max((vram for known, vram in facts.items() if known <= size), default=0)


def _note(facts: dict[int, int], size: int, vram: int) -> None:
    facts[size] = max(vram, facts.get(size, 0))
    if len(facts) > _MOST:
        del facts[max(facts)]  # what a smaller size says holds for it, too


def _without(facts: dict[int, int], size: int, vram: int) -> dict[int, int]:
    """The facts that a success at this size on this card does not prove wrong."""
    return {known: least for known, least in facts.items() if known > size or least < vram}


def _pairs(value: object) -> dict[int, int]:
    if not isinstance(value, list):
        return {}
    return {int(pair[0]): int(pair[1]) for pair in value if isinstance(pair, list) and len(pair) == 2}


def next_room(
    room: model.Room | None, *, worker: model.WorkerId, vram: int | None, alone: bool, until: float
) -> model.Room:
    """What a job needs next that ran out of memory on this worker: first its card for itself, then a larger one."""
    before = room.more_than if room is not None else 0
    if not alone:
        return model.Room(alone_on=worker, until=until, more_than=before)
    return model.Room(more_than=max(before, vram or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a job ran out of memory."""

    worker: model.WorkerId
    vram: int | None
    vram_free: int | None
    alone: bool


def explained(error: model.JobError, where: Where, made: sizes.Size | None) -> model.JobError:
    """The worker's own error with the sizes that matter and advice, for people and for programs."""
    card = f"{where.worker} ({_gib(where.vram)} of card memory)" if where.vram else str(where.worker)
    node = f"Node {error.node_id} ({error.class_type})" if error.node_id is not None else "The workflow"
    freed = ", although it had the card for itself" if where.alone else ""
    what = f" while it made {made} (node {made.node})" if made is not None else ""
    advice = _advice(made)
    details: dict[str, Any] = {
        **(error.details or {}),
        "worker": where.worker,
        "vram_total": where.vram,
        "vram_free": where.vram_free,
        "alone": where.alone,
        "said": error.message,
        "advice": advice,
    }
    if made is not None:
        details["size"] = {
            "node": made.node,
            "class_type": made.class_type,
            "width": made.width,
            "height": made.height,
            "count": made.count,
        }
    return model.JobError(
        code=retrying.OUT_OF_MEMORY,
        message=f"{node} ran out of memory on {card}{freed}{what}. {advice}",
        node_id=error.node_id,
        class_type=error.class_type,
        traceback=error.traceback,
        details=details,
    )


def _advice(made: sizes.Size | None) -> str:
    fewer = "order fewer pictures or frames at once, or " if made is not None and made.count > 1 else ""
    return (
        f"To make it fit, {fewer}order a smaller size, use a smaller or quantised model, tiled decoding, "
        "or give the gateway a worker with more memory."
    )


def _gib(size: int | None) -> str:
    return "?" if size is None else f"{size / 2**30:.1f} GiB"
