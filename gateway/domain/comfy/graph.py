"""ComfyUI's API-format graph: read it, check it, see what it needs, and put the last values into it.

A `Graph` is the plain JSON object that ComfyUI takes at `POST /prompt`: node id → `{"class_type", "inputs"}`,
where an input is a literal value or a link `[node id, output slot]`. It comes out of `parse_graph` and is
never changed after that; the functions that patch one return a copy that shares every node they did not
touch.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final, NewType, Protocol, cast

from gateway.domain import errors
from gateway.domain.comfy import structure

Graph = NewType("Graph", dict[str, dict[str, Any]])

_NO_GRAPH: Final = (
    "This is no workflow in ComfyUI's API format: an object of nodes, each with a class_type. Nothing in it has one."
)

is_link = structure.is_link
is_asset_reference = structure.is_asset_reference

MODEL_SUFFIXES = (
    ".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx", ".sft", ".pkl", ".engine", ".pt2",
)  # fmt: skip

#: Text inputs may end like a file name by chance.
TEXT_INPUTS = frozenset({"text", "text_g", "text_l", "prompt", "clip_l", "t5xxl", structure.PREFIX_FIELD})

#: Nodes that ComfyUI runs for their own sake, for when no worker's `object_info` is at hand.
OUTPUT_CLASSES = frozenset({
    "SaveImage", "PreviewImage", "SaveImageWebsocket", "SaveImageAdvanced", "SaveAnimatedWEBP",
    "SaveAnimatedPNG", "SaveLatent", "SaveVideo", "SaveWEBM", "SaveAudio", "SaveAudioMP3", "SaveAudioOpus",
    "SaveAudioAdvanced", "PreviewAudio", "SaveSVGNode", "SaveGLB", "Save3DAdvanced", "SaveText", "Preview3D",
    "PreviewAny", "MaskPreview", "VHS_VideoCombine",
})  # fmt: skip


class NodeFacts(Protocol):
    """What some functions here like to know about node classes; `object_info.NodeCatalog` knows it."""

    def is_output(self, class_type: str) -> bool | None:
        """Whether ComfyUI runs this class for its own sake; None when the class is unknown."""
        ...

    def upload_kind(self, class_type: str, field: str) -> str | None:
        """`image`, `mask`, `audio`, `video` or `file` when this input names an uploaded file."""
        ...


def parse_graph(data: object) -> Graph:
    """The graph that this JSON value is, with only what ComfyUI needs of each node.

    Raises `UiWorkflow` for the format that ComfyUI's editor saves, `MissingAsset` when malformed asset
    references are all that is wrong (as the contract wants it), else `InvalidWorkflow`, each with every
    fault.
    """
    if not isinstance(data, dict):
        raise errors.InvalidWorkflow(f"A workflow is an object of nodes; this is {structure.kind_of(data)}.")
    if is_ui_format(data):
        raise errors.UiWorkflow(
            "This is the format that ComfyUI's editor saves. "
            'Export the workflow with "Export (API)" and send that file.'
        )
    if not data:
        raise errors.InvalidWorkflow("The workflow has no nodes.")
    faults = tuple(itertools.islice(structure.faults(data), structure.MAX_FAULTS))
    if faults and all(fault.reason == "malformed_asset" for fault in faults):
        raise errors.MissingAsset("The workflow has malformed asset references.", missing_ids=[], faults=faults)
    if faults:
        message = _NO_GRAPH if _is_no_graph(data) else _summary(faults)
        raise errors.InvalidWorkflow(message, faults=faults)
    return Graph({node_id: _normal_node(node) for node_id, node in data.items()})


def is_ui_format(data: Mapping[Any, Any]) -> bool:
    """Whether this is a workflow as ComfyUI's editor saves it (lists of nodes and links)."""
    return isinstance(data.get("nodes"), list)


def _summary(faults: tuple[errors.Fault, ...]) -> str:
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"The workflow cannot run. {first.message}{more}"


def _is_no_graph(data: Mapping[Any, Any]) -> bool:
    """Whether this JSON is something else altogether."""
    return not any(isinstance(node, dict) and "class_type" in node for node in data.values())


def _normal_node(node: dict[str, Any]) -> dict[str, Any]:
    # Anything else that a node carries is either decoration or, as `is_changed`, meddles with the worker's
    # cache.
    normal: dict[str, Any] = {"class_type": node["class_type"], "inputs": node["inputs"]}
    title = node_title(node)
    if title is not None:
        normal["_meta"] = {"title": title}
    return normal


def node_title(node: Mapping[str, Any]) -> str | None:
    """The title that the author gave a node."""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    if isinstance(title, str) and structure.text_complaint(title) is None:
        return title
    return None


