"""docs/reference/template-faults.md shows each fault as it really comes; run this file to write it anew."""

from __future__ import annotations

import functools
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from gateway.adapters import images
from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info
from gateway.domain.embedded import reading
from gateway.domain.templates import binding, building, drafts, references, sidecar
from tests.unit.templates.test_preflight import CATALOG, GRAPH, INFO, changed
from tests.unit.workflow import canvas, test_bad_files

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/reference/template-faults.md"
SOURCES = [
    *(ROOT / "gateway/domain/templates").rglob("*.py"),
    *(ROOT / "gateway/domain/embedded").glob("*.py"),
    *(ROOT / "gateway/domain/workflow").glob("*.py"),
    ROOT / "gateway/domain/comfy/structure.py",
    ROOT / "gateway/domain/comfy/object_info.py",
    ROOT / "gateway/adapters/images.py",
]
#: How the sources write the reason of a fault.
REASONS = (
    re.compile(r'_fault\(name, "\w+", "([a-z_]+)"'),
    re.compile(
        r"(?:Refused|Unreadable|Broken|[._]fault|_refusal|_wrong|_refused)\("
        r'\s*(?:(?:frame|node|unfolded\[0\]|self\.node), )*"([a-z_]+)"'
    ),
    re.compile(r'reason ?= ?"([a-z_]+)"'),
)
LONGEST = 160  #: characters of what was given that are shown

