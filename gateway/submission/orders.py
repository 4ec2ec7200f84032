"""Orders become queued jobs: read, checked, resolved, and written with their events in one transaction."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from gateway import assets, ports
from gateway.domain import errors, model, webhooks
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info, sizes
from gateway.domain.costs import sketch as sketches
from gateway.domain.pipelines import moves
from gateway.domain.templates import model as templates
from gateway.submission import (
    breath,
    checks,
    deadlines,
    eligibility,
    members,
    pictures,
    pipelining,
    planning,
    references,
    rules,
    secrets,
)

API_KEY: Final = "api_key_comfy_org"


class Find(Protocol):
    """Finds the template that an order means."""

    def __call__(self, reference: str, *, key: str | None = None) -> Awaitable[templates.Template]:
        """The template behind `name`, `name@alias` or `name@version`; NotFound, TemplateError, TemplateWaiting."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """What submission works with; the composition root puts it together."""

    jobs: ports.Jobs
    assets: assets.Assets
    bus: ports.Bus
    secrets: secrets.Secrets
    find: Find  #: templates, by what orders call them
    catalogs: Callable[[], Sequence[object_info.NodeCatalog]]  #: of the workers that told theirs; distinct
    probe: pictures.Probe  #: refuses what is no sound picture
    bomb_probe: pictures.Probe  #: refuses pictures that are far too large once they are unpacked
    clock: ports.Clock
    new_id: ports.NewId
    draw_seed: Callable[[], int]
    has_input: checks.HasInput = checks.anything  #: whether a worker may have an input file of that name
    expect: deadlines.Expect | None = None  #: when a job would be done; None: nobody can tell
    owner: str = ""  #: who leads on the pipelines that are ordered here
    begun: Callable[[], None] = lambda: None  #: told when one was
    offer: ports.Offering = lambda _: None  #: free places, for jobs that are being queued


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What every kind of order may say beside what shall be made."""

    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    priority: int = 0
    idempotency_key: str | None = None
    extra_data: Mapping[str, Any] | None = None  #: kept in memory only
    webhook: webhooks.Webhook | None = None
    expires_in: float | None = None  #: seconds that the job and its outputs are kept
    deadline: float | None = None  #: seconds from now, by which it has to be done

    @property
    def api_key(self) -> str | None:
        """The client's key for partner nodes."""
        return (self.extra_data or {}).get(API_KEY) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A batch that was queued."""

    batch: model.NewBatch
    template: str
    jobs: tuple[model.Job, ...]


class Submission:
    """Takes orders of all kinds."""

    def __init__(self, ties: Ties, limits: rules.Rules | None = None) -> None:
        self._ties = ties
        self._rules = limits or rules.Rules()
        self._turns = asyncio.Semaphore(self._rules.at_once)
        self._pictures = pictures.Pictures(
            ties.assets, probe=ties.probe, bomb_probe=ties.bomb_probe, max_bytes=self._rules.image_bytes
        )
        self._planner = planning.Planner(ties.assets, self._pictures, draw_seed=ties.draw_seed, refusals=self._refusals)

    async def submit_workflow(
        self,
        tenant: model.TenantId,
        workflow: object,
        *,
        metadata: Mapping[str, str] | None = None,
        priority: int = 0,
        idempotency_key: str | None = None,
        extra_data: Mapping[str, Any] | None = None,
        webhook: webhooks.Webhook | None = None,
        expires_in: float | None = None,
        deadline: float | None = None,
    ) -> model.Job:
        """Queue an API-format graph.

        InvalidWorkflow, UiWorkflow, MissingAsset, IdempotencyKeyReuse, QueueFull, DeadlineTooSoon; each tells all that
        is wrong.
        """
        wishes = Wishes(
            metadata=metadata or {},
            priority=priority,
            idempotency_key=idempotency_key,
            extra_data=extra_data,
            webhook=webhook,
            expires_in=expires_in,
            deadline=deadline,
        )
        await self._ties.assets.space.require()
        async with self._turns:
            return await self._submit_graph(tenant, workflow, wishes)

    async def _submit_graph(self, tenant: model.TenantId, workflow: object, wishes: Wishes) -> model.Job:
        catalogs = self._ties.catalogs()
        facts = checks.Facts(catalogs)
        resolved = await references.resolve(self._ties.assets, tenant, _sound(workflow, catalogs), facts)
        needs = graphs.requirements(resolved.graph, facts)
        faults = (
            *checks.refusals(resolved.graph, needs, catalogs),
            *await checks.missing_files(resolved.graph, facts, self._ties.has_input),
        )
        if faults:
            raise errors.InvalidWorkflow(_no_worker(faults), faults=faults)
        await self._refuse_bombs(resolved.pictures)
        needs = eligibility.narrowed(resolved.graph, needs, catalogs)
        job = self._new_job(tenant, resolved.graph, needs, resolved.assets, wishes)
        return (await self._queue([job], wishes))[0]

    async def submit_template(
        self,
        tenant: model.TenantId,
        name: str,
        inputs: object,
        *,
        metadata: Mapping[str, str] | None = None,
        priority: int = 0,
        idempotency_key: str | None = None,
        extra_data: Mapping[str, Any] | None = None,
        webhook: webhooks.Webhook | None = None,
        expires_in: float | None = None,
        deadline: float | None = None,
    ) -> model.Job:
        """Queue a template with these inputs.

        NotFound, TemplateError and TemplateWaiting for the name, InvalidInputs, MissingAsset or InvalidWorkflow for
        the inputs. A candidate that gets a share of the orders is drawn by the idempotency key, else by the job's id.
        """
        wishes = Wishes(
            metadata=metadata or {},
            priority=priority,
            idempotency_key=idempotency_key,
            extra_data=extra_data,
            webhook=webhook,
            expires_in=expires_in,
            deadline=deadline,
        )
        await self._ties.assets.space.require()
        async with self._turns:
            job_id = self._ties.new_id()
            template = await self._ties.find(name, key=idempotency_key or job_id)
            plan = await self._planner.plan(tenant, template, inputs)
            if template.pipeline is not None:
                return (await self._begin(tenant, [(plan, job_id)], wishes))[0]
            job = await self._one_job(tenant, plan, wishes, job_id)
            return (await self._queue([job], wishes))[0]

    async def submit_batch(
        self,
        tenant: model.TenantId,
        name: str,
        inputs: Sequence[object] | Mapping[str, Any],
        *,
        n: int | None = None,
        kind: templates.BatchKind | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int = 0,
        idempotency_key: str | None = None,
        extra_data: Mapping[str, Any] | None = None,
        webhook: webhooks.Webhook | None = None,
        expires_in: float | None = None,
        deadline: float | None = None,
    ) -> Ordered:
        """Queue a template many times: once for each of a list of inputs, or `n` times for one, with the seeds seed,
        seed + 1, … (or `n` pictures in one run, where the order or the template says so).

        All jobs or none; the faults of all members at once, each with its index.
        """
        wishes = Wishes(
            metadata=metadata or {},
            priority=priority,
            idempotency_key=idempotency_key,
            extra_data=extra_data,
            webhook=webhook,
            expires_in=expires_in,
            deadline=deadline,
        )
        await self._ties.assets.space.require()
        batch_id = model.BatchId(self._ties.new_id())
        template = await self._ties.find(name, key=idempotency_key or batch_id)
        wanted = members.Members.of(tenant, template, inputs, n=n, kind=kind)
        self._refuse_size(wanted.n)
        plans = wanted.plans(self._planner)
        if template.pipeline is not None:
            orders = [(plan, self._ties.new_id()) async for plan in plans]
            batch = model.NewBatch(id=batch_id, created_at=self._ties.clock(), metadata=wishes.metadata)
            begun = await self._begin(tenant, orders, wishes, batch)
            return Ordered(batch=batch, template=template.name, jobs=begun)
        jobs = await self._planned_jobs(tenant, plans, wishes)
        batch = model.NewBatch(id=batch_id, created_at=jobs[0].created_at, metadata=wishes.metadata)
        return Ordered(batch=batch, template=template.name, jobs=await self._queue(jobs, wishes, batch))

    # Pipelines.

    async def submit_step(
        self, parent: model.Job, planned: moves.Planned, inputs: Mapping[str, Any], *, plan: moves.Plan
    ) -> model.Job:
        """Queue the job of a pipeline's step; what `submit_template` raises, besides its candidate."""
        key = self._ties.secrets.of(parent.id)
        if plan.needs_key and key is None:
            raise pipelining.no_key()
        wishes = Wishes(
            priority=parent.priority,
            extra_data=None if key is None else {API_KEY: key},
            expires_in=max(1.0, parent.expires_at - self._ties.clock()),
        )
        template = await self._ties.find(pipelining.reference(planned))
        step = await self._planner.plan(parent.tenant, template, inputs)
        job = await self._one_job(parent.tenant, step, wishes, moves.step_id(parent.id, planned.step.name))
        job = dataclasses.replace(job, parent_id=parent.id, step=planned.step.name, sealed=plan.sealed)
        return (await self._queue([job], wishes))[0]

    async def again(self, job: model.Job, wishes: Wishes, *, done: Mapping[str, str]) -> model.Job:
        """Order an ended job of a template once more, in the version it ran. `done`: steps of a pipeline that need not
        be done again, and their jobs. NotFound, and what ordering it raises."""
        await self._ties.assets.space.require()
        async with self._turns:
            template = await self._ties.find(pipelining.of_job(job))
            plan = await self._planner.plan(job.tenant, template, dict(job.inputs or {}))
            if template.pipeline is not None:
                return (await self._begin(job.tenant, [(plan, self._ties.new_id())], wishes, done=done))[0]
            new = await self._one_job(job.tenant, plan, wishes, self._ties.new_id())
            return (await self._queue([new], wishes))[0]

    async def _begin(
        self,
        tenant: model.TenantId,
        orders: Sequence[tuple[planning.Plan, str]],
        wishes: Wishes,
        batch: model.NewBatch | None = None,
        *,
        done: Mapping[str, str] | None = None,
    ) -> tuple[model.Job, ...]:
        """Begin pipelines; whoever leads them on is told."""
        jobs: list[model.NewJob] = []
        plans: dict[model.JobId, Mapping[str, Any]] = {}
        pause = breath.Breath()
        for index, (plan, job_id) in enumerate(orders):
            await pause()
            made = await pipelining.planned(
                plan.template,
                plan.inputs,
                self._ties.find,
                draw_seed=self._ties.draw_seed,
                catalogs=self._ties.catalogs(),
            )
            made = dataclasses.replace(made, done=done or {}, needs_key=wishes.api_key is not None)
            job = self._new_job(
                tenant, graphs.Graph({}), graphs.Requirements(), plan.assets, wishes, keep=plan.template.retention
            )
            jobs.append(
                dataclasses.replace(
                    job,
                    id=model.JobId(job_id),
                    template=plan.template.name,
                    template_version=plan.template.version,
                    inputs=plan.inputs,
                    batch_index=index if batch is not None else None,
                )
            )
            plans[model.JobId(job_id)] = made.as_dict()
        begun = await self._queue(jobs, wishes, batch, begin=ports.Begin(owner=self._ties.owner, plans=plans))
        self._ties.begun()
        return begun

    # Batches.

    def _refuse_size(self, n: int) -> None:
        if not 1 <= n <= self._rules.batch_jobs:
            raise errors.InvalidRequest(f"A batch has 1 to {self._rules.batch_jobs} jobs; this one has {n}.")

    async def _planned_jobs(
        self, tenant: model.TenantId, plans: AsyncIterator[planning.Plan], wishes: Wishes
    ) -> list[model.NewJob]:
        """The jobs of all plans; InvalidInputs and InvalidWorkflow with the faults of all members."""
        jobs: list[model.NewJob] = []
        faults: list[errors.Fault] = []
        alike: dict[graphs.Requirements, graphs.Requirements] = {}  # mostly all of them
        index = 0
        try:
            async for plan in plans:
                if len(faults) < members.MAX_FAULTS:
                    job, found = await self._planned_job(tenant, plan, wishes, self._ties.new_id())
                    faults += members.indexed(found, index)
                    needs = alike.setdefault(job.requirements, job.requirements)
                    jobs.append(dataclasses.replace(job, requirements=needs, batch_index=index))
                index += 1
        except errors.InvalidInputs as refused:
            if not faults:
                raise
            every = (*faults, *refused.faults)[: members.MAX_FAULTS]
            raise planning.refusal(jobs[0].template or "", every) from None
        if faults:
            raise _refused_by_all(faults[: members.MAX_FAULTS])
        return jobs

    # Jobs.

    async def _refuse_bombs(self, found: Sequence[references.Picture]) -> None:
        faults = [
            dataclasses.replace(fault, node=item.node, class_type=item.class_type, field=item.field)
            for item in found
            for fault in await self._pictures.dangers_of_asset(item.asset)
        ]
        if faults:
            raise errors.InvalidWorkflow(f"The workflow cannot run. {faults[0].message}", faults=faults)

    def _refusals(self, template: templates.Template, graph: graphs.Graph) -> list[errors.Fault]:
        """Why no known worker would run this."""
        catalogs = self._ties.catalogs()
        needs = graphs.requirements(graph, checks.Facts(catalogs))
        return _with_parameters(template, checks.refusals(graph, needs, catalogs))

    async def _one_job(self, tenant: model.TenantId, plan: planning.Plan, wishes: Wishes, job_id: str) -> model.NewJob:
        """The job of a plan; InvalidInputs or InvalidWorkflow when no known worker would run it."""
        job, faults = await self._planned_job(tenant, plan, wishes, job_id)
        if faults:
            raise _refused_by_all(faults)
        return job

    async def _planned_job(
        self, tenant: model.TenantId, plan: planning.Plan, wishes: Wishes, job_id: str
    ) -> tuple[model.NewJob, list[errors.Fault]]:
        """The job of a plan, and why no known worker would run it."""
        catalogs = self._ties.catalogs()
        facts = checks.Facts(catalogs)
        needs = graphs.requirements(plan.graph, facts)
        missing = await checks.missing_files(plan.graph, facts, self._ties.has_input)
        faults = [
            *_with_parameters(plan.template, checks.refusals(plan.graph, needs, catalogs)),
            *_with_parameters(plan.template, missing),
        ]
        if not faults:
            needs = eligibility.narrowed(plan.graph, needs, catalogs)
        job = self._new_job(tenant, plan.graph, needs, plan.assets, wishes, keep=plan.template.retention)
        job = dataclasses.replace(
            job,
            id=model.JobId(job_id),
            template=plan.template.name,
            template_version=plan.template.version,
            inputs=plan.inputs,
            max_tries=plan.template.tries or self._rules.max_tries,
            limits=plan.template.limits,
        )
        return job, faults

    def _new_job(
        self,
        tenant: model.TenantId,
        graph: graphs.Graph,
        needs: graphs.Requirements,
        used: tuple[model.AssetId, ...],
        wishes: Wishes,
        *,
        keep: float | None = None,
    ) -> model.NewJob:
        now = self._ties.clock()
        return model.NewJob(
            id=model.JobId(self._ties.new_id()),
            tenant=tenant,
            created_at=now,
            expires_at=now + (wishes.expires_in or keep or self._rules.retention),
            graph=orjson.dumps(graph),
            requirements=needs,
            assets=used,
            priority=wishes.priority,
            metadata=wishes.metadata,
            max_tries=self._rules.max_tries,
            needs_secret=wishes.api_key is not None,
            webhook=wishes.webhook,
            deadline=None if wishes.deadline is None else now + wishes.deadline,
            sketch=sketches.sketch(graph),
            size=sizes.pixels(graph),
        )

    async def _queue(
        self,
        jobs: Sequence[model.NewJob],
        wishes: Wishes,
        batch: model.NewBatch | None = None,
        *,
        begin: ports.Begin | None = None,
    ) -> tuple[model.Job, ...]:
        """Write the jobs, and wake dispatch. Keys are remembered before: a job may be claimed at once."""
        await deadlines.refuse_missed(self._ties.jobs, self._ties.expect, jobs, wishes.deadline)
        if wishes.api_key is not None:
            for job in jobs:
                self._ties.secrets.keep(job.id, wishes.api_key, until=job.expires_at)
        offers = _Offers(ask=self._ties.offer, signal=self._ties.bus.signal)
        try:
            return await self._ties.jobs.submit(
                jobs,
                batch=batch,
                idempotency_key=wishes.idempotency_key,
                queue_limit=self._rules.queue_limit,
                queue_bytes=self._rules.queue_bytes,
                begin=begin,
                offer=offers.take,
                written=offers.written,
            )
        except errors.GatewayError:
            for job in jobs:
                self._ties.secrets.forget(job.id)
            raise


