"""Image nodes compute what ComfyUI's compute: each channel within 1/255 of a real server's pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gateway import simulator
from tests.conformance import pixels, replay

GOLDEN = Path(__file__).parents[1] / "fixtures" / "pixels.npz"


async def test_every_image_node_computes_what_a_real_one_does() -> None:
    """All cases in one simulator; the differences are listed together."""
    golden = np.load(GOLDEN)
    wrong: list[str] = []
    async with simulator.running() as sim, replay.client() as session:
        await pixels.upload(session, sim.url)
        for name, graph in pixels.cases().items():
            for index, picture in enumerate(await pixels.run(session, sim.url, graph)):
                expected = golden[f"{name}/{index}"]
                if picture.shape != expected.shape:
                    wrong.append(f"{name}: {picture.shape} instead of {expected.shape}")
                    continue
                difference = int(np.abs(picture.astype(int) - expected.astype(int)).max())
                if difference > 1:
                    wrong.append(f"{name}: off by {difference}")
    assert not wrong, "\n".join(wrong)
