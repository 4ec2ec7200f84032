"""Can any worker that we know run this graph? While none is known, every sound graph may wait."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info, structure

#: Where ComfyUI itself looks for an uploaded file, and refuses a prompt without it. What other packs do is not known.
_LOADERS: Final[Mapping[str, str]] = {
    "LoadImage": "image",
    "LoadImageMask": "image",
    "LoadAudio": "audio",
    "LoadVideo": "file",
    "LoadLatent": "latent",
}

_ASKED: Final = 32  #: names of files that workers are asked for because of one order

HasInput = Callable[[str], Awaitable[bool]]


async def anything(_name: str) -> bool:
    """What nobody can be asked about may be there."""
    return True


@dataclass(frozen=True, slots=True)
class Facts:
    """What the known workers together know about node classes; fulfils `graph.NodeFacts`."""

    catalogs: Sequence[object_info.NodeCatalog]

    def is_output(self, class_type: str) -> bool | None:
        """Whether ComfyUI runs this class for its own sake, as the first worker that has it says."""
        for catalog in self.catalogs:
            if (known := catalog.is_output(class_type)) is not None:
                return known
        return None

    def upload_kind(self, class_type: str, field: str) -> str | None:
        """What kind of uploaded file this input names, as the first worker that knows says."""
        for catalog in self.catalogs:
            if (known := catalog.upload_kind(class_type, field)) is not None:
                return known
        return None


def refusals(
    graph: graphs.Graph, needs: graphs.Requirements, catalogs: Sequence[object_info.NodeCatalog]
) -> tuple[errors.Fault, ...]:
    """Why no known worker would run this graph, in the words of the one that comes nearest; () when one would."""
    nearest: tuple[errors.Fault, ...] = ()
    for catalog in catalogs:
        faults = _refusals_of(catalog, graph, needs)
        if not faults:
            return ()
        if not nearest or len(faults) < len(nearest):
            nearest = faults
    return nearest


def _refusals_of(
    catalog: object_info.NodeCatalog, graph: graphs.Graph, needs: graphs.Requirements
) -> tuple[errors.Fault, ...]:
    refused = catalog.check(graph)
    if catalog.can_run(needs):
        return refused
    # ComfyUI takes a graph of which one output can run; placement would wait for the others' models for ever.
    told = {(fault.node, fault.field) for fault in refused}
    lacking = (fault for fault in _missing_models(catalog, graph, needs) if (fault.node, fault.field) not in told)
    return (*refused, *lacking)


def _missing_models(
    catalog: object_info.NodeCatalog, graph: graphs.Graph, needs: graphs.Requirements
) -> Iterator[errors.Fault]:
    """Model files that are not there, each with the nodes that name it."""
    for wanted in sorted(needs.models):
        class_type, field, file = wanted
        for fault in catalog.lacks(graphs.Requirements(models=frozenset({wanted}))):
            for node_id, node in graph.items():
                if node["class_type"] == class_type and node["inputs"].get(field) == file:
                    yield dataclasses.replace(fault, node=node_id)


def lacking_besides(workflow: object, catalogs: Sequence[object_info.NodeCatalog]) -> tuple[errors.Fault, ...]:
    """Of a graph that is not sound: node classes and model files that no known worker has all of, in the words of the
    one that comes nearest, so that a client learns of them together with the other faults."""
    sound = graphs.Graph({node_id: node for node_id, node in _nodes_of(workflow) if _has_its_parts(node)})
    if not sound or not catalogs:
        return ()
    needs = graphs.Requirements(
        classes=frozenset(node["class_type"] for node in sound.values()),
        models=frozenset(
            (node["class_type"], field, value)
            for node in sound.values()
            for field, value in node["inputs"].items()
            if graphs.is_model_file(field, value)
        ),
    )
    return min((_lacking(catalog, sound, needs) for catalog in catalogs), key=len)


def _nodes_of(workflow: object) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(workflow, dict):
        for node_id, node in workflow.items():
            if isinstance(node_id, str) and isinstance(node, dict):
                yield node_id, node


def _has_its_parts(node: dict[str, Any]) -> bool:
    return isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _lacking(
    catalog: object_info.NodeCatalog, graph: graphs.Graph, needs: graphs.Requirements
) -> tuple[errors.Fault, ...]:
    classes = graphs.Requirements(classes=needs.classes)
    missing = {fault.class_type: fault for fault in catalog.lacks(classes)}
    named = (
        dataclasses.replace(missing[node["class_type"]], node=node_id)
        for node_id, node in graph.items()
        if node["class_type"] in missing
    )
    return (*named, *_missing_models(catalog, graph, needs))


async def missing_files(graph: graphs.Graph, facts: graphs.NodeFacts, has_input: HasInput) -> tuple[errors.Fault, ...]:
    """Names of input files that are no asset and that no worker has, unless some output can do without them. Of an
    order with very many names, the first are looked for."""
    named = [
        (node_id, node["class_type"], field, name)
        for node_id, node in graph.items()
        if (field := _LOADERS.get(node["class_type"])) is not None
        and isinstance(name := node["inputs"].get(field), str)
    ]
    asked = list(dict.fromkeys(name for *_, name in named))[:_ASKED]
    there = await asyncio.gather(*map(has_input, asked))
    missing = {name for name, is_there in zip(asked, there, strict=True) if not is_there}
    faults = [
        errors.Fault(
            reason="missing_file",
            message=f"There is no asset of yours with the file_path {object_info.shown(name)}, and no worker has such "
            "a file.",
            node=node_id,
            class_type=class_type,
            field=field,
        )
        for node_id, class_type, field, name in named
        if name in missing
    ]
    if not faults:
        return ()
    lacking = graphs.downstream(graph, {node_id for node_id, *_, name in named if name in missing})
    is_any_whole = any(output not in lacking for output in graphs.output_nodes(graph, facts))
    return () if is_any_whole else tuple(faults)  # ComfyUI takes a graph of which one output can run


def file_name_faults(fields: Sequence[graphs.UploadField]) -> Iterator[errors.Fault]:
    """What is wrong with literal names of input files, of node classes that only a worker knows too."""
    for item in fields:
        complaint = structure.path_complaint(item.value)
        if complaint is not None:
            yield errors.Fault(
                reason="invalid_file_name",
                message=f"The file name {complaint}; inputs come from the input folder.",
                node=item.node,
                class_type=item.class_type,
                field=item.field,
            )
