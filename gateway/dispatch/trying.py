"""Trying again, at no price for what goes well: what tenacity does around a try costs more than most calls do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity

T = TypeVar("T")


async def patiently(
    call: Callable[[], Awaitable[T]], passing: type[Exception], again: Callable[[], tenacity.AsyncRetrying]
) -> T:
    """The result of `call`. After an error that may pass it is called once more at once, and then as `again` says."""
    try:
        return await call()
    except passing:
        async for attempt in again():
            with attempt:
                return await call()
        raise AssertionError("tenacity re-raises the last error") from None
