"""Moves of an alias: to a version, with a share of the orders to a candidate, back again. Each returns what the store
asks for: a function of what the alias is, which says what it becomes or raises."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from gateway.domain import errors
from gateway.domain.templates import records

To = Callable[[records.Alias | None], records.Move]


def point(version: str, *, at: float) -> To:
    """To this version; a candidate is given up."""
    return lambda _was: records.Move(version=version, at=at)


def candidate(version: str, share: float, *, at: float) -> To:
    """A share of the orders to this version; Conflict for an alias that points to nothing, or to it already."""

    def to(was: records.Alias | None) -> records.Move:
        if was is None or not was.is_set:
            raise errors.Conflict("The alias points to nothing yet; set it to the version that the others shall get.")
        if was.now.version == version:
            raise errors.Conflict("The alias points to this version already.")
        return records.Move(version=was.now.version, at=at, candidate=version, share=share)

    return to


def without_candidate(*, at: float) -> To:
    """All orders to the version that it points to; Conflict when there is no candidate."""

    def to(was: records.Alias | None) -> records.Move:
        if was is None or was.now.candidate is None:
            raise errors.Conflict("The alias has no candidate.")
        return records.Move(version=was.now.version, at=at)

    return to


def back(versions: Sequence[records.VersionInfo], *, at: float) -> To:
    """To what it was before its last move. An alias that was never set goes to the version before the newest of
    `versions` (newest first). Conflict when there is nothing to go back to."""

    def to(was: records.Alias | None) -> records.Move:
        if was is None or not was.is_set:
            if len(versions) < 2:
                raise errors.Conflict("There is no older version to go back to.")
            return records.Move(version=versions[1].version, at=at)
        before = was.before
        if before is None:
            raise errors.Conflict("There is no earlier move to go back to; point the alias to a version.")
        return dataclasses.replace(before, at=at, is_rollback=True)

    return to


def nowhere(*, at: float) -> To:
    """Removed; NotFound when it is not set."""

    def to(was: records.Alias | None) -> records.Move:
        if was is None or not was.is_set:
            raise errors.NotFound("There is no such alias.")
        return records.Move(version=None, at=at)

    return to
