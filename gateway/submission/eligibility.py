"""Which of the workers that have all classes and files would still refuse a graph.

Workers of one gateway may run different versions of ComfyUI: a sampler that only one of them knows, an input that a
newer one requires, another range. Each graph is checked against what each kind of worker tells; the definitions at
fault become part of the job's requirements (`unfit`), so that placement passes such workers by, also those that come
later. Where all workers define the graph's classes alike, this costs a few look-ups.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info

Definition = tuple[str, str]  #: a class, and the digest of how a worker defines it


def narrowed(
    graph: graphs.Graph, needs: graphs.Requirements, catalogs: Sequence[object_info.NodeCatalog]
) -> graphs.Requirements:
    """The requirements with what the refusing ones of these workers have in common; at least one must run the graph."""
    if len(catalogs) < 2:
        return needs
    kinds = {_definitions(needs, catalog): catalog for catalog in catalogs if catalog.can_run(needs)}
    if len(kinds) < 2:
        return needs
    passing: set[Definition] = set()
    refusing: list[tuple[frozenset[Definition], set[str | None]]] = []
    for definitions, catalog in kinds.items():
        faults = catalog.check(graph)
        if faults:
            refusing.append((definitions, {fault.class_type for fault in faults}))
        else:
            passing |= definitions
    unfit: set[Definition] = set()
    for definitions, named in refusing:
        different = definitions - passing
        at_fault = {each for each in different if each[0] in named}
        unfit |= at_fault or different
    return dataclasses.replace(needs, unfit=frozenset(unfit)) if unfit else needs


def _definitions(needs: graphs.Requirements, catalog: object_info.NodeCatalog) -> frozenset[Definition]:
    return frozenset((class_type, catalog.definition(class_type)) for class_type in needs.classes)