ABOUT = """
[parameters.image]
type = "image"
target = "4.image"
[parameters.steps]
type = "integer"
target = "2.steps"
max = 50
[parameters.cfg]
type = "float"
target = "2.cfg"
[parameters.sampler]
type = "choice"
target = "2.sampler"
choices = ["euler", "heun"]
[parameters.prefix]
type = "string"
target = "3.filename_prefix"
[parameters.sound]
type = "audio"
target = "4.sound"
required = false
[parameters.film]
type = "video"
target = "4.film"
required = false
"""
TEMPLATE = building.build(
    "fox",
    graphs.parse_graph(
        {**GRAPH, "4": {"class_type": "LoadImage", "inputs": {"image": "a.png", "sound": "a.mp3", "film": "a.mp4"}}}
    ),
    sidecar.read_sidecar(ABOUT, "fox.toml"),
    text=ABOUT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What somebody gives, and which faults it should have."""

    given: Any
    reasons: tuple[str, ...]


def of(given: Any, *reasons: str) -> Case:
    return Case(given=given, reasons=reasons)


ORDERS = (
    of({}, "missing_input"),
    of({"image": "a.png", "stpes": 5}, "unknown_parameter"),
    of({"image": "a.png", "steps": "20"}, "wrong_type"),
    of({"image": "a.png", "steps": 0.5}, "wrong_type"),
    of({"image": "a.png", "steps": 500}, "value_bigger_than_max"),
    of({"image": "a.png", "steps": 2**70}, "value_bigger_than_max"),
    of({"image": "a.png", "cfg": float("inf")}, "invalid_number"),
    of({"image": "a.png", "sampler": "huen"}, "value_not_in_list"),
    of({"image": "a.png", "prefix": "a\0b"}, "invalid_text"),
    of({"image": "a.png", "prefix": "x" * 200_001}, "too_long"),
    of({"image": {"__type": "core/ASSET"}}, "malformed_asset"),
    of({"image": "https://example.org/a.png"}, "url_not_taken"),
    of({"image": "data:image/png;base64"}, "invalid_data_uri"),
    of({"image": "data:image/png;base64,////!"}, "invalid_base64"),
    of({"image": "data:image/png;base64,"}, "empty"),
    of({"image": "data:image/png;base64,QUJDRA=="}, "not_image"),
    of({"image": "a.png", "sound": "data:audio/mpeg;base64,QUJDRA=="}, "not_audio"),
    of({"image": "a.png", "film": "data:video/mp4;base64,QUJDRA=="}, "not_video"),
    of({"image": "../../etc/passwd.png"}, "invalid_file_name"),
)
SIDECARS = (
    of('titel = "A fox"', "unknown_key"),
    of("tags = 7", "invalid_value"),
    of('[parameters.steps]\ntype = "integer"', "missing_key"),
    of('[parameters.steps]\ntype = "integer"\ntarget = "2.stpes"', "unknown_target"),
    of('[parameters.steps]\ntype = "integer"\ntarget = "2.steps"\nrole = "stepps"', "unknown_role"),
    of('[parameters.steps]\ntype = "integer"\ntarget = "2.steps"\ndefault = "many"', "invalid_default"),
    of(
        '[parameters.a]\ntype = "integer"\ntarget = "2.steps"\n[parameters.b]\ntype = "integer"\ntarget = "2.steps"',
        "target_set_twice",
    ),
    of('[outputs.picture]\nnode = "99"', "unknown_node"),
)
GRAPHS = (
    of({"1": "SaveImage"}, "node_not_an_object"),
    of({"1": {"inputs": {}}}, "invalid_class_type"),
    of({"1": {"class_type": "SaveImage"}}, "invalid_inputs"),
    of({"1": {"class_type": "SaveImage", "inputs": {"images": ["7", 0]}}}, "dangling_link"),
    of(changed("3", images=["2", -1]), "bad_link_slot"),
    of(changed("2", model=["2", 0]), "dependency_cycle"),
    of(changed("2", level=test_bad_files.deep(70)), "nested_too_deeply"),
    of(changed("3", filename_prefix="../x"), "invalid_filename_prefix"),
)
WORKERS = (
    of({**GRAPH, "2": {**GRAPH["2"], "class_type": "Drw"}}, "missing_node_type"),
    of({**GRAPH, "1": {"class_type": "PackLoader", "inputs": {"lora": "two.safetensors"}}}, "missing_model"),
    of({"1": GRAPH["1"]}, "prompt_no_outputs"),
    of(changed("2", steps=None), "required_input_missing"),
    of(changed("2", steps=0), "value_smaller_than_min"),
    of(changed("2", cfg="much"), "invalid_input_type"),
    of(changed("3", images=["1", 0]), "return_type_mismatch"),
    of(changed("2", level=[1, 2, 3]), "bad_linked_input"),
)
node, slot, workflow, subgraph = canvas.node, canvas.slot, canvas.workflow, canvas.subgraph
SAVED = (
    of(workflow([node(3, "Save", inputs=[slot("images", 77)])]), "dangling_link"),
    of(workflow([node(3, "Make", ["good", 8, 9])]), "widget_mismatch"),
    of(
        workflow([node(3, "Sampel", inputs=[slot("x", 1)]), node(4, "Make")], [[1, 4, 0, 3, 0, "*"]]),
        "missing_node_type",
    ),
    of(
        workflow([node(1, "GetNode", ["a"]), node(2, "Save", inputs=[slot("images", 5)])], [[5, 1, 0, 2, 0, "*"]]),
        "no_set_node",
    ),
    of(test_bad_files.CYCLE, "cyclic_subgraph"),
    of(test_bad_files.LOOP, "link_cycle"),
    of(workflow([{"type": "Make"}]), "invalid_node_id"),
    of(workflow([node(1, "Make")] * 2), "duplicate_node"),
    of(workflow([node(1, "Make")], [[1, 2]]), "invalid_link"),
    of(workflow([], (), [{"id": "s"}]), "invalid_subgraph"),
    of(workflow([], (), [subgraph("s", [], [])] * 2), "duplicate_subgraph"),
    of(test_bad_files.nested(12, fan=8), "too_many_nodes"),
)


def picture(size: int = 8) -> bytes:
    """A PNG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (size, size)).save(out, "PNG", compress_level=0)
    return out.getvalue()


def ogg(pages: int) -> bytes:
    """Empty pages that follow each other without end."""
    return b"OggS\0" + bytes(21) + b"\0" + (b"OggS\0" + bytes(21) + b"\0") * pages


FILES = (
    of(b"{", "not_json"),
    of(picture(), "no_workflow"),
    of(picture()[:20], "truncated"),
    of(b"\x1a\x45\xdf\xa3\xff\xff", "damaged"),
    of(b"[" + b"0," * 1_000_001 + b"0]", "too_large"),
    of(ogg(400_001), "too_many_parts"),
)
PICTURES = (
    of(b"GIF89a", "not_an_image"),
    of(picture(200)[:-60_000], "image_truncated"),
    of(picture(), "image_too_large"),
)


def ordered(case: Case) -> None:
    binding.bind(TEMPLATE, case.given, draw_seed=lambda: 1)


def described(case: Case) -> None:
    graph = graphs.parse_graph(GRAPH)
    building.build("fox", graph, sidecar.read_sidecar(case.given, "fox.toml"), text=case.given)


def parsed(case: Case) -> None:
    graphs.parse_graph(case.given)


