"""Make `tests/fixtures/pixels.npz`: what a real ComfyUI's image nodes compute.

    COMFYUI_URL=http://127.0.0.1:8188 python -m tests.conformance.tools.make_golden

The file in the repository was made by ComfyUI 0.3.64 with PyTorch 2.13 on a CPU.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import numpy as np

from tests.conformance import pixels, replay

TARGET = Path(__file__).parents[2] / "fixtures" / "pixels.npz"


async def main(url: str) -> None:
    """Run every case and keep its pictures."""
    found: dict[str, pixels.Pixels] = {}
    async with replay.client() as session:
        await pixels.upload(session, url)
        for name, graph in pixels.cases().items():
            for index, picture in enumerate(await pixels.run(session, url, graph)):
                found[f"{name}/{index}"] = picture
    np.savez_compressed(TARGET, **found)  # pyright: ignore[reportArgumentType]
    sys.stdout.write(f"{len(found)} pictures, {TARGET.stat().st_size} bytes\n")


if __name__ == "__main__":
    asyncio.run(main(os.environ["COMFYUI_URL"]))
