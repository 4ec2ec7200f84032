"""The workers this gateway drives, as they are in memory: links, places, running attempts, what is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.dispatch import attempt, foresight, inputs, link
from gateway.domain import errors, fitting, model, watchdog
from gateway.domain.comfy import answers
from gateway.domain.comfy.graph import Requirements
from gateway.domain.comfy.object_info import NodeCatalog


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartAsked:
    """A restart that was asked for: because of which trouble (its beginning), and when."""

    trouble_since: float
    at: float


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One worker of the fleet. `epoch` is its lease's fencing number, None while the lease is not ours."""

    worker: model.Worker
    link: link.Link
    inputs: inputs.Inputs
    epoch: int | None = None
    draining: bool = False
    paused: bool = False  #: it takes nothing new until somebody resumes it
    jobs_done: int = 0
    occupied: int = 0  #: places taken: attempts that have not ended on the worker
    ends_soon: bool = False  #: a run is about to end there: its place may be given away already
    runs: dict[model.AttemptId, attempt.AttemptRun] = field(default_factory=dict[model.AttemptId, attempt.AttemptRun])
    loaded: tuple[str, ...] = ()
    known: dict[tuple[str, str], model.Asset] = field(default_factory=dict[tuple[str, str], model.Asset])
    process: model.WorkerProcess | None = None  #: of a local worker, as our supervisor tells
    listening: asyncio.Task[None] | None = None
    refreshing: asyncio.Task[None] | None = None
    looking: asyncio.Task[None] | None = None
    restart_asked: RestartAsked | None = None
    family: str | None = None  #: of the latest job that succeeded there
    leased_until: float = 0.0  #: by our own clock, as of before the lease was asked for
    jobs_since: int = 0  #: attempts that ended there since its process was started
    recycling: str | None = None  #: why its process is to be started anew as soon as nothing runs there
    log: watchdog.LogWatch = field(default_factory=watchdog.LogWatch)
    log_at: float = 0.0  #: when its log was last asked for

    @property
    def takes_work(self) -> bool:
        """Whether it may be given a job now, a free place assumed. Not while a prompt that was given up may still be
        there: canceling that one could hit the next."""
        ready = self.link.state is link.LinkState.READY and not self.link.condemned
        return ready and self.epoch is not None and not (self.draining or self.paused) and self.recycling is None

    @property
    def places(self) -> int:
        """How many attempts may be there now. One more than its depth only where canceling it cannot hit the other."""
        return self.link.depth + (self.ends_soon and self.link.cancels_atomically)

    @property
    def card(self) -> str:
        """The same for workers that share a card, as far as we know."""
        local = self.worker.kind is model.WorkerKind.LOCAL and self.worker.gpu
        return f"gpu {self.worker.gpu}" if local else f"of {self.worker.id}"

    def new_process(self) -> None:
        """A new process is at its address: what was counted of the old one is void."""
        self.jobs_since, self.recycling, self.log = 0, None, watchdog.LogWatch()

    @property
    def state(self) -> model.WorkerState:
        """How it stands, for people."""
        if self.draining or (self.recycling is not None and self.link.state is link.LinkState.READY):
            return model.WorkerState.DRAINING
        match self.link.state:
            case link.LinkState.READY if self.paused:
                return model.WorkerState.PAUSED
            case link.LinkState.READY:
                return model.WorkerState.BUSY if self.occupied or self.link.others else model.WorkerState.IDLE
            case link.LinkState.CONNECTING:
                return model.WorkerState.STARTING
            case link.LinkState.UNREACHABLE:
                starting = self.process is not None and not self.process.failure and self.link.catalog is None
                return model.WorkerState.STARTING if starting else model.WorkerState.UNREACHABLE
            case link.LinkState.QUARANTINED:
                return model.WorkerState.QUARANTINED

    @property
    def trouble(self) -> str | None:
        """What is wrong with it, for people; that a process which was just started is not there yet is no trouble."""
        if self.process is not None and self.process.failure:
            return self.process.failure
        if self.recycling is not None:
            return f"it is started anew once it has finished: {self.recycling}"
        is_expected = self.state is model.WorkerState.STARTING and not self.link.answered
        return None if is_expected else self.link.reason

    def view(self) -> model.WorkerView:
        """The worker as people see it."""
        facts, process = self.link.facts, self.process
        return model.WorkerView(
            id=self.worker.id,
            url=self.worker.url,
            kind=self.worker.kind,
            state=self.state,
            since=self.link.since,
            depth=self.worker.depth,
            gpu=self.worker.gpu,
            jobs=tuple(
                model.WorkerJob(
                    job_id=run.claim.job_id,
                    attempt_id=run.id,
                    since=run.claim.attempt.created_at,
                    progress=run.progress,
                )
                for run in self.runs.values()
            ),
            loaded=self.loaded,
            others=self.link.others,
            jobs_done=self.jobs_done,
            restarts=process.restarts if process else 0,
            pid=process.pid if process else None,
            simulated=facts.simulated or self.worker.kind is model.WorkerKind.SIMULATED,
            comfyui_version=facts.comfyui_version,
            device=facts.device,
            vram_total=facts.vram_total,
            vram_free=facts.vram_free,
            last_error=self.trouble,
            log_tail=process.log_tail if process else None,
        )


