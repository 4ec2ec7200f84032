"""Which workers that have everything are still passed by."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.comfy import graph as graphs
from gateway.domain.comfy import object_info
from gateway.submission import eligibility


def worker(**changes: Any) -> object_info.NodeCatalog:
    """A worker whose sampler is like this."""
    required = {
        "steps": ["INT", {"min": 1, "max": changes.get("steps", 100)}],
        "name": [["euler", *changes.get("names", ())], {}],
        **changes.get("more", {}),
    }
    made = {
        "Draw": {"input": {"required": required}, "output": ["IMAGE"], "python_module": "nodes"},
        "Save": {
            "input": {"required": {"image": ["IMAGE", changes.get("saves", {})]}},
            "output": [],
            "output_node": True,
            "python_module": "nodes",
        },
        **changes.get("classes", {}),
    }
    return object_info.NodeCatalog.parse(made)


def graph(**inputs: Any) -> graphs.Graph:
    return graphs.Graph(
        {
            "1": {"class_type": "Draw", "inputs": {"steps": 20, "name": "euler", **inputs}},
            "2": {"class_type": "Save", "inputs": {"image": ["1", 0]}},
        }
    )


PLAIN = worker()
NEWER = worker(names=["heun"])
WIDER = worker(steps=1000)
STRICT = worker(more={"noise": ["FLOAT", {"default": 1.0}]})
SAME = worker(classes={"Other": {"input": {}, "output": []}})


@pytest.mark.parametrize(
    ("asked", "workers", "takers"),
    [
        (graph(), [PLAIN], [PLAIN]),
        (graph(), [PLAIN, NEWER, WIDER], [PLAIN, NEWER, WIDER]),
        (graph(name="heun"), [PLAIN, NEWER], [NEWER]),
        (graph(name="heun"), [PLAIN, SAME, WIDER, NEWER], [NEWER]),
        (graph(steps=500), [PLAIN, NEWER, WIDER], [WIDER]),
        (graph(), [STRICT, PLAIN, SAME], [PLAIN, SAME]),
        (graph(noise=0.5), [STRICT, PLAIN], [STRICT, PLAIN]),
    ],
    ids=["one", "all", "a sampler", "a sampler, four workers", "a range", "a required input", "an unknown input"],
)
def test_those_that_would_refuse(
    asked: graphs.Graph, workers: list[object_info.NodeCatalog], takers: list[object_info.NodeCatalog]
) -> None:
    plain = graphs.requirements(asked)
    needs = eligibility.narrowed(asked, plain, workers)
    assert [each for each in workers if each.can_run(needs)] == takers
    assert (needs == plain) == (len(takers) == len(workers))
    assert graphs.Requirements.from_dict(needs.as_dict()) == needs
    assert (needs.key == plain.key) == (needs == plain)


def test_a_worker_that_comes_later_is_judged_by_its_definitions() -> None:
    needs = eligibility.narrowed(graph(name="heun"), graphs.requirements(graph()), [PLAIN, NEWER])
    assert not SAME.can_run(needs)
    assert worker(names=["heun"], classes={"Other": {"input": {}, "output": []}}).can_run(needs)


def test_of_several_differences_the_one_at_fault_counts() -> None:
    odd = worker(saves={"tooltip": 1, "default": 2})
    needs = eligibility.narrowed(graph(name="heun"), graphs.requirements(graph()), [odd, NEWER])
    assert {class_type for class_type, _ in needs.unfit} == {"Draw"}


def test_what_lacks_a_file_is_not_asked_twice() -> None:
    loading = graphs.Graph(
        {
            "1": {"class_type": "Load", "inputs": {"ckpt": "a.safetensors"}},
            "2": {"class_type": "Save", "inputs": {"image": ["1", 0]}},
        }
    )

    def with_files(*files: str) -> object_info.NodeCatalog:
        entry = {"input": {"required": {"ckpt": [list(files), {}]}}, "output": ["IMAGE"], "python_module": "nodes"}
        return worker(classes={"Load": entry})

    needs = graphs.requirements(loading)
    workers = [with_files("a.safetensors"), with_files("b.safetensors")]
    assert eligibility.narrowed(loading, needs, workers) == needs
