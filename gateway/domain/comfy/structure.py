"""What is wrong with a graph whoever runs it: shape, links, cycles, values, file names.

Every rule here stands for something that a real worker does badly with (recorded for 0.3.64 and 0.33.0): a
node without `inputs` ends ComfyUI's execution thread although nothing is connected to it, so does a link to
nowhere in an input that the class does not know; lists and strings where objects belong are a 500 without a
word of why. Therefore *all* nodes are held to the rules, not only those that an output depends on.

Nothing here recurses, so the depth of what a client sends cannot hurt us.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

from gateway.domain import errors

MAX_NODES = 20_000  #: far more than anybody draws; each costs us something
MAX_DEPTH = 64  #: of lists and objects inside one input; JSON writers give up at a few hundred
MAX_FAULTS = 500  #: a report longer than this helps nobody
MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**64 - 1
MAX_SLOT = 10_000

PREFIX_FIELD = "filename_prefix"
ASSET_TYPE = "core/ASSET"

#: Inputs of stock and widespread nodes that name an uploaded file, for when no worker's `object_info` is at
#: hand.
UPLOAD_INPUTS: Mapping[tuple[str, str], str] = {
    ("LoadImage", "image"): "image",
    ("LoadImageMask", "image"): "mask",
    ("LoadImageOutput", "image"): "image",
    ("Painter", "mask"): "mask",
    ("LoadAudio", "audio"): "audio",
    ("LoadVideo", "file"): "video",
    ("Load3D", "model_file"): "file",
    ("Load3DAdvanced", "model_file"): "file",
    ("Load3DAnimation", "model_file"): "file",
    ("LoadLatent", "latent"): "file",
    ("VHS_LoadVideo", "video"): "video",
    ("VHS_LoadVideoFFmpeg", "video"): "video",
    ("VHS_LoadAudioUpload", "audio"): "audio",
}
UPLOAD_FIELDS = frozenset(field for _class_type, field in UPLOAD_INPUTS)


class Place(NamedTuple):
    """Where in a graph something is."""

    node: str
    class_type: str | None
    field: str | None

    def fault(self, reason: str, message: str) -> errors.Fault:
        """A fault at this place."""
        return errors.Fault(
            reason=reason, message=message, node=self.node, class_type=self.class_type, field=self.field
        )


def is_link(value: object) -> TypeGuard[list[Any]]:
    """Whether ComfyUI takes this value for a link: a list of a node id and a number."""
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], (int, float))
    )


def is_asset_reference(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether this value claims to be a reference to an asset, well-formed or not."""
    return isinstance(value, dict) and value.get("__type") == ASSET_TYPE


def faults(nodes: Mapping[Any, Any]) -> Iterator[errors.Fault]:
    """Everything that is structurally wrong with these nodes; nothing for a sound graph."""
    if len(nodes) > MAX_NODES:
        message = f"The workflow has {len(nodes)} nodes; {MAX_NODES} is the most."
        yield errors.Fault(reason="too_many_nodes", message=message)
        return
    sound: dict[str, Mapping[str, Any]] = {}
    for node_id, node in nodes.items():
        found = list(_node_faults(node_id, node, nodes))
        yield from found
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict):
            sound[node_id] = node["inputs"]
    yield from _cycle_faults(sound, nodes)


def _node_faults(node_id: Any, node: Any, nodes: Mapping[Any, Any]) -> Iterator[errors.Fault]:
    if not isinstance(node_id, str):
        yield Place(str(node_id), None, None).fault("invalid_node_id", "A node id must be a string.")
        return
    complaint = text_complaint(node_id)
    if complaint is not None:
        yield Place(ascii(node_id), None, None).fault("invalid_text", f"The node's id {complaint}.")
        return
    if not isinstance(node, dict):
        yield Place(node_id, None, None).fault(
            "node_not_an_object",
            f"Node {node_id} is {kind_of(node)}; a node is an object with class_type and inputs.",
        )
        return
    class_type = node.get("class_type")
    place = Place(node_id, class_type if isinstance(class_type, str) else None, None)
    yield from _class_faults(place, class_type)
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        problem = "has no inputs" if "inputs" not in node else f"has {kind_of(inputs)} as inputs"
        yield place._replace(field="inputs").fault(
            "invalid_inputs", f'Node {node_id} {problem}; a node without inputs says "inputs": {{}}.'
        )
        return
    for field, value in inputs.items():
        if _is_plain(field, value, nodes):
            continue
        if not isinstance(field, str) or text_complaint(field) is not None:
            odd = place._replace(field=ascii(field))
            yield odd.fault("invalid_text", "The name of an input must be plain text.")
        else:
            yield from _input_faults(place._replace(field=field), value, nodes)


