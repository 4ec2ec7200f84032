"""What takes nothing new: the queue, a template, a tenant or a worker. What runs, goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self


class PauseKind(StrEnum):
    """What can be paused."""

    QUEUE = "queue"
    TEMPLATE = "template"
    TENANT = "tenant"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One pause. `drain`: somebody waits until what runs has ended."""

    kind: PauseKind
    name: str = ""  #: of the template, tenant or worker
    since: float
    by: str | None = None  #: whoever asked for it
    drain: bool = False

    @property
    def subject(self) -> str:
        """What is paused, for a sentence."""
        return "the queue" if self.kind is PauseKind.QUEUE else f"the {self.kind} {self.name}"

    @property
    def sentence(self) -> str:
        """What is paused, since when, and by whom."""
        at = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        who = f" by {self.by}" if self.by else ""
        return f"{self.subject} is {'being drained' if self.drain else 'paused'} since {at}{who}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """All pauses at a moment."""

    all: tuple[Pause, ...] = ()
    queue: Pause | None = None
    templates: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()
    workers: frozenset[str] = frozenset()

    @classmethod
    def of(cls, found: tuple[Pause, ...]) -> Self:
        """These pauses, by kind."""

        def named(kind: PauseKind) -> frozenset[str]:
            return frozenset(pause.name for pause in found if pause.kind is kind)

        return cls(
            all=found,
            queue=next((pause for pause in found if pause.kind is PauseKind.QUEUE), None),
            templates=named(PauseKind.TEMPLATE),
            tenants=named(PauseKind.TENANT),
            workers=named(PauseKind.WORKER),
        )

    @property
    def hold_jobs(self) -> bool:
        """Whether jobs are kept back by whose they are or what they are made by."""
        return bool(self.templates or self.tenants)

    def holds(self, tenant: str, template: str | None) -> bool:
        """Whether such a job is kept back, though workers take others."""
        return tenant in self.tenants or (template is not None and template in self.templates)

    def over(self, tenant: str, template: str | None) -> Pause | None:
        """The pause that keeps such a job waiting; the oldest of several."""
        keep = {
            (PauseKind.QUEUE, ""),
            (PauseKind.TENANT, tenant),
            (PauseKind.TEMPLATE, template or ""),
        }
        return min((one for one in self.all if (one.kind, one.name) in keep), key=lambda one: one.since, default=None)

    def find(self, kind: PauseKind, name: str) -> Pause | None:
        """The pause of exactly this."""
        return next((one for one in self.all if (one.kind, one.name) == (kind, name)), None)
