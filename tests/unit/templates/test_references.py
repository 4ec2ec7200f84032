"""Names of templates, versions and aliases; where aliases go, and which orders a candidate gets."""

from __future__ import annotations

import pytest

from gateway.domain import errors
from gateway.domain.templates import aliasing, records, references


def alias(*moves: records.Move) -> records.Alias:
    return records.Alias(template="fox", name="stable", moves=moves)


def at(version: str | None, **more: object) -> records.Move:
    return records.Move(version=version, at=0.0, **more)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("fox", ("fox", None)), ("fox@stable", ("fox", "stable")), ("fox@", ("fox", "")), ("a@b@c", ("a", "b@c"))],
)
def test_references(text: str, expected: tuple[str, str | None]) -> None:
    assert tuple(references.parse(text)) == expected


@pytest.mark.parametrize("name", ["stable", "a", "v2-beta_3", "facade"])
def test_aliases_that_can_be(name: str) -> None:
    if references.VERSION.fullmatch(name):
        with pytest.raises(errors.InvalidRequest, match="look like a version"):
            references.alias_name(name)
    else:
        assert references.alias_name(name) == name


@pytest.mark.parametrize("name", ["latest", "abcd", "0123456789abcdef", "Stable", "", "1st", "a b", "a" * 33])
def test_aliases_that_cannot_be(name: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        references.alias_name(name)
    assert refused.value.faults[0].reason == "invalid_alias"


@pytest.mark.parametrize("name", ["", "a/b", "-a", "a" * 65, "fox@stable", "naïve"])
def test_templates_that_cannot_be(name: str) -> None:
    with pytest.raises(errors.TemplateError):
        references.template_name(name)


def test_a_share_is_drawn_from_the_key_and_grows_without_swapping() -> None:
    keys = [f"key-{index}" for index in range(4000)]

    def drawn(share: float) -> set[str]:
        tried = alias(at("old", candidate="new", share=share))
        return {key for key in keys if references.chosen(tried, key) == "new"}

    small, large = drawn(0.1), drawn(0.4)
    assert small < large
    assert abs(len(small) / len(keys) - 0.1) < 0.02
    assert abs(len(large) / len(keys) - 0.4) < 0.03
    assert drawn(1.0) == set(keys)
    assert references.chosen(alias(at("old", candidate="new", share=1.0)), None) == "old"
    assert references.chosen(alias(at(None)), "key") is None


def test_rolling_back_takes_moves_back_one_by_one() -> None:
    moves = [at("a"), at("a", candidate="b", share=0.5), at("b")]
    back = aliasing.back((), at=1.0)
    states: list[tuple[str | None, str | None]] = []
    for _ in range(2):
        moves.append(back(alias(*moves)))
        states.append((moves[-1].version, moves[-1].candidate))
    assert states == [("a", "b"), ("a", None)]
    with pytest.raises(errors.Conflict):
        back(alias(*moves))
    moves.append(at("c"))
    assert back(alias(*moves)).version == "a"


def test_what_is_forgotten_cannot_be_gone_back_to() -> None:
    rolled = at("a", is_rollback=True)
    with pytest.raises(errors.Conflict):
        aliasing.back((), at=1.0)(alias(rolled))
    assert aliasing.back((), at=1.0)(alias(rolled, at("b"))).version == "a"
    with pytest.raises(errors.Conflict):
        aliasing.back((), at=1.0)(alias(at("a"), at(None), at("b")))


def test_moves() -> None:
    set_, unset = alias(at("a")), alias(at("a"), at(None))
    assert aliasing.point("b", at=2.0)(None) == records.Move(version="b", at=2.0)
    assert aliasing.candidate("b", 0.5, at=2.0)(set_) == records.Move(version="a", at=2.0, candidate="b", share=0.5)
    for was in (None, unset):
        with pytest.raises(errors.Conflict):
            aliasing.candidate("b", 0.5, at=2.0)(was)
        with pytest.raises(errors.NotFound):
            aliasing.nowhere(at=2.0)(was)
        with pytest.raises(errors.Conflict):
            aliasing.without_candidate(at=2.0)(was)
    with pytest.raises(errors.Conflict):
        aliasing.candidate("a", 0.5, at=2.0)(set_)
    assert aliasing.nowhere(at=2.0)(set_).version is None
    assert not unset.is_set