@dataclass(slots=True)
class Fleet:
    """All members by worker id. Pure bookkeeping: whoever changes it does the I/O."""

    members: dict[model.WorkerId, Member] = field(default_factory=dict[model.WorkerId, Member])
    _catalogs: dict[str, NodeCatalog] = field(default_factory=dict[str, NodeCatalog])
    _verdicts: dict[tuple[str, str], bool] = field(default_factory=dict[tuple[str, str], bool])

    def get(self, worker: str) -> Member:
        """A member; NotFound."""
        member = self.members.get(model.WorkerId(worker))
        if member is None:
            raise errors.NotFound(f"no worker is called {worker!r}")
        return member

    def views(self) -> tuple[model.WorkerView, ...]:
        """All workers as people see them, by id."""
        return tuple(self.members[worker].view() for worker in sorted(self.members))

    def pause(self, workers: Collection[str]) -> None:
        """These take nothing new, all others do again."""
        for member in self.members.values():
            member.paused = member.worker.id in workers

    def catalogs(self) -> tuple[NodeCatalog, ...]:
        """The distinct catalogs of all workers that told theirs."""
        found = {
            member.link.catalog.digest: member.link.catalog for member in self.members.values() if member.link.catalog
        }
        return tuple(found.values())

    def parse_catalog(self, info: Mapping[str, object]) -> NodeCatalog:
        """A catalog of `info`, shared between workers that answer the same."""
        catalog = NodeCatalog.parse(info)
        return self._catalogs.setdefault(catalog.digest, catalog)

    def forget_catalogs(self) -> None:
        """Drop what no worker says any more."""
        used = {catalog.digest for catalog in self.catalogs()}
        self._catalogs = {digest: catalog for digest, catalog in self._catalogs.items() if digest in used}
        self._verdicts = {key: verdict for key, verdict in self._verdicts.items() if key[0] in used}

    def admit(self, worker: model.WorkerId, facts: answers.WorkerFacts) -> None:
        """Real and simulated workers never mix (decision 10 of the design); Conflict when this one would."""
        for member in self.members.values():
            if member.worker.id == worker or member.link.catalog is None:
                continue
            if member.link.facts.simulated != facts.simulated:
                this, other = ("simulated", "real") if facts.simulated else ("real", "simulated")
                raise errors.Conflict(f"{worker} is {this}, but {member.worker.id} is {other}: the two never mix")

    def slots(self, requirements: Mapping[str, Requirements]) -> tuple[model.Slot, ...]:
        """A slot for each free place of each worker that takes work."""
        found: list[model.Slot] = []
        taken = self._cards_taken()
        accepted = self._accepted_by(requirements)
        for member in self.members.values():
            if not member.takes_work or member.occupied >= member.places or member.card in taken:
                continue
            accepts = accepted(member)
            if accepts:
                found.extend(self._free_places(member, accepts))
        return tuple(found)

    @staticmethod
    def _free_places(member: Member, accepts: frozenset[str]) -> Iterable[model.Slot]:
        for taken in range(member.occupied, member.places):
            yield model.Slot(
                worker=member.worker.id,
                epoch=member.epoch or 0,
                accepts=accepts,
                connections=taken + member.link.others,
                simulated=member.link.facts.simulated,
                jobs_done=member.jobs_done,
                vram=member.link.facts.vram_total,
                client_id=member.link.client_id,
                ahead=taken >= member.link.depth,
            )

    def _cards_taken(self) -> set[str]:
        """The cards that an attempt has for itself."""
        return {
            member.card
            for member in self.members.values()
            if any(run.alone and run.busy for run in member.runs.values())
        }

    def places(self, requirements: Mapping[str, Requirements]) -> fitting.Places:
        """All workers that take work, with or without a free place. May be called from another thread."""
        members = tuple(self.members.values())
        busy = {member.card for member in members if member.occupied or member.link.others}
        accepted = self._accepted_by(requirements)
        return {
            member.worker.id: fitting.Place(
                card=member.card,
                vram=member.link.facts.vram_total,
                accepts=accepted(member),
                quiet=member.card not in busy,
            )
            for member in members
            if member.takes_work
        }

    def standings(self, requirements: Mapping[str, Requirements]) -> tuple[foresight.Standing, ...]:
        """All workers that take work, with or without a free place."""
        accepted = self._accepted_by(requirements)
        return tuple(
            foresight.Standing(
                worker=member.worker.id,
                accepts=accepted(member),
                others=member.link.others,
                is_idle=member.occupied == 0,
            )
            for member in self.members.values()
            if member.takes_work
        )

    def sharing(self, member: Member) -> tuple[link.Link, ...]:
        """The links of all workers on this one's card."""
        return tuple(one.link for one in self.members.values() if one.card == member.card)

    def has_larger(self, wanted: Requirements | None, than: int) -> bool:
        """Whether a worker with more card memory could run this."""
        return any(
            (member.link.facts.vram_total or 0) > than
            and not member.draining
            and (wanted is None or self._is_able(member, wanted))
            for member in self.members.values()
        )

    def _is_able(self, member: Member, wanted: Requirements) -> bool:
        catalog = member.link.catalog
        return catalog is not None and self._can_run(catalog, wanted.key, wanted)

    def _accepted_by(self, requirements: Mapping[str, Requirements]) -> Callable[[Member], frozenset[str]]:
        """Which of these a member can run. Those with the same catalog can run the same, which is found out once."""
        known: dict[str, frozenset[str]] = {}

        def accepted(member: Member) -> frozenset[str]:
            catalog = member.link.catalog
            if catalog is None:
                return frozenset()
            if catalog.digest not in known:
                able = (key for key, wanted in requirements.items() if self._can_run(catalog, key, wanted))
                known[catalog.digest] = frozenset(able)
            return known[catalog.digest]

        return accepted

    def _can_run(self, catalog: NodeCatalog, key: str, wanted: Requirements) -> bool:
        verdict = self._verdicts.get((catalog.digest, key))
        if verdict is None:
            verdict = catalog.can_run(wanted)
            self._verdicts[(catalog.digest, key)] = verdict
        return verdict
