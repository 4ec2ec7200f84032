"""Pictures, sound and films are made anew the same, and are what they say."""

from __future__ import annotations

import hashlib
import io
import struct

import numpy as np
from PIL import Image

from gateway.simulator.nodes import flac, mp4, png
from gateway.simulator.nodes.picture import Subject, draw
from gateway.simulator.nodes.resize import METHODS, resize


def test_the_same_subject_is_the_same_picture() -> None:
    """To the last bit."""
    subject = Subject(text="a red fox", seed=7, model="sdxl")
    assert draw(subject, 160, 120).tobytes() == draw(subject, 160, 120).tobytes()


def test_text_seed_and_model_change_the_picture() -> None:
    """Each by itself."""
    pictures = {
        draw(Subject(text=text, seed=seed, model=model), 64, 64).tobytes()
        for text in ("a", "b")
        for seed in (1, 2)
        for model in ("x", "y")
    }
    assert len(pictures) == 8


def test_odd_sizes_and_texts_are_drawn() -> None:
    """Tiny, wide, empty, emoji, NUL, very long."""
    for text, width, height in (("", 8, 8), ("🦊\0 fox", 300, 40), ("x " * 5000, 64, 256), ("\ud800", 96, 96)):
        image = draw(Subject(text=text.replace("\ud800", "?"), seed=0), width, height)
        assert image.shape == (height, width, 3)
        assert 0 <= float(image.min()) <= float(image.max()) <= 1


def test_png_of_both_writers_reads_back() -> None:
    """Tiny ones are written by ourselves, others by Pillow; texts are kept."""
    for size in (8, 100):
        for channels in (1, 3, 4):
            pixels = np.random.default_rng(size).integers(0, 256, (size, size, channels), dtype=np.uint8)
            data = png.encode(
                pixels.astype(np.float32) / np.float32(255), {"prompt": {"text": "ä 🦊"}, "workflow": None}
            )
            with Image.open(io.BytesIO(data)) as picture:
                assert picture.info["prompt"].isascii()
                read = np.asarray(picture).reshape(size, size, channels)
            assert np.abs(read.astype(int) - pixels).max() <= 1


def test_resizing_keeps_a_plain_colour() -> None:
    """Whatever the method and the size."""
    plain = np.full((2, 9, 7, 3), 0.25, np.float32)
    for method in METHODS:
        for width, height in ((1, 1), (7, 9), (20, 3), (64, 65)):
            made = resize(plain, width, height, method)
            assert made.shape == (2, height, width, 3)
            assert np.abs(made - 0.25).max() < 0.01


def test_flac_tells_its_length_and_digest() -> None:
    """In the stream's header, with frames behind it."""
    samples = (np.sin(np.arange(10_000)) * 20_000).astype(np.int16).reshape(-1, 2)
    data = flac.encode(samples, 44_100)
    assert data.startswith(b"fLaC\x80\0\0\x22")
    packed = int.from_bytes(data[18:26], "big")
    assert (packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1, packed & (2**36 - 1)) == (
        44_100,
        2,
        16,
        5000,
    )
    assert data[26:42] == hashlib.md5(samples.tobytes(), usedforsecurity=False).digest()
    assert data[42:44] == b"\xff\xf8"


def test_mp4_points_at_its_frames() -> None:
    """The offsets lead to the pictures."""
    frames = [bytes([index]) * (50 + index) for index in range(5)]
    data = mp4.mux(frames, 64, 48, 24)
    at = data.index(b"stco") + 8
    count, *offsets = struct.unpack_from(">6I", data, at)
    assert count == 5
    assert [data[offset : offset + len(frame)] for offset, frame in zip(offsets, frames, strict=True)] == frames
