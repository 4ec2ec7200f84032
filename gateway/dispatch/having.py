"""Whether some worker has an input file that an order names.

The workers are asked at that moment: the lists of files in their `object_info` are as old as our last look at it, and
name nothing that lies in subfolders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from gateway import ports
from gateway.dispatch import fleet, link
from gateway.domain import errors
from gateway.domain.comfy import history

_PATIENCE_SECONDS: Final = 2.0  #: an order waits for so long to be refused at once; then it is taken
_REMEMBER_SECONDS: Final = 60.0  #: a file that was there is not asked for again for so long
_REMEMBERED: Final = 1000
_FOLDERS: Final = ("input", "output", "temp")


@dataclass(slots=True, kw_only=True)
class InputFiles:
    """Asks the workers for files by the names that loader nodes take."""

    members: Callable[[], Iterable[fleet.Member]]
    clock: ports.Clock
    _seen: dict[str, float] = field(default_factory=dict[str, float])

    async def may_have(self, name: str) -> bool:
        """False when each worker that we know says that it has no such file, and there is one."""
        if self.clock() - self._seen.get(name, 0.0) < _REMEMBER_SECONDS:
            return True
        known = [member for member in self.members() if member.link.catalog is not None]
        wanted = _file(name)
        answers = await asyncio.gather(*(_may_have(member, wanted) for member in known))
        if any(answers):
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            self._seen[name] = self.clock()
        return any(answers) or not answers


def _file(name: str) -> history.OutputFile:
    """The file that a name means; it may end as in `fox.png [output]`, which is another folder than `input`."""
    folder = next((each for each in _FOLDERS if name.endswith(f"[{each}]")), None)
    path = name.removesuffix(f"[{folder}]").rstrip() if folder else name
    subfolder, _, filename = path.replace("\\", "/").rpartition("/")
    return history.OutputFile(node="", key="", filename=filename, subfolder=subfolder, folder=folder or "input")


async def _may_have(member: fleet.Member, wanted: history.OutputFile) -> bool:
    if member.link.state is not link.LinkState.READY:
        return True
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS), aclosing(member.link.client.view(wanted)) as chunks:
            async for _ in chunks:
                break
    except errors.NotFound:
        return False
    except (errors.WorkerError, TimeoutError):
        return True
    return True