# What a graph does and needs.


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a worker must have to run a graph: node classes, and model files by the inputs that name them."""

    classes: frozenset[str] = frozenset()
    models: frozenset[tuple[str, str, str]] = frozenset()  #: (class_type, input, file)
    #: (class_type, digest of a definition): workers that define the class like that refuse this very graph
    unfit: frozenset[tuple[str, str]] = frozenset()

    @property
    def key(self) -> str:
        """A short name for these requirements, the same in every process and on every host."""
        digest = hashlib.blake2b(digest_size=8)
        for word in sorted(self.classes):
            digest.update(word.encode() + b"\0")
        for model in sorted(self.models):
            digest.update("\1".join(model).encode() + b"\0")
        for definition in sorted(self.unfit):
            digest.update("\2".join(definition).encode() + b"\0")
        return digest.hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """JSON of the requirements, in a stable order."""
        unfit = {"unfit": [list(definition) for definition in sorted(self.unfit)]} if self.unfit else {}
        return {"classes": sorted(self.classes), "models": [list(model) for model in sorted(self.models)], **unfit}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Requirements:
        """The requirements that `as_dict` wrote."""
        return cls(
            classes=frozenset(data["classes"]),
            models=frozenset((class_type, field, file) for class_type, field, file in data["models"]),
            unfit=frozenset((class_type, digest) for class_type, digest in data.get("unfit", ())),
        )


def requirements(graph: Graph, catalog: NodeFacts | None = None) -> Requirements:
    """What a worker must have: every class (ComfyUI refuses unknown ones even when nothing uses them), and
    the model files of the nodes that it would execute."""
    reached = reached_nodes(graph, catalog)
    models = {
        (node["class_type"], field, value)
        for node_id, node in graph.items()
        if node_id in reached
        for field, value in node["inputs"].items()
        if is_model_file(field, value) and upload_kind(node["class_type"], field, catalog) is None
    }
    return Requirements(classes=frozenset(node["class_type"] for node in graph.values()), models=frozenset(models))


def loaders(graph: Graph, nodes: Set[str]) -> dict[str, frozenset[str]]:
    """The model files that each of these nodes names; those that name none are left out."""
    found: dict[str, frozenset[str]] = {}
    for node_id in nodes:
        node = graph[node_id]
        files = [
            value
            for field, value in node["inputs"].items()
            if is_model_file(field, value) and upload_kind(node["class_type"], field) is None
        ]
        if files:
            found[node_id] = frozenset(files)
    return found


def is_model_file(field: str, value: object) -> bool:
    """Whether a literal looks like the name of a model file."""
    return (
        isinstance(value, str)
        and len(value) <= 500
        and field not in TEXT_INPUTS
        and value.lower().endswith(MODEL_SUFFIXES)
        and "\n" not in value
    )


def output_nodes(graph: Graph, catalog: NodeFacts | None = None) -> tuple[str, ...]:
    """The nodes that ComfyUI would run for their own sake.

    A class that the catalog does not know counts as an output when it is a well-known one, or when nothing
    takes what it makes and it takes something itself.
    """
    used = {source for node in graph.values() for source in structure.linked_nodes(node["inputs"])}
    return tuple(node_id for node_id, node in graph.items() if _is_output(node_id, node, used, catalog))


def _is_output(node_id: str, node: Mapping[str, Any], used: set[str], catalog: NodeFacts | None) -> bool:
    known = catalog.is_output(node["class_type"]) if catalog is not None else None
    if known is not None:
        return known
    if node["class_type"] in OUTPUT_CLASSES:
        return True
    return node_id not in used and any(map(is_link, node["inputs"].values()))


def reached_nodes(graph: Graph, catalog: NodeFacts | None = None) -> frozenset[str]:
    """The nodes that a worker would execute: the outputs and all that they depend on."""
    return upstream(graph, output_nodes(graph, catalog))


def upstream(graph: Graph, nodes: tuple[str, ...]) -> frozenset[str]:
    """These nodes and all that they depend on."""
    reached: set[str] = set()
    todo = list(nodes)
    while todo:
        node_id = todo.pop()
        if node_id in reached:
            continue
        reached.add(node_id)
        todo.extend(structure.linked_nodes(graph[node_id]["inputs"]))
    return frozenset(reached)


def downstream(graph: Graph, nodes: Set[str]) -> frozenset[str]:
    """These nodes and all that depend on them."""
    users: dict[str, list[str]] = {}
    for node_id, node in graph.items():
        for source in structure.linked_nodes(node["inputs"]):
            users.setdefault(source, []).append(node_id)
    reached: set[str] = set()
    todo = list(nodes)
    while todo:
        node_id = todo.pop()
        if node_id not in reached:
            reached.add(node_id)
            todo.extend(users.get(node_id, ()))
    return frozenset(reached)


# Files: what a graph reads and where it writes.


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetReference:
    """A place in a graph where an asset's uploaded name shall stand."""

    node: str
    class_type: str
    field: str
    asset_id: str
    hash: str | None = None
    file_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadField:
    """A literal string that names a file in a worker's input folder."""

    node: str
    class_type: str
    field: str
    kind: str  #: image, mask, audio, video or file
    value: str


