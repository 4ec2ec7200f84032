"""Executing Core statements at the driver's own price.

SQLAlchemy spends more on each execution (contexts, events, result objects) than SQLite does on the statement, and a
job costs some twenty of them. The statements here are constants; so each is compiled once an engine, and what is left
of an execution is: convert the values that need it, call the driver, convert the columns that need it. SQL text,
types and their conversions stay SQLAlchemy's.

Statements that are made anew at each call (a listing with filters) work too; they are compiled each time.
"""

from __future__ import annotations

import collections
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import compiler

Convert = Callable[[Any], Any]
Values = Mapping[str, Any]
MakeRow = Callable[[Sequence[Any]], Any]

#: Rows of an INSERT that go in one step where the driver does not do better by itself: between two steps it lets other
#: threads run Python, and then waits for its turn again.
ROWS: Final = 50
_PLAIN_INSERT: Final = re.compile(r"(INSERT INTO [^?]* VALUES) (\((?:\?, )*\?\))")

SHAPES: Final = 64  #: forms kept of one statement: a shape is which values come, and how many each list of them has


@dataclass(slots=True, kw_only=True)
class _Form:
    """A statement as the driver takes it, for values of one shape."""

    sql: str
    parameters: tuple[tuple[str, Convert | None], ...]  #: names in order, and how to convert
    fixed: Values  #: values that the statement itself brings
    elements: tuple[tuple[str, str, int], ...]  #: of lists: the driver's name, the list's, and the index in it
    positional: bool
    columns: Sequence[sa.ColumnElement[Any]]  #: what comes back; empty when nothing does
    row: MakeRow | None = None  #: known once the driver has told the columns' types


@dataclass(slots=True)
class _Known:
    """A statement that was executed before."""

    lists: tuple[str, ...]  #: values that are lists, for IN
    forms: dict[tuple[Any, ...], _Form] = field(default_factory=dict[tuple[Any, ...], _Form])

    def shape(self, values: Values) -> tuple[Any, ...]:
        """What the SQL depends on."""
        return (*values, *[len(values[name]) for name in self.lists])


class Result:
    """Rows of one execution, by their columns' names."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount  #: rows that a write changed

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        """All rows."""
        return self._rows

    def first(self) -> Any:
        """The first row, or None."""
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """The only row; LookupError when there is none or there are several."""
        if len(self._rows) != 1:
            raise LookupError(f"one row was expected, not {len(self._rows)}")
        return self._rows[0]

    def one_or_none(self) -> Any:
        """The only row, or None."""
        return self.one() if self._rows else None

    def scalars(self) -> list[Any]:
        """The first column of each row."""
        return [row[0] for row in self._rows]

    def scalar_one(self) -> Any:
        """The first column of the only row."""
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        """The first column of the only row, or None."""
        return self.one()[0] if self._rows else None


class Statements:
    """The statements of one engine in compiled form. Threads share it: each form is found whole or made again."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: weakref.WeakKeyDictionary[sa.Executable, _Known] = weakref.WeakKeyDictionary()

    def form(self, statement: sa.Executable, values: Values) -> _Form:
        """The statement's form for values of this shape."""
        known = self._known.get(statement)
        if known is None:
            known = _Known(lists=_lists(_compiled(statement, values, self._dialect), values))
            self._known[statement] = known
        shape = known.shape(values)
        form = known.forms.get(shape)
        if form is None:
            form = _compile(statement, values, self._dialect)
            if len(known.forms) < SHAPES:
                known.forms[shape] = form
        return form

    def row(self, columns: Sequence[sa.ColumnElement[Any]], description: Sequence[Sequence[Any]]) -> MakeRow:
        """How to make a row of these columns, whose driver's types the second of each description is."""
        names = [column.key or "" for column in columns]
        make: MakeRow = collections.namedtuple("Row", names, rename=True)._make  # pyright: ignore[reportUntypedNamedTuple]
        found = [
            column.type.dialect_impl(self._dialect).result_processor(self._dialect, told[1])
            for column, told in zip(columns, description, strict=True)
        ]
        converts = [(index, convert) for index, convert in enumerate(found) if convert is not None]
        return _converting(make, converts) if converts else make


