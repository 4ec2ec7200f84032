"""How a bench orders: each job once, whatever becomes of the answers, and no more once Ctrl-C is pressed."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from gateway.cli import placing, shapes, workload

MARK = "bench_order"  #: the metadata key under which a job knows its order


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Orders of one run of a bench."""

    desk: placing.Desk
    load: workload.Workload
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:16])

    async def placed(self, number: int) -> shapes.Job | None:
        """The job of this number, ordered; None when Ctrl-C was pressed first."""
        key = f"{self.run}-{number}"
        return await self.desk.placed(
            lambda: self.load.ordered(number, key, {self.desk.mark: key}), lambda: self.desk.job(key)
        )
