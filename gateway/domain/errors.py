"""Every error the gateway raises on purpose, in one tree.

    GatewayError
    ├── InvalidRequest             422 invalid_request     malformed, with every fault at once
    │   ├── InvalidWorkflow        422 invalid_workflow    a graph no worker could run
    │   ├── InvalidInputs          422 invalid_inputs      values a template's parameters do not take
    │   ├── UiWorkflow             422 workflow_format_ui  a UI-format file where a graph belongs
    │   ├── MissingAsset           422 missing_asset       a reference to bytes the caller does not own
    │   ├── IdempotencyKeyReuse    422 idempotency_key_reuse
    │   ├── InvalidMetadata        422 metadata_invalid
    │   ├── InvalidMetadataFilter  422 invalid_metadata_filter
    │   ├── InvalidCursor          422 invalid_cursor
    │   ├── DeadlineTooSoon        422 deadline_too_soon   a deadline that would be missed, with the estimate
    │   ├── NoPicture              422 no_picture          a picture was asked for, and the job ended without one
    │   └── MalformedBody          400 invalid_request     not JSON, not multipart …
    ├── Unauthorized               401 unauthorized
    ├── Forbidden                  403 forbidden
    ├── NotFound                   404 not_found
    │   ├── BlobNotFound           404 blob_not_found
    │   └── OutputUnavailable      404 output_unavailable
    ├── Conflict                   409 conflict
    │   ├── HashMismatch           409 hash_mismatch
    │   ├── AssetInUse             409 asset_in_use
    │   └── NotQueued              409 not_queued          what can be changed of a waiting job only
    ├── PayloadTooLarge            413 payload_too_large
    ├── RangeNotSatisfiable        416 range_not_satisfiable
    ├── Busy                       429 with Retry-After
    │   ├── QueueFull              429 queue_full
    │   └── TooManyStreams         429 too_many_streams
    ├── Unavailable                503 upstream_unreachable with Retry-After
    │   ├── StoreUnavailable       503 store_unavailable
    │   └── TemplateWaiting        503 template_waiting    a UI-format file, and no worker to convert it by
    ├── LeaseLost                  fencing: this attempt or worker is no longer ours (never reaches a client)
    ├── TargetError                a request to an address that a client chose (never reaches a client as such)
    │   ├── TargetRefused          we send nothing there: private addresses, other schemes
    │   └── TargetUnreachable      no connection, a time-out, no sense in the answer
    ├── WorkerError                a worker did not do what we asked (never reaches a client as such)
    │   ├── WorkerUnreachable      no connection, a time-out, a dropped answer
    │   ├── WorkerRefused          a definite no: 4xx with ComfyUI's error body
    │   └── WorkerFault            an answer that makes no sense, a 5xx
    └── ConfigError                settings or files a person must mend (exit status 2 in the CLI)
        ├── TemplateError          a template file that cannot be used, with the place
        └── DataDirLocked          another gateway owns the data directory

Raise anywhere; `gateway.api.errors` turns them into responses, `gateway.cli` into messages, nobody else does.
`code` is the contract's machine-readable word, `status` the HTTP status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with a request or a file, with its place.

    `reason` is a stable word for programs (`missing_input`, `value_not_in_list`, `unknown_parameter` …);
    `message` is a sentence for people, with the way out where there is one. Places that do not apply are None:
    `parameter` names a template parameter, `node` a node id of the graph, `class_type` its class, `field` an input.
    """

    reason: str
    message: str
    parameter: str | None = None
    node: str | None = None
    class_type: str | None = None
    field: str | None = None
    index: int | None = None  #: which member of a batch, counted from 0

    def as_dict(self) -> dict[str, Any]:
        """The fault as JSON, without the places that do not apply."""
        pairs = {
            "reason": self.reason,
            "message": self.message,
            "parameter": self.parameter,
            "node": self.node,
            "class_type": self.class_type,
            "field": self.field,
            "index": self.index,
        }
        return {key: value for key, value in pairs.items() if value is not None}


class GatewayError(Exception):
    """Base of all errors raised on purpose."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details) if details else None


class InvalidRequest(GatewayError):
    """The request cannot be accepted as it is; `faults` says everything that is wrong with it."""

    code = "invalid_request"
    status = 422

    def __init__(self, message: str, *, faults: Sequence[Fault] = (), details: Mapping[str, Any] | None = None) -> None:
        merged: dict[str, Any] = dict(details or {})
        if faults:
            merged["faults"] = [fault.as_dict() for fault in faults]
        super().__init__(message, details=merged)
        self.faults = tuple(faults)


class InvalidWorkflow(InvalidRequest):
    """A graph that no known worker could run. `details.node_errors` groups the faults by node, as the contract does."""

    code = "invalid_workflow"

    def __init__(self, message: str, *, faults: Sequence[Fault] = ()) -> None:
        node_errors: dict[str, list[dict[str, Any]]] = {}
        for fault in faults:
            if fault.node is not None:
                entry = {"field": fault.field, "reason": fault.reason, "message": fault.message}
                node_errors.setdefault(fault.node, []).append(entry)
        super().__init__(message, faults=faults, details={"node_errors": node_errors})


class InvalidInputs(InvalidRequest):
    """Values that a template's parameters do not take."""

    code = "invalid_inputs"


class UiWorkflow(InvalidRequest):
    """A workflow in ComfyUI's UI format (nodes and links) where the API format belongs."""

    code = "workflow_format_ui"


