"""What a gateway is made of: the adapters that the settings ask for, tied to the parts that stand on them."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uuid_utils

import gateway
from gateway import assets, authoring, delivery, dispatch, patience, pipelines, ports, retention, submission
from gateway.adapters import (
    blobs,
    bus,
    comfyui,
    datadir,
    finishing,
    images,
    outgoing,
    processes,
    store,
    template_folders,
    templates,
    worker_files,
)
from gateway.api import auth, hooks, parts
from gateway.dispatch import reaping
from gateway.domain import durations, errors, model, placement, targets
from gateway.settings import Settings, tenant_limits

_log = structlog.get_logger("gateway")


def new_id() -> str:
    """A fresh id; ids sort by time."""
    return str(uuid_utils.uuid7())


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """What is behind the ports that reach out of this process."""

    store: ports.Store
    blobs: ports.Blobs
    connect: ports.Connect = comfyui.ComfyClient


Fit = Callable[[Adapters], Adapters]  #: puts something around adapters: a test that ends the process at one call


def as_they_are(adapters: Adapters) -> Adapters:
    """Nothing around them."""
    return adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What all parts stand on, and how each part is made of it."""

    settings: Settings
    owner: str
    data: datadir.DataDir
    store: ports.Store
    blobs: ports.Blobs
    bus: ports.Bus
    assets: assets.Assets
    secrets: submission.Secrets
    webhook_secret: str
    files: template_folders.TemplateFolders
    connect: ports.Connect
    clock: ports.Clock
    pipeline_ordered: asyncio.Event

    @classmethod
    async def open(
        cls, settings: Settings, data: datadir.DataDir, stack: AsyncExitStack, fit: Fit = as_they_are
    ) -> Foundation:
        """Open store and blobs; `stack` closes them."""
        clock: ports.Clock = time.time
        secret = settings.webhooks.secret
        folders = template_folders.TemplateFolders(
            (Path("workflows"),) if settings.workflows is None else settings.workflows,
            shipped=templates.builtin_folder(),
            may_come=settings.workflows is None,
        )
        known_store = await store.open_store(settings.database or data.database, clock=clock)
        stack.push_async_callback(known_store.close)
        adapters = fit(Adapters(store=known_store, blobs=blobs.open_blobs(settings.blobs or data.blobs)))
        return cls(
            settings=settings,
            owner=data.identity(),
            data=data,
            store=adapters.store,
            blobs=adapters.blobs,
            bus=bus.MemoryBus(),
            assets=assets.Assets(
                adapters.store.assets,
                adapters.blobs,
                clock=clock,
                new_id=new_id,
                signer=assets.Signer(data.secret()),
                retention=settings.retention.uploads,
                free_disk=settings.limits.free_disk,
                shared=settings.database is not None,
            ),
            secrets=submission.Secrets(clock),
            webhook_secret=secret.get_secret_value() if secret else data.webhook_secret(),
            files=folders,
            connect=adapters.connect,
            clock=clock,
            pipeline_ordered=asyncio.Event(),
        )

    def targets(self) -> targets.Targets:
        """Which addresses clients may aim us at."""
        allowed = self.settings.webhooks.allow_private
        if isinstance(allowed, str):
            return targets.Targets(private=allowed == "all")
        return targets.Targets(networks=allowed)

    async def limit_tenants(self) -> None:
        """Write down how much each tenant may take, as its keys say."""
        limits = tenant_limits(self.settings.all_api_keys)
        await self.store.tenants.limit(
            {model.TenantId(tenant): model.TenantLimits(**given) for tenant, given in limits.items()}
        )

    def dispatch(self, supervisor: processes.Supervisor | None) -> dispatch.Dispatch:
        """Dispatch over every worker; `supervisor` restarts the local ones."""
        ties = dispatch.Ties(
            queue=self.store.queue,
            workers=self.store.workers,
            bus=self.bus,
            assets=self.assets,
            connect=self.connect,
            choose=_choose(self.settings),
            clock=self.clock,
            new_id=new_id,
            secret_of=self.secrets.of,
            forget_secret=self.secrets.forget,
            restart_worker=_restarting(supervisor),
            learned=self.store.learned,
            files=worker_files.WorkerFiles(self.data),
        )
        return dispatch.Dispatch(ties, self._options())

    def _options(self) -> dispatch.Options:
        watch, recycle = self.settings.watch, self.settings.recycle
        return dispatch.Options(
            owner=self.owner,
            affinity=self.settings.placement.patience,
            ahead=self.settings.placement.ahead,
            care=dispatch.Care(dead=watch.dead, recycle_jobs=recycle.jobs, recycle_memory=recycle.memory),
            runs=durations.Patience(run=watch.run, idle=watch.idle),
        )

    async def shelf(self, dispatcher: dispatch.Dispatch) -> authoring.Shelf:
        """The templates, all of them read."""
        ties = authoring.Ties(
            files=self.files,
            store=self.store.templates,
            workers=dispatcher.known,
            object_info=dispatcher.object_info,
            clock=self.clock,
        )
        shelf = authoring.Shelf(ties)
        await patience.patiently(shelf.open)
        return shelf

    def parts(self, dispatcher: dispatch.Dispatch, shelf: authoring.Shelf) -> parts.Parts:
        """What the API stands on."""
        return parts.Parts(
            store=self.store,
            blobs=self.blobs,
            bus=self.bus,
            assets=self.assets,
            submission=self._submission(dispatcher, shelf),
            fleet=dispatcher,
            foresight=dispatcher,
            templates=shelf,
            access=_access(self.settings),
            clock=self.clock,
            version=gateway.__version__,
            limits=_limits(self.settings),
            public_url=self.settings.public_url,
            targets=self.targets(),
        )

    def deliverer(self, known: parts.Parts, stack: AsyncExitStack) -> delivery.Deliverer:
        """The loop that tells webhooks; `stack` closes its connections."""
        given = self.settings.webhooks
        client = outgoing.Outgoing(self.targets(), clock=self.clock)
        stack.push_async_callback(client.close)
        ties = delivery.Ties(
            deliveries=self.store.deliveries,
            jobs=self.store.jobs,
            bus=self.bus,
            outgoing=client,
            signer=delivery.Signer(secret=self.webhook_secret, agent=f"comfy-gateway/{gateway.__version__}"),
            render=functools.partial(hooks.event_body, known),
            render_progress=functools.partial(hooks.progress_body, known),
            metrics=delivery.Metrics(known.metrics.registry),
            clock=self.clock,
            new_id=new_id,
            chance=random.random,
        )
        options = delivery.Options(
            owner=self.owner,
            timeout=given.timeout,
            at_once=given.at_once,
            per_host=given.per_host,
            keep=self.settings.retention.deliveries,
            progress_interval=given.progress_interval,
        )
        return delivery.Deliverer(ties, options)

    def _submission(self, dispatcher: dispatch.Dispatch, shelf: authoring.Shelf) -> submission.Submission:
        ties = submission.Ties(
            jobs=self.store.jobs,
            assets=self.assets,
            bus=self.bus,
            secrets=self.secrets,
            find=shelf.find,
            catalogs=dispatcher.catalogs,
            probe=images.probe_image,
            bomb_probe=images.refuse_bomb,
            clock=self.clock,
            new_id=new_id,
            draw_seed=_draw_seed,
            has_input=dispatcher.may_have_input,
            expect=dispatcher.expect,
            offer=dispatcher.offer,
            owner=self.owner,
            begun=self.pipeline_ordered.set,
        )
        rules = submission.Rules(
            retention=self.settings.retention.jobs,
            queue_limit=self.settings.limits.queue,
            queue_bytes=self.settings.limits.queue_bytes,
            batch_jobs=self.settings.limits.batch_jobs,
        )
        return submission.Submission(ties, rules)

    def leader(self, known: parts.Parts, stack: AsyncExitStack) -> pipelines.Leader:
        """The loop that leads pipelines on; `stack` closes the connections to checks."""
        client = outgoing.Outgoing(self.targets(), clock=self.clock)
        stack.push_async_callback(client.close)
        ties = pipelines.Ties(
            store=self.store.pipelines,
            jobs=self.store.jobs,
            bus=self.bus,
            assets=self.assets,
            outgoing=client,
            order=known.submission.submit_step,
            finish=finishing.finish,
            clock=self.clock,
            owner=self.owner,
        )
        return pipelines.Leader(ties, self.pipeline_ordered)

    def retention(self, tally: retention.Tally) -> retention.Retention:
        """The loop that forgets."""
        return retention.Retention(
            queue=self.store.queue,
            assets=self.assets,
            bus=self.bus,
            clock=self.clock,
            queue_limit=self.settings.retention.queued,
            budget=self.settings.retention.disk_budget,
            tally=tally,
        )

    def reaper(self, dispatcher: dispatch.Dispatch) -> reaping.Reaper:
        """The loop that gives back what runs on workers that are gone."""
        return reaping.Reaper(
            queue=self.store.queue,
            workers=self.store.workers,
            bus=self.bus,
            clock=self.clock,
            owner=self.owner,
            present=lambda: {view.id for view in dispatcher.views()},
        )


