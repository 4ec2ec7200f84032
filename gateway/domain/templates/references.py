"""How orders name templates: `sdxl`, `sdxl@stable`, `sdxl@latest`, `sdxl@3f2a…`; and which version that is.

Without anything behind it, a name means its alias `stable` once that is set, and the newest version until then. An
alias may send a share of its orders to a candidate: which ones is drawn from the order's key (its Idempotency-Key, else
the job's id), so that the same key always gets the same answer, and a larger share keeps all that a smaller one had.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from gateway.domain import errors
from gateway.domain.templates import records

LATEST: Final = "latest"
STABLE: Final = "stable"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ALIAS: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
VERSION: Final = re.compile(r"[0-9a-f]{4,16}")
FULL: Final = 16  #: digits of a whole version


class Reference(NamedTuple):
    """A template's name, and what stands behind the @."""

    name: str
    which: str | None


def parse(text: str) -> Reference:
    """The reference that this text is."""
    name, at, which = text.partition("@")
    return Reference(name, which if at else None)


def template_name(text: str) -> str:
    """`text`, if a template can be called so; TemplateError."""
    if NAME.fullmatch(text):
        return text
    raise errors.TemplateError(f"{text[:80]}: a template's name has letters, digits and .-_ only, at most 64.")


def alias_name(text: str) -> str:
    """`text`, if an alias can be called so; InvalidRequest."""
    if text == LATEST:
        raise _refused("`latest` is always the newest version and cannot be moved.")
    if VERSION.fullmatch(text):
        raise _refused(f"`{text}` would look like a version.")
    if not ALIAS.fullmatch(text):
        raise _refused("An alias has small letters, digits and -_, begins with a letter, and has at most 32 of them.")
    return text


def _refused(message: str) -> errors.InvalidRequest:
    fault = errors.Fault(reason="invalid_alias", message=message, field="alias")
    return errors.InvalidRequest(message, faults=[fault])


def chosen(alias: records.Alias, key: str | None) -> str | None:
    """The version that an order with this key gets; without a key, never the candidate. None: the alias is not set."""
    move = alias.now
    if move.candidate is not None and key is not None and _drawn(alias, move.candidate, key) < move.share:
        return move.candidate
    return move.version


def _drawn(alias: records.Alias, candidate: str, key: str) -> float:
    """A number from 0 to 1 that this order always draws."""
    words = "\0".join((alias.template, alias.name, candidate, key))
    digest = hashlib.blake2b(words.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
