"""The node classes that a simulator knows: real `/object_info` entries with this worker's own model files."""

from __future__ import annotations

import copy
import gzip
import types
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import orjson

from gateway.simulator.options import Options

#: Which model folder fills a loader's list, by input name; classes that differ come first.
_FOLDER_BY_INPUT: Mapping[str, str] = types.MappingProxyType(
    {
        "CLIPVisionLoader.clip_name": "clip_vision",
        "LatentUpscaleModelLoader.model_name": "latent_upscale_models",
        "UpscaleModelLoader.model_name": "upscale_models",
        "ModelPatchLoader.name": "model_patches",
        "ckpt_name": "checkpoints",
        "lora_name": "loras",
        "vae_name": "vae",
        "unet_name": "diffusion_models",
        "control_net_name": "controlnet",
        "clip_name": "text_encoders",
        "clip_name1": "text_encoders",
        "clip_name2": "text_encoders",
        "clip_name3": "text_encoders",
        "clip_name4": "text_encoders",
        "text_encoder": "text_encoders",
        "style_model_name": "style_models",
        "gligen_name": "gligen",
        "hypernetwork_name": "hypernetworks",
        "photomaker_model_name": "photomaker",
        "audio_encoder_name": "audio_encoders",
        "ipadapter_file": "ipadapter",
    }
)

#: Inputs that name an uploaded file: class -> (input, kind, file name endings).
FILE_INPUTS: Mapping[str, tuple[str, str, tuple[str, ...]]] = types.MappingProxyType(
    {
        "LoadImage": ("image", "image", (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff")),
        "LoadImageMask": ("image", "image", (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff")),
        "LoadAudio": ("audio", "audio", (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a")),
        "LoadVideo": ("file", "video", (".mp4", ".webm", ".mkv", ".mov", ".avi")),
        "LoadLatent": ("latent", "latent", (".latent",)),
    }
)

#: Types whose inputs unfold by name (`values.a`) or take anything; they are not checked one by one.
DYNAMIC_TYPES = frozenset({"COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICSLOT_V3", "COMFY_MATCHTYPE_V3"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One declared input of a class."""

    name: str
    type: str
    required: bool
    config: list[Any]
    options: list[Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    lazy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """One node class."""

    name: str
    inputs: tuple[Input, ...]
    hidden: tuple[str, ...]
    outputs: tuple[str, ...]
    output_is_list: tuple[bool, ...]
    is_output: bool
    takes_lists: bool
    lazy: frozenset[str]
    entry: dict[str, Any]


class Catalog:
    """All classes of one worker, and what `/object_info` says of them."""

    def __init__(self, classes: Mapping[str, Class], input_directory: Path) -> None:
        self.classes = classes
        self._input_directory = input_directory

    def get(self, name: Any) -> Class | None:
        """Return a class, or None; anything may be asked for."""
        return self.classes.get(name) if isinstance(name, str) else None

    def entry(self, name: str) -> dict[str, Any]:
        """Return one entry of `/object_info`, with the files that are there now."""
        found = self.classes[name]
        if name not in FILE_INPUTS:
            return found.entry
        field, _, endings = FILE_INPUTS[name]
        entry = copy.deepcopy(found.entry)
        spec = entry["input"]["required"][field]
        files = self._files(endings)
        if isinstance(spec[0], list):
            spec[0] = files
        else:
            spec[1]["options"] = files
        return entry

    def entries(self) -> dict[str, Any]:
        """Return the whole of `/object_info`."""
        return {name: self.entry(name) for name in self.classes}

    def _files(self, endings: tuple[str, ...]) -> list[str]:
        return sorted(path.name for path in self._input_directory.glob("*") if path.suffix.lower() in endings)


def load(options: Options, input_directory: Path) -> Catalog:
    """Read the recorded entries of the version played, the switched-on packs, and our own test class."""
    entries = _read("object_info-0.33.json.gz" if options.is_new else "object_info-0.3.64.json.gz")
    extra = _read("object_info-extra.json.gz")
    for pack in ("simulator", *sorted(options.node_packs)):
        entries.update(copy.deepcopy(extra[pack]))
    classes: dict[str, Class] = {}
    for name, entry in entries.items():
        if name not in options.without_nodes:
            _fill_models(name, entry, options)
            classes[name] = _class(name, entry)
    return Catalog(classes, input_directory)


def _read(name: str) -> dict[str, Any]:
    data = resources.files("gateway.simulator").joinpath("data", name).read_bytes()
    return orjson.loads(gzip.decompress(data))


def _fill_models(name: str, entry: dict[str, Any], options: Options) -> None:
    for section in ("required", "optional"):
        for field, spec in entry["input"].get(section, {}).items():
            folder = _FOLDER_BY_INPUT.get(f"{name}.{field}") or _FOLDER_BY_INPUT.get(field)
            if folder is None:
                continue
            files: list[str] = list(options.files(folder))
            if name == "VAELoader" and options.is_new:
                files.append("pixel_space")
            if isinstance(spec[0], list):
                spec[0] = files
            elif spec[0] == "COMBO":
                spec[1]["options"] = files


def _class(name: str, entry: dict[str, Any]) -> Class:
    sections = entry["input"]
    inputs = tuple(
        _input(field, spec, required=section == "required")
        for section in ("required", "optional")
        for field, spec in (sections.get(section) or {}).items()
    )
    return Class(
        name=name,
        inputs=inputs,
        lazy=frozenset(spec.name for spec in inputs if spec.lazy),
        hidden=tuple(sections.get("hidden") or ()),
        outputs=tuple(item if isinstance(item, str) else "COMBO" for item in entry["output"]),
        output_is_list=tuple(entry["output_is_list"]),
        is_output=entry["output_node"],
        takes_lists=entry.get("is_input_list", name in ("ImageGrid", "RebatchImages", "RebatchLatents")),
        entry=entry,
    )


def _input(field: str, spec: list[Any], *, required: bool) -> Input:
    kind = spec[0]
    details: dict[str, Any] = spec[1] if len(spec) > 1 else {}
    is_combo = isinstance(kind, list)
    options = kind if is_combo else details.get("options") if kind == "COMBO" else None
    return Input(
        name=field,
        type="COMBO" if is_combo else kind,
        required=required,
        config=spec,
        options=None if details.get("remote") else options,
        minimum=details.get("min"),
        maximum=details.get("max"),
        lazy=bool(details.get("lazy")),
    )
