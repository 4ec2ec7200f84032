"""A shelf that meets what nobody planned: a template that cannot be understood, a store that goes away, workers that
tell late what they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway import authoring, ports
from gateway.adapters import store as stores
from gateway.domain import errors, model
from gateway.domain.comfy import object_info
from gateway.domain.pipelines import model as pipelines
from gateway.domain.templates import drafts
from tests.integration.templates_api import living

A, B = model.WorkerId("a"), model.WorkerId("b")


def told(*sizes: str) -> dict[str, Any]:
    """What a worker tells, with the widgets of a picture in this order."""
    numbers: dict[str, Any] = {name: ["INT", {"default": 1}] for name in (*sizes, "batch_size", "color")}
    saving: dict[str, Any] = {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "x"}]}
    return {
        "EmptyImage": {"input": {"required": numbers}, "output": ["IMAGE"], "output_node": False},
        "SaveImage": {"input": {"required": saving}, "output": [], "output_node": True},
    }


OLD, NEW = told("width", "height"), told("height", "width")


@dataclass(kw_only=True)
class World:
    """Files and workers as a test wants them, over a real store that a test can take away."""

    store: Any
    own: dict[str, drafts.Draft] = field(default_factory=dict[str, drafts.Draft])
    tell: dict[model.WorkerId, Any] = field(default_factory=dict[model.WorkerId, Any])
    now: float = 1_000_000.0
    step: float = 0.0  #: that the clock moves on when it is read
    good_for: int | None = None  #: conversions that the store still tells

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def conversion(self, source: str) -> Any:
        if self.good_for is not None:
            self.good_for -= 1
            if self.good_for < 0:
                raise errors.StoreUnavailable("it is away")
        return await self.store.conversion(source)

    def look(self) -> ports.FoundFiles:
        return ports.FoundFiles(own=self.own, shipped={})

    def workers(self) -> dict[model.WorkerId, object_info.NodeCatalog | None]:
        return {
            worker: None if info is None else object_info.NodeCatalog.parse(info) for worker, info in self.tell.items()
        }

    async def object_info(self, worker: model.WorkerId) -> Mapping[str, object]:
        return self.tell[worker]

    def clock(self) -> float:
        self.now += self.step
        return self.now

    async def shelf(self) -> authoring.Shelf:
        """A gateway's, just started."""
        made = authoring.Shelf(
            authoring.Ties(files=self, store=self, workers=self.workers, object_info=self.object_info, clock=self.clock)  # pyright: ignore[reportArgumentType]
        )
        await made.open()
        return made


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await stores.open_store(f"sqlite:///{tmp_path}/gateway.db", clock=lambda: 0.0)
    yield World(store=opened.templates)
    await opened.close()


def saved(name: str, color: int = 0) -> drafts.Draft:
    return drafts.draft(name, living.saved(color), source=f"{name}.json")


async def test_one_that_is_not_understood_is_broken_and_the_others_go_on(world: World) -> None:
    # No file says this: it stands for any mistake of the gateway's own.
    odd = pipelines.Pipeline(
        steps=(pipelines.Step(name="first", template="plain"),), inputs={"x": ()}, outputs=("first",)
    )
    world.own["odd"] = drafts.Draft(name="odd", pipeline=odd, source="odd.pipeline.toml")
    world.own["plain"] = drafts.draft("plain", living.graph())
    shelf = await world.shelf()
    assert [template.name for template in shelf.library().templates] == ["plain"]
    (broken,) = shelf.library().broken
    assert (broken.name, broken.source) == ("odd", "odd.pipeline.toml")
    assert "IndexError" in broken.reason


async def test_nothing_is_forgotten_when_the_store_goes_away_in_between(world: World) -> None:
    world.own |= {name: saved(name, color) for color, name in enumerate(("a", "b", "c"))}
    shelf = await world.shelf()
    assert len(shelf.library().waiting) == 3
    world.tell[A], world.step = OLD, 2.0
    assert await shelf.refresh()
    assert [template.name for template in shelf.library().templates] == ["a"]
    world.step, world.good_for = 0.0, 1
    with pytest.raises(errors.StoreUnavailable):
        await shelf.refresh()
    world.good_for = None
    assert not await shelf.refresh()
    assert [template.name for template in shelf.library().templates] == ["a", "b", "c"]


async def test_a_worker_that_tells_late_is_waited_for(world: World) -> None:
    def version(shelf: authoring.Shelf) -> str:
        return shelf.library().get("fox").version

    world.own["fox"] = saved("fox")
    world.tell = {A: OLD}
    old = version(await world.shelf())

    world.tell = {A: None, B: NEW}
    shelf = await world.shelf()
    assert version(shelf) == old
    world.tell[A] = OLD
    await shelf.refresh()
    assert version(shelf) == old

    world.tell = {A: None, B: NEW}
    shelf = await world.shelf()
    world.now += 59
    await shelf.refresh()
    assert version(shelf) == old
    world.now += 2
    await shelf.refresh()
    new = version(shelf)
    assert new != old

    world.tell = {A: None, B: OLD}
    shelf = await world.shelf()
    assert version(shelf) == new
    world.tell[A] = OLD  # the same as B: nothing is new but that nobody is waited for any more
    await shelf.refresh()
    assert version(shelf) == old