def _choose(settings: Settings) -> ports.Choose | None:
    """A policy that dispatch shall follow instead of its own."""
    return placement.least_connections if settings.placement.policy == "least_connections" else None


def _draw_seed() -> int:
    return random.getrandbits(53)


def _access(settings: Settings) -> auth.Access:
    keys = tuple(
        auth.ApiKey.of(
            key.key.get_secret_value(),
            tenant=model.TenantId(key.tenant),
            admin=key.admin,
            webhook=key.webhook.ordered() if key.webhook else None,
        )
        for key in settings.all_api_keys
    )
    return auth.Access(keys=keys, origins=settings.allow_origins, guard_hosts=not keys and not settings.is_public)


def _limits(settings: Settings) -> parts.Limits:
    limits = settings.limits
    return parts.Limits(
        json_body=limits.json_body,
        upload=limits.upload,
        batch_jobs=limits.batch_jobs,
        streams=limits.streams,
        wait=limits.wait,
        stalled=limits.stalled,
    )


def _restarting(supervisor: processes.Supervisor | None) -> Callable[[model.WorkerId, str], Coroutine[Any, Any, None]]:
    async def restart(worker: model.WorkerId, reason: str) -> None:
        if supervisor is None:
            return
        try:
            await supervisor.restart(worker, reason)
        except errors.GatewayError as error:
            _log.warning("worker_restart_failed", worker=worker, reason=error.message)

    return restart