def asset_references(graph: Graph) -> tuple[AssetReference, ...]:
    """Every reference to an asset, wherever in the inputs it stands."""
    return tuple(
        _asset_reference(node_id, node["class_type"], field, found)
        for node_id, node in graph.items()
        for field, value in node["inputs"].items()
        if isinstance(value, (dict, list))
        for found in _references_in(value)
    )


def _asset_reference(node: str, class_type: str, field: str, value: Mapping[str, Any]) -> AssetReference:
    info = value["info"]
    digest, path = info.get("hash"), info.get("file_path")
    return AssetReference(
        node=node,
        class_type=class_type,
        field=field,
        asset_id=info["id"],
        hash=digest if isinstance(digest, str) else None,
        file_path=path if isinstance(path, str) else None,
    )


def _references_in(value: Any) -> Iterator[Mapping[str, Any]]:
    todo = [value]
    while todo:
        item = todo.pop()
        if is_asset_reference(item):
            yield item
        elif isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)


def replace_assets(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with each reference to an asset in `names` replaced by the name it was uploaded under."""

    def replaced(_field: str, value: Any) -> Any:
        if not isinstance(value, (dict, list)):
            return value
        return _with_names(value, names)

    return _map_inputs(graph, replaced)


def _with_names(value: Any, names: Mapping[str, str]) -> Any:
    # Recursion is safe here: parse_graph bounds the depth.
    if is_asset_reference(value):
        return names.get(value["info"]["id"], value)
    if isinstance(value, dict):
        return {key: _with_names(member, names) for key, member in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_with_names(member, names) for member in value]
    return value


def upload_kind(class_type: str, field: str, catalog: NodeFacts | None = None) -> str | None:
    """What kind of uploaded file this input names, or None."""
    known = catalog.upload_kind(class_type, field) if catalog is not None else None
    return known or structure.UPLOAD_INPUTS.get((class_type, field))


def upload_fields(graph: Graph, catalog: NodeFacts | None = None) -> tuple[UploadField, ...]:
    """Every literal string that names a file in a worker's input folder."""
    return tuple(
        UploadField(node=node_id, class_type=node["class_type"], field=field, kind=kind, value=value)
        for node_id, node in graph.items()
        for field, value in node["inputs"].items()
        if isinstance(value, str) and (kind := upload_kind(node["class_type"], field, catalog)) is not None
    )


def rewrite_prefixes(graph: Graph, folder: str) -> Graph:
    """The graph with every literal `filename_prefix` moved below `folder`, the client's own prefix kept
    inside."""

    def moved(field: str, value: Any) -> Any:
        if field != structure.PREFIX_FIELD or not isinstance(value, str):
            return value
        return f"{folder}/{_plain_prefix(value)}"

    return _map_inputs(graph, moved)


def _plain_prefix(prefix: str) -> str:
    # ComfyUI normalises the whole path; an empty last part would make the folder's own name the file's.
    parts = [part for part in prefix.replace("\\", "/").split("/") if part not in {"", "."}]
    return "/".join(parts) or "ComfyUI"


def own_name(path: str, folder: str) -> str:
    """A path on the worker as the client meant it, without the folder that `rewrite_prefixes` put before
    it."""
    plain = path.replace("\\", "/")
    return plain[len(folder) :].lstrip("/") if plain == folder or plain.startswith(f"{folder}/") else path


def replace_inputs(graph: Graph, values: Mapping[tuple[str, str], Any]) -> Graph:
    """The graph with these inputs, by node id and field, set to these values."""
    changed: dict[str, dict[str, Any]] = {}
    for (node_id, field), value in values.items():
        node = changed.get(node_id) or {**graph[node_id], "inputs": dict(graph[node_id]["inputs"])}
        node["inputs"][field] = value
        changed[node_id] = node
    return Graph({node_id: changed.get(node_id, node) for node_id, node in graph.items()})


def _map_inputs(graph: Graph, replaced: Callable[[str, Any], Any]) -> Graph:
    def mapped(node: dict[str, Any]) -> dict[str, Any]:
        inputs = {field: replaced(field, value) for field, value in node["inputs"].items()}
        return node if inputs == node["inputs"] else {**node, "inputs": inputs}

    return Graph({node_id: mapped(node) for node_id, node in graph.items()})
