"""The templates that a pipeline's steps name, looked up before the pipeline is made of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.domain import errors
from gateway.domain.pipelines import facing
from gateway.domain.pipelines import model as pipelines
from gateway.domain.templates import model

Find = Callable[[str], Awaitable[model.Template]]  #: `name`, `name@alias` or `name@version`


async def finding(pipeline: pipelines.Pipeline, find: Find) -> facing.Find:
    """Gives each step's template, or raises why there is none; StoreUnavailable at once."""
    found: dict[str, model.Template | errors.GatewayError] = {}
    for reference in {step.template for step in pipeline.steps if step.template is not None}:
        try:
            found[reference] = await find(reference)
        except (errors.NotFound, errors.InvalidRequest, errors.TemplateError, errors.TemplateWaiting) as error:
            found[reference] = error

    def known(reference: str) -> model.Template:
        each = found[reference]
        if isinstance(each, errors.GatewayError):
            raise each
        return each

    return known
