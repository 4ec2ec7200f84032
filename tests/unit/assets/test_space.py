"""The brake: when orders are refused, when claims stop, and that it lets go by itself."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.assets import Space
from gateway.domain import errors
from tests.contract import store_kit as kit


@dataclass
class Disk:
    """What the brake asks of a blob store."""

    left: int | None = 1000
    broken: str | None = None
    looks: int = 0

    async def check(self) -> None:
        self.looks += 1
        if self.broken is not None:
            raise errors.StoreUnavailable(self.broken)

    async def free(self) -> int | None:
        self.looks += 1
        return self.left


def brake(disk: Disk, clock: kit.Clock, floor: int = 500) -> Space:
    return Space(disk, clock=clock, floor=floor)  # pyright: ignore[reportArgumentType]


async def test_little_room_refuses_orders_but_what_is_queued_goes_on() -> None:
    disk, clock = Disk(), kit.Clock()
    space = brake(disk, clock)
    await space.require()
    disk.left = 499
    await space.require()  # the last look was a moment ago
    clock.now += 2
    with pytest.raises(errors.QueueFull, match="are to stay free"):
        await space.require()
    assert await space.is_open()
    disk.left = 500
    clock.now += 2
    await space.require()


async def test_a_failed_write_stops_everything_until_one_succeeds() -> None:
    disk, clock = Disk(broken="no space left on device"), kit.Clock()
    space = brake(disk, clock)
    space.failed("no space left on device")
    for _ in range(3):
        assert not await space.is_open()
        clock.now += 2
    with pytest.raises(errors.QueueFull, match="no space left"):
        await space.require()
    disk.broken = None
    clock.now += 2
    assert await space.is_open()
    await space.require()


async def test_many_who_ask_look_once_a_second() -> None:
    disk, clock = Disk(), kit.Clock()
    space = brake(disk, clock)
    for _ in range(100):
        await space.require()
    assert disk.looks == 1


async def test_a_store_that_cannot_tell_its_room_is_never_low() -> None:
    space = brake(Disk(left=None), kit.Clock())
    await space.require()


async def test_one_blob_that_cannot_be_read_is_not_the_whole_store() -> None:
    disk = Disk()
    space = brake(disk, kit.Clock())
    assert not await space.doubt("input/output error")
    disk.broken = "stale file handle"
    assert await space.doubt("stale file handle")
