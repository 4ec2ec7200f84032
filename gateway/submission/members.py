"""The members of a batch, planned one after the other: a plan is as large as its graph, so it is not kept until all are
there."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain import errors, model
from gateway.domain.templates import model as templates
from gateway.submission import breath, planning, runs

MAX_FAULTS: Final = 500  #: a report longer than this helps nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """What a batch is made of: each of a list of inputs, or one of them `n` times."""

    tenant: model.TenantId
    template: templates.Template
    inputs: Sequence[object] | Mapping[str, Any]
    n: int
    kind: templates.BatchKind

    @classmethod
    def of(
        cls,
        tenant: model.TenantId,
        template: templates.Template,
        inputs: Sequence[object] | Mapping[str, Any],
        *,
        n: int | None,
        kind: templates.BatchKind | None,
    ) -> Members:
        """What an order says, with the template's word where it says nothing."""
        count = (n or 1) if isinstance(inputs, Mapping) else len(inputs)
        return cls(tenant=tenant, template=template, inputs=inputs, n=count, kind=kind or template.batch)

    def plans(self, planner: planning.Planner) -> AsyncGenerator[planning.Plan]:
        """The plan of each; raises InvalidInputs or MissingAsset with the faults of all, once all were looked at."""
        if not isinstance(self.inputs, Mapping):
            return self._each(planner, self.inputs)
        if self.kind is templates.BatchKind.ONE_RUN:
            return self._one_run(planner, self.inputs)
        return self._copies(planner, self.inputs)

    async def _one_run(self, planner: planning.Planner, inputs: Mapping[str, Any]) -> AsyncGenerator[planning.Plan]:
        sized = runs.sized(self.template, inputs, self.n)
        yield runs.named(await planner.plan(self.tenant, self.template, sized))

    async def _copies(self, planner: planning.Planner, inputs: Mapping[str, Any]) -> AsyncGenerator[planning.Plan]:
        """The same with the seeds seed, seed + 1, …"""
        first = await planner.plan(self.tenant, self.template, dict(inputs))
        seed = first.inputs[first.seed_parameter] if first.seed_parameter is not None else 0
        yield first
        pause = breath.Breath()
        for index in range(1, self.n):
            await pause()
            try:
                plan = planner.repeat(first, seed=seed + index)
            except errors.InvalidInputs as error:
                raise planning.refusal(self.template.name, indexed(error.faults, index)) from None
            yield plan

    async def _each(self, planner: planning.Planner, members: Sequence[object]) -> AsyncGenerator[planning.Plan]:
        faults: list[errors.Fault] = []
        missing: list[str] = []
        pause = breath.Breath()
        for index, inputs in enumerate(members):
            await pause()
            try:
                plan = await planner.plan(self.tenant, self.template, inputs)
            except errors.InvalidRequest as error:
                faults += indexed(error.faults or (_whole(error),), index)
                missing += (error.details or {}).get("missing_ids", [])
            else:
                if not faults:
                    yield plan
                else:
                    faults += indexed(planner.refused(plan), index)
            if len(faults) >= MAX_FAULTS:
                break
        if faults:
            raise planning.refusal(self.template.name, faults[:MAX_FAULTS], missing_ids=missing)


def indexed(faults: Sequence[errors.Fault], index: int) -> list[errors.Fault]:
    """The faults with the place of their member."""
    return [dataclasses.replace(fault, index=index) for fault in faults]


def _whole(error: errors.InvalidRequest) -> errors.Fault:
    return errors.Fault(reason=error.code, message=error.message)
