"""`[limits]` of a template: how often its jobs are tried, and how long they may take."""

from __future__ import annotations

import pytest

from gateway.domain import errors, model
from gateway.domain.comfy import graph
from gateway.domain.templates import building, sidecar
from gateway.domain.templates import model as templates

GRAPH = graph.parse_graph(
    {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
)


def built(text: str) -> templates.Template:
    return building.build("portrait", GRAPH, sidecar.read_sidecar(text, "portrait.toml"), text=text)


def test_without_them_the_gateways_own_hold() -> None:
    template = built("")
    assert (template.tries, template.limits) == (None, model.Limits())
    assert "limits" not in sidecar.write_sidecar(template)


def test_they_are_read_with_units_and_written_again() -> None:
    template = built('[limits]\ntries = 5\nqueue = "15m"\nrun = "1.5h"\nidle = 90')
    assert (template.tries, template.limits) == (5, model.Limits(queue=900, run=5400, idle=90))
    again = built(sidecar.write_sidecar(template))
    assert (again.tries, again.limits) == (template.tries, template.limits)


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("tries = 0", "limits.tries"),
        ('run = "soon"', "limits.run"),
        ("idle = -1", "limits.idle"),
        ("quue = 3", "limits.quue"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(line: str, place: str) -> None:
    with pytest.raises(errors.TemplateError) as caught:
        built(f"[limits]\n{line}")
    assert [fault.field for fault in caught.value.faults] == [place]


def test_a_misspelt_limit_is_put_right() -> None:
    with pytest.raises(errors.TemplateError, match="queue"):
        built("[limits]\nquue = 3")


def test_how_long_its_jobs_are_kept() -> None:
    assert built("").retention is None
    template = built('retention = "3d"')
    assert template.retention == 3 * 86_400
    assert built(sidecar.write_sidecar(template)).retention == template.retention
    with pytest.raises(errors.TemplateError) as caught:
        built('retention = "for ever"')
    assert [fault.field for fault in caught.value.faults] == ["retention"]
