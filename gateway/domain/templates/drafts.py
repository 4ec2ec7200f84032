"""What an author gave, read but not yet a template: a workflow in either format, a sidecar, default files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info, structure
from gateway.domain.pipelines import facing, reading
from gateway.domain.pipelines import model as pipelines
from gateway.domain.templates import building, model, records, references, sidecar
from gateway.domain.templates.dialects import definitions, primitives
from gateway.domain.workflow import conversion

MAX_DEPTH: Final = 200  #: of lists and objects in an editor's file; it is written as JSON, which gives up at some depth
_PINS: Final = "steps.json"  #: among what is kept of a pipeline: the versions of its steps' templates
_SAVED: Final = "/saved.json"  #: among what is kept: the editor's file; no default file can be called so
CONVERTER: Final = "3"  #: counts up when conversions must be made anew


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """A template to be. One of `workflow`, `saved` and `pipeline` is there."""

    name: str
    workflow: records.Converted | None = None
    saved: Mapping[str, Any] | None = None  #: the file that ComfyUI's editor saved, to be converted
    text: str = ""  #: the sidecar's
    described: sidecar.Sidecar = field(default_factory=sidecar.Sidecar)
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    source: str | None = None  #: the file it came from
    pipeline: pipelines.Pipeline | None = None

    @property
    def conversion(self) -> str:
        """The digest under which the conversion of `saved` is kept."""
        text = json.dumps(self.saved, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(f"{CONVERTER}\0{text}".encode(errors="replace"), digest_size=16).hexdigest()

    def content(self, converted: records.Converted) -> records.Content:
        """What the template is made of, once there is a graph; with what the editor saved, where no file has that."""
        plain = dataclasses.replace(converted, shapes={})
        files = dict(self.files)
        if self.saved is not None and self.source is None:
            files[_SAVED] = json.dumps(self.saved, separators=(",", ":")).encode()
        return records.Content(workflow=plain, text=self.text, files=files)

    def face(self, find: facing.Find) -> model.Template:
        """The template that stands for the pipeline; TemplateError, TemplateWaiting."""
        if self.pipeline is None:
            raise errors.TemplateError(f"{self.name} is no pipeline.")
        return facing.face(self.name, self.pipeline, find, text=self.text, source=self.source)

    def pinned(self, find: facing.Find) -> Draft:
        """The pipeline with the very versions that its steps' templates are now, for when it is an old version."""
        steps = () if self.pipeline is None else self.pipeline.steps
        named = {step.name: step.template for step in steps if step.template is not None}
        pins = {step: f"{references.parse(named[step]).name}@{find(named[step]).version}" for step in named}
        return dataclasses.replace(self, files={_PINS: json.dumps(pins, sort_keys=True).encode()})

    def template(self, converted: records.Converted, catalog: object_info.NodeCatalog | None = None) -> model.Template:
        """The template with this graph; TemplateError with every fault."""
        return building.build(
            self.name,
            converted.graph,
            self.described,
            text=self.text,
            files=self.files,
            source=self.source,
            catalog=catalog,
            titled=converted.titled,
        )


def converted(draft_: Draft, info: Mapping[str, Any]) -> records.Converted:
    """What the editor's file becomes by this `GET /object_info`; TemplateError with all that stands against it."""
    try:
        made = conversion.convert(draft_.saved, definitions.known(info))
    except errors.InvalidRequest as error:
        raise errors.TemplateError(error.message, faults=error.faults) from None
    shapes = {name: shape for name, shape in made.shapes.items() if name in info}
    return records.Converted(graph=made.graph, titled=primitives.of_editor_file(draft_.saved), shapes=shapes)


def draft(
    name: str,
    workflow: object,
    *,
    text: str = "",
    described: sidecar.Sidecar | None = None,
    files: Mapping[str, bytes] | None = None,
    source: str | None = None,
    file: str = "the workflow",
) -> Draft:
    """The draft of this JSON value; TemplateError with all that is wrong with the graph. `file` is for messages."""
    plain: dict[str, Any] = {
        "name": name,
        "text": text,
        "described": described or sidecar.Sidecar(),
        "files": files or {},
        "source": source,
    }
    if isinstance(workflow, dict) and graphs.is_ui_format(workflow):
        if structure.is_deeper(workflow, MAX_DEPTH):
            raise errors.TemplateError(f"{file}: Lists and objects are nested more than {MAX_DEPTH} deep.")
        return Draft(saved=workflow, **plain)
    try:
        return Draft(workflow=records.Converted(graph=graphs.parse_graph(workflow)), **plain)
    except errors.InvalidRequest as error:
        raise errors.TemplateError(f"{file}: {error.message}", faults=error.faults) from None


def described(text: str, workflow: object, *, file: str) -> sidecar.Sidecar:
    """The sidecar; TemplateError with what is wrong with it, by this workflow, too, as far as that is a graph."""
    try:
        return sidecar.read_sidecar(text, file)
    except errors.TemplateError as error:
        if not error.faults or not isinstance(workflow, dict) or graphs.is_ui_format(workflow):
            raise
        try:
            graph = graphs.parse_graph(workflow)
        except errors.InvalidRequest:
            raise error from None
        raise building.besides(error, graph, text, file) from None


def pipeline(name: str, text: str, *, source: str | None = None, file: str) -> Draft:
    """The draft of a pipeline's file, TOML or JSON; TemplateError."""
    return Draft(name=name, text=text, source=source, pipeline=reading.read_pipeline(text, file))


def of_content(name: str, content: records.Content, *, pinned: bool = True) -> Draft:
    """The draft of a version that was kept, as it was. Not `pinned`, it is what was sent: the editor's file, to be
    converted as workers are now; a pipeline with the templates that its steps name. One without any node is one."""
    if not content.workflow.graph:
        kept = pipeline(name, content.text, file=f"{name}.pipeline.toml")
        if not pinned:
            return kept
        return dataclasses.replace(kept, pipeline=_with_pins(kept.pipeline, content), files=content.files)
    described = sidecar.read_sidecar(content.text, f"{name}.toml") if content.text else sidecar.Sidecar()
    files = {path: data for path, data in content.files.items() if path != _SAVED}
    made = Draft(name=name, workflow=content.workflow, text=content.text, described=described, files=files)
    if pinned or _SAVED not in content.files:
        return made
    return dataclasses.replace(made, workflow=None, saved=json.loads(content.files[_SAVED]))


def _with_pins(pipeline: pipelines.Pipeline | None, content: records.Content) -> pipelines.Pipeline | None:
    if pipeline is None or _PINS not in content.files:
        return pipeline
    pins: Mapping[str, str] = json.loads(content.files[_PINS])
    steps = (dataclasses.replace(step, template=pins.get(step.name, step.template)) for step in pipeline.steps)
    return dataclasses.replace(pipeline, steps=tuple(steps))
