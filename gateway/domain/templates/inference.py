"""Parameters and outputs of a graph that nobody has described: findings of the walk, named, typed and bounded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import node_classes, object_info, structure
from gateway.domain.templates import meanings, roles, values, walking
from gateway.domain.templates.model import FILE_TYPES, MAX_SEED, OutputSpec, Parameter, ParameterType, Target

FILE_ROLES: Final = {
    roles.IMAGE: ParameterType.IMAGE,
    roles.CONTROL_IMAGE: ParameterType.IMAGE,
    roles.STYLE_IMAGE: ParameterType.IMAGE,
    roles.MASK: ParameterType.MASK,
    roles.AUDIO: ParameterType.AUDIO,
    roles.VIDEO: ParameterType.VIDEO,
    roles.FILE: ParameterType.FILE,
}
FLOAT_ROLES: Final = frozenset(
    {
        roles.CFG,
        roles.GUIDANCE,
        roles.DENOISE,
        roles.LORA_STRENGTH,
        roles.CONTROL_STRENGTH,
        roles.FPS,
        roles.MEGAPIXELS,
    }
)
WHOLE_ROLES: Final = frozenset({roles.STEPS, roles.WIDTH, roles.HEIGHT, roles.BATCH_SIZE})

#: Several inputs of one of these roles with the same value are one parameter: prompts of base and refiner, `text_g` and
#: `text_l`, the steps of two halves of one schedule. Pictures and LoRAs that happen to be equal are not.
SHARED: Final = frozenset({
    roles.PROMPT, roles.NEGATIVE_PROMPT, roles.SEED, roles.STEPS, roles.CFG, roles.GUIDANCE, roles.SAMPLER,
    roles.SCHEDULER, roles.WIDTH, roles.HEIGHT, roles.SIZE, roles.ASPECT_RATIO, roles.MEGAPIXELS, roles.RESOLUTION,
    roles.BATCH_SIZE, roles.LENGTH, roles.DURATION, roles.FPS, roles.CHECKPOINT,
    roles.DIFFUSION_MODEL, roles.TEXT_ENCODER, roles.VAE,
})  # fmt: skip

#: Bounds of stock nodes, for when no worker's `object_info` is at hand.
BOUNDS: Final[dict[str, tuple[float, float, float | None]]] = {
    roles.STEPS: (1, 10_000, 1),
    roles.CFG: (0.0, 100.0, 0.1),
    roles.GUIDANCE: (0.0, 100.0, 0.1),
    roles.DENOISE: (0.0, 1.0, 0.01),
    roles.WIDTH: (16, 16_384, 8),
    roles.HEIGHT: (16, 16_384, 8),
    roles.BATCH_SIZE: (1, 4_096, 1),
}

#: What a person writes is no choice, though a node may offer some.
PERSONS_WORDS: Final = frozenset({roles.PROMPT, roles.NEGATIVE_PROMPT, roles.LYRICS})

LOW_SEED: Final = 2**31 - 1

PREVIEWS: Final = ("Preview", "MaskPreview", "ImageCompare")
OUTPUT_KINDS: Final = (
    ("Video", "video"), ("WEBM", "video"), ("VHS_", "video"), ("Animated", "video"), ("Audio", "audio"),
    ("Latent", "latent"), ("GLB", "model"), ("3D", "model"), ("SVG", "image"), ("Image", "image"), ("Text", "text"),
    ("PreviewAny", "text"), ("Mask", "image"),
)  # fmt: skip


def findings(graph: graphs.Graph, catalog: object_info.NodeCatalog | None = None) -> tuple[walking.Finding, ...]:
    """What the walk found, in the order of `roles.ALL`, with inputs that should keep the same value joined."""
    return tuple(sorted(_shared(graph, walking.walk(graph, catalog)), key=lambda found: roles.ALL.index(found.role)))


def infer_outputs(graph: graphs.Graph, catalog: object_info.NodeCatalog | None = None) -> tuple[OutputSpec, ...]:
    """The nodes that make results, named after what they make; previews only where nothing else is made."""
    nodes = graphs.output_nodes(graph, catalog)
    kept = [node for node in nodes if not graph[node]["class_type"].startswith(PREVIEWS)] or list(nodes)
    names = unique(_output_kind(graph[node]["class_type"]) for node in kept)
    return tuple(
        OutputSpec(name=name, node=node, title=graphs.node_title(graph[node]))
        for node, name in zip(kept, names, strict=True)
    )


def _output_kind(class_type: str) -> str:
    return next((kind for word, kind in OUTPUT_KINDS if word in class_type), "output")


def unique(words: Iterable[str]) -> Iterator[str]:
    """These words, each that came before with a number."""
    used: set[str] = set()
    counts: dict[str, int] = {}
    for word in words:
        name = word
        while name in used:
            counts[word] = counts.get(word, 1) + 1
            name = f"{word[:58]}_{counts[word]}"
        used.add(name)
        yield name


def _shared(graph: graphs.Graph, found_one_by_one: Iterable[walking.Finding]) -> list[walking.Finding]:
    merged: dict[Any, walking.Finding] = {}
    for found in found_one_by_one:
        value = _literal(graph, found.targets[0])
        key = (found.role, type(value), value) if found.role in SHARED else found.targets
        known = merged.get(key)
        merged[key] = found if known is None else dataclasses.replace(known, targets=(*known.targets, *found.targets))
    return list(merged.values())


def _literal(graph: graphs.Graph, target: Target) -> Any:
    return graph[target.node]["inputs"][target.input]


def parameter(
    graph: graphs.Graph,
    catalog: object_info.NodeCatalog | None,
    *,
    name: str,
    targets: tuple[Target, ...],
    role: str | None,
) -> Parameter:
    """The parameter that sets these inputs, as its role, its present value and its input's own description have it."""
    literal = _literal(graph, targets[0])
    node = graph[targets[0].node]
    spec = catalog.input(node["class_type"], targets[0].input) if catalog is not None else None
    kind = _type(role, literal, spec) if role is not None else _plain_type(node, targets[0].input, literal, spec)
    plain = Parameter(
        name=name,
        type=kind,
        role=role,
        targets=targets,
        choices=(spec.choices or ()) if spec is not None and kind == ParameterType.CHOICE else (),
        multiline=role in {roles.PROMPT, roles.NEGATIVE_PROMPT}
        or (role is None and spec is not None and spec.multiline),
        required=kind in FILE_TYPES,
    )
    if kind in FILE_TYPES:
        return dataclasses.replace(plain, title=graphs.node_title(node))
    if kind == ParameterType.SEED:
        return dataclasses.replace(plain, maximum=_highest_seed(targets[0].input, literal, node, spec))
    default = float(literal) if kind == ParameterType.FLOAT else literal
    bounded = _bounded(dataclasses.replace(plain, default=default), spec)
    if values.takes(bounded, default):
        return bounded
    free = dataclasses.replace(bounded, minimum=None, maximum=None)
    return free if values.takes(free, default) else dataclasses.replace(free, default=None)


