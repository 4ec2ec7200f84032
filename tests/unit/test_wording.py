"""What pydantic finds, as people read it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
import pytest
from pydantic.fields import FieldInfo

from gateway.domain import wording


def own(value: object) -> object:
    """Refuse with a sentence of ours."""
    raise ValueError("a colour is a word")


CASES = [
    (int, "ten", "must be a whole number"),
    (int, 1.5, "must be a whole number"),
    (float, "x", "must be a number"),
    (str, 7, "must be text"),
    (bool, "perhaps", "must be true or false"),
    (list[int], 7, "must be a list"),
    (dict[str, int], 7, "must be an object"),
    (Literal["a", "b"], "c", "must be one of 'a' or 'b'"),
    (Literal["integer", "choice"], "chioce", "must be one of 'integer' or 'choice'; did you mean 'choice'?"),
    (pydantic.Field(ge=1), 0, "must be at least 1"),
    (pydantic.Field(le=100), 101, "must be at most 100"),
    (pydantic.Field(gt=0), 0, "must be more than 0"),
    (pydantic.Field(lt=1), 1, "must be less than 1"),
    (pydantic.Field(min_length=2), "a", "must have at least 2 characters"),
    (pydantic.Field(max_length=2), "abc", "must have at most 2 characters"),
    (pydantic.Field(min_length=2), ["a"], "must have at least 2 items"),
    (pydantic.Field(max_length=1), ["a", "b"], "must have at most 1 items"),
    (pydantic.Field(pattern="^a$"), "b", "must match the pattern ^a$"),
    (pydantic.BeforeValidator(own), "x", "a colour is a word"),
    (pydantic.UUID4, "x", "Input should be a valid UUID"),
]


@pytest.mark.parametrize(("shape", "value", "said"), CASES)
def test_sayings(shape: Any, value: object, said: str) -> None:
    is_rule = isinstance(shape, FieldInfo | pydantic.BeforeValidator)
    whole: Any = Annotated[type(value), shape] if is_rule else shape
    with pytest.raises(pydantic.ValidationError) as caught:
        pydantic.TypeAdapter(whole).validate_python(value)
    (problem,) = caught.value.errors(include_url=False)
    assert wording.said(problem).startswith(said)
