"""A request with what its answer is made of, for the routes that are called most: a plain function, because each
dependency that the framework resolves costs as much as a small query."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from gateway.api import auth, links, parts, present


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of a known caller."""

    parts: parts.Parts
    caller: auth.Caller
    presenter: present.Presenter


def of(request: Request) -> Call:
    """The call that this request is; Unauthorized when it needs a key and has none of ours."""
    known = parts.of(request)
    return Call(
        parts=known,
        caller=known.access.caller(request.headers.get("authorization")),
        presenter=present.Presenter(known, links.of(request, known)),
    )
