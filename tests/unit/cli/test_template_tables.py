"""What `templates show` says of a template."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli import output, template_tables


def test_an_example_with_files_says_where_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    photo: dict[str, Any] = {"name": "photo", "type": "image", "required": True}
    words: dict[str, Any] = {"name": "words", "type": "string"}
    examples = [
        {"name": "harbour", "inputs": {"photo": "assets/harbour.png", "words": "dusk"}},
        {"name": "plain", "inputs": {"words": "dusk.png"}},
    ]
    about = {"name": "portrait", "title": "Portrait", "parameters": [photo, words], "outputs": [], "examples": examples}
    template_tables.show(about, output.Screen())
    said = capsys.readouterr().out
    assert "Example harbour: comfy-gateway run portrait photo=assets/harbour.png words=dusk" in said
    assert said.count("of its author's folder") == 1
    assert "with assets/harbour.png of its author's folder" in said


SAMPLERS = ["euler", "euler_ancestral", "heun", "dpm_2", "dpmpp_2s_ancestral"]
SHOWN: dict[str, Any] = {
    "name": "sdxl",
    "title": "SDXL",
    "parameters": [
        {"name": "prompt", "type": "string", "default": "a lighthouse " * 10, "description": "What is shown."},
        {"name": "sampler", "type": "choice", "default": "euler", "choices": SAMPLERS},
        {"name": "checkpoint", "type": "model", "default": "sd_xl_base_1.0.safetensors", "description": "The model."},
    ],
}


@pytest.mark.parametrize("width", [80, 120, 200])
def test_names_are_not_broken(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))  # of the terminal
    template_tables.show(SHOWN, output.Screen())
    said = capsys.readouterr().out
    words = said.replace(",", " ").split()
    assert {*SAMPLERS, "sd_xl_base_1.0.safetensors"} <= {*words}
    assert "What is shown." in said
    assert (SHOWN["parameters"][0]["default"][:90] in said) is (width == 200)
