"""What the values in a graph mean, found by walking back from samplers and outputs.

A graph says what a text or number is for by where it goes: the text that reaches a sampler's `negative` is the negative
prompt, whatever the node is called and however many nodes lie between. So the walk starts at each sampler and follows
its links by name (`positive`, `latent_image`, `sigmas`, `guider` …) up to literals, through whatever custom nodes are
in between, and through the nodes that only carry a value (primitives, reroutes, switches, text joiners). What has a
name of its own wherever it stands (model files, uploads, guidance) is taken from all nodes that a worker would execute.

The walk reads the graph only; it never fails, it finds less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import roles
from gateway.domain.templates.model import Target

#: Inputs of samplers, schedulers and guiders that mean what they are called, in any node pack.
SAMPLER_FIELDS: Final[Mapping[str, str]] = {
    "seed": roles.SEED,
    "noise_seed": roles.SEED,
    "steps": roles.STEPS,
    "cfg": roles.CFG,
    "cfg_conds": roles.CFG,
    "sampler_name": roles.SAMPLER,
    "scheduler": roles.SCHEDULER,
    "denoise": roles.DENOISE,
}
#: Links from a sampler to the nodes that hold such inputs for it.
SAMPLER_PARTS: Final = ("noise", "sigmas", "sampler", "guider")
PART_CHAINS: Final = ("noise", "sigmas", "sampler", "guider", "noise1", "noise2")

POSITIVE_LINKS: Final = ("positive", "conditioning", "cond1", "cond2", "positive_conditioning")
NEGATIVE_LINKS: Final = ("negative", "negative_conditioning")
MODEL_LINKS: Final = ("guider", "model", "unet")
LATENT_LINKS: Final = ("latent_image", "latent", "samples", "latents")

#: Inputs of text encoders that hold what a person writes; the first that is there is the prompt proper.
TEXT_FIELDS: Final = (
    "text", "prompt", "text_g", "text_l", "t5xxl", "clip_l", "clip_g", "llama", "tags", "caption", "positive_prompt",
)  # fmt: skip
NOT_CONDITIONING: Final = frozenset({
    "model", "clip", "vae", "image", "images", "pixels", "mask", "control_net", "latent", "samples", "latent_image",
    "clip_vision", "clip_vision_output", "start_image", "end_image", "audio", "audio_encoder_output", "style_model",
    "reference_image", "noise", "sigmas", "sampler", "width", "height", "length", "batch_size",
})  # fmt: skip
NOT_LATENT: Final = frozenset({
    "model", "clip", "vae", "positive", "negative", "conditioning", "guider", "sampler", "sigmas", "noise",
    "control_net", "clip_vision_output", "upscale_model", "audio_vae", "mask",
})  # fmt: skip

#: Nodes that hand a value on: which input to follow. Switches and joiners have rules of their own.
CARRIED: Final = (
    "value", "text", "string", "prompt", "source", "input", "any", "anything", "string_a", "int", "float", "number",
    "seed", "noise_seed", "text_a", "text1", "any_01", "", "*",
)  # fmt: skip
TEXT_JOINERS: Final[Mapping[str, tuple[str, ...]]] = {
    "StringConcatenate": ("string_a", "string_b"),
    "JoinStrings": ("string1", "string2"),
    "Text Concatenate": ("text_a", "text_b", "text_c", "text_d"),
    "JWStringConcat": ("a", "b"),
}
#: Nodes that work out a number: what goes into them is not the number that comes out.
COMPUTES: Final = ("Math", "Expression", "Calc", "GetImageSize", "Convert", "Resolution")

#: Model files by the input that names them.
MODEL_FIELDS: Final[Mapping[str, str]] = {
    "ckpt_name": roles.CHECKPOINT,
    "unet_name": roles.DIFFUSION_MODEL,
    "clip_name": roles.TEXT_ENCODER,
    "clip_name1": roles.TEXT_ENCODER,
    "clip_name2": roles.TEXT_ENCODER,
    "clip_name3": roles.TEXT_ENCODER,
    "clip_name4": roles.TEXT_ENCODER,
    "vae_name": roles.VAE,
    "lora_name": roles.LORA,
    "control_net_name": roles.CONTROLNET,
    "ipadapter_file": roles.ADAPTER,
    "style_model_name": roles.ADAPTER,
}
NAMED_ANYWHERE: Final[Mapping[tuple[str, str], str]] = {
    ("FluxGuidance", "guidance"): roles.GUIDANCE,
    ("CLIPTextEncodeFlux", "guidance"): roles.GUIDANCE,
    ("CLIPTextEncodeHunyuanDiT", "guidance"): roles.GUIDANCE,
    ("UpscaleModelLoader", "model_name"): roles.UPSCALE_MODEL,
    ("CLIPVisionLoader", "clip_name"): roles.CLIP_VISION,
    ("CreateVideo", "fps"): roles.FPS,
    ("VHS_VideoCombine", "frame_rate"): roles.FPS,
    ("ControlNetApply", "strength"): roles.CONTROL_STRENGTH,
    ("ControlNetApplyAdvanced", "strength"): roles.CONTROL_STRENGTH,
    ("ControlNetApplySD3", "strength"): roles.CONTROL_STRENGTH,
}
#: Where there is no sampler (nodes that call a service, filters), these names still tell.
NAMES_THAT_TELL: Final[Mapping[str, str]] = {
    "prompt": roles.PROMPT,
    "text": roles.PROMPT,
    "negative_prompt": roles.NEGATIVE_PROMPT,
    "seed": roles.SEED,
    "width": roles.WIDTH,
    "height": roles.HEIGHT,
}
SIZE_FIELDS: Final[Mapping[str, str]] = {
    "width": roles.WIDTH,
    "height": roles.HEIGHT,
    "batch_size": roles.BATCH_SIZE,
    "length": roles.LENGTH,
    "num_frames": roles.LENGTH,
    "seconds": roles.LENGTH,
}
TEXT_ROLES: Final = frozenset({roles.PROMPT, roles.NEGATIVE_PROMPT, roles.SAMPLER, roles.SCHEDULER})
FILE_ROLES: Final = frozenset({*MODEL_FIELDS.values(), roles.UPSCALE_MODEL, roles.CLIP_VISION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Inputs that mean the same, and what they mean."""

    role: str
    targets: tuple[Target, ...]


