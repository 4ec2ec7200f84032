"""Workflows out of pictures, films and sounds: real files of ComfyUI's save nodes, other writers, and hostile ones."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from gateway.domain import errors
from gateway.domain.comfy import graph as graphs
from gateway.domain.embedded import reading

FIXTURES = Path(__file__).parents[2] / "fixtures" / "embedded"
#: Written by ComfyUI's own SaveImage, SaveAnimatedPNG, SaveAnimatedWEBP, SaveVideo, SaveWEBM and SaveAudio nodes.
REAL = ("png.png", "apng.png", "webp.webp", "mp4.mp4", "webm.webm", "flac.flac", "opus.opus", "mp3.mp3")
PROMPT = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}
WORKFLOW = {"nodes": [], "links": [], "version": 0.4}


@pytest.mark.parametrize("name", REAL)
def test_what_comfyui_writes(name: str) -> None:
    data = (FIXTURES / name).read_bytes()
    graph = graphs.parse_graph(reading.read_workflow(data))
    assert {node["class_type"] for node in graph.values()} == {"EmptyImage", "SaveImage"}
    assert graphs.node_title(graph["1"]) == "Größe 狐"
    kind = reading.container_of(data)
    assert kind is not None
    texts = {text.key.casefold(): text.value for text in kind.reader(data)}
    assert graphs.is_ui_format(json.loads(texts["workflow"]))


def png(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    return saved("PNG", pnginfo=info)


def saved(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def exif(**tags: Any) -> Image.Exif:
    fields = Image.Exif()
    for tag, value in tags.items():
        fields[int(tag.removeprefix("t"), 16)] = value
    return fields


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def itunes(*items: bytes) -> bytes:
    """An M4A's comment in the list that iTunes invented, in a `meta` with QuickTime's head."""
    content = box(b"hdlr", b"\0" * 24) + box(b"ilst", b"".join(items))
    return box(b"ftyp", b"M4A \0\0\0\0") + box(b"moov", box(b"udta", box(b"meta", content)))


def item(kind: bytes, text: str) -> bytes:
    return box(kind, box(b"data", struct.pack(">II", 1, 0) + text.encode()))


def id3(version: int, *frames: tuple[bytes, bytes]) -> bytes:
    def length(size: int) -> bytes:
        return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) if version == 4 else struct.pack(">I", size)

    body = b"".join(kind + length(len(content)) + b"\0\0" + content for kind, content in frames)
    size = bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, 0]) + size + body + b"\xff\xfb"


BOTH = json.dumps({"prompt": json.dumps(PROMPT), "workflow": WORKFLOW})
TEXT = json.dumps(PROMPT)

#: who writes so, the file, what is read
WRITERS: list[tuple[str, bytes, Any]] = [
    ("plain JSON", TEXT.encode(), PROMPT),
    ("JSON with a byte order mark", b"\xef\xbb\xbf" + TEXT.encode(), PROMPT),
    ("prompt before workflow", png(workflow=json.dumps(WORKFLOW), prompt=TEXT), PROMPT),
    ("workflow alone", png(workflow=json.dumps(WORKFLOW)), WORKFLOW),
    ("workflow where the prompt is no JSON", png(prompt="{a fox", workflow=json.dumps(WORKFLOW)), WORKFLOW),
    ("a prompt that is a person's words", png(prompt="a fox", workflow=json.dumps(WORKFLOW)), WORKFLOW),
    ("JSON of a JSON text", png(prompt=json.dumps(TEXT)), PROMPT),
    ("NaN, as Python writes it", png(prompt='{"1": {"is_changed": [NaN], "x": Infinity}}'),
     {"1": {"is_changed": [None], "x": None}}),
    ("integers as JavaScript rounds them", b'{"min": -9223372036854776000, "max": 18446744073709551615}',
     {"min": -9223372036854776000.0, "max": 2**64 - 1}),
    ("compressed text", saved("PNG")[:33] + chunk(b"zTXt", b"prompt\0\0" + zlib.compress(TEXT.encode()))
     + chunk(b"IEND", b""), PROMPT),
    ("international text", saved("PNG")[:33] + chunk(b"iTXt", b"prompt\0\0\0de\0Auftrag\0" + TEXT.encode())
     + chunk(b"IEND", b""), PROMPT),
    ("international text, compressed", saved("PNG")[:33]
     + chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(TEXT.encode())) + chunk(b"IEND", b""), PROMPT),
    ("a PNG's EXIF", saved("PNG", exif=exif(t010f=f"prompt:{TEXT}")), PROMPT),
    ("a JPEG's camera model", saved("JPEG", exif=exif(t0110=f"Prompt:{TEXT}")), PROMPT),
    ("a JPEG's description", saved("JPEG", exif=exif(t010e=f"Workflow: {json.dumps(WORKFLOW)}")), WORKFLOW),
    ("a JPEG's user comment", saved("JPEG", exif=exif(t9286=b"ASCII\0\0\0" + BOTH.encode())), None),
    ("an M4A's comment", itunes(item(b"\xa9nam", "x"), item(b"\xa9cmt", BOTH)), PROMPT),
    ("MP3 of ID3v2.3 in UTF-16", id3(3, (b"TIT2", b"\0x"), (b"TXXX", b"\1" + "prompt".encode("utf-16") + b"\0\0"
     + TEXT.encode("utf-16"))), PROMPT),
    ("MP3's comment", id3(4, (b"COMM", b"\3eng\0" + BOTH.encode())), PROMPT),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), [row[1:] for row in WRITERS], ids=[row[0] for row in WRITERS])
def test_other_writers(data: bytes, expected: Any) -> None:
    if expected is None:  # Pillow writes the user comment into the first directory, where it does not belong
        with pytest.raises(errors.InvalidWorkflow):
            reading.read_workflow(data)
    else:
        assert reading.read_workflow(data) == expected


def test_a_user_comment_in_its_own_directory() -> None:
    fields = Image.Exif()
    fields.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + BOTH.encode("utf-16")
    assert reading.read_workflow(saved("JPEG", exif=fields)) == PROMPT


HEAD = saved("PNG")[:33]
BOMB = zlib.compress(b"[" * 200_000_000, 9)
DEEP = "[" * 200_000


def webm(*elements: bytes) -> bytes:
    return b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\xff" + b"".join(elements)


#: what is wrong, the file, the fault's reason, part of its place
HOSTILE: list[tuple[str, Callable[[], bytes], str, str]] = [
    ("not a workflow at all", lambda: b"\x00\x01\x02", "not_json", ""),
    ("empty", lambda: b"", "not_json", ""),
    ("a PNG without one", lambda: saved("PNG"), "no_workflow", ""),
    ("a PNG cut off in a chunk", lambda: HEAD + chunk(b"tEXt", b"prompt\0{}")[:-9], "truncated", "tEXt at byte 33"),
    ("a PNG whose chunk outgrows the file", lambda: HEAD + b"\xff\xff\xff\xfftEXtprompt\0{}", "truncated", "tEXt"),
    ("a zTXt bomb", lambda: HEAD + chunk(b"zTXt", b"prompt\0\0" + BOMB), "too_large", "zTXt at byte 33"),
    ("an iTXt bomb", lambda: HEAD + chunk(b"iTXt", b"prompt\0\1\0\0\0" + BOMB), "too_large", "iTXt at byte 33"),
    ("damaged compression", lambda: HEAD + chunk(b"zTXt", b"prompt\0\0zzzz"), "damaged", "zTXt at byte 33"),
    ("four million chunks", lambda: HEAD + chunk(b"abCD", b"") * 4_000_000, "too_many_parts", "PNG"),
    ("a text of 40 MB", lambda: HEAD + chunk(b"tEXt", b"prompt\0{" + b" " * 40_000_000), "too_large", "tEXt"),
    ("nested 200,000 deep", lambda: png(prompt='{"1":' + DEEP), "nested_too_deeply", "tEXt"),
    ("JSON nested 200,000 deep", DEEP.encode, "nested_too_deeply", ""),
    ("JSON of 50 MB", lambda: b'["' + b"a" * 50_000_000 + b'"]', "too_large", ""),
    ("20 MB of empty lists", lambda: b"[" + b"[]," * 7_000_000, "too_large", ""),
    ("7 MB of empty lists", lambda: png(prompt="{" + "[]," * 2_300_000), "too_large", "tEXt"),
    ("a number of 100,000 digits", lambda: b"[" + b"9" * 100_000 + b"]", "not_json", ""),
    ("not UTF-8", lambda: b'{"a": "\xff\xfe\xfa"}', "not_json", ""),
    ("EXIF that is none", lambda: b"RIFF\0\0\0\0WEBPEXIF\4\0\0\0abcd", "damaged", "EXIF at byte 12"),
    ("EXIF whose directory leads nowhere", lambda: b"RIFF\0\0\0\0WEBPEXIF\x0e\0\0\0II*\0\x08\0\0\0\xff\xff\0\0\0\0",
     "truncated", "EXIF"),
    ("a JPEG cut off in a segment", lambda: b"\xff\xd8\xff\xe1\xff\xffExif\0\0", "truncated", "segment E1 at byte 2"),
    ("an MP4 cut off", lambda: (FIXTURES / "mp4.mp4").read_bytes()[:9_500], "truncated", "moov"),
    ("an MP4's box shorter than its head", lambda: box(b"ftyp", b"isom") + b"\0\0\0\3moov", "damaged", "byte 12"),
    ("a million tiny boxes", lambda: box(b"ftyp", b"isom") + box(b"free", b"") * 1_000_000, "too_many_parts", "MP4"),
    ("a WebM cut off", lambda: (FIXTURES / "webm.webm").read_bytes()[:500], "truncated", "WebM element"),
    ("a WebM without elements", lambda: webm(b"\0" * 100), "damaged", "WebM element at byte 10"),
    ("a FLAC whose block is longer than the file", lambda: b"fLaC\x04\xff\xff\xff", "truncated", "FLAC block 4"),
    ("four million empty comments", lambda: b"fLaC\x84\xf4\x24\x08" + b"\0\0\0\0\xff\xff\xff\0" + b"\0" * 16_000_000,
     "too_many_parts", "FLAC block 4"),
    ("an Ogg of other things", lambda: b"OggS" + b"\0" * 23 + b"rubbish" * 9, "damaged", "page at byte 27"),
    ("an MP3 tag longer than the file", lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7f", "truncated", "ID3"),
    ("an MP3 frame longer than its tag", lambda: id3(4, (b"TXXX", b""))[:14] + b"\0\0\x7f\x7f\0\0", "truncated", "ID3"),
    ("too short to say", lambda: b"ID3", "no_workflow", ""),
]  # fmt: skip


@pytest.mark.parametrize(("make", "reason", "place"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_hostile_files_are_told_with_their_place(make: Callable[[], bytes], reason: str, place: str) -> None:
    with pytest.raises(errors.InvalidWorkflow) as refused:
        reading.read_workflow(make(), source="fox.png")
    (fault,) = refused.value.faults
    assert (fault.reason, place in (fault.field or "")) == (reason, True)
    assert "fox.png" in refused.value.message


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(REAL),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=8),
    end=st.floats(0, 1),
)
def test_no_other_error_whatever_the_bytes(name: str, cuts: list[tuple[float, bytes]], end: float) -> None:
    data = bytearray((FIXTURES / name).read_bytes())
    for at, new in cuts:
        place = int(at * (len(data) - len(new)))
        data[place : place + len(new)] = new
    try:
        reading.read_workflow(bytes(data[: int(end * len(data))]) if end < 0.5 else bytes(data))
    except errors.InvalidWorkflow as refused:
        assert refused.faults  # noqa: PT017