def checked(case: Case) -> None:
    graph = graphs.Graph(case.given)
    found = (*CATALOG.check(graph, partial=False), *CATALOG.lacks(graphs.requirements(graph, CATALOG)))
    raise errors.InvalidWorkflow("", faults=found)


def converted(case: Case) -> None:
    drafts.converted(drafts.draft("fox", case.given), canvas.INFO)


def read(case: Case) -> None:
    reading.read_workflow(case.given, source="fox.png")


def opened(case: Case) -> None:
    most = 63 if "image_too_large" in case.reasons else 100_000_000
    images.probe_image(case.given, max_pixels=most, parameter="image")


def named(case: Case) -> None:
    references.alias_name(case.given)


Try = Callable[[Case], None]
SECTIONS: Sequence[tuple[str, str, Try, Sequence[Case]]] = (
    ("Orders", "422 `invalid_inputs`; given as `inputs`.", ordered, ORDERS),
    ("Pictures", "422 `invalid_inputs`: what a picture's bytes are, as an order gives them.", opened, PICTURES),
    ("Sidecars", "422 `invalid_template`; in `NAME.toml`.", described, SIDECARS),
    ("Graphs", "422 `invalid_workflow`, or `invalid_template` of a file; in API format.", parsed, GRAPHS),
    (
        "Graphs against workers",
        "422 `invalid_workflow` when no worker takes an order; the faults of a preflight.",
        checked,
        WORKERS,
    ),
    ("Files of the editor", "422 `invalid_template`; what *Save* wrote.", converted, SAVED),
    ("Files that carry a workflow", "422 `invalid_template`; pictures, sounds, films, JSON.", read, FILES),
    ("Aliases", "422 `invalid_request`.", named, (of("latest", "invalid_alias"),)),
)


def faults_of(attempt: Try, case: Case) -> tuple[errors.Fault, ...]:
    """The faults of this case."""
    try:
        attempt(case)
    except (errors.InvalidRequest, errors.TemplateError) as error:
        return error.faults
    raise AssertionError(f"nothing is wrong with {case.given!r}")


def given(value: Any) -> str:
    """What was given, as a reader takes it in at a glance."""
    if isinstance(value, bytes):
        text = value.decode("latin-1")
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(letter if letter.isprintable() or letter == "\n" else "\N{MIDDLE DOT}" for letter in text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


@functools.cache
def examples() -> Sequence[tuple[str, str, Sequence[tuple[Case, errors.Fault]]]]:
    """Sections with the first fault of each reason."""
    return list(_examples())


def _examples() -> Iterator[tuple[str, str, Sequence[tuple[Case, errors.Fault]]]]:
    for title, where, attempt, cases in SECTIONS:
        shown: list[tuple[Case, errors.Fault]] = []
        for case in cases:
            found = {fault.reason: fault for fault in reversed(faults_of(attempt, case))}
            assert set(case.reasons) <= found.keys(), (case.given, found.keys())
            shown += [(case, found[reason]) for reason in case.reasons]
        yield title, where, shown


def page() -> str:
    """The page, from what the program says."""
    lines = [
        "# What can be wrong, with an example each",
        "",
        "Printed from the program: each fault below is what it answers to what stands above it. Faults come all at",
        "once, in `details.faults` of the [error](errors.md), each with its place as far as there is one.",
        "",
        "What needs a store is not shown: `missing_asset` (an asset that does not exist, or is somebody else's) and",
        "`ambiguous_version` (several versions of a template begin so).",
    ]
    for title, where, shown in examples():
        lines += ["", f"## {title}", where]
        told: set[str] = set()
        for case, fault in shown:
            if fault.reason not in told:
                lines += ["", f"### `{fault.reason}`"]
            told.add(fault.reason)
            lines += ["```", given(case.given), "```", "```json"]
            lines += [json.dumps(fault.as_dict(), ensure_ascii=False), "```"]
    return "\n".join(lines) + "\n"


def written_reasons() -> set[str]:
    """The reasons that the sources write."""
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    return {reason for pattern in REASONS for text in texts for reason in pattern.findall(text)}


def test_the_page_is_what_the_program_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run this file to write it anew"


def test_every_reason_has_an_example() -> None:
    shown = {fault.reason for _, _, found in examples() for _, fault in found}
    assert len(shown) > 40
    assert written_reasons() - shown == set()
    assert INFO
    assert object_info.NodeCatalog.parse(INFO).digest == CATALOG.digest


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
