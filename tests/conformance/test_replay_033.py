"""The simulator answers what a real ComfyUI 0.33.0 answered, recording by recording."""

from __future__ import annotations

import pytest

from tests.conformance import playing, recordings


@pytest.mark.parametrize("name", playing.playable("0.33"))
async def test_recording(name: str) -> None:
    """What was done to the real server gives the same statuses, bodies and frames."""
    await playing.to_simulator("0.33", recordings.load("0.33")[name])
