"""The Templates port: versions stay, aliases move one after the other, conversions are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway import ports
from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import model, records
from tests.contract import store_kit


def content(text: str = "a fox", **files: bytes) -> records.Content:
    graph = graphs.Graph({"1": {"class_type": "SaveText", "inputs": {"text": text}}})
    converted = records.Converted(graph=graph, titled={model.Target("1:2", "te.xt"): "Words"})
    return records.Content(workflow=converted, text='title = "x"', files=files)


def version_of(made_of: records.Content) -> str:
    return model.content_version(made_of.workflow.graph, made_of.text, made_of.files)


def new(name: str, made_of: records.Content, origin: records.Origin = records.Origin.API) -> records.NewVersion:
    return records.NewVersion(name=name, version=version_of(made_of), content=made_of, origin=origin)


def to(version: str | None, **more: Any) -> Callable[[records.Alias | None], records.Move]:
    return lambda _was: records.Move(version=version, at=1.0, **more)


async def test_versions_outlive_the_program_with_their_files(opened: store_kit.OpenStore) -> None:
    first = await opened()
    one, two = content("one", a=b"\0\xff"), content("two", a=b"\0\xff", b=b"b")
    await first.templates.keep([new("fox", one, records.Origin.FILE), new("hen", two)])
    await first.templates.keep([])

    again = await opened()
    assert await again.templates.content("fox", version_of(one)) == one
    assert await again.templates.content("hen", version_of(two)) == two
    with pytest.raises(errors.NotFound):
        await again.templates.content("fox", version_of(two))
    assert await again.templates.versions("owl") == ()
    assert {name: info.origin for name, info in (await again.templates.newest()).items()} == {
        "fox": records.Origin.FILE,
        "hen": records.Origin.API,
    }


async def test_a_version_that_comes_back_is_the_newest_again(store: ports.Store, clock: store_kit.Clock) -> None:
    one, two = content("one"), content("two")
    for each in (one, two, one):
        await store.templates.keep([new("fox", each)])
        clock.now += 10
    newest, oldest = await store.templates.versions("fox")
    assert (newest.version, oldest.version) == (version_of(one), version_of(two))
    assert newest.current_at - newest.created_at == 20
    assert (await store.templates.newest())["fox"].version == version_of(one)


async def test_templates_that_are_added_replaced_and_removed(store: ports.Store) -> None:
    one, two = content("one"), content("two")
    assert await store.templates.put(new("fox", one), create=True)
    with pytest.raises(errors.Conflict):
        await store.templates.put(new("fox", two), create=True)
    assert [info.version for info in await store.templates.versions("fox")] == [version_of(one)]  # nothing of it stayed
    assert not await store.templates.put(new("fox", two), create=False)
    assert {name: head.version for name, head in (await store.templates.heads()).items()} == {"fox": version_of(two)}
    await store.templates.move("fox", "stable", to(version_of(one)))
    await store.templates.remove("fox")
    assert (await store.templates.heads(), await store.templates.aliases()) == ({}, ())
    assert await store.templates.content("fox", version_of(one)) == one
    with pytest.raises(errors.NotFound):
        await store.templates.remove("fox")


async def test_an_alias_remembers_where_it_pointed(opened: store_kit.OpenStore) -> None:
    first = await opened()
    one, two = content("one"), content("two")
    await first.templates.keep([new("fox", one), new("fox", two)])
    await first.templates.move("fox", "stable", to(version_of(one)))
    await first.templates.move("fox", "stable", to(version_of(one), candidate=version_of(two), share=0.25))
    moved = await first.templates.move("fox", "stable", to(version_of(two)))
    assert (moved.now.version, moved.is_set) == (version_of(two), True)

    again = await opened()
    assert await again.templates.aliases() == (moved,)
    assert [(move.version, move.candidate, move.share) for move in moved.moves] == [
        (version_of(one), None, 0.0),
        (version_of(one), version_of(two), 0.25),
        (version_of(two), None, 0.0),
    ]


async def test_an_alias_points_to_what_is_there(store: ports.Store) -> None:
    one = content("one")
    await store.templates.keep([new("fox", one)])

    def refuse(was: records.Alias | None) -> records.Move:
        raise errors.Conflict(f"it was {was}")

    for move in (to("0" * 16), to(version_of(one), candidate="0" * 16)):
        with pytest.raises(errors.NotFound):
            await store.templates.move("fox", "stable", move)
    with pytest.raises(errors.Conflict, match="it was None"):
        await store.templates.move("fox", "stable", refuse)
    assert await store.templates.aliases() == ()


async def test_an_alias_that_many_move_keeps_every_move(opened: store_kit.OpenStore) -> None:
    stores = [await opened() for _ in range(2)]
    one = content("one")
    await stores[0].templates.keep([new("fox", one)])

    def count(was: records.Alias | None) -> records.Move:
        return records.Move(version=version_of(one), at=float(len(was.moves) if was else 0))

    await asyncio.gather(*(stores[index % 2].templates.move("fox", "stable", count) for index in range(10)))
    (alias,) = await stores[0].templates.aliases()
    assert [move.at for move in alias.moves] == [float(index) for index in range(10)]


async def test_a_conversion_is_kept(opened: store_kit.OpenStore) -> None:
    first = await opened()
    assert await first.templates.conversion("digest") is None
    one, two = content("one").workflow, content("two").workflow
    await first.templates.keep_conversion("digest", one)
    await first.templates.keep_conversion("digest", two)
    again = await opened()
    assert await again.templates.conversion("digest") == two
