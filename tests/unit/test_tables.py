"""Small files of tables: what is taken of them, and what no file of anybody's says."""

from __future__ import annotations

import pytest

from gateway.domain import errors, tables

MANY = "." * 500
FILES = [f"lora.{number}.safetensors" for number in range(500)]


@pytest.mark.parametrize(
    "text",
    [
        "choices = [" + ", ".join(f'"{file}"' for file in FILES) + "]",
        "choices = [" + ", ".join(f"'{file}'" for file in FILES) + "]",
        "choices = [" + ", ".join(f"{number}.5" for number in range(500)) + "]",
        f'title = """A\n"{MANY}"""',
        f"title = '''A\n'{MANY}'''",
        f'title = "A \\" quote{MANY}"',
        f'title = "x" # "{MANY}',
        "".join(f'["a.b".c.p{number}]\nvalue = 1.5\n' for number in range(500)),
    ],
)
def test_dots_in_what_is_said_do_not_count(text: str) -> None:
    assert tables.parsed(text, "x.toml")


@pytest.mark.parametrize(
    "text",
    [
        f"a{'.a' * 21} = 1",
        f"a{' . a' * 21} = 1",
        '"a.b"' + ".'c'" * 21 + " = 1",
        f"[a{'.a' * 21}]",
        f"x = {{ a{'.a' * 21} = 1 }}",
        f'x = """ " """\ny{".a" * 21} = 1',
        "a.a.a.a = 1\n" * 20_000,
    ],
)
def test_keys_of_many_parts_are_refused(text: str) -> None:
    with pytest.raises(errors.TemplateError, match="20 dots in a key"):
        tables.parsed(text, "x.toml")


@pytest.mark.parametrize(
    "text",
    [
        '"""\n\\' * 200_000 + MANY,
        '"""' + "\n\\" * 400_000 + MANY + "\\",
        '"\\' * 400_000 + MANY,
        "'\n" * 400_001 + MANY,
        " " * 1_000_000 + MANY,
    ],
)
def test_what_has_no_end_is_gone_through_once(text: str) -> None:
    with pytest.raises(errors.TemplateError):
        tables.parsed(text, "x.toml")


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ["\\ud83d"]}',
        '{"a": {"\\udc00": 1}}',
        '{"a": "\\u0000"}',
        'a = "\\u0000"',
        'a = "\\ud800"',
    ],
)
def test_text_that_could_not_be_told_again_is_refused(text: str) -> None:
    with pytest.raises(errors.TemplateError):
        tables.parsed(text, "x")


def test_whole_pairs_are_text() -> None:
    assert tables.parsed('{"a": "\\ud83e\\udd8a"}', "x") == {"a": "🦊"}