def _is_plain(field: Any, value: Any, nodes: Mapping[Any, Any]) -> bool:
    """Whether this input is one of the usual kinds, with nothing to look at more closely: the way that nearly all of
    them go, at a tenth of the cost."""
    if not isinstance(field, str) or not field.isascii() or "\0" in field:
        return False
    kind = type(value)
    if kind is str:
        is_file = field == PREFIX_FIELD or field in UPLOAD_FIELDS
        return not is_file and value.isascii() and "\0" not in value
    if kind is int:
        return MIN_INTEGER <= value <= MAX_INTEGER
    if kind is float:
        return MIN_INTEGER <= value < MAX_INTEGER
    if kind is list:
        return len(value) == 2 and type(value[1]) is int and 0 <= value[1] <= MAX_SLOT and _is_node(value[0], nodes)
    return kind is bool or value is None


def _is_node(value: Any, nodes: Mapping[Any, Any]) -> bool:
    return isinstance(value, str) and value in nodes


def _class_faults(place: Place, class_type: Any) -> Iterator[errors.Fault]:
    if not isinstance(class_type, str) or not class_type:
        problem = "has no class_type" if not class_type else f"has {kind_of(class_type)} as class_type"
        yield place._replace(field="class_type").fault("invalid_class_type", f"Node {place.node} {problem}.")
    elif (complaint := text_complaint(class_type)) is not None:
        yield Place(place.node, None, "class_type").fault("invalid_text", f"The class_type {complaint}.")


def _input_faults(place: Place, value: Any, nodes: Mapping[Any, Any]) -> Iterator[errors.Fault]:
    if _is_meant_as_link(value, nodes):
        yield from _link_faults(place, value[0], value[1], nodes)
        return
    yield from value_faults(place, value)
    if isinstance(value, str):
        yield from _file_faults(place, value)


def _is_meant_as_link(value: Any, nodes: Mapping[Any, Any]) -> bool:
    if is_link(value):
        return True
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in nodes


def _link_faults(place: Place, source: str, slot: Any, nodes: Mapping[Any, Any]) -> Iterator[errors.Fault]:
    if source not in nodes:
        yield place.fault("dangling_link", f"Linked to node {source[:100]!a}, which the graph does not have.")
    if isinstance(slot, bool) or not isinstance(slot, int) or not 0 <= slot <= MAX_SLOT:
        yield place.fault(
            "bad_link_slot",
            f"Linked to output {str(slot)[:50]!a}; outputs are counted 0, 1, 2 … as integers.",
        )


def value_faults(place: Place, value: Any) -> Iterator[errors.Fault]:
    """What is wrong with a literal value, however deep inside it."""
    todo: list[tuple[Any, int]] = [(value, 0)]
    while todo:
        item, depth = todo.pop()
        if isinstance(item, str):
            complaint = text_complaint(item)
            if complaint is not None:
                yield place.fault("invalid_text", f"The text {complaint}.")
        elif item is None or isinstance(item, bool):
            continue
        elif isinstance(item, (int, float)):
            complaint = number_complaint(item)
            if complaint is not None:
                yield place.fault("invalid_number", complaint)
        elif not isinstance(item, (list, dict)):
            yield place.fault("not_json", f"A value of type {type(item).__name__} is not JSON.")
        elif depth >= MAX_DEPTH:
            yield place.fault("nested_too_deeply", f"Lists and objects are nested more than {MAX_DEPTH} deep.")
            return
        elif isinstance(item, list):
            todo.extend((member, depth + 1) for member in item)
        else:
            yield from _asset_faults(place, item)
            todo.extend((key, depth + 1) for key in item)
            todo.extend((member, depth + 1) for member in item.values())