class Transaction:
    """What a unit of work gets: an open transaction that executes statements."""

    __slots__ = ("_driver", "_statements")

    def __init__(self, driver: Any, statements: Statements) -> None:
        self._driver = driver
        self._statements = statements

    def execute(self, statement: sa.Executable, values: Values | Sequence[Values] | None = None) -> Result:
        """Execute with one set of values, or with each of several in turn (then no rows come back)."""
        if values is not None and not isinstance(values, Mapping):
            return self._execute_many(statement, values)
        given: Values = {} if values is None else values
        form = self._statements.form(statement, given)
        cursor = self._driver.execute(form.sql, _bound(form, given))
        if not form.columns:
            return Result([], cursor.rowcount)
        make = form.row = form.row or self._statements.row(form.columns, cursor.description)
        return Result([make(row) for row in cursor.fetchall()], cursor.rowcount)

    def _execute_many(self, statement: sa.Executable, many: Sequence[Values]) -> Result:
        if len(many) == 1:
            return self.execute(statement, many[0])
        form = self._statements.form(statement, many[0])
        bound = [_bound(form, values) for values in many]
        plain = _PLAIN_INSERT.fullmatch(form.sql) if form.positional else None
        if plain is not None:
            return self._insert(plain[1], plain[2], bound)
        cursor = self._driver.cursor()
        cursor.executemany(form.sql, bound)
        return Result([], cursor.rowcount)

    def _insert(self, into: str, row: str, bound: Sequence[Sequence[Any]]) -> Result:
        for start in range(0, len(bound), ROWS):
            some = bound[start : start + ROWS]
            self._driver.execute(
                f"{into} {', '.join([row] * len(some))}", [value for values in some for value in values]
            )
        return Result([], len(bound))


def _bound(form: _Form, values: Values) -> Any:
    """The driver's parameters."""
    if form.fixed or form.elements:
        values = {**form.fixed, **values, **{name: values[of][index] for name, of, index in form.elements}}
    if form.positional:
        return [values[name] if convert is None else convert(values[name]) for name, convert in form.parameters]
    return {name: values[name] if convert is None else convert(values[name]) for name, convert in form.parameters}


def _compiled(statement: sa.Executable, values: Values, dialect: Dialect) -> compiler.SQLCompiler:
    element = cast(sa.ClauseElement, statement)
    return cast(compiler.SQLCompiler, element.compile(dialect=dialect, column_keys=list(values)))


def _lists(compiled: compiler.SQLCompiler, values: Values) -> tuple[str, ...]:
    names = {name for bind, name in compiled.bind_names.items() if bind in compiled.post_compile_params}
    return tuple(sorted(names & values.keys()))


def _compile(statement: sa.Executable, values: Values, dialect: Dialect) -> _Form:
    compiled = _compiled(statement, values, dialect)
    expanded = compiled.construct_expanded_state(dict(values))
    types = {name: bind.type for bind, name in compiled.bind_names.items()}
    elements = [
        (name, of, index) for of, names in expanded.parameter_expansion.items() for index, name in enumerate(names)
    ]
    types |= {name: types[of] for name, of, _ in elements}
    given = {*values, *(name for name, of, _ in elements if of in values)}
    names = expanded.positiontup if expanded.positiontup is not None else list(expanded.parameters)
    return _Form(
        sql=expanded.statement,
        parameters=tuple((name, _binder(types[name], dialect)) for name in names),
        fixed={name: expanded.parameters[name] for name in names if name not in given},
        elements=tuple(element for element in elements if element[1] in values),
        positional=expanded.positiontup is not None,
        columns=tuple(getattr(statement, "exported_columns", ())),
    )


def _binder(of: sa.types.TypeEngine[Any], dialect: Dialect) -> Convert | None:
    return of.dialect_impl(dialect).bind_processor(dialect)


def _converting(make: MakeRow, converts: Sequence[tuple[int, Convert]]) -> MakeRow:
    def converted(row: Sequence[Any]) -> Any:
        cells = list(row)
        for index, convert in converts:
            if cells[index] is not None:  # NULL is None, whatever the type
                cells[index] = convert(cells[index])
        return make(cells)

    return converted
