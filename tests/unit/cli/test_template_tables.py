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
