"""What the values in a graph mean, found by walking back from samplers and outputs.

A graph says what a text or number is for by where it goes: the text that reaches a sampler's `negative` is the negative
prompt, whatever the node is called and however many nodes lie between. So the walk starts at each sampler and follows
its links by name (`positive`, `latent_image`, `sigmas`, `guider` …) up to literals, through whatever custom nodes are
in between, and through the nodes that only carry a value (primitives, reroutes, switches, text joiners). What has a
name of its own wherever it stands (model files, uploads, guidance) is taken from all nodes that a worker would execute.

The walk reads the graph only; it never fails, it finds less, also where a graph is so large or so knotted that it would
take more than a second.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import meanings, origins, roles
from gateway.domain.templates.model import Target

#: Nodes that are looked at, again and again, in one walk; official templates need up to 300.
MAX_STEPS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Inputs that mean the same, and what they mean."""

    role: str
    targets: tuple[Target, ...]


def walk(graph: graphs.Graph, catalog: graphs.NodeFacts | None = None) -> tuple[Finding, ...]:
    """All that was found, each input once, in the order in which a person would read it."""
    walker = _Walker(graph, catalog)
    walker.from_samplers()
    walker.sizes_of_pictures()
    for node_id in walker.order:
        walker.named(node_id)
    for node_id in walker.order:
        walker.companions(node_id)
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
        self._origins = origins.Origins(graph)
        self.users: dict[str, list[tuple[str, str, int]]] = {}  #: by node: who takes what it makes, by which input
        for user in self.order:
            for field, value in self.inputs(user).items():
                if graphs.is_link(value):
                    self.users.setdefault(value[0], []).append((user, field, value[1]))

    # Taking notes.

    def add(self, role: str, node: str, *fields: str) -> None:
        """Note what these inputs mean, where their values are literals or come from nodes that hold one."""
        found = (self.literal(role, node, field) for field in fields)
        targets = tuple(dict.fromkeys(item for item in found if item is not None and item not in self._taken))
        if targets:
            self._taken.update(targets)
            self.findings.append(Finding(role=role, targets=targets))

    def literal(self, role: str, node: str, field: str) -> Target | None:
        """The input that holds the value which reaches this one, if some input does."""
        if role in meanings.EITHER_ROLES:
            return self._origins.number(node, field) or self._origins.text(node, field)
        is_text = role in meanings.TEXT_ROLES or role in meanings.FILE_ROLES
        return self._origins.text(node, field) if is_text else self._origins.number(node, field)

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
        if not linked & {*meanings.LATENT_LINKS, "positive", "guider", "sigmas"}:
            return False
        return bool({"seed", "noise_seed"} & inputs.keys()) or "noise" in linked

    def from_samplers(self) -> None:
        """All that samplers tell; those that draw from words before those that measure or prepare a picture."""
        told: list[list[Finding]] = []
        for node in self.samplers:
            before = len(self.findings)
            self.sampler(node)
            told.append(self.findings[before:])
        told.sort(key=lambda found: all(each.role != roles.PROMPT for each in found))
        self.findings = [each for found in told for each in found]

    def sampler(self, node: str) -> None:
        self.conditions(node)
        self.settings(node)
        for _field, source, _slot in self.links(node, meanings.SAMPLER_PARTS):
            self.part(source)
        for _field, source, _slot in self.links(node, meanings.LATENT_LINKS):
            self.latent(source)
        self.models(node)

    def conditions(self, node: str) -> None:
        for fields, role in ((meanings.POSITIVE_LINKS, roles.PROMPT), (meanings.NEGATIVE_LINKS, roles.NEGATIVE_PROMPT)):
            for _field, source, slot in self.links(node, fields):
                self.conditioning(source, slot, role)

    def models(self, start: str) -> None:
        """The chain of model patches above a sampler or guider up to the loader, which comes first."""
        chain = self.chain(start, 0, lambda node, _slot: self.links(node, meanings.MODEL_LINKS))
        for node, _slot in reversed(list(chain)):
            self.named(node)

    def settings(self, node: str) -> None:
        adds_noise = self.inputs(node).get("add_noise") not in ("disable", False)  # or a link
        for field, role in meanings.SAMPLER_FIELDS.items():
            if role != roles.SEED or adds_noise:
                self.add(role, node, field)

    def part(self, start: str) -> None:
        """A guider, a scheduler or a noise, and the chain of such nodes above it."""
        for node, _slot in self.chain(start, 0, lambda node, _slot: self.links(node, meanings.PART_CHAINS)):
            self.conditions(node)
            self.settings(node)

    def chain(
        self, start: str, slot: int, onward: Callable[[str, int], Iterator[tuple[str, str, int]]]
    ) -> Iterator[tuple[str, int]]:
        """Every (node, output) that is met from `start`, following the links that `onward` names."""
        seen: set[tuple[str, int]] = set()
        todo = collections.deque([(start, slot)])
        while todo and self._origins.steps < MAX_STEPS:
            place = todo.popleft()
            if place in seen:
                continue
            seen.add(place)
            self._origins.steps += 1
            yield place
            todo.extend((source, slot) for _field, source, slot in onward(*place))

    def conditioning(self, start: str, slot: int, role: str) -> None:
        def onward(node: str, slot: int) -> Iterator[tuple[str, str, int]]:
            if self.graph[node]["class_type"] == "ConditioningZeroOut" and role == roles.NEGATIVE_PROMPT:
                return  # an empty negative made of the positive: there is no text of its own
            if node in self.samplers:
                return
            if self.is_pair(node, slot):
                yield from self.links(node, ("positive",) if slot == self.halves(node)[0] else ("negative",))
            elif not self.texts(node, role):
                yield from self.links(node, self.open_fields(node, meanings.NOT_CONDITIONING))

        for node, place_slot in self.chain(start, slot, onward):
            if not self.is_pair(node, place_slot):
                for field in self.texts(node, role):
                    self.add(role, node, field)
                if role == roles.PROMPT:
                    self.add(roles.LYRICS, node, "lyrics")

    def open_fields(self, node: str, closed: frozenset[str]) -> tuple[str, ...]:
        """The inputs to follow: all but these; of a switch, the one that is on."""
        switched = self._origins.switched(node)
        if switched is not None:
            return tuple(switched[1]) if switched[0] is None else (switched[0],)
        return tuple(field for field in self.inputs(node) if field not in closed)

    def is_pair(self, node: str, slot: int) -> bool:
        """Whether this output is one half of a pair of conditionings that go through the node side by side."""
        return {"positive", "negative"} <= self.inputs(node).keys() and slot in self.halves(node)

    def halves(self, node: str) -> tuple[int, int]:
        """The outputs with the two halves: as others take them, and first and second where nobody tells."""
        taken = {field: slot for _user, field, slot in self.users.get(node, [])}
        return taken.get("positive", 0), taken.get("negative", 1)

    def texts(self, node: str, role: str) -> list[str]:
        """The inputs of a text encoder that a person writes; of one that makes both halves, those of this half."""
        inputs = self.inputs(node)
        negative = [field for field in meanings.NEGATIVE_TEXT_FIELDS if field in inputs]
        fields = negative if role == roles.NEGATIVE_PROMPT and negative else meanings.TEXT_FIELDS
        return [field for field in fields if field in inputs and self.literal(role, node, field)]

    def latent(self, start: str) -> None:
        def onward(node: str, _slot: int) -> Iterator[tuple[str, str, int]]:
            if node not in self.samplers:
                yield from self.links(node, self.open_fields(node, meanings.NOT_LATENT))

        is_sized = False
        for node, _slot in self.chain(start, 0, onward):
            class_type = self.graph[node]["class_type"]
            names = {field.rpartition(".")[2] for field in self.inputs(node)}
            if node in self.samplers or is_sized:
                continue
            if {"width", "height"} <= names and any(word in class_type for word in meanings.PICTURES):
                self._sized_by_pictures.append(node)
            elif {"width", "height"} <= names or ("Latent" in class_type and "seconds" in names):
                is_sized = self.size(node)

    def size(self, node: str) -> bool:
        """Note the size that this node makes; False where it takes that from a picture."""
        before = len(self.findings)
        is_picture = any(word in self.graph[node]["class_type"] for word in meanings.PICTURES)
        for field in self.inputs(node):
            role = meanings.SIZE_FIELDS.get(field.rpartition(".")[2])
            if is_picture and role not in {roles.WIDTH, roles.HEIGHT}:
                continue
            seconds = None if role != roles.LENGTH else self._origins.titled(node, field, meanings.SECONDS)
            if seconds is not None:
                self.add(roles.DURATION, *seconds)
            elif role is not None and not (role in {roles.WIDTH, roles.HEIGHT} and self.has_preset(node, field)):
                self.add(role, node, field)
        self.shape(node)
        places = (self.literal(roles.WIDTH, node, field) for field in ("width", "seconds"))
        return any(place is not None for place in places) or any(
            found.role == roles.ASPECT_RATIO for found in self.findings[before:]
        )

    def has_preset(self, node: str, field: str) -> bool:
        """Whether a preset beside it makes the node ignore this width or height."""
        preset = self.inputs(node).get(field.rpartition(".")[0] + "." * ("." in field) + "size_preset")
        return isinstance(preset, str) and preset.casefold() not in meanings.CUSTOM_PRESETS

    def shape(self, node: str) -> None:
        """The node that works width and height out from a shape, if one does."""
        for field in self.inputs(node):
            selector = self._origins.selector(node, field) if field.rpartition(".")[2] == "width" else None
            if selector is not None:
                self.add(roles.ASPECT_RATIO, selector, "aspect_ratio")
                self.add(roles.MEGAPIXELS, selector, "megapixels")

    def companions(self, node: str) -> None:
        """Inputs that must keep to a size found elsewhere, as far as they do."""
        for field, role in meanings.COMPANIONS.get(self.graph[node]["class_type"], {}).items():
            place = self.literal(role, node, field)
            sizes = (self.value(target) for found in self.findings if found.role == role for target in found.targets)
            if place is not None and self.value(place) in sizes:
                self.add(role, node, field)

    def value(self, place: Target) -> Any:
        return self.inputs(place.node).get(place.input)

    def sizes_of_pictures(self) -> None:
        """Where no empty latent says it, the size is what an input picture is scaled to."""
        for node in self._sized_by_pictures:
            if not self.has(roles.WIDTH) and not self.has(roles.ASPECT_RATIO):
                self.size(node)

    # Wherever it stands.

    def named(self, node: str) -> None:
        class_type = self.graph[node]["class_type"]
        for field, value in self.inputs(node).items():
            role = meanings.NAMED_ANYWHERE.get((class_type, field))
            if role is None and field in meanings.MODEL_FIELDS and isinstance(value, str):
                role = meanings.MODEL_FIELDS[field]
            if role is not None:
                self.add(role, node, field)
            if role == roles.LORA:
                self.lora_strength(node)
        if not self.samplers or self.is_service(node):
            self.telling(node)

    def is_service(self, node: str) -> bool:
        """Whether this node makes something on its own from a prompt and a seed, without a sampler."""
        names = {field.rpartition(".")[2] for field in self.inputs(node)}
        is_writer = any(word in self.graph[node]["class_type"] for word in origins.WRITERS)
        return {"prompt", "seed"} <= names and not is_writer and "clip" not in names

    def telling(self, node: str) -> None:
        """What the names of its inputs tell; sizes only where something is made or scaled."""
        names = {field.rpartition(".")[2] for field in self.inputs(node)}
        is_maker = bool(names & meanings.NAMES_OF_MAKERS)
        is_sized = is_maker or any(word in self.graph[node]["class_type"] for word in (*meanings.RESIZERS, "Empty"))
        for field in self.inputs(node):
            role = meanings.telling(field.rpartition(".")[2])
            if role in {roles.WIDTH, roles.HEIGHT}:
                role = role if is_sized and not self.has_preset(node, field) else None
            elif role in meanings.ROLES_OF_MAKERS and not is_maker:
                role = None
            if role is not None:
                self.add(role, node, field)
        self.shape(node)

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
        """What a picture is for, by the nodes that do more with it than change it into another picture."""
        users = self.users.get(node, [])
        if users and all(slot == 1 for _user, _field, slot in users):
            return roles.MASK
        ends = set(self.ends(node))
        if ends and all(any(word in end for word in meanings.CONTROLS) for end in ends):
            return roles.CONTROL_IMAGE
        if ends and all(any(word in end for word in meanings.STYLES) for end in ends):
            return roles.STYLE_IMAGE
        return roles.IMAGE

    def ends(self, node: str) -> Iterator[str]:
        """The classes of the nodes that a picture ends in."""
        seen: set[str] = set()
        todo = [node]
        while todo and self._origins.steps < MAX_STEPS:
            self._origins.steps += 1
            for user, field, slot in self.users.get(todo.pop(), []):
                class_type = self.graph[user]["class_type"]
                if slot != 0 or user in seen or class_type in meanings.ONLOOKERS:
                    continue
                seen.add(user)
                is_end = field not in {"image", "images", "input"} or meanings.ENDS & self.inputs(user).keys()
                if is_end or any(word in class_type for word in (*meanings.CONTROLS, *meanings.STYLES)):
                    yield class_type
                else:
                    todo.append(user)
