"""The answers of the contract (Comfy API v2) as pydantic models; what we add is marked `added`.

Answers are built from these and sent with `exclude_unset`: a field that was not given is not sent, a field that was
given as None is sent as null. Times are RFC 3339 strings already.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, WithJsonSchema

from gateway.domain import model
from gateway.domain.states import JobStatus, Outcome

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Uri = Annotated[str, WithJsonSchema({"type": "string", "format": "uri"})]
UriReference = Annotated[str, WithJsonSchema({"type": "string", "format": "uri-reference"})]


class Error(BaseModel):
    """What went wrong, for programs (`code`), for people (`message`) and in full (`details`)."""

    code: str = Field(examples=["invalid_workflow"])
    message: str = Field(examples=["Node 12 (KSampler): required input 'model' is not connected"])
    details: dict[str, Any] | None = Field(
        default=None,
        examples=[{"node_errors": {"12": [{"field": "model", "reason": "missing_input"}]}}],
    )


class ErrorEnvelope(BaseModel):
    """The envelope of every error answer."""

    error: Error


class Asset(BaseModel):
    """A record over content-addressed bytes."""

    id: str = Field(examples=["9f8a1c0d-2b3e-4f56-8a7b-1c2d3e4f5a6b"])
    hash: str | None = Field(description="`blake3:<hex>`.")
    size_bytes: int = Field(examples=[4816293])
    content_type: str = Field(examples=["image/png"])
    file_path: str | None = Field(default=None, examples=["photo.png"])
    created_new: bool = Field(
        default=True, description="On create answers: whether the bytes were new here, or known already."
    )
    created_at: Time
    url: Uri = Field(description="Short-lived signed content URL.")
    url_expires_at: Time
    expires_at: Time | None = Field(default=None, description="Null: kept until deleted.")
    job_id: str | None = Field(default=None, description="The job that produced it; null for an upload.")
    tags: list[str] = Field(default_factory=list, description="added: the category tags given at upload.")
    simulated: bool = Field(default=False, description="added: made by a simulator, not by a model.")


class Output(BaseModel):
    """A committed output of a job. Outputs are assets: `id` is the asset's."""

    node_id: str = Field(examples=["9"])
    name: str = Field(examples=["ComfyUI_00001_.png"])
    type: model.OutputType
    content_type: str = Field(examples=["image/png"])
    size_bytes: int = Field(examples=[1848320])
    id: str = Field(description="Asset UUID.")
    hash: str | None = Field(description="`blake3:<hex>`.")
    url: Uri
    url_expires_at: Time
    job_id: str | None = Field(default=None, description="The job whose output this is.")
    simulated: bool = Field(default=False, description="added: made by a simulator, not by a model.")


class Progress(BaseModel):
    """A complete snapshot of how far a job is."""

    value: float = Field(ge=0, le=1, description="Overall fraction; never falls within an attempt.")
    nodes_done: int = Field(ge=0)
    nodes_total: int = Field(ge=0)
    current_node: str | None = None
    current_node_class: str | None = Field(default=None, examples=["KSampler"])
    step: int | None = None
    steps: int | None = None
    message: str | None = Field(default=None, examples=["KSampler 21/50"])


class JobError(BaseModel):
    """Why a job failed; `code` is a stable word."""

    code: str = Field(examples=["node_execution_error"])
    message: str
    node_id: str | None = None
    class_type: str | None = None
    traceback: str | None = None
    details: dict[str, Any] | None = Field(default=None, description="added: more, where there is more.")


class JobUrls(BaseModel):
    """Follow-up links, host-relative with any mount prefix: follow them, do not build URLs."""

    self: UriReference
    events: UriReference
    cancel: UriReference


class Attempt(BaseModel):
    """added: one try of a job on one worker; `id` is the prompt id that the worker knows it by."""

    id: str
    worker: str
    number: int = Field(ge=1)
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    outcome: Outcome | None
    reason: str | None
    error: JobError | None


class Webhook(BaseModel):
    """added: who is told about a job. Its secret is never shown."""

    url: str
    events: list[str]


class Eta(BaseModel):
    """added: when a job is expected to be done. Half of all jobs are done by `p50`, nine in ten by `p90`."""

    p50: Time
    p90: Time


class Step(BaseModel):
    """A step of a pipeline that was begun."""

    name: str
    status: JobStatus
    job_id: str | None = Field(description="Its own job; null where a check may withhold what the steps make.")
    template: str | None = None
    worker: str | None = None
    execution_ms: int | None = None


class Job(BaseModel):
    """One execution of a workflow, however it was submitted."""

    id: str = Field(examples=["7f3d2c1b-9a8e-4d6f-b012-3c4d5e6f7a8b"])
    status: JobStatus
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    expires_at: Time
    queue_position: int | None = Field(
        description="1 for the next one; null when not queued, in lists and in answers to orders."
    )
    eta: Eta | None = Field(
        default=None, description="added: absent while nothing is known, of ended jobs, and in lists of queued ones."
    )
    progress: Progress | None
    outputs: list[Output]
    error: JobError | None
    outputs_reused: bool = False
    metrics: dict[str, int | None] = Field(
        default_factory=dict[str, int | None], examples=[{"queue_ms": 9000, "execution_ms": 42000}]
    )
    urls: JobUrls
    metadata: dict[str, str] = Field(default_factory=dict[str, str])
    priority: int = 0
    template: str | None = Field(default=None, description="added: the template it was made from.")
    template_version: str | None = Field(default=None, description="added.")
    inputs: dict[str, Any] | None = Field(
        default=None, description="added: the template's values as used, defaults and drawn seeds included."
    )
    batch_id: str | None = Field(default=None, description="added.")
    worker: str | None = Field(default=None, description="added: the worker of the latest attempt.")
    tries: int = Field(default=0, description="added: attempts spent.")
    attempts: list[Attempt] = Field(default_factory=list[Attempt], description="added: every try so far; not in lists.")
    simulated: bool = Field(default=False, description="added: ran on a simulator.")
    webhook: Webhook | None = Field(default=None, description="added: who is told about it; absent: nobody.")
    steps: list[Step] = Field(default_factory=list[Step], description="added: of a pipeline; not in lists.")
    parent_id: str | None = Field(default=None, description="added: the pipeline whose step it is.")


class JobItem(Job):
    """A job as lists show it."""

    create_time: Time
    update_time: Time


class JobList(BaseModel):
    """One page of jobs, newest first; `next_cursor` is absent on the last one."""

    jobs: list[JobItem]
    next_cursor: str | None = None


class JobWorkflowResponse(BaseModel):
    """The graph behind a job, as it was bound: asset references are still references."""

    workflow: dict[str, Any]
    format: str = Field(json_schema_extra={"enum": ["save", "api"]})


class StatusEvent(BaseModel):
    """`status` event of a job's stream."""

    status: JobStatus
    queue_position: int | None = None


class PreviewEvent(BaseModel):
    """`preview` event of a job's stream."""

    node_id: str
    content_type: str = Field(examples=["image/jpeg"])
    data_base64: str
