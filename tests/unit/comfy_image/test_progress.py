"""What a fetch shows of itself."""

from __future__ import annotations

import io

import pytest

from comfy_image import progress


class Screen(io.StringIO):
    """A terminal, as far as a report can tell."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@pytest.mark.parametrize(
    ("out", "step", "told"),
    [
        (
            Screen(),
            1.0,
            "\r\x1b[Km.safetensors 50.0 MB of 100.0 MB (50%), 50.0 MB/s\r\x1b[Kfetched  vae/m.safetensors\n",
        ),
        (io.StringIO(), 1.0, "fetched  vae/m.safetensors\n"),
        (
            io.StringIO(),
            20.0,
            "…        vae/m.safetensors: 50.0 MB of 100.0 MB (50%), 2.5 MB/s\nfetched  vae/m.safetensors\n",
        ),
    ],
)
def test_a_terminal_sees_one_line_redrawn_and_a_log_sees_a_line_now_and_then(
    out: io.StringIO, step: float, told: str
) -> None:
    times = iter([0.0, step])
    report = progress.Text(out=out, clock=lambda: next(times))
    report.advance("vae/m.safetensors", 0, 100_000_000)
    report.advance("vae/m.safetensors", 50_000_000, 100_000_000)
    report.event("fetched", "vae/m.safetensors")
    assert out.getvalue() == told


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 bytes"), (4200, "4.2 kB"), (67_040_989, "67.0 MB"), (6_938_078_334, "6.9 GB")]
)
def test_sizes_read_as_on_the_disk_s_label(count: int, text: str) -> None:
    assert progress.size_text(count) == text