def is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested in this value more than so many deep."""
    held: list[Any] = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        if not held:
            return False
        inside = (each.values() if isinstance(each, dict) else each for each in held)
        held = [member for members in inside for member in members if isinstance(member, (dict, list))]
    return bool(held)


def _asset_faults(place: Place, value: dict[Any, Any]) -> Iterator[errors.Fault]:
    if not is_asset_reference(value):
        return
    info = value.get("info")
    identity = info.get("id") if isinstance(info, dict) else None
    if not isinstance(identity, str) or not identity:
        yield place.fault("malformed_asset", f'A reference to an asset needs "info": {{"id": …}} beside {ASSET_TYPE}.')


def _file_faults(place: Place, value: str) -> Iterator[errors.Fault]:
    if place.field == PREFIX_FIELD:
        complaint = path_complaint(value)
        if complaint is not None:
            yield place.fault("invalid_filename_prefix", f"The prefix {complaint}; outputs stay in the output folder.")
    elif (place.class_type or "", place.field or "") in UPLOAD_INPUTS:
        complaint = path_complaint(value)
        if complaint is not None:
            yield place.fault("invalid_file_name", f"The file name {complaint}; inputs come from the input folder.")


def path_complaint(path: str) -> str | None:
    """Why this path could leave the folder that it is relative to, or None. Both separators count."""
    if "\x00" in path:
        return "contains a NUL character"
    plain = path.replace("\\", "/")
    if plain.startswith("/") or (len(plain) > 2 and plain[1] == ":" and plain[2] == "/" and plain[0].isalpha()):
        return "is an absolute path"
    if ".." in plain.split("/"):
        return 'contains ".."'
    if len(path) > 1024:
        return "is longer than 1024 characters"
    return None


def text_complaint(text: str) -> str | None:
    """Why this text cannot be stored and sent, or None: NUL and lone surrogates have no business in a
    prompt."""
    if "\x00" in text:
        return "contains a NUL character"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    return None


def shown_text(text: str) -> str:
    """A text as a message shows it: short, and without characters that a terminal or a database would act on."""
    plain = text[:100].encode(errors="backslashreplace").decode()
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in plain)


def number_complaint(number: float) -> str | None:
    """Why this number cannot be sent, or None."""
    if isinstance(number, int):
        if not MIN_INTEGER <= number <= MAX_INTEGER:
            return "Integers have at most 64 bits."
    elif not math.isfinite(number):
        return "NaN and infinity are not numbers that JSON has."
    elif not MIN_INTEGER <= number < MAX_INTEGER:
        # A reader of JSON makes a float of an integer that is too long, and nobody would learn what became of it.
        return "Numbers are within what 64 bits hold."
    return None


def kind_of(value: object) -> str:
    """What JSON calls this value, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


def _cycle_faults(inputs: Mapping[str, Mapping[str, Any]], nodes: Mapping[Any, Any]) -> Iterator[errors.Fault]:
    for cycle in cycles({node: linked_nodes(fields) for node, fields in inputs.items()}):
        shown = " -> ".join([*cycle[:20], *(["…"] if len(cycle) > 20 else []), cycle[0]])
        class_type = nodes[cycle[0]].get("class_type")
        place = Place(cycle[0], class_type if isinstance(class_type, str) else None, None)
        yield place.fault("dependency_cycle", f"These nodes wait for each other: {shown}.")


def linked_nodes(inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the nodes that these inputs are linked to."""
    return tuple([value[0] for value in inputs.values() if isinstance(value, list) and is_link(value)])


def cycles(edges: Mapping[str, tuple[str, ...]]) -> Iterator[list[str]]:
    """The cycles that a depth-first walk meets, each as its nodes in order; at least one if there is any."""
    finished: set[str] = set()
    for root in edges:
        if root in finished:
            continue
        path: dict[str, Iterator[str]] = {root: iter(edges[root])}
        while path:
            node, successors = next(reversed(path.items()))
            successor = next(successors, None)
            if successor is None:
                finished.add(node)
                del path[node]
            elif successor in path:
                members = list(path)
                yield members[members.index(successor) :]
            elif successor in edges and successor not in finished:
                path[successor] = iter(edges[successor])