def walk(graph: graphs.Graph, catalog: graphs.NodeFacts | None = None) -> tuple[Finding, ...]:
    """All that was found, each input once, in the order in which a person would read it."""
    walker = _Walker(graph, catalog)
    for node_id in walker.samplers:
        walker.sampler(node_id)
    walker.sizes_of_pictures()
    for node_id in walker.order:
        walker.named(node_id)
    for upload in graphs.upload_fields(graph, catalog):
        if upload.node in walker.reached:
            walker.upload(upload)
    return tuple(walker.findings)


def upstream_first(graph: graphs.Graph, roots: tuple[str, ...]) -> list[str]:
    """The nodes that these depend on and they themselves, each after all that it depends on."""
    order: dict[str, None] = {}
    opened: set[str] = set()
    todo = [(node_id, False) for node_id in reversed(roots)]
    while todo:
        node_id, is_complete = todo.pop()
        if is_complete:
            order[node_id] = None
        elif node_id not in opened:
            opened.add(node_id)
            todo.append((node_id, True))
            links = [value for value in graph[node_id]["inputs"].values() if graphs.is_link(value)]
            todo.extend((link[0], False) for link in reversed(links))
    return list(order)


class _Walker:
    def __init__(self, graph: graphs.Graph, catalog: graphs.NodeFacts | None) -> None:
        self.graph = graph
        self.order = upstream_first(graph, graphs.output_nodes(graph, catalog))
        self.reached = frozenset(self.order)
        self.samplers = dict.fromkeys(node_id for node_id in self.order if self.is_sampler(node_id))
        self.findings: list[Finding] = []
        self._taken: set[Target] = set()
        self._sized_by_pictures: list[str] = []

    # Taking notes.

    def add(self, role: str, node: str, *fields: str) -> None:
        """Note what these inputs mean, where their values are literals or come from nodes that hold one."""
        found = (self.literal(node, field, is_text=role in TEXT_ROLES | FILE_ROLES) for field in fields)
        targets = tuple(dict.fromkeys(item for item in found if item is not None and item not in self._taken))
        if targets:
            self._taken.update(targets)
            self.findings.append(Finding(role=role, targets=targets))

    def has(self, role: str) -> bool:
        return any(finding.role == role for finding in self.findings)

    def inputs(self, node: str) -> Mapping[str, Any]:
        return self.graph[node]["inputs"]

    def links(self, node: str, fields: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
        inputs = self.inputs(node)
        for field in fields:
            if graphs.is_link(inputs.get(field)):
                yield field, inputs[field][0], inputs[field][1]

    # From a sampler.

    def is_sampler(self, node: str) -> bool:
        inputs = self.inputs(node)
        linked = {field for field, value in inputs.items() if graphs.is_link(value)}
        if not linked & {*LATENT_LINKS, "positive", "guider", "sigmas"}:
            return False
        return bool({"seed", "noise_seed"} & inputs.keys()) or "noise" in linked

    def sampler(self, node: str) -> None:
        for _field, source, slot in self.links(node, POSITIVE_LINKS):
            self.conditioning(source, slot, roles.PROMPT)
        for _field, source, slot in self.links(node, NEGATIVE_LINKS):
            self.conditioning(source, slot, roles.NEGATIVE_PROMPT)
        self.settings(node)
        for _field, source, _slot in self.links(node, SAMPLER_PARTS):
            self.part(source)
        for _field, source, _slot in self.links(node, LATENT_LINKS):
            self.latent(source)
        self.models(node)

    def models(self, start: str) -> None:
        """The chain of model patches above a sampler or guider up to the loader, which comes first."""
        chain = self.chain(start, 0, lambda node, _slot: self.links(node, MODEL_LINKS))
        for node, _slot in reversed(list(chain)):
            self.named(node)

    def settings(self, node: str) -> None:
        adds_noise = self.inputs(node).get("add_noise") not in {"disable", False}
        for field, role in SAMPLER_FIELDS.items():
            if role != roles.SEED or adds_noise:
                self.add(role, node, field)

    def part(self, start: str) -> None:
        """A guider, a scheduler or a noise, and the chain of such nodes above it."""
        for node, _slot in self.chain(start, 0, lambda node, _slot: self.links(node, PART_CHAINS)):
            for _field, source, slot in self.links(node, POSITIVE_LINKS):
                self.conditioning(source, slot, roles.PROMPT)
            for _field, source, slot in self.links(node, NEGATIVE_LINKS):
                self.conditioning(source, slot, roles.NEGATIVE_PROMPT)
            self.settings(node)

    def chain(
        self, start: str, slot: int, onward: Callable[[str, int], Iterator[tuple[str, str, int]]]
    ) -> Iterator[tuple[str, int]]:
        """Every (node, output) that is met from `start`, following the links that `onward` names."""
        seen: set[tuple[str, int]] = set()
        todo = [(start, slot)]
        while todo:
            place = todo.pop(0)
            if place in seen:
                continue
            seen.add(place)
            yield place
            todo.extend((source, slot) for _field, source, slot in onward(*place))

    def conditioning(self, start: str, slot: int, role: str) -> None:
        def onward(node: str, slot: int) -> Iterator[tuple[str, str, int]]:
            if self.graph[node]["class_type"] == "ConditioningZeroOut" and role == roles.NEGATIVE_PROMPT:
                return  # an empty negative made of the positive: there is no text of its own
            if node in self.samplers:
                return
            if self.is_pair(node, slot):
                yield from self.links(node, ("positive",) if slot == 0 else ("negative",))
            elif not self.texts(node):
                fields = tuple(field for field in self.inputs(node) if field not in NOT_CONDITIONING)
                yield from self.links(node, fields)

        for node, place_slot in self.chain(start, slot, onward):
            if not self.is_pair(node, place_slot):
                for field in self.texts(node):
                    self.add(role, node, field)
            elif place_slot == 1 and role == roles.PROMPT:
                # Some guiders take the negative half of a pair as a second condition; it stays what it is.
                for _field, source, source_slot in self.links(node, ("negative",)):
                    self.conditioning(source, source_slot, roles.NEGATIVE_PROMPT)

    def is_pair(self, node: str, slot: int) -> bool:
        """Whether this output is one half of a pair of conditionings that go through the node side by side."""
        return slot <= 1 and {"positive", "negative"} <= self.inputs(node).keys()

    def texts(self, node: str) -> list[str]:
        """The inputs of a text encoder that a person writes."""
        inputs = self.inputs(node)
        return [field for field in TEXT_FIELDS if field in inputs and self.literal(node, field, is_text=True)]

    def latent(self, start: str) -> None:
        def onward(node: str, _slot: int) -> Iterator[tuple[str, str, int]]:
            if node not in self.samplers:
                fields = tuple(field for field in self.inputs(node) if field not in NOT_LATENT)
                yield from self.links(node, fields)

        for node, _slot in self.chain(start, 0, onward):
            inputs = self.inputs(node)
            if node in self.samplers or "width" not in inputs or "height" not in inputs:
                continue
            if "Scale" in self.graph[node]["class_type"] or "Resize" in self.graph[node]["class_type"]:
                self._sized_by_pictures.append(node)
            else:
                self.size(node)

    def size(self, node: str) -> None:
        for field, role in SIZE_FIELDS.items():
            self.add(role, node, field)

    def sizes_of_pictures(self) -> None:
        """Where no empty latent says it, the size is what an input picture is scaled to."""
        if not self.has(roles.WIDTH):
            for node in self._sized_by_pictures[:1]:
                self.size(node)

    # Wherever it stands.

    def named(self, node: str) -> None:
        class_type = self.graph[node]["class_type"]
        for field, value in self.inputs(node).items():
            role = NAMED_ANYWHERE.get((class_type, field))
            if role is None and field in MODEL_FIELDS and isinstance(value, str):
                role = MODEL_FIELDS[field]
            if role is not None:
                self.add(role, node, field)
            if role == roles.LORA:
                self.lora_strength(node)
        if not self.samplers:
            for field in self.inputs(node):
                role = NAMES_THAT_TELL.get(field.rpartition(".")[2])
                if role is not None:
                    self.add(role, node, field)

    def lora_strength(self, node: str) -> None:
        inputs = self.inputs(node)
        model, clip = inputs.get("strength_model"), inputs.get("strength_clip")
        both = ("strength_model", "strength_clip") if model == clip else ("strength_model",)
        self.add(roles.LORA_STRENGTH, node, *both)

    def upload(self, upload: graphs.UploadField) -> None:
        target = Target(upload.node, upload.field)
        if target in self._taken:
            return
        self._taken.add(target)
        role = self.picture_role(upload.node) if upload.kind == "image" else upload.kind
        self.findings.append(Finding(role=role, targets=(target,)))

    def picture_role(self, node: str) -> str:
        """What a picture is for, by the first nodes that do something with it."""
        users = [
            (user, field, value[1])
            for user in self.order
            for field, value in self.inputs(user).items()
            if graphs.is_link(value) and value[0] == node
        ]
        if users and all(slot == 1 for _user, _field, slot in users):
            return roles.MASK
        classes = {self.graph[user]["class_type"] for user, _field, slot in users if slot == 0}
        if any("ControlNetApply" in name or "SetUnionControlNetType" in name for name in classes):
            return roles.CONTROL_IMAGE
        if any("IPAdapter" in name for name in classes):
            return roles.STYLE_IMAGE
        return roles.IMAGE

    # Values that other nodes carry.

    def literal(self, node: str, field: str, *, is_text: bool) -> Target | None:
        """The input that holds the value which reaches this one, if some input does."""
        seen: set[Target] = set()
        todo = [Target(node, field)]
        while todo:
            place = todo.pop()
            if place in seen:
                continue
            seen.add(place)
            value = self.inputs(place.node).get(place.input)
            if graphs.is_link(value):
                todo.extend(Target(value[0], carried) for carried in reversed(self.carried(value[0])))
            elif isinstance(value, str) if is_text else is_number(value):
                return place
        return None

    def carried(self, node: str) -> list[str]:
        """The inputs that a node's output may be, the likeliest first."""
        inputs = self.inputs(node)
        class_type = self.graph[node]["class_type"]
        if any(word in class_type for word in COMPUTES):
            return []
        if {"on_true", "on_false"} & inputs.keys():
            return self.switched(node)
        if class_type in TEXT_JOINERS:
            parts = [field for field in TEXT_JOINERS[class_type] if field in inputs]
            return sorted(parts, key=lambda field: (not graphs.is_link(inputs[field]), -len(str(inputs[field]))))
        return [field for field in CARRIED if field in inputs]

    def switched(self, node: str) -> list[str]:
        inputs = self.inputs(node)
        state = inputs.get("switch")
        if graphs.is_link(state):
            state = self.inputs(state[0]).get("value")
        return ["on_true", "on_false"] if state is True else ["on_false", "on_true"]


def is_number(value: object) -> bool:
    """Whether this is a number as JSON has them."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