def _plain_type(node: dict[str, Any], field: str, literal: Any, spec: node_classes.InputSpec | None) -> ParameterType:
    """The type of an input that has no role."""
    kind = (spec.upload if spec is not None else None) or structure.UPLOAD_INPUTS.get((node["class_type"], field))
    if kind is not None:
        return ParameterType(kind)
    if isinstance(literal, bool):
        return ParameterType.BOOLEAN
    if isinstance(literal, (int, float)):
        is_float = isinstance(literal, float) or (spec is not None and spec.type == "FLOAT")
        return ParameterType.FLOAT if is_float else ParameterType.INTEGER
    if graphs.is_model_file(field, literal):
        return ParameterType.MODEL
    has_choices = spec is not None and literal in (spec.choices or ())
    return ParameterType.CHOICE if has_choices else ParameterType.STRING


def _highest_seed(field: str, literal: Any, node: dict[str, Any], spec: node_classes.InputSpec | None) -> float | None:
    """None for the whole range. Samplers take 64 bits; nodes that call a service, often no more than 31."""
    highest: float | None = spec.maximum if spec is not None else None
    if spec is None and field != "noise_seed" and "Sampler" not in node["class_type"]:
        highest = LOW_SEED
    return None if highest is None or highest >= MAX_SEED or literal > highest else highest


def _type(role: str, literal: Any, spec: Any) -> ParameterType:
    if role in FILE_ROLES:
        return FILE_ROLES[role]
    if role == roles.SEED:
        return ParameterType.SEED
    if role in meanings.FILE_ROLES:
        return ParameterType.MODEL
    if role in FLOAT_ROLES or (isinstance(literal, float) and role not in WHOLE_ROLES):
        return ParameterType.FLOAT
    if isinstance(literal, (int, float)):
        return ParameterType.INTEGER if float(literal).is_integer() else ParameterType.FLOAT
    has_choices = role not in PERSONS_WORDS and spec is not None and literal in (spec.choices or ())
    return ParameterType.CHOICE if has_choices else ParameterType.STRING


def _bounded(parameter: Parameter, spec: node_classes.InputSpec | None) -> Parameter:
    if spec is not None and spec.type in {"INT", "FLOAT"} and parameter.type != ParameterType.STRING:
        return dataclasses.replace(parameter, minimum=spec.minimum, maximum=spec.maximum, step=spec.step)
    minimum, maximum, step = BOUNDS.get(parameter.role or "", (None, None, None))
    return dataclasses.replace(parameter, minimum=minimum, maximum=maximum, step=step)
