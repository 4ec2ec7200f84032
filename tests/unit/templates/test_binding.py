"""Values into templates: what each type takes, what is refused with its place, and the two steps of binding."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import binding, model, values

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
ASSET = "0190a1b2-0000-7000-8000-000000000001"
REFERENCE = {"__type": "core/ASSET", "info": {"id": ASSET}}

Kind = model.ParameterType


def parameter(kind: Kind, **changes: Any) -> model.Parameter:
    fields: dict[str, Any] = {"name": "p", "type": kind, "targets": (model.Target("1", "value"),), **changes}
    return model.Parameter(**fields)


def template(*parameters: model.Parameter, files: dict[str, bytes] | None = None) -> model.Template:
    graph = graphs.parse_graph(
        {
            "1": {"class_type": "Node", "inputs": {"value": "own", "other": 1}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
        }
    )
    return model.Template(
        name="t",
        version="0",
        graph=graph,
        parameters=parameters,
        outputs=(),
        requirements=graphs.requirements(graph),
        files=files or {},
    )


def bind(item: model.Template, given: object, draw: Callable[[], int] = lambda: 7) -> binding.Bound:
    return binding.bind(item, given, draw_seed=draw)


#: type, changes, what is given, what the graph gets
TAKEN: list[tuple[Kind, dict[str, Any], Any, Any]] = [
    (Kind.STRING, {}, "a 🦊", "a 🦊"),
    (Kind.STRING, {}, "", ""),
    (Kind.INTEGER, {}, 5, 5),
    (Kind.INTEGER, {}, 5.0, 5),
    (Kind.INTEGER, {"minimum": 1, "maximum": 5}, 5, 5),
    (Kind.FLOAT, {}, 5, 5.0),
    (Kind.FLOAT, {}, 0.5, 0.5),
    (Kind.BOOLEAN, {}, False, False),
    (Kind.CHOICE, {"choices": ("a", "b")}, "b", "b"),
    (Kind.CHOICE, {"choices": (1, 2)}, 2, 2),
    (Kind.CHOICE, {"choices": (True, 1)}, 1, 1),
    (Kind.MODEL, {}, "sub/a.safetensors", "sub/a.safetensors"),
    (Kind.SEED, {}, 2**64 - 1, 2**64 - 1),
    (Kind.SEED, {}, 0, 0),
    (Kind.SEED, {}, -1, 7),
    (Kind.SEED, {}, None, 7),
    (Kind.SEED, {"maximum": 4}, None, 2),
    (Kind.SEED, {"minimum": 10, "maximum": 12}, None, 11),
    (Kind.SEED, {"default": 3}, None, 7),
    (Kind.IMAGE, {}, REFERENCE, REFERENCE),
    (Kind.IMAGE, {}, {"asset_id": ASSET}, REFERENCE),
    (Kind.IMAGE, {}, ASSET, REFERENCE),
    (Kind.IMAGE, {}, ASSET.upper(), REFERENCE),
    (Kind.IMAGE, {}, "sub/photo.png", "sub/photo.png"),
    (Kind.MASK, {}, "clipspace/mask.png [input]", "clipspace/mask.png [input]"),
]


@pytest.mark.parametrize(("kind", "changes", "given", "expected"), TAKEN)
def test_what_is_taken(kind: Kind, changes: dict[str, Any], given: Any, expected: Any) -> None:
    bound = bind(template(parameter(kind, **changes)), {"p": given})
    value = bound.graph()["1"]["inputs"]["value"]
    assert (value, type(value)) == (expected, type(expected))
    assert bound.inputs() == {"p": expected}


REFUSED: list[tuple[Kind, dict[str, Any], Any, str]] = [
    (Kind.STRING, {}, 5, "wrong_type"),
    (Kind.STRING, {}, ["a"], "wrong_type"),
    (Kind.STRING, {}, "x" * 200_001, "too_long"),
    (Kind.STRING, {}, "a\0b", "invalid_text"),
    (Kind.STRING, {}, "\ud83d", "invalid_text"),
    (Kind.INTEGER, {}, "5", "wrong_type"),
    (Kind.INTEGER, {}, True, "wrong_type"),
    (Kind.INTEGER, {}, 5.5, "wrong_type"),
    (Kind.INTEGER, {}, float("nan"), "wrong_type"),
    (Kind.INTEGER, {}, float("inf"), "wrong_type"),
    (Kind.INTEGER, {}, 10**4000, "value_bigger_than_max"),
    (Kind.INTEGER, {}, -(10**4000), "value_smaller_than_min"),
    (Kind.INTEGER, {"minimum": 1}, 0, "value_smaller_than_min"),
    (Kind.INTEGER, {"maximum": 5}, 6, "value_bigger_than_max"),
    (Kind.FLOAT, {}, False, "wrong_type"),
    (Kind.FLOAT, {}, "0.5", "wrong_type"),
    (Kind.FLOAT, {}, float("nan"), "invalid_number"),
    (Kind.FLOAT, {}, float("inf"), "invalid_number"),
    (Kind.FLOAT, {}, 10**400, "invalid_number"),
    (Kind.FLOAT, {"minimum": 0.0, "maximum": 1.0}, 1.1, "value_bigger_than_max"),
    (Kind.BOOLEAN, {}, 1, "wrong_type"),
    (Kind.BOOLEAN, {}, "true", "wrong_type"),
    (Kind.CHOICE, {"choices": ("euler", "heun")}, "eular", "value_not_in_list"),
    (Kind.CHOICE, {"choices": (1, 2)}, True, "value_not_in_list"),
    (Kind.CHOICE, {"choices": ("a",)}, {}, "wrong_type"),
    (Kind.MODEL, {}, "../../etc/passwd", "invalid_file_name"),
    (Kind.MODEL, {}, "", "invalid_file_name"),
    (Kind.MODEL, {"choices": ("a.safetensors",)}, "b.safetensors", "value_not_in_list"),
    (Kind.SEED, {}, -2, "value_smaller_than_min"),
    (Kind.SEED, {}, 2**64, "value_bigger_than_max"),
    (Kind.SEED, {}, "7", "wrong_type"),
    (Kind.SEED, {}, 0.5, "wrong_type"),
    (Kind.IMAGE, {}, 5, "wrong_type"),
    (Kind.IMAGE, {}, {}, "malformed_asset"),
    (Kind.IMAGE, {}, {"asset_id": 5}, "malformed_asset"),
    (Kind.IMAGE, {}, {"__type": "core/ASSET", "info": None}, "malformed_asset"),
    (Kind.IMAGE, {}, "https://example.org/a.png", "url_not_taken"),
    (Kind.IMAGE, {}, "../a.png", "invalid_file_name"),
    (Kind.IMAGE, {}, "/etc/passwd.png", "invalid_file_name"),
    (Kind.IMAGE, {}, "data:image/png;base64", "invalid_data_uri"),
    (Kind.IMAGE, {}, "data:image/png;base64,$$$", "invalid_base64"),
    (Kind.IMAGE, {}, "data:image/png;base64,", "empty"),
    (Kind.IMAGE, {}, "", "empty"),
    (Kind.IMAGE, {}, "abcde", "invalid_base64"),
    (Kind.IMAGE, {}, "no picture, but a sentence", "invalid_base64"),
    (Kind.IMAGE, {}, base64.b64encode(b"not a picture").decode(), "not_image"),
    (Kind.MASK, {}, base64.b64encode(b"ID3 a sound").decode(), "not_image"),
    (Kind.AUDIO, {}, base64.b64encode(PNG).decode(), "not_audio"),
    (Kind.VIDEO, {}, base64.b64encode(PNG[:4]).decode(), "not_video"),
]


@pytest.mark.parametrize(("kind", "changes", "given", "reason"), REFUSED)
def test_what_is_refused(kind: Kind, changes: dict[str, Any], given: Any, reason: str) -> None:
    with pytest.raises(errors.InvalidInputs) as caught:
        bind(template(parameter(kind, **changes)), {"p": given})
    (fault,) = caught.value.faults
    assert (fault.reason, fault.parameter, fault.node, fault.class_type, fault.field) == (
        reason, "p", "1", "Node", "value",
    )  # fmt: skip
    json.dumps(caught.value.details).encode()  # can be sent whatever was in the value


def test_near_misses_of_choices_are_suggested() -> None:
    with pytest.raises(errors.InvalidInputs, match="Did you mean 'euler'"):
        bind(template(parameter(Kind.CHOICE, choices=("euler", "heun"))), {"p": "eular"})


def test_all_faults_come_at_once() -> None:
    item = template(
        parameter(Kind.STRING, name="prompt", required=True),
        parameter(Kind.INTEGER, name="steps", minimum=1, default=20),
        parameter(Kind.SEED, name="seed"),
    )
    with pytest.raises(errors.InvalidInputs) as caught:
        bind(item, {"promt": "a fox", "steps": 0, "seed": "x"})
    assert [(fault.reason, fault.parameter) for fault in caught.value.faults] == [
        ("unknown_parameter", "promt"),
        ("missing_input", "prompt"),
        ("value_smaller_than_min", "steps"),
        ("wrong_type", "seed"),
    ]
    assert "Did you mean 'prompt'?" in caught.value.faults[0].message


@pytest.mark.parametrize("given", [None, [], "x", 5, [{}]])
def test_inputs_are_an_object(given: Any) -> None:
    with pytest.raises(errors.InvalidInputs, match="object"):
        bind(template(), given)


def test_absent_values() -> None:
    item = template(
        parameter(Kind.STRING, name="kept"),
        parameter(Kind.INTEGER, name="n", default=3, targets=(model.Target("1", "other"),)),
    )
    for absent in ({}, {"kept": None, "n": None}):
        bound = bind(item, absent)
        assert bound.inputs() == {"n": 3}
        assert bound.graph()["1"]["inputs"] == {"value": "own", "other": 3}
    assert item.graph["1"]["inputs"]["other"] == 1


def test_one_parameter_sets_all_its_targets() -> None:
    both = (model.Target("1", "value"), model.Target("2", "value"))
    graph = bind(template(parameter(Kind.STRING, targets=both)), {"p": "x"}).graph()
    assert [graph[node]["inputs"]["value"] for node in "12"] == ["x", "x"]


def test_the_inputs_as_used_order_the_same_again() -> None:
    item = template(
        parameter(Kind.SEED), parameter(Kind.FLOAT, name="q", targets=(model.Target("1", "other"),), default=1.5)
    )
    first = bind(item, {})
    again = bind(item, first.inputs(), draw=lambda: 99)
    assert again.graph() == first.graph()


# Bytes.


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(PNG).decode(),
        base64.encodebytes(PNG).decode(),
        base64.urlsafe_b64encode(PNG).decode().rstrip("="),
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
        "data:;charset=x;base64," + base64.b64encode(PNG).decode(),
        "data:application/octet-stream," + "".join(f"%{byte:02x}" for byte in PNG),
        "DATA:image/png;base64," + base64.b64encode(PNG).decode().replace("=", "%3D").replace("/", "%2f"),
    ],
)
def test_inline_bytes_become_assets_before_the_graph_is_made(text: str) -> None:
    bound = bind(template(parameter(Kind.IMAGE)), {"p": text})
    assert bound.inline == (values.Inline(parameter="p", data=PNG, media_type="image/png", file_name="p.png"),)
    assert bound.assets == bound.paths == ()
    assert bound.graph({"p": ASSET})["1"]["inputs"]["value"] == REFERENCE
    assert bound.inputs({"p": ASSET}) == {"p": REFERENCE}


def test_the_head_of_a_data_uri_is_short() -> None:
    """So that nobody has us look through millions of its parameters."""
    item = template(parameter(Kind.IMAGE))
    for text in (
        "data:" + ";" * 1_000_000,
        "data:image/png" + ";a=b" * 1_000 + ";base64,AAAA",
        "data:image/png;base64",
    ):
        with pytest.raises(errors.InvalidInputs) as caught:
            bind(item, {"p": text})
        assert caught.value.faults[0].reason == "invalid_data_uri"


def test_the_text_of_a_data_uri() -> None:
    item = template(parameter(Kind.FILE))
    text, data = "data:text/plain,a%5C%78%20\\x41\\é%25", b"a\\x \\x41\\\xc3\xa9%"
    assert bind(item, {"p": text}).inline[0].data == data
    for wrong in ("data:,100%", "data:,%4", "data:,%zz", "data:;base64,%", "data:," + "%" * 1_000_000):
        with pytest.raises(errors.InvalidInputs) as caught:
            bind(item, {"p": wrong})
        assert caught.value.faults[0].reason == "invalid_data_uri"


def test_what_must_exist_is_told() -> None:
    item = template(parameter(Kind.IMAGE, name="a"), parameter(Kind.FILE, name="b"))
    bound = bind(item, {"a": ASSET, "b": "model.glb"})
    assert bound.assets == (values.AssetUse(parameter="a", asset_id=ASSET),)
    assert bound.paths == (values.PathUse(parameter="b", path="model.glb"),)


def test_a_default_file_stands_in() -> None:
    item = template(parameter(Kind.IMAGE, default_file="assets/a.png"), files={"assets/a.png": PNG})
    assert bind(item, {}).inline[0].data == PNG
    assert bind(item, {"p": ASSET}).inline == ()


def test_a_file_takes_any_bytes() -> None:
    (inline,) = bind(template(parameter(Kind.FILE)), {"p": base64.b64encode(b"anything").decode()}).inline
    assert (inline.data, inline.media_type) == (b"anything", "application/octet-stream")


def test_inline_bytes_have_a_limit() -> None:
    limits = values.Limits(inline_bytes=len(PNG))
    item = template(parameter(Kind.IMAGE))
    for text in (
        base64.b64encode(PNG + b"x").decode(),
        base64.b64encode(PNG * 100).decode(),
        "data:,\x89PNG" + "x" * 99,
    ):
        with pytest.raises(errors.InvalidInputs) as caught:
            binding.bind(item, {"p": text}, draw_seed=lambda: 0, limits=limits)
        assert caught.value.faults[0].reason == "too_large"
    assert binding.bind(item, {"p": base64.b64encode(PNG).decode()}, draw_seed=lambda: 0, limits=limits).inline


def test_the_seed_of_a_batch() -> None:
    named = [
        parameter(Kind.SEED, name="noise"),
        parameter(Kind.SEED, name="seed", targets=(model.Target("1", "other"),)),
    ]
    assert bind(template(*named), {}).seed_parameter == "seed"
    assert bind(template(named[0]), {}).seed_parameter == "noise"
    assert bind(template(), {}).seed_parameter is None


# Words of a command line.


@pytest.mark.parametrize(
    ("kind", "changes", "text", "expected"),
    [
        (Kind.INTEGER, {}, "5", 5),
        (Kind.SEED, {}, "-1", -1),
        (Kind.INTEGER, {}, "five", "five"),
        (Kind.INTEGER, {}, "5.5", "5.5"),
        (Kind.FLOAT, {}, "5.5", 5.5),
        (Kind.BOOLEAN, {}, "yes", True),
        (Kind.BOOLEAN, {}, "FALSE", False),
        (Kind.BOOLEAN, {}, "maybe", "maybe"),
        (Kind.STRING, {}, "5", "5"),
        (Kind.CHOICE, {"choices": ("a", 2, True)}, "2", 2),
        (Kind.CHOICE, {"choices": ("a", 2, True)}, "true", True),
        (Kind.CHOICE, {"choices": ("a",)}, "b", "b"),
    ],
)
def test_from_text(kind: Kind, changes: dict[str, Any], text: str, expected: Any) -> None:
    value = values.from_text(parameter(kind, **changes), text)
    assert (value, type(value)) == (expected, type(expected))


# Properties.

anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(max_size=8),
        st.sampled_from(["data:,", "data:image/png;base64,%%", "a.png", "\0.png", ASSET, 10**400]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["__type", "info", "id", "asset_id", "core/ASSET"]), inner, max_size=3),
    ),
    max_leaves=5,
)
every_type = template(
    *(
        parameter(kind, name=kind, choices=("a", 1), minimum=None, targets=(model.Target("1", f"in_{kind}"),))
        for kind in Kind
    )
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(anything, st.dictionaries(st.one_of(st.sampled_from(list(Kind)), st.text(max_size=4)), anything)))
def test_bind_raises_nothing_but_invalid_inputs(given: Any) -> None:
    try:
        bound = bind(every_type, given)
    except errors.InvalidInputs as error:
        json.dumps(error.details, ensure_ascii=False).encode()
        return
    stored = {inline.parameter: ASSET for inline in bound.inline}
    graphs.parse_graph(bound.graph(stored))
    assert bind(every_type, bound.inputs(stored)).graph(stored) == bound.graph(stored)
