"""Playing one recording to a simulator, and to a real server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway import simulator
from tests.conformance import recordings, replay, scenarios


async def to_simulator(version: str, recording: recordings.Recording) -> None:
    """Play a recording to a simulator of that version; every difference fails."""
    scenario = scenarios.of(recording.name)
    assert scenario is not None
    async with simulator.running(scenarios.options(version, scenario)) as sim, replay.client() as session:
        play = replay.Replay(
            url=sim.url,
            recording=recording,
            session=session,
            loose=scenario.loose,
            left_out=scenario.left_out,
            any_order=scenario.any_order,
        )
        for name, content in scenario.files:
            (sim.directory / name).write_bytes(content)
        if scenario.deletes:
            play.hooks["note"] = _deleting(sim.directory, scenario.deletes)
        for _ in range(scenario.numbers):
            await session.post(f"{sim.url}/prompt", json={"prompt": {}})
        await play.run()
    assert not play.problems, "\n".join(play.problems)


async def to_server(url: str, recording: recordings.Recording) -> None:
    """Play a recording to a server that is there."""
    scenario = scenarios.of(recording.name)
    assert scenario is not None
    async with replay.client() as session:
        play = replay.Replay(
            url=url,
            recording=recording,
            session=session,
            loose=scenario.loose,
            left_out=scenario.left_out,
            any_order=scenario.any_order,
        )
        await play.run()
    assert not play.problems, "\n".join(play.problems)


def _deleting(directory: Path, pattern: str) -> Callable[[replay.Replay, recordings.Event], Awaitable[None]]:
    async def delete(play: replay.Replay, event: recordings.Event) -> None:
        del play
        if "deleted" in event["text"]:
            for path in directory.glob(pattern):
                path.unlink()

    return delete


def playable(version: str) -> list[str]:
    """List the recordings of a version that are replayed."""
    return [name for name in recordings.load(version) if scenarios.of(name) is not None]
