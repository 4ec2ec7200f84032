"""Values as text: what a client sees of a node's inputs after a failure, and of anything in PreviewAny."""

from __future__ import annotations

from typing import Any

import numpy as np


def show_value(value: Any) -> Any:
    """Return plain values as they are, anything else as text."""
    if value is None or isinstance(value, int | float | str):
        return value
    return show_text(value)


def show_text(value: Any) -> str:
    """Return a value as text, arrays in the way of torch's tensors."""
    return _tensor(value) if isinstance(value, np.ndarray) else str(value)


def _tensor(array: np.ndarray[Any, Any]) -> str:
    is_whole = bool(np.all(array == np.floor(array))) if array.size else True
    style = (lambda item: f"{item:.0f}.") if is_whole else (lambda item: f"{item:.4f}")
    text = np.array2string(
        array, separator=", ", threshold=1000, edgeitems=3, max_line_width=80, formatter={"float_kind": style}
    )
    return "tensor(" + text.replace("\n", "\n       ") + ")"
