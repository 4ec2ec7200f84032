"""What the gateway answers, as far as the commands use it. `raw` is the whole answer, for `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.domain import states
from gateway.domain.templates import model as templates

ENDED = frozenset(status.value for status in states.TERMINAL)

#: How a job's status is shown to people.
STYLES: Mapping[str, str] = {
    "succeeded": "green",
    "failed": "red",
    "canceled": "yellow",
    "expired": "yellow",
    "canceling": "yellow",
    "running": "cyan",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is."""

    value: float
    node: str | None
    step: int | None
    steps: int | None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Progress:
        """Read the contract's `Progress`."""
        return cls(
            value=float(raw.get("value") or 0.0),
            node=raw.get("current_node_class") or raw.get("current_node"),
            step=raw.get("step"),
            steps=raw.get("steps"),
        )

    @property
    def words(self) -> str:
        """`KSampler 12/20`, for people."""
        steps = f" {self.step}/{self.steps}" if self.step is not None and self.steps else ""
        return f"{self.node}{steps}" if self.node else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that a job made."""

    id: str
    name: str
    type: str
    content_type: str
    size: int
    url: str

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Output:
        """Read the contract's `Output`."""
        return cls(
            id=str(raw["id"]),
            name=str(raw.get("name") or ""),
            type=str(raw.get("type") or "file"),
            content_type=str(raw.get("content_type") or ""),
            size=int(raw.get("size_bytes") or 0),
            url=str(raw.get("url") or ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An order and how it stands."""

    raw: Mapping[str, Any]
    id: str
    status: str
    outputs: tuple[Output, ...]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Job:
        """Read the contract's `Job`."""
        outputs = tuple(Output.of(item) for item in raw.get("outputs") or ())
        return cls(raw=raw, id=str(raw["id"]), status=str(raw["status"]), outputs=outputs)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED

    @property
    def succeeded(self) -> bool:
        """Whether it made what it should."""
        return self.status == states.JobStatus.SUCCEEDED

    @property
    def template(self) -> str | None:
        """The template it was made from."""
        return self.raw.get("template")

    @property
    def worker(self) -> str | None:
        """Who runs it, or ran it last."""
        return self.raw.get("worker")

    @property
    def simulated(self) -> bool:
        """Whether a simulator ran it."""
        return bool(self.raw.get("simulated"))

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The template's values as used."""
        return self.raw.get("inputs") or {}

    @property
    def progress(self) -> Progress | None:
        """How far it is."""
        found = self.raw.get("progress")
        return None if found is None else Progress.of(found)

    @property
    def seconds(self) -> float | None:
        """How long it ran."""
        spent = (self.raw.get("metrics") or {}).get("execution_ms")
        if spent is not None:
            return float(spent) / 1000
        began, ended = self.raw.get("started_at"), self.raw.get("completed_at")
        return None if not began or not ended else epoch(ended) - epoch(began)

    @property
    def complaint(self) -> str | None:
        """Why it failed, in one line."""
        error = self.raw.get("error")
        return str(error["message"]) if error else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template as the gateway describes it."""

    raw: Mapping[str, Any]
    name: str
    parameters: tuple[templates.Parameter, ...]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Template:
        """Read the answer of `GET /v1/templates/{name}`."""
        return cls(raw=raw, name=str(raw["name"]), parameters=tuple(_parameter(item) for item in raw["parameters"]))

    @property
    def seed(self) -> str | None:
        """The parameter that counts up over `-n`."""
        return seed_of(self.parameters)


def seed_of(parameters: tuple[templates.Parameter, ...]) -> str | None:
    """The seed that tells one job of an order from the next."""
    seeds = [parameter.name for parameter in parameters if parameter.type == templates.ParameterType.SEED]
    return next((name for name in seeds if name == "seed"), seeds[0] if seeds else None)


def _parameter(raw: Mapping[str, Any]) -> templates.Parameter:
    try:
        kind = templates.ParameterType(raw["type"])
    except ValueError:  # of a newer gateway: text is the least wrong
        kind = templates.ParameterType.STRING
    return templates.Parameter(
        name=str(raw["name"]),
        type=kind,
        targets=tuple(templates.Target(item["node"], item["input"]) for item in raw.get("targets") or ()),
        role=raw.get("role"),
        title=raw.get("title"),
        description=raw.get("description"),
        default=raw.get("default"),
        default_file=raw.get("default_file"),
        required=bool(raw.get("required")),
        minimum=_bound(raw.get("minimum")),
        maximum=_bound(raw.get("maximum")),
        step=raw.get("step"),
        choices=tuple(raw.get("choices") or ()),
        multiline=bool(raw.get("multiline")),
    )


def _bound(value: float | None) -> float | None:
    """A whole number as one: JSON has it as 64.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def epoch(text: str) -> float:
    """An RFC 3339 time as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def short(job_id: str) -> str:
    """The end of a job's id: enough to tell it from others. (Ids begin with their time, so their ends differ.)"""
    return job_id[-8:]
