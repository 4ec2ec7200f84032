"""Large orders are queued in slices, so that nobody else waits until thousands of jobs have been written.

All or none of an order is queued, whatever happens in between. What is to be written later is put down first, as it is
(`put`); this counts for nothing until the transaction that takes the order says that it was taken (`mark`), together
with its first slice, its key, its place in the fair order and all that may refuse it. From then on the order stands.
Each later slice becomes jobs in a transaction of its own, which also removes what was put down of it (`take`): so it
is written once, by whoever comes first. What a gateway that died, or a disk that was full, left is written by `finish`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from gateway import ports
from gateway.adapters.store import begun, columns, engines, rows, schema, statements, units
from gateway.domain import errors, model

JOBS: Final = 200  #: in a slice, at most
BYTES: Final = 2 * 2**20  #: of its graphs, as they are stored, unless one alone has more
PUT_BYTES: Final = 2**20  #: of slices that are put down in one transaction, about
ABANDONED_SECONDS: Final = 3600.0  #: what was put down so long ago, of an order that was not taken, is nobody's
_MARK: Final = 0  #: the number that says that the order was taken

_table = schema.slices
_others = _table.alias("others")
_of_order = _table.c.order_id == sa.bindparam("b_order")
_of_slice = sa.and_(_of_order, _table.c.number == sa.bindparam("b_number"))

_PUT: Final = sa.insert(_table).values(
    order_id=sa.bindparam("order_id"),
    number=sa.bindparam("number"),
    tenant=sa.bindparam("tenant"),
    jobs=sa.bindparam("jobs"),
    bytes=sa.bindparam("bytes"),
    at=engines.db_now(),
    body=sa.bindparam("body"),
)
_COUNT: Final = sa.select(sa.func.count()).select_from(_table).where(_of_order)
_TAKE: Final = sa.delete(_table).where(_of_slice).returning(_table.c.body)
_TURNS: Final = sa.select(_table.c.body).where(_of_slice)
_DROP: Final = sa.delete(_table).where(
    _of_order,
    ~sa.exists(sa.select(_others.c.number).where(_others.c.order_id == _table.c.order_id, _others.c.number == _MARK)),
)
_END: Final = sa.delete(_table).where(
    _of_slice,
    ~sa.exists(sa.select(_others.c.number).where(_others.c.order_id == _table.c.order_id, _others.c.number != _MARK)),
)
_LEFT: Final = sa.select(_table.c.order_id, _table.c.number, (engines.db_now() - _table.c.at).label("age")).order_by(
    _table.c.order_id, _table.c.number
)

_ADD_JOB: Final = sa.insert(schema.jobs)
_ADD_GRAPH: Final = sa.insert(schema.job_graphs)
_ADD_PAIRS: Final = sa.insert(schema.job_metadata)
_ADD_EVENT: Final = sa.insert(schema.events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Where the jobs of an order stand in the virtual time of their tenant: one step after the other."""

    start: float
    step: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """That jobs begin as they are queued; see `ports.Begin`."""

    owner: str
    at: float
    plans: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Some jobs of an order as columns, all but their virtual time."""

    number: int
    before: int  #: jobs of the order that come before them
    jobs: Sequence[dict[str, Any]]
    graphs: Sequence[tuple[bytes, bool]]  #: packed, in the order of the jobs
    pairs: Sequence[tuple[str, str]]  #: jobs with the digests of their metadata
    beginning: Beginning | None = None

    @property
    def bytes(self) -> int:
        """Of its graphs, as they are stored."""
        return sum(len(data) for data, _ in self.graphs)

    def pack(self) -> bytes:
        """As it is put down."""
        beginning = self.beginning
        body = {
            "before": self.before,
            "jobs": [{**job, "sketch": _text(job["sketch"])} for job in self.jobs],
            "graphs": [(_text(data), packed) for data, packed in self.graphs],
            "pairs": self.pairs,
            "beginning": beginning and {"owner": beginning.owner, "at": beginning.at, "plans": beginning.plans},
        }
        return zlib.compress(columns.dumps(body), 1)

    @classmethod
    def unpack(cls, number: int, data: bytes) -> Slice:
        """What `pack` made."""
        body = columns.loads(zlib.decompress(data))
        return cls(
            number=number,
            before=body["before"],
            jobs=[{**job, "sketch": _bytes(job["sketch"])} for job in body["jobs"]],
            graphs=[(_bytes(data) or b"", packed) for data, packed in body["graphs"]],
            pairs=[(job, pair) for job, pair in body["pairs"]],
            beginning=None if body["beginning"] is None else Beginning(**body["beginning"]),
        )


def _text(data: bytes | None) -> str | None:
    """Bytes in JSON: a character each."""
    return None if data is None else data.decode("latin-1")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """All jobs of an order, with the keys of their requirements and their packed graphs."""

    jobs: Sequence[model.NewJob]
    keys: Sequence[str]
    graphs: Sequence[tuple[bytes, bool]]
    batch_id: str | None
    begin: ports.Begin | None
    at: float

    def cut(self) -> Iterator[range]:
        """Which of the jobs each slice has; one at least."""
        begin = size = 0
        for place, (data, _) in enumerate(self.graphs):
            if place > begin and (place - begin >= JOBS or size + len(data) > BYTES):
                yield range(begin, place)
                begin, size = place, 0
            size += len(data)
        yield range(begin, len(self.graphs))

    def part(self, number: int, places: range) -> Slice:
        """The slice of these jobs."""
        jobs = [self.jobs[place] for place in places]
        return Slice(
            number=number,
            before=places.start,
            jobs=[self._values(place) for place in places],
            graphs=[self.graphs[place] for place in places],
            pairs=[(job.id, rows.pair_digest(key, value)) for job in jobs for key, value in job.metadata.items()],
            beginning=None if self.begin is None else _beginning(self.begin, jobs, self.at),
        )

    def _values(self, place: int) -> dict[str, Any]:
        size = len(self.graphs[place][0])
        key = self.keys[place]
        return rows.job_values(self.jobs[place], requirements=key, batch_id=self.batch_id, graph_bytes=size)


def _beginning(begin: ports.Begin, jobs: Sequence[model.NewJob], at: float) -> Beginning:
    plans: dict[str, Mapping[str, Any]] = {job.id: begin.plans[job.id] for job in jobs if job.id in begin.plans}
    return Beginning(owner=begin.owner, at=at, plans=plans)


def write(tx: statements.Transaction, part: Slice, turns: Turns) -> None:
    """Queue the jobs of a slice."""
    placed = enumerate(part.jobs, start=part.before + 1)
    tx.execute(_ADD_JOB, [{**job, "vt": turns.start + turn * turns.step} for turn, job in placed])
    graphs = zip(part.jobs, part.graphs, strict=True)
    tx.execute(_ADD_GRAPH, [{"job_id": job["id"], "graph": data, "packed": packed} for job, (data, packed) in graphs])
    tx.execute(
        _ADD_EVENT,
        [{"job_id": job["id"], "seq": 1, "type": "submit", "at": job["created_at"], "data": None} for job in part.jobs],
    )
    if part.pairs:
        tx.execute(_ADD_PAIRS, [{"job_id": job, "pair": pair} for job, pair in part.pairs])
    if part.beginning is not None:
        hooks = {job["id"]: job["webhook"] for job in part.jobs}
        begun.begin(tx, hooks, part.beginning.plans, owner=part.beginning.owner, at=part.beginning.at)


async def put(run: units.Units, order_id: str, tenant: str, parts: Sequence[Slice], bodies: Sequence[bytes]) -> None:
    """Put slices down that are to be written once their order is taken, some in a transaction."""
    waiting: list[dict[str, Any]] = []
    size = 0
    for part, body in zip(parts, bodies, strict=True):
        if waiting and size + len(body) > PUT_BYTES:
            await run.write(lambda tx, some=waiting: tx.execute(_PUT, some))
            waiting, size = [], 0
        waiting.append(_values(order_id, tenant, part.number, body, jobs=len(part.jobs), size=part.bytes))
        size += len(body)
    if waiting:
        await run.write(lambda tx: tx.execute(_PUT, waiting))


def _values(order_id: str, tenant: str, number: int, body: bytes, *, jobs: int, size: int) -> dict[str, Any]:
    return {"order_id": order_id, "number": number, "tenant": tenant, "jobs": jobs, "bytes": size, "body": body}


def mark(tx: statements.Transaction, order_id: str, tenant: str, turns: Turns, *, expected: int) -> None:
    """Say that the order was taken. StoreUnavailable when not all that was put down of it is there any more."""
    if tx.execute(_COUNT, {"b_order": order_id}).scalar_one() != expected:
        raise errors.StoreUnavailable("What was put down of this order is gone; order it again.")
    body = columns.dumps({"start": turns.start, "step": turns.step})
    tx.execute(_PUT, _values(order_id, tenant, _MARK, body, jobs=0, size=0))


def drop(tx: statements.Transaction, order_id: str) -> None:
    """Forget what was put down of an order, if it was not taken."""
    tx.execute(_DROP, {"b_order": order_id})


def take(tx: statements.Transaction, order_id: str, number: int) -> bytes | None:
    """What was put down of a slice, which is the caller's to write now; None when somebody else was faster."""
    body = tx.execute(_TAKE, {"b_order": order_id, "b_number": number}).scalar_one_or_none()
    end(tx, order_id)
    return body