@dataclass(slots=True, kw_only=True)
class _Offers:
    """Wakes dispatch for what was queued, unless it has been claimed for already."""

    ask: ports.Offering
    signal: Callable[[model.WorkQueued], None]
    taken: bool = False

    def take(self, needed: Mapping[str, graphs.Requirements]) -> ports.Offer | None:
        found = self.ask(needed)
        self.taken = found is not None
        return found

    def written(self) -> None:
        if not self.taken:
            self.signal(model.WorkQueued())
        self.taken = False


def _sound(workflow: object, catalogs: Sequence[object_info.NodeCatalog]) -> graphs.Graph:
    """The graph; InvalidWorkflow with everything that is wrong, what the workers lack included."""
    try:
        return graphs.parse_graph(workflow)
    except errors.InvalidWorkflow as refused:
        more = checks.lacking_besides(workflow, catalogs)
        raise errors.InvalidWorkflow(refused.message, faults=(*refused.faults, *more)[: members.MAX_FAULTS]) from None


def _no_worker(faults: Sequence[errors.Fault]) -> str:
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    node = f"Node {faults[0].node}: " if faults[0].node is not None else ""
    return f"No known worker can run this. {node}{faults[0].message}{more}"


def _refused_by_all(faults: Sequence[errors.Fault]) -> errors.InvalidRequest:
    """InvalidInputs when other values would help, else InvalidWorkflow."""
    kind = errors.InvalidInputs if all(fault.parameter for fault in faults) else errors.InvalidWorkflow
    return kind(_no_worker(faults), faults=faults)


def _with_parameters(template: templates.Template, faults: Sequence[errors.Fault]) -> list[errors.Fault]:
    return [_with_parameter(template, fault) for fault in faults]


def _with_parameter(template: templates.Template, fault: errors.Fault) -> errors.Fault:
    """The fault with the parameter that sets the place."""
    for parameter in template.parameters:
        if any((target.node, target.input) == (fault.node, fault.field) for target in parameter.targets):
            return dataclasses.replace(fault, parameter=parameter.name)
    return template.explained(fault)
