"""Graph + sidecar → template, or every fault of the file at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from gateway.domain import errors, tables
from gateway.domain import model as domain
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info, structure
from gateway.domain.templates import examples, inference, model, roles, sidecar, values
from gateway.domain.templates.dialects import reading


def build(
    name: str,
    graph: graphs.Graph,
    described: sidecar.Sidecar | None = None,
    *,
    text: str = "",
    files: Mapping[str, bytes] | None = None,
    source: str | None = None,
    catalog: object_info.NodeCatalog | None = None,
    titled: Mapping[model.Target, str] | None = None,
) -> model.Template:
    """The template of this graph: as its sidecar describes it, else as the graph itself does, else inferred.

    `titled` names the inputs that titled primitives fed, where the graph comes from an editor's file
    (`dialects.primitives.of_editor_file`);
    `text` is the sidecar's text (part of the version), `files` holds the content of the default files that it names.
    Raises `TemplateError` with every fault, each with the sidecar's key.
    """
    about = described or sidecar.Sidecar()
    found = files or {}
    faults: list[errors.Fault] = []
    spoken = reading.read(graph, catalog, titled)
    graph = spoken.graph
    parameters = tuple(_parameters(spoken, about, found, faults)) if about.parameters else spoken.parameters
    outputs = tuple(_outputs(graph, about, faults)) or spoken.outputs or inference.infer_outputs(graph, catalog)
    faults.extend(_twice_set(parameters))
    shown = examples.told(about.examples)
    unread = about.parameters.keys() - {parameter.name for parameter in parameters}
    faults.extend(_known_only(examples.faults(shown, parameters), unread))
    if faults:
        raise sidecar.refusal(source or name, tuple(faults))
    return model.Template(
        name=name,
        version=model.content_version(graph, text, found, titled),
        graph=graph,
        parameters=parameters,
        outputs=outputs,
        requirements=graphs.requirements(graph, catalog),
        title=about.title,
        description=about.description or spoken.description,
        packs=tuple(
            model.NodePack(name=pack.name, url=pack.url, classes=tuple(pack.classes))
            for pack in about.requirements.packs
        ),
        models=tuple(
            model.ModelFile(file=file.file, folder=file.folder, url=file.url, sha256=file.sha256)
            for file in about.requirements.models
        ),
        tags=tuple(about.tags),
        tries=about.limits.tries,
        limits=domain.Limits(queue=about.limits.queue, run=about.limits.run, idle=about.limits.idle),
        retention=about.retention,
        batch=about.batch or model.BatchKind.JOBS,
        examples=shown,
        inferred=not about.parameters and spoken.inferred,
        source=source,
        files=found,
    )


def besides(refused: errors.TemplateError, graph: graphs.Graph, text: str, source: str) -> errors.TemplateError:
    """The refusal of a sidecar, with what else is wrong with the part of it that could be read."""
    written = tables.parsed(text, source)
    rest = sidecar.salvaged(written, sidecar.Sidecar)
    if rest is None or not refused.faults:
        return refused
    try:
        build(source, graph, rest)
    except errors.TemplateError as error:
        named = written["parameters"] if isinstance(written.get("parameters"), dict) else {}
        told = {fault.field for fault in refused.faults}
        more = [
            fault
            for fault in _known_only(error.faults, named.keys() - rest.parameters.keys())
            if fault.field not in told and fault.reason != "missing_key"  # it may be what could not be read
        ]
        return sidecar.refusal(source, (*refused.faults, *more))
    return refused


def _known_only(faults: Iterable[errors.Fault], unread: Collection[str]) -> Iterator[errors.Fault]:
    """The faults of examples without those that only miss a parameter which could not be read."""
    for fault in faults:
        if fault.reason != "unknown_parameter" or (fault.field or "").rpartition(".")[2] not in unread:
            yield fault


def default_files(described: sidecar.Sidecar) -> tuple[str, ...]:
    """The files that the sidecar names as defaults, relative to the template's folder."""
    return tuple(table.default_file for table in described.parameters.values() if table.default_file is not None)


def _parameters(
    spoken: reading.Spoken, about: sidecar.Sidecar, files: Mapping[str, bytes], faults: list[errors.Fault]
) -> Iterator[model.Parameter]:
    for name, table in about.parameters.items():
        found = list(_table_faults(name, table))
        targets = tuple(_targets(spoken, name, table, found))
        if found:
            faults.extend(found)
            continue
        parameter = _with_default(spoken.graph, table, _plain_parameter(name, table, targets))
        faults.extend(_default_faults(parameter, files))
        yield parameter


def _plain_parameter(name: str, table: sidecar.ParameterTable, targets: tuple[model.Target, ...]) -> model.Parameter:
    return model.Parameter(
        name=name,
        type=table.type,
        targets=targets,
        role=table.role,
        title=table.title,
        description=table.description,
        default=table.default,
        default_file=table.default_file,
        required=bool(table.required),
        minimum=table.min,
        maximum=table.max,
        step=table.step,
        choices=tuple(table.choices),
        multiline=table.multiline,
    )