class MissingAsset(InvalidRequest):
    """References to assets that do not exist or belong to somebody else; the two are not told apart."""

    code = "missing_asset"

    def __init__(self, message: str, *, missing_ids: Sequence[str], faults: Sequence[Fault] = ()) -> None:
        super().__init__(message, faults=faults, details={"missing_ids": list(missing_ids)})


class DeadlineTooSoon(InvalidRequest):
    """A deadline that the job would miss, as things stand. `details.eta` says when it would be done."""

    code = "deadline_too_soon"


class NoPicture(InvalidRequest):
    """`Accept: image/*`, and the job ended without a picture. `details` has `job_id`, its `status` and, if it failed,
    the `reason`: the `code` of its error. It was tried as often as it may be: the same order is no better."""

    code = "no_picture"


class IdempotencyKeyReuse(InvalidRequest):
    """An Idempotency-Key that was presented before; keys are single-use for 24 hours. `details` has the `job_id`,
    `batch_id` or `asset_id` that was made with it."""

    code = "idempotency_key_reuse"


class InvalidMetadata(InvalidRequest):
    """Metadata outside the contract: 16 pairs, keys of 1–40 of `A-Za-z0-9_-.`, values up to 256 bytes."""

    code = "metadata_invalid"


class InvalidMetadataFilter(InvalidRequest):
    """A metadata filter of a listing that no job's metadata could ever match."""

    code = "invalid_metadata_filter"


class InvalidCursor(InvalidRequest):
    """A list cursor that this gateway did not issue."""

    code = "invalid_cursor"


class MalformedBody(InvalidRequest):
    """A body that cannot be read at all: no JSON, a broken form."""

    status = 400


class Unauthorized(GatewayError):
    """Missing or invalid credentials."""

    code = "unauthorized"
    status = 401


class Forbidden(GatewayError):
    """Authenticated, but not allowed."""

    code = "forbidden"
    status = 403


class NotFound(GatewayError):
    """No such thing, or not the caller's; the two are not told apart."""

    code = "not_found"
    status = 404


class BlobNotFound(NotFound):
    """No blob with that hash that the caller may use."""

    code = "blob_not_found"


class OutputUnavailable(NotFound):
    """The output is recorded, its bytes are gone."""

    code = "output_unavailable"


class Conflict(GatewayError):
    """The request contradicts the present state."""

    code = "conflict"
    status = 409


class HashMismatch(Conflict):
    """The bytes do not have the hash that the client declared."""

    code = "hash_mismatch"


class AssetInUse(Conflict):
    """The asset record is still needed."""

    code = "asset_in_use"


class NotQueued(Conflict):
    """What can be changed only while a job is queued; this one runs, or has ended."""

    code = "not_queued"


class PayloadTooLarge(GatewayError):
    """A body, file or picture over its limit."""

    code = "payload_too_large"
    status = 413


class RangeNotSatisfiable(GatewayError):
    """A Range header outside the content."""

    code = "range_not_satisfiable"
    status = 416


class Busy(GatewayError):
    """Too much at once; come back after `retry_after` seconds."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, *, retry_after: int = 5, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.retry_after = retry_after


class QueueFull(Busy):
    """The queue has reached its bound."""

    code = "queue_full"


class TooManyStreams(Busy):
    """Too many event streams are open for this key."""

    code = "too_many_streams"


class Unavailable(GatewayError):
    """Something behind the gateway does not answer; come back after `retry_after` seconds."""

    code = "upstream_unreachable"
    status = 503

    def __init__(self, message: str, *, retry_after: int = 2, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.retry_after = retry_after


class StoreUnavailable(Unavailable):
    """The database or the blob store cannot be used right now (locked, full, gone)."""

    code = "store_unavailable"


class TemplateWaiting(Unavailable):
    """The template's file is in the format of ComfyUI's editor, and no worker is known whose node classes could tell
    how to convert it. Start or add a worker, or export the file as *Export (API)*."""

    code = "template_waiting"

    def __init__(self, message: str, *, retry_after: int = 10) -> None:
        super().__init__(message, retry_after=retry_after)


class LeaseLost(GatewayError):
    """This attempt or worker is no longer ours; whatever we know about it must not be written."""

    code = "lease_lost"


class TargetError(GatewayError):
    """A request to an address that a client chose came to nothing."""

    code = "target_error"
    status = 502


class TargetRefused(TargetError):
    """We send nothing there: its address is not allowed."""

    code = "target_refused"


class TargetUnreachable(TargetError):
    """No connection, a time-out, or an answer that makes no sense."""

    code = "target_unreachable"


class WorkerError(GatewayError):
    """A worker did not do what we asked."""

    code = "worker_error"
    status = 502


class WorkerUnreachable(WorkerError):
    """No connection, a time-out or a dropped answer: whether the worker acted is unknown.

    Unless `refused` is true: then nobody listened at that address, and nothing was sent.
    """

    code = "worker_unreachable"

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class WorkerRefused(WorkerError):
    """A definite no. `body` is ComfyUI's JSON answer where it sent one, `http_status` its status."""

    code = "worker_refused"

    def __init__(self, message: str, *, http_status: int, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.body = dict(body) if body else {}


class WorkerFault(WorkerError):
    """An answer that makes no sense, or a 5xx."""

    code = "worker_fault"


class ConfigError(GatewayError):
    """Settings or files that a person must mend."""

    code = "config_error"


class TemplateError(ConfigError):
    """A template file that cannot be used; `faults` gives each place."""

    code = "invalid_template"
    status = 422

    def __init__(self, message: str, *, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message, details={"faults": [fault.as_dict() for fault in faults]} if faults else None)
        self.faults = tuple(faults)


class DataDirLocked(ConfigError):
    """Another gateway owns the data directory."""

    code = "data_dir_locked"
