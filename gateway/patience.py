"""Starting while the store is away for a moment, once it could be opened: somebody locks the database, say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
import tenacity

from gateway.domain import errors

START_SECONDS: Final = 60.0  #: a store that is away for longer ends the start

_log = structlog.get_logger("gateway")

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` gives, as soon as the store lets it; StoreUnavailable after a minute."""
    retry = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(errors.StoreUnavailable),
        stop=tenacity.stop_after_delay(START_SECONDS),
        wait=tenacity.wait_exponential_jitter(multiplier=0.1, max=2.0, jitter=0.2),
        before_sleep=_tell,
        reraise=True,
    )
    async for attempt in retry:
        with attempt:
            return await call()
    raise AssertionError("tenacity re-raises the last error")


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _log.warning("start_waits_for_the_store", reason=str(error), tries=state.attempt_number)
