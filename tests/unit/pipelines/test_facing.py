"""A pipeline as the template that stands for it."""

from __future__ import annotations

from gateway.domain.comfy import graph as graphs
from gateway.domain.pipelines import facing, reading
from gateway.domain.templates import binding, building, model, sidecar

PNG = b"\x89PNG\r\n\x1a\n"
GRAPH = graphs.parse_graph(
    {
        "1": {"class_type": "LoadImage", "inputs": {"image": "mine.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
)
SIDECAR = '[parameters.image]\ntype = "image"\ntarget = "1.image"\ndefault_file = "assets/a.png"\n'
TWO = """
[inputs]
sketch = "draw.image"
photo = "tone.image"
[[steps]]
name = "draw"
template = "first"
[[steps]]
name = "tone"
template = "second"
"""


def template(name: str) -> model.Template:
    about = sidecar.read_sidecar(SIDECAR, f"{name}.toml")
    return building.build(name, GRAPH, about, text=SIDECAR, files={"assets/a.png": PNG + name.encode()})


def test_default_files_of_two_steps_may_be_called_the_same() -> None:
    face = facing.face("both", reading.read_pipeline(TWO, "both"), template, text=TWO, source=None)
    bound = binding.bind(face, {}, draw_seed=lambda: 1)
    assert {each.parameter: each.data for each in bound.inline} == {"sketch": PNG + b"first", "photo": PNG + b"second"}
    assert [each.default_file for each in face.parameters] == ["draw/assets/a.png", "tone/assets/a.png"]
