"""How a command ends when it cannot do what it was asked: exit statuses, and the errors that lead to them.

0    done
1    a job failed, a check found something, something went wrong
2    the command, its values, its files or the settings are wrong
3    the gateway cannot be reached, or does not answer as it should
130  interrupted with Ctrl-C
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from gateway.domain import errors

DONE = 0
FAILED = 1
WRONG = 2
UNREACHABLE = 3
INTERRUPTED = 130


class CommandFailed(errors.GatewayError):
    """Something went wrong; `way_out` says what to do about it, `faults` what is wrong in detail.

    `details` is what programs are told besides.
    """

    exit_status: ClassVar[int] = FAILED
    code = "failed"

    def __init__(
        self,
        message: str,
        *,
        way_out: str | None = None,
        faults: Sequence[errors.Fault] = (),
        counted: str = "#",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.details: Mapping[str, Any] = details or {}
        self.way_out = way_out
        self.faults = tuple(faults)
        self.counted = counted  #: what the faults' `index` counts


class Wrong(CommandFailed):
    """The command, a value or a file is wrong."""

    exit_status = WRONG
    code = "usage"


class Unreachable(CommandFailed):
    """No gateway answers. `sent`: the request may have arrived all the same."""

    exit_status = UNREACHABLE
    code = "gateway_unreachable"

    def __init__(self, message: str, *, way_out: str | None = None, sent: bool = False) -> None:
        super().__init__(message, way_out=way_out)
        self.sent = sent


class Refused(CommandFailed):
    """The gateway answered with an error: its HTTP status, its code, its words."""

    def __init__(self, http_status: int, answer: Mapping[str, Any], *, retry_after: float | None = None) -> None:
        error = answer.get("error")
        told: Mapping[str, Any] = error if isinstance(error, dict) else {}
        details = told.get("details")
        self.known: Mapping[str, Any] = details if isinstance(details, dict) else {}
        super().__init__(
            str(told.get("message") or f"the gateway answered {http_status}"), faults=faults_of(self.known)
        )
        self.http_status = http_status
        self.word = str(told.get("code") or "http_error")  #: the contract's code
        self.retry_after = retry_after
        self.way_out = _WAYS_OUT.get(http_status)


_WAYS_OUT: Mapping[int, str] = {
    401: "give a key with --api-key or COMFY_GATEWAY_API_KEY",
    403: "this key may not do that",
}


def faults_of(details: Mapping[str, Any]) -> tuple[errors.Fault, ...]:
    """The faults that an error answer lists."""
    listed = details.get("faults")
    if not isinstance(listed, list):
        return ()
    return tuple(_fault(item) for item in listed if isinstance(item, dict))


def _fault(item: Mapping[str, Any]) -> errors.Fault:
    def text(name: str) -> str | None:
        return None if item.get(name) is None else str(item[name])

    index = item.get("index")
    return errors.Fault(
        reason=text("reason") or "invalid",
        message=text("message") or "",
        parameter=text("parameter"),
        node=text("node"),
        class_type=text("class_type"),
        field=text("field"),
        index=index if isinstance(index, int) else None,
    )


def status_of(error: errors.GatewayError) -> int:
    """The exit status that an error means."""
    match error:
        case Refused():
            return UNREACHABLE if error.http_status >= 500 else WRONG
        case CommandFailed():
            return error.exit_status
        case errors.ConfigError() | errors.InvalidRequest() | errors.NotFound():
            return WRONG
        case _:
            return FAILED


def faults_in(error: errors.GatewayError) -> tuple[errors.Fault, ...]:
    """Everything that the error says is wrong, in detail."""
    if isinstance(error, CommandFailed | errors.InvalidRequest | errors.TemplateError):
        return error.faults
    return ()
