"""Roles on official templates, against labels made by hand. Run as a program, it prints the share found by role."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.domain.comfy import graph as graphs
from gateway.domain.templates import binding, building, model, roles
from tests.unit.templates import role_labels

GRAPHS = Path(__file__).parents[2] / "fixtures" / "templates" / "labelled-graphs.json.gz"
PICTURES = frozenset({roles.IMAGE, roles.CONTROL_IMAGE, roles.STYLE_IMAGE, roles.MASK})
LABELS = role_labels.labels()
MEASURED = (*role_labels.FIRST, *role_labels.ALL)

#: What is known to be found otherwise than labelled, and why.
KNOWN: dict[tuple[str, str], str] = {}


@functools.cache
def template(name: str) -> model.Template:
    return building.build("t", graphs.parse_graph(recorded()[name]))


@functools.cache
def recorded() -> dict[str, Any]:
    return orjson.loads(gzip.decompress(GRAPHS.read_bytes()))


def found(name: str, role: str) -> list[str]:
    """The inputs that the template's parameters of this role set."""
    parameters = template(name).parameters
    if role == "pictures":
        return sorted(str(target) for each in parameters if each.role in PICTURES for target in each.targets)
    if role in role_labels.ALL:
        return sorted(str(target) for each in parameters if each.role == role for target in each.targets)
    first = next((each for each in parameters if each.role == role), None)
    return [] if first is None else sorted(map(str, first.targets))


def differences() -> Iterator[tuple[str, str]]:
    for name, told in LABELS.items():
        for role in MEASURED:
            if found(name, role) != sorted(told.get(role, [])):
                yield name, role


def test_the_table_is_of_enough_templates_and_of_inputs_that_are_there() -> None:
    assert len(LABELS) >= 100
    for name, told in LABELS.items():
        assert told.keys() <= set(MEASURED), name
        for inputs in told.values():
            for target in inputs:
                node, _, field = target.partition(".")
                assert field in recorded()[name][node]["inputs"], (name, target)


def test_roles_are_found_as_labelled() -> None:
    assert set(differences()) == set(KNOWN)


#: A value that no template has, by the type of its parameter.
OTHER = {"string": "another text", "integer": 1_234, "float": 1.25, "seed": 98_765, "model": "other.safetensors"}


@pytest.mark.parametrize("name", LABELS)
def test_a_role_changes_its_own_inputs_and_no_other(name: str) -> None:
    made = template(name)
    needed = {each.name: "other.png" for each in made.parameters if each.required}
    before = binding.bind(made, needed, draw_seed=lambda: 1).graph()
    for role, inputs in LABELS[name].items():
        if role in role_labels.ALL or (name, role) in KNOWN:
            continue
        parameter = next(each for each in made.parameters if each.role == role)
        value = parameter.choices[-1] if parameter.choices else OTHER[str(parameter.type)]
        after = binding.bind(made, needed | {parameter.name: value}, draw_seed=lambda: 1).graph()
        assert changes(before, after) == set(inputs), role


def changes(before: graphs.Graph, after: graphs.Graph) -> set[str]:
    return {
        f"{node_id}.{field}"
        for node_id, node in after.items()
        for field, value in node["inputs"].items()
        if before[node_id]["inputs"][field] != value
    }


def report() -> str:
    """By role: how many templates have it, how many of these were found right, where it was found and is not."""
    wrong = set(differences())
    lines = [
        f"{len(LABELS)} official templates, labelled by hand",
        f"{'role':<18}{'have it':>8}{'right':>8}{'share':>8}",
    ]
    for role in MEASURED:
        have = [name for name, told in LABELS.items() if role in told]
        right = [name for name in have if (name, role) not in wrong]
        invented = [name for name, of in wrong if of == role and name not in have]
        more = f"   and {len(invented)} where there is none" if invented else ""
        lines.append(f"{role:<18}{len(have):>8}{len(right):>8}{len(right) / max(len(have), 1):>8.3f}{more}")
    lines += [f"{name}, {role}: {found(name, role)}, not {LABELS[name].get(role, [])}" for name, role in sorted(wrong)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
