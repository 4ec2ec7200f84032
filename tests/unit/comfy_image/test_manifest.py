"""Manifests: what they may say, and that the shipped one says what the shipped templates need."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from comfy_image import manifest

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "comfy_image" / "models.toml"
GOOD = 'path = "vae/a.safetensors"\nurl = "https://example.org/a"\n'


def read(folder: Path, text: str) -> tuple[manifest.Model, ...]:
    """Read a manifest of this text."""
    path = folder / "models.toml"
    path.write_text(text)
    return manifest.read_manifest(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[model]\n", "is not TOML"),
        ("models = 3\n", "only [[model]] entries"),
        ("model = [1]\n", "not a table"),
        (f"[[model]]\n{GOOD}shasum = 'x'\n", "unknown field 'shasum'"),
        ("[[model]]\nurl = 'https://example.org/a'\n", "path is missing"),
        ("[[model]]\npath = 'a.safetensors'\nurl = 'https://example.org/a'\n", "FOLDER/FILE"),
        ("[[model]]\npath = '/vae/a'\nurl = 'https://example.org/a'\n", "FOLDER/FILE"),
        ("[[model]]\npath = 'vae/../../a'\nurl = 'https://example.org/a'\n", "FOLDER/FILE"),
        ("[[model]]\npath = 'vae/.a'\nurl = 'https://example.org/a'\n", "hidden"),
        ("[[model]]\npath = 'vae/a'\n", "url is missing"),
        ("[[model]]\npath = 'vae/a'\nurl = 'file:///etc/passwd'\n", "http or https"),
        ("[[model]]\npath = 'vae/a'\nurl = 'https://me:pw@example.org/a'\n", "password"),
        (f"[[model]]\n{GOOD}sha256 = 'ABC'\n", "64 lower-case"),
        (f"[[model]]\n{GOOD}size = -1\n", "number of bytes"),
        (f"[[model]]\n{GOOD}size = true\n", "number of bytes"),
        (f"[[model]]\n{GOOD}optional = 'yes'\n", "true or false"),
        (f"[[model]]\n{GOOD}groups = 'sdxl'\n", "list of names"),
        (f"[[model]]\n{GOOD}token = 3\n", "token must be a text"),
        (f"[[model]]\n{GOOD}[[model]]\n{GOOD}", "vae/a.safetensors is listed twice"),
    ],
)
def test_what_a_manifest_may_not_say(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(manifest.ManifestError) as refused:
        read(tmp_path, text)
    assert words in str(refused.value)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(manifest.ManifestError) as refused:
        read(tmp_path, "[[model]]\npath = 'a'\nsize = 0\n[[model]]\nurl = 'x'\n")
    assert "5 faults" in str(refused.value)


def test_a_missing_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(manifest.ManifestError, match="cannot be read"):
        manifest.read_manifest(tmp_path / "none.toml")


def test_every_shipped_file_can_be_verified() -> None:
    for model in manifest.read_manifest(SHIPPED):
        assert model.sha256, model.path
        assert model.size, model.path
        assert model.license, model.path


def requirements() -> list[tuple[str, dict[str, Any]]]:
    """The model files that each shipped template names."""
    found: list[tuple[str, dict[str, Any]]] = []
    for path in sorted((ROOT / "workflows").glob("*.toml")):
        needs = tomllib.loads(path.read_text()).get("requirements", {})
        found += [(path.stem, model) for model in needs.get("models", [])]
    return found


def test_a_group_is_what_the_template_of_that_name_needs() -> None:
    models = manifest.read_manifest(SHIPPED)
    listed = {(group, str(model.path), model.url) for model in models for group in model.groups}
    needed = {(name, f"{model['folder']}/{model['file']}", model["url"]) for name, model in requirements()}
    assert needed
    assert listed == needed
