"""The one place where errors become answers, always in the contract's envelope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api import schemas
from gateway.domain import errors, wording

log = structlog.get_logger(__name__)

#: Words for what the framework itself refuses.
_CODES: Mapping[int, str] = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed"}
_MEANINGS: Mapping[int, str] = {
    400: "`invalid_request`: the request cannot be read.",
    401: "`unauthorized`: missing or invalid credentials.",
    403: "`forbidden`: authenticated but not allowed, or a foreign web page's request.",
    404: "`not_found`: no such thing, or not the caller's.",
    409: "`conflict`: contradicts the present state; the code says how.",
    413: "`payload_too_large`.",
    416: "Range not satisfiable.",
    422: "Understood, and not acceptable; `details.faults` lists everything that is wrong.",
    429: "Too much at once; `error.code` says of what. Come back after `Retry-After` seconds.",
    500: "`internal_error`: a defect of the gateway.",
    502: "A worker did not do what it was asked.",
    503: "Something behind the gateway does not answer. Come back after `Retry-After` seconds.",
}
_ALWAYS = (400, 401, 403, 422, 500, 503)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these error statuses, and those that every route can answer."""
    return {status: _documented(status) for status in sorted({*statuses, *_ALWAYS})}


def _documented(status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"model": schemas.ErrorEnvelope, "description": _MEANINGS[status]}
    if status in {429, 503}:
        answer["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait before retrying."}
        }
    return answer


def envelope(
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error answer."""
    body = {"error": {"code": code, "message": message, "details": details}}
    return Response(orjson.dumps(body, default=str), status_code=status, headers=headers, media_type="application/json")


def answer_for(error: errors.GatewayError) -> Response:
    """The answer that an error of ours means; one that no client should ever see is an internal error."""
    if error.status >= 500 and not isinstance(error, errors.Unavailable):
        log.error("internal_error", error=type(error).__name__, message=error.message)
        return _internal_error()
    headers: dict[str, str] = {}
    if isinstance(error, errors.Busy | errors.Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return envelope(error.status, error.code, error.message, error.details, headers)


def _internal_error() -> Response:
    return envelope(500, "internal_error", "the gateway failed to answer; its log says why")


async def _gateway_error(_request: Request, error: Exception) -> Response:
    return answer_for(cast(errors.GatewayError, error))


async def _validation_error(_request: Request, error: Exception) -> Response:
    faults = faults_of(cast(RequestValidationError, error).errors())
    return answer_for(errors.InvalidRequest("; ".join(fault.message for fault in faults), faults=faults))


def faults_of(problems: Sequence[Any]) -> list[errors.Fault]:
    """Pydantic's problems as faults; `field` is the parameter as the client wrote it."""
    return [_fault(".".join(map(str, problem["loc"][1:] or problem["loc"])), problem) for problem in problems]


def _fault(place: str, problem: Mapping[str, Any]) -> errors.Fault:
    return errors.Fault(reason="invalid_value", message=f"`{place}`: {wording.said(problem)}", field=place)


async def _http_exception(request: Request, refused: Exception) -> Response:
    """What the framework refuses by itself: unknown paths, wrong methods, bodies it cannot read."""
    error = cast(HTTPException, refused)
    code = _CODES.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal_error")
    headers = dict(error.headers or {})
    message = str(error.detail)
    if error.status_code == 404:
        message = f"there is nothing at {request.url.path}"
    if error.status_code == 405:
        allowed = _methods_at(request)
        headers["Allow"] = ", ".join(allowed)
        message = f"{request.method} is not allowed here, only {headers['Allow']}"
    return envelope(error.status_code, code, message, headers=headers)


def _methods_at(request: Request) -> list[str]:
    """Every method that some route takes at the request's path; a path that is written out counts before `{id}`."""
    methods: dict[str, set[str]] = {}
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            methods.setdefault(route.path, set()).update(route.methods or ())
    found = methods.get(request.scope["path"]) or set[str]().union(*methods.values())
    if "GET" in found:
        found.add("HEAD")
    return sorted(found)


async def _client_gone(_request: Request, _error: Exception) -> Response:
    """Nobody reads this answer; the status is what proxies call a client that went away."""
    return Response(status_code=499)


def install(app: FastAPI) -> None:
    """Have `app` answer errors our way."""
    app.add_exception_handler(errors.GatewayError, _gateway_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(ClientDisconnect, _client_gone)


class LastResort:
    """Outermost: an error that nobody expected is logged whole and answered without internals."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass through; on an error answer 500, or break the connection when the answer had begun."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def watched(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:  # the border of the program: whatever it is, the server stays up
            log.exception("internal_error", method=scope["method"], path=scope["path"])
            if began:
                raise  # a cut answer must not look like a whole one
            await _internal_error()(scope, receive, send)