def write_taken(tx: statements.Transaction, order_id: str, part: Slice, turns: Turns) -> None:
    """Write a slice that was put down, unless somebody else did."""
    if take(tx, order_id, part.number) is not None:
        write(tx, part, turns)


def end(tx: statements.Transaction, order_id: str) -> None:
    """Forget that an order was taken, once nothing is left of it."""
    tx.execute(_END, {"b_order": order_id, "b_number": _MARK})


async def finish(run: units.Units, *, age: float = 0.0) -> int:
    """Write what is left of orders that were taken more than `age` seconds ago; how many jobs."""
    left = await run.read(lambda tx: tx.execute(_LEFT).all())
    taken = {row.order_id for row in left if row.number == _MARK and row.age >= age}
    written = 0
    for row in left:
        if row.order_id in taken and row.number == _MARK:
            await run.write(lambda tx, row=row: end(tx, row.order_id))
        elif row.order_id in taken:
            written += await run.write(lambda tx, row=row: _finish_one(tx, row.order_id, row.number))
        elif row.age > ABANDONED_SECONDS:
            await run.write(lambda tx, row=row: drop(tx, row.order_id))
    return written


def _finish_one(tx: statements.Transaction, order_id: str, number: int) -> int:
    turns = tx.execute(_TURNS, {"b_order": order_id, "b_number": _MARK}).scalar_one_or_none()
    body = None if turns is None else take(tx, order_id, number)
    if turns is None or body is None:
        return 0
    part = Slice.unpack(number, body)
    write(tx, part, Turns(**columns.loads(turns)))
    return len(part.jobs)
