"""What a template is made of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from gateway.domain import errors
from gateway.domain import model as domain
from gateway.domain.comfy import graph as graphs
from gateway.domain.pipelines import model as pipelines

MAX_SEED = 2**64 - 1


class ParameterType(StrEnum):
    """The kinds of value that a parameter takes."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    IMAGE = "image"
    MASK = "mask"
    AUDIO = "audio"
    VIDEO = "video"
    FILE = "file"
    SEED = "seed"  #: an integer that is drawn when absent or -1
    MODEL = "model"  #: the name of a model file on the workers


FILE_TYPES = frozenset(
    {
        ParameterType.IMAGE,
        ParameterType.MASK,
        ParameterType.AUDIO,
        ParameterType.VIDEO,
        ParameterType.FILE,
    }
)
NUMBER_TYPES = frozenset({ParameterType.INTEGER, ParameterType.FLOAT, ParameterType.SEED})


class Target(NamedTuple):
    """An input of a node that a parameter sets."""

    node: str
    input: str

    def __str__(self) -> str:
        return f"{self.node}.{self.input}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One value that a caller may or must give."""

    name: str
    type: ParameterType
    targets: tuple[Target, ...]
    role: str | None = None  #: what it means across templates: prompt, width, seed … (`roles`)
    title: str | None = None
    description: str | None = None
    default: Any = None  #: None: the graph's own value stays
    default_file: str | None = None  #: of file types: a file shipped beside the template
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None  #: a hint for forms, not enforced (nor does ComfyUI)
    choices: tuple[str | float | bool, ...] = ()
    multiline: bool = False


class BatchKind(StrEnum):
    """How n pictures of one order are made."""

    JOBS = "jobs"  #: n jobs with the seeds seed, seed + 1, …
    ONE_RUN = "one_run"  #: one job with a batch size of n


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """A node whose files are results, with a name for people."""

    name: str
    node: str
    title: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePack:
    """A custom node pack that the template needs, with where to get it."""

    name: str
    url: str | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model file that the template needs, with where to get it and how to know it."""

    file: str
    folder: str | None = None  #: below ComfyUI's `models`
    url: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Inputs that show what the template does. Files are paths within the template's folder."""

    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tolerance: float | None = None  #: how far pictures may be from the stored ones; None: as far as any


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A named, versioned workflow with typed parameters."""

    name: str
    version: str
    graph: graphs.Graph
    parameters: tuple[Parameter, ...]
    outputs: tuple[OutputSpec, ...]
    requirements: graphs.Requirements  #: of the graph as it is; a bound graph may need other models
    title: str | None = None
    description: str | None = None
    packs: tuple[NodePack, ...] = ()
    models: tuple[ModelFile, ...] = ()
    tags: tuple[str, ...] = ()
    batch: BatchKind = BatchKind.JOBS  #: unless the order says otherwise
    tries: int | None = None  #: attempts that one of its jobs may spend; None: as many as any job
    limits: domain.Limits = field(default_factory=domain.Limits)
    retention: float | None = None  #: seconds that its jobs and their outputs are kept; None: as long as any job
    examples: tuple[Example, ...] = ()
    inferred: bool = False  #: the parameters were found by walking the graph
    source: str | None = None  #: the file it came from
    pipeline: pipelines.Pipeline | None = None  #: what it is made of, if it is no workflow but several in a row
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])  #: contents of the `default_file`s

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of this name."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)

    def explained(self, fault: errors.Fault) -> errors.Fault:
        """The fault; one about a node class of a declared pack names the pack and where to get it."""
        if fault.reason != "missing_node_type":
            return fault
        pack = next((pack for pack in self.packs if fault.class_type in pack.classes), None)
        if pack is None:
            return fault
        where = f" ({pack.url})" if pack.url else ""
        message = f"No node class {fault.class_type!r} here; it comes with the node pack {pack.name}{where}."
        return dataclasses.replace(fault, message=message)

    def with_role(self, role: str) -> Parameter | None:
        """The first parameter of this role."""
        return next((parameter for parameter in self.parameters if parameter.role == role), None)


def content_version(
    graph: graphs.Graph, sidecar: str, files: Mapping[str, bytes], titled: Mapping[Target, str] | None = None
) -> str:
    """The digest of all that a template is made of; `titled` names inputs, where the editor's file did."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps(graph, sort_keys=True, separators=(",", ":")).encode())
    digest.update(sidecar.encode())
    for name in sorted(files):
        digest.update(name.encode() + hashlib.blake2b(files[name]).digest())
    for target, title in sorted((titled or {}).items()):
        digest.update("\0".join((*target, title)).encode(errors="replace"))
    return digest.hexdigest()
