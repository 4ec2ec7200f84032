"""The graphs whose pixels are compared with a real ComfyUI's: each image node, in each of its ways."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

Graph = dict[str, Any]
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")


def pictures() -> dict[str, bytes]:
    """Make the input pictures: noise, smooth, with alpha, grey, and one that its EXIF turns."""
    chance = np.random.default_rng(7)
    noise = chance.integers(0, 256, (17, 23, 3), dtype=np.uint8)
    across, down = np.meshgrid(np.linspace(0, 255, 31), np.linspace(0, 255, 19))
    smooth = np.stack([across, down, 255 - across], axis=-1).astype(np.uint8)
    alpha = np.dstack([chance.integers(0, 256, (16, 12, 3), dtype=np.uint8), np.linspace(0, 255, 192).reshape(16, 12)])
    made = {
        "noise.png": Image.fromarray(noise),
        "smooth.png": Image.fromarray(smooth),
        "alpha.png": Image.fromarray(alpha.astype(np.uint8)),
        "grey.png": Image.fromarray(noise[..., 0]),
        "palette.png": Image.fromarray(smooth).quantize(16),
        "shapes.png": Image.fromarray(((smooth[..., 0] // 64 % 2) * 255).astype(np.uint8)),
    }
    encoded: dict[str, bytes] = {}
    for name, picture in made.items():
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        encoded[name] = buffer.getvalue()
    turned = Image.fromarray(noise)
    exif = turned.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif)
    return {**encoded, "turned.png": buffer.getvalue()}


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def _graph(picture: str, *nodes: dict[str, Any], mask: bool = False) -> Graph:
    """Chain nodes after LoadImage; `in` stands for what comes before."""
    graph: Graph = {"load": _node("LoadImage", image=picture), "other": _node("LoadImage", image="smooth.png")}
    before: list[Any] = ["load", 1 if mask else 0]
    for index, node in enumerate(nodes):
        inputs = {key: before if value == "in" else value for key, value in node["inputs"].items()}
        graph[str(index)] = {"class_type": node["class_type"], "inputs": inputs}
        before = [str(index), 0]
    graph["save"] = _node("SaveImage", images=before, filename_prefix="pixels")
    return graph


def _masked(*nodes: dict[str, Any], picture: str = "shapes.png") -> Graph:
    return _graph(picture, _node("ImageToMask", image="in", channel="red"), *nodes, _node("MaskToImage", mask="in"))


def cases() -> dict[str, Graph]:
    """Return every graph by name."""
    return dict((*_loading(), *_scaling(), *_cutting(), *_mixing(), *_masking()))


def _loading() -> Iterator[tuple[str, Graph]]:
    for name in ("noise", "alpha", "grey", "palette", "turned"):
        yield f"load {name}", _graph(f"{name}.png")
        yield f"load {name} mask", _graph(f"{name}.png", _node("MaskToImage", mask="in"), mask=True)
    for channel in ("alpha", "red", "green", "blue"):
        graph = _graph("noise.png", _node("MaskToImage", mask=["mask", 0]))
        yield f"mask of {channel}", {**graph, "mask": _node("LoadImageMask", image="alpha.png", channel=channel)}
    yield "empty", _graph("noise.png", _node("EmptyImage", width=5, height=4, batch_size=2, color=0x12FE80))
    yield "alpha split", _graph("alpha.png", _node("SplitImageWithAlpha", image="in"))
    yield "alpha joined", _graph("noise.png", _node("JoinImageWithAlpha", image="in", alpha=["load", 1]))


def _scaling() -> Iterator[tuple[str, Graph]]:
    for method in METHODS:
        for width, height, crop in ((40, 30, "disabled"), (9, 7, "disabled"), (20, 33, "center"), (0, 31, "disabled")):
            node = _node("ImageScale", image="in", upscale_method=method, width=width, height=height, crop=crop)
            yield f"scale {method} {width}x{height} {crop}", _graph("noise.png", node)
        yield (
            f"scale by {method}",
            _graph("smooth.png", _node("ImageScaleBy", image="in", upscale_method=method, scale_by=1.7)),
        )
        yield (
            f"total pixels {method}",
            _graph(
                "smooth.png",
                _node(
                    "ImageScaleToTotalPixels", image="in", upscale_method=method, megapixels=0.01, resolution_steps=1
                ),
            ),
        )
    yield (
        "max dimension",
        _graph("noise.png", _node("ImageScaleToMaxDimension", image="in", upscale_method="area", largest_size=50)),
    )
    for interpolation in ("area", "lanczos"):
        node = _node(
            "ResizeAndPadImage", image="in", target_width=40, target_height=40, padding_color="white",
            interpolation=interpolation,
        )  # fmt: skip
        yield f"fit {interpolation}", _graph("noise.png", node)


def _cutting() -> Iterator[tuple[str, Graph]]:
    yield "crop", _graph("noise.png", _node("ImageCrop", image="in", width=9, height=30, x=4, y=3))
    yield "crop outside", _graph("noise.png", _node("ImageCrop", image="in", width=9, height=9, x=99, y=99))
    yield "invert", _graph("noise.png", _node("ImageInvert", image="in"))
    yield "batch", _graph("noise.png", _node("ImageBatch", image1="in", image2=["other", 0]))
    yield "repeat", _graph("noise.png", _node("RepeatImageBatch", image="in", amount=2))
    for method in ("x-axis: vertically", "y-axis: horizontally"):
        yield f"flip {method}", _graph("noise.png", _node("ImageFlip", image="in", flip_method=method))
    for rotation in ("none", "90 degrees", "180 degrees", "270 degrees"):
        yield f"rotate {rotation}", _graph("noise.png", _node("ImageRotate", image="in", rotation=rotation))
    for name, sides in (("all", (8, 16, 24, 8)), ("left", (16, 0, 0, 0)), ("none", (0, 0, 0, 0))):
        left, top, right, bottom = sides
        node = _node("ImagePadForOutpaint", image="in", left=left, top=top, right=right, bottom=bottom, feathering=5)
        graph = _graph("noise.png", node)
        yield f"outpaint {name}", graph
        mask = {"mask": _node("MaskToImage", mask=["0", 1]), "save": _node("SaveImage", images=["mask", 0])}
        mask["save"]["inputs"]["filename_prefix"] = "pixels"
        yield f"outpaint {name} mask", {**graph, **mask}


def _mixing() -> Iterator[tuple[str, Graph]]:
    for mode in ("normal", "multiply", "screen", "overlay", "soft_light", "difference"):
        node = _node("ImageBlend", image1="in", image2=["other", 0], blend_factor=0.7, blend_mode=mode)
        yield f"blend {mode}", _graph("noise.png", node)
    yield (
        "blend alpha",
        _graph("noise.png", _node("ImageBlend", image1="in", image2=["in4", 0], blend_factor=0.5, blend_mode="screen"))
        | {"in4": _node("JoinImageWithAlpha", image=["load", 0], alpha=["load", 1])},
    )
    for radius, sigma in ((1, 1.0), (4, 0.3), (7, 10.0)):
        yield f"blur {radius}", _graph("noise.png", _node("ImageBlur", image="in", blur_radius=radius, sigma=sigma))
        node = _node("ImageSharpen", image="in", sharpen_radius=radius, sigma=sigma, alpha=0.4)
        yield f"sharpen {radius}", _graph("smooth.png", node)
    for dither in ("none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8"):
        yield f"quantize {dither}", _graph("smooth.png", _node("ImageQuantize", image="in", colors=8, dither=dither))
    for name, x, y, resize, masked in (
        ("over", 3, 2, False, False), ("beyond", 12, 9, False, True), ("resized", 2, 1, True, True),
        ("outside", 99, 99, False, False),
    ):  # fmt: skip
        extra = {"mask": ["shape", 0]} if masked else {}
        node = _node(
            "ImageCompositeMasked", destination="in", source=["other", 0], x=x, y=y, resize_source=resize, **extra
        )
        shape = {
            "shapes": _node("LoadImage", image="shapes.png"),
            "shape": _node("ImageToMask", image=["shapes", 0], channel="red"),
        }
        yield f"composite {name}", {**_graph("noise.png", node), **shape}
    for direction in ("right", "down", "left", "up"):
        for match in (True, False):
            node = _node(
                "ImageStitch", image1="in", image2=["other", 0], direction=direction, match_image_size=match,
                spacing_width=3, spacing_color="red" if match else "white",
            )  # fmt: skip
            yield f"stitch {direction} {match}", _graph("noise.png", node)


def _masking() -> Iterator[tuple[str, Graph]]:
    yield "invert mask", _masked(_node("InvertMask", mask="in"))
    yield "crop mask", _masked(_node("CropMask", mask="in", x=2, y=3, width=9, height=40))
    yield "threshold", _masked(_node("ThresholdMask", mask="in", value=0.4), picture="noise.png")
    yield "feather", _masked(_node("FeatherMask", mask="in", left=5, top=3, right=7, bottom=2))
    yield "feather wide", _masked(_node("FeatherMask", mask="in", left=99, top=0, right=0, bottom=99))
    for expand in (2, -3):
        for tapered in (True, False):
            node = _node("GrowMask", mask="in", expand=expand, tapered_corners=tapered)
            yield f"grow {expand} {tapered}", _masked(node, picture="noise.png")
    for operation in ("multiply", "add", "subtract", "and", "or", "xor"):
        node = _node("MaskComposite", destination="in", source=["solid", 0], x=4, y=5, operation=operation)
        solid = {"solid": _node("SolidMask", value=0.6, width=40, height=8)}
        yield f"mask {operation}", {**_masked(node, picture="noise.png"), **solid}
    node = _node("ImageColorToMask", image="in", color=0xFFFFFF)
    yield "colour to mask", _graph("shapes.png", node, _node("MaskToImage", mask="in"))


async def upload(session: aiohttp.ClientSession, url: str) -> None:
    """Put the input pictures on a server."""
    for name, data in pictures().items():
        form = aiohttp.FormData()
        form.add_field("image", data, filename=name, content_type="image/png")
        form.add_field("overwrite", "true")
        async with session.post(f"{url}/upload/image", data=form) as answer:
            answer.raise_for_status()


async def run(session: aiohttp.ClientSession, url: str, graph: Graph) -> list[Pixels]:
    """Run a graph and return its pictures; nodes that feed no output are left out."""
    async with session.post(f"{url}/prompt", json={"prompt": graph}) as answer:
        body = await answer.json()
        assert answer.status == 200, body
    async with session.ws_connect(f"{url}/ws?clientId=pixels-{body['prompt_id']}") as socket:
        while True:
            async with session.get(f"{url}/history/{body['prompt_id']}") as answer:
                record = (await answer.json()).get(body["prompt_id"])
            if record is not None:
                break
            await socket.receive()
    assert record["status"]["status_str"] == "success", record["status"]
    found: list[Pixels] = []
    for item in record["outputs"]["save"]["images"]:
        async with session.get(f"{url}/view", params=item) as answer:
            found.append(np.asarray(Image.open(io.BytesIO(await answer.read()))))
    return found