def _with_default(graph: graphs.Graph, table: sidecar.ParameterTable, parameter: model.Parameter) -> model.Parameter:
    """With the graph's own value as default where the author gave none; a file of the author's is no default."""
    if parameter.required or parameter.default is not None or parameter.default_file is not None:
        return parameter
    if parameter.type == model.ParameterType.SEED:
        return parameter
    if parameter.type in model.FILE_TYPES:
        return dataclasses.replace(parameter, required=table.required is None)
    literal = graph[parameter.targets[0].node]["inputs"].get(parameter.targets[0].input)
    if not isinstance(literal, (str, int, float, bool)):
        return parameter
    with_default = dataclasses.replace(parameter, default=literal)
    # Text that could not be sent again (no model chosen yet, say), or an integer that is none of 64 bits once it is a
    # float, stays in the graph and is no default; a number out of the author's bounds, or no choice of theirs, is a
    # mistake in the file and is told.
    is_free = isinstance(literal, str) or structure.number_complaint(float(literal)) is not None
    is_default = parameter.choices or not is_free or values.takes(with_default, literal)
    return with_default if is_default else parameter


def _table_faults(name: str, table: sidecar.ParameterTable) -> Iterator[errors.Fault]:
    if table.role is not None and table.role not in roles.ALL:
        near = values.suggestion(table.role, roles.ALL)
        yield _fault(name, "role", "unknown_role", f"There is no role {table.role!r}.{near}")
    if table.type == model.ParameterType.CHOICE and not table.choices:
        yield _fault(name, "choices", "missing_key", "A choice needs its choices.")
    if table.default_file is not None and table.type not in model.FILE_TYPES:
        yield _fault(name, "default_file", "invalid_value", f"A {table.type} has no default file; use default.")
    if table.required and (table.default is not None or table.default_file is not None):
        yield _fault(name, "required", "invalid_value", "What has a default is not required.")
    if table.min is not None and table.max is not None and table.min > table.max:
        yield _fault(name, "min", "invalid_value", f"min {table.min} is above max {table.max}.")
    for key in ("min", "max", "step"):
        if getattr(table, key) is not None and table.type not in model.NUMBER_TYPES:
            yield _fault(name, key, "invalid_value", f"A {table.type} has no bounds.")


def _targets(
    spoken: reading.Spoken, name: str, table: sidecar.ParameterTable, faults: list[errors.Fault]
) -> Iterator[model.Target]:
    written = [*([table.target] if table.target is not None else []), *table.targets]
    if not written:
        faults.append(_fault(name, "target", "missing_key", 'Say what it sets: target = "node.input".'))
    for text in written:
        gone = next((targets for target, targets in spoken.moved.items() if str(target) == text), ())
        if gone:  # an input node that only hands its value on: where it goes counts
            yield from gone
            continue
        target = _target(spoken.graph, text)
        if isinstance(target, str):
            key = "target" if text == table.target else "targets"
            faults.append(_fault(name, key, "unknown_target", target))
        else:
            yield target


def _target(graph: graphs.Graph, text: str) -> model.Target | str:
    """The target that this text names, or why it names none. Ids and inputs may hold dots themselves."""
    parts = text.split(".")
    splits = [(".".join(parts[:cut]), ".".join(parts[cut:])) for cut in range(1, len(parts))]
    if not splits:
        return f"{text!r} is no target; write node.input, as in 6.text."
    known = [(node_id, field) for node_id, field in splits if node_id in graph]
    for node_id, field in known:
        if field in graph[node_id]["inputs"]:
            return model.Target(node_id, field)
    if not known:
        return f"The graph has no node {splits[0][0]!r}."
    node_id, field = known[-1]  # the longest id
    near = values.suggestion(field, graph[node_id]["inputs"])
    return f"Node {node_id} ({graph[node_id]['class_type']}) has no input {field!r}.{near}"


def _default_faults(parameter: model.Parameter, files: Mapping[str, bytes]) -> Iterator[errors.Fault]:
    try:
        if parameter.default_file is not None:
            if parameter.default_file in files:
                values.inline(parameter, files[parameter.default_file])
        elif parameter.default is not None:
            values.read(parameter, parameter.default, values.Limits())
    except values.Refused as refused:
        key = "default" if parameter.default_file is None else "default_file"
        yield _fault(parameter.name, key, "invalid_default", refused.message)


def _outputs(graph: graphs.Graph, about: sidecar.Sidecar, faults: list[errors.Fault]) -> Iterator[model.OutputSpec]:
    for name, table in about.outputs.items():
        if table.node in graph:
            yield model.OutputSpec(name=name, node=table.node, title=table.title, description=table.description)
        else:
            message = f"The graph has no node {structure.shown_text(table.node)!r}."
            faults.append(errors.Fault(reason="unknown_node", message=message, field=f"outputs.{name}.node"))


def _twice_set(parameters: tuple[model.Parameter, ...]) -> Iterator[errors.Fault]:
    owners: dict[model.Target, str] = {}
    for parameter in parameters:
        for target in parameter.targets:
            owner = owners.setdefault(target, parameter.name)
            if owner != parameter.name:
                yield _fault(parameter.name, "targets", "target_set_twice", f"{target} is set by {owner!r}, too.")


def _fault(name: str, key: str, reason: str, message: str) -> errors.Fault:
    fields: dict[str, Any] = {"parameter": name, "field": f"parameters.{name}.{key}"}
    return errors.Fault(reason=reason, message=message, **fields)
