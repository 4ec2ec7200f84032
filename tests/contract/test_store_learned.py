"""The Learned port: what is kept comes back, also after the store was opened anew."""

from __future__ import annotations

from gateway import ports
from tests.contract import store_kit


async def test_what_was_learned_outlives_the_program(opened: store_kit.OpenStore) -> None:
    first = await opened()
    await first.learned.keep("costs", {"sdxl": {"run": 4.0}, "flux": {"run": 9.5}})
    await first.learned.keep("memory", {"sdxl": {"bytes": 1}})
    await first.learned.keep("costs", {"sdxl": {"run": 3.5, "n": 2}})
    await first.learned.keep("costs", {})

    again = await opened()
    assert await again.learned.load("costs") == {"sdxl": {"run": 3.5, "n": 2}, "flux": {"run": 9.5}}
    assert await again.learned.load("memory") == {"sdxl": {"bytes": 1}}
    assert await again.learned.load("nothing") == {}


async def test_what_nobody_used_for_long_is_forgotten(store: ports.Store, clock: store_kit.Clock) -> None:
    await store.learned.keep("costs", {"old": {}, "used": {}})
    clock.now += 100
    await store.learned.keep("costs", {"used": {"run": 1.0}})

    await store.learned.forget("costs", unused_since=clock.now - 50)

    assert await store.learned.load("costs") == {"used": {"run": 1.0}}
