"""The frames of one running prompt: who runs, how far, what it looks like.

`progress_state` is cumulative: every frame lists all nodes so far, which is why each node's part is kept as
bytes and only the changed one is written anew.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway.simulator import wire
from gateway.simulator.nodes import base
from gateway.simulator.sockets import Sockets

if TYPE_CHECKING:
    from gateway.simulator.prompt_queue import Entry

#: A real server drops progress that comes faster than this, but for the first and the last step.
_THROTTLE_S = 0.1
_PREVIEW_SIZE = 512


class PromptProgress:
    """Progress of one prompt, told to its owner (or to all, when it has none)."""

    def __init__(self, entry: Entry, sockets: Sockets, sid: Any) -> None:
        self.prompt_id = entry.prompt_id
        self.sid = sid
        self._sockets = sockets
        self._id_json = wire.dumps(entry.prompt_id)
        self._nodes: dict[str, bytes] = {}
        self._ends: dict[str, bytes] = {}
        self._steps: dict[str, tuple[int, int]] = {}

    def start(self, node_id: str, *, parent: str | None = None) -> None:
        """A node starts."""
        shown = wire.dumps(parent or node_id)
        self._ends[node_id] = (
            b',"node_id":' + wire.dumps(node_id) + b',"prompt_id":' + self._id_json + b',"display_node_id":' + shown
            + b',"parent_node_id":' + (b"null" if parent is None else shown) + b',"real_node_id":' + shown + b"}"
        )  # fmt: skip
        self._set(node_id, b'{"value":0.0,"max":1.0,"state":"running"')

    def step(self, node_id: str, value: int, total: int) -> None:
        """A node goes on."""
        self._steps[node_id] = (value, total)
        self._set(node_id, b'{"value":%d,"max":%d,"state":"running"' % (value, total))

    def finish(self, node_id: str) -> None:
        """A node ends; one that never started (it was cached) shows as 1 of 1."""
        if node_id in self._steps:
            total = self._steps[node_id][1]
            head = b'{"value":%d,"max":%d,"state":"finished"' % (total, total)
        elif node_id in self._nodes:
            head = b'{"value":1.0,"max":1.0,"state":"finished"'
        else:
            self.start_quietly(node_id)
            head = b'{"value":1,"max":1,"state":"finished"'
        self._set(node_id, head)

    def start_quietly(self, node_id: str) -> None:
        """Note a node without telling anybody."""
        shown = wire.dumps(node_id)
        self._ends[node_id] = (
            b',"node_id":' + shown + b',"prompt_id":' + self._id_json + b',"display_node_id":' + shown
            + b',"parent_node_id":null,"real_node_id":' + shown + b"}"
        )  # fmt: skip

    def _set(self, node_id: str, head: bytes) -> None:
        self._nodes[node_id] = wire.dumps(node_id) + b":" + head + self._ends[node_id]
        if self._sockets.has_listener(self.sid):
            self._sockets.send_json(
                b'{"type":"progress_state","data":{"prompt_id":' + self._id_json + b',"nodes":{'
                + b",".join(self._nodes.values()) + b"}}}",
                self.sid,
            )  # fmt: skip

    def send_step(self, node_id: str, value: int, total: int, image: bytes | None) -> None:
        """Send one step: state, the bar, and a preview in the way that the owner understands."""
        self.step(node_id, value, total)
        bar = {"value": value, "max": total, "prompt_id": self.prompt_id, "node": node_id}
        owner = self._sockets.by_sid.get(self.sid) if isinstance(self.sid, str) else None
        with_metadata = owner is not None and bool(owner.flags.get("supports_preview_metadata"))
        if image is not None and with_metadata:
            metadata = {
                "node_id": node_id,
                "prompt_id": self.prompt_id,
                "display_node_id": node_id,
                "parent_node_id": None,
                "real_node_id": node_id,
                "image_type": "image/jpeg",
            }
            self._sockets.send_binary(wire.preview_with_metadata(image, metadata), self.sid)
        self._sockets.send("progress", bar, self.sid)
        if image is not None and not with_metadata:
            self._sockets.send_binary(wire.preview_plain(image), self.sid)


class NodeProgress:
    """The same for one node; throttles, draws previews only for somebody, and checks for an interrupt."""

    def __init__(
        self,
        prompt: PromptProgress,
        sockets: Sockets,
        node_id: str,
        *,
        previews: bool,
        interrupted: Callable[[], bool],
    ) -> None:
        self._prompt = prompt
        self._sockets = sockets
        self._node_id = node_id
        self._previews = previews
        self._interrupted = interrupted
        self._last = 0.0

    def step(self, value: int, total: int, preview: Callable[[], base.Array] | None = None) -> None:
        """Report a step; too quick ones are left out unless they show a picture."""
        now = time.monotonic()
        shows = preview is not None and self._previews
        if not shows and 1 < value < total and now - self._last < _THROTTLE_S:
            return
        self._last = now
        if not self._sockets.has_listener(self._prompt.sid):
            self._prompt.step(self._node_id, value, total)
            return
        image = _jpeg(preview()) if shows and preview is not None else None
        self._prompt.send_step(self._node_id, value, total, image)

    def text(self, text: str) -> None:
        """Show a line at the node."""
        self._sockets.send_binary(wire.progress_text(self._node_id, text), self._prompt.sid)

    def check(self) -> None:
        """Raise when the job was interrupted."""
        if self._interrupted():
            raise base.Interrupted


def _jpeg(image: base.Array) -> bytes:
    from PIL import Image

    picture = Image.fromarray((image.clip(0, 1) * 255).astype("uint8"))
    picture.thumbnail((_PREVIEW_SIZE, _PREVIEW_SIZE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
