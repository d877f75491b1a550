"""Derive: what contents say, as rows of `transcripts`, `turns` and `analyses`.

A content is looked at once to find its shape, then only the expressions of that shape are run on it. Nothing that a
content or a shape does makes this fail, or holds others up: whatever takes too long or too much memory becomes a row of
`analyses` whose `problem` names the shape.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.schema import ANALYSES, TRANSCRIPTS, TURNS, Table
from warehouse.transcripts.engine import Engine, engine_of
from warehouse.transcripts.shapes import Shape
from warehouse.transcripts.turns import FACTS, firsts, turns

RULE = 1
"""Version of what is done here with what shapes say; raised when other rows follow from the same shapes."""

CPU_SECONDS, CPU_SECONDS_FOR_MB = 1.0, 1.0
"""What reading some contents may take of the processor; the built-in shapes take a tenth of a second for 1 MB."""

MOST_CPU_SECONDS = 60.0
"""What one call may take in all: where many contents take too long, the last of them are not tried any more."""

FAILED = "Shape {} could not read it: "
"""How `problem` begins where a shape failed; such a content is derived again when the archive is rebuilt."""

_UNTOLD = "a shape of your own"


@dataclass(frozen=True, slots=True)
class Reader:
    """Shapes in the order they are tried, and what tells rows that were made by them."""

    usable: Sequence[Shape]

    @property
    def hashes(self) -> Sequence[str]:
        """For each shape what its rows are marked with, then the same for contents of no shape."""
        tried = hashlib.sha256(f"{RULE}".encode())
        found = []
        for shape in self.usable:
            tried.update(repr((shape.vendor, shape.has, shape.when)).encode())
            whole = tried.copy()
            whole.update(repr((shape.version, shape.parsed, sorted(shape.parts.items()))).encode())
            found.append(whole.hexdigest()[:16])
        return [*found, tried.hexdigest()[:16]]

    @property
    def mark(self) -> str:
        """What tells these shapes from others, all together."""
        return hashlib.sha256("".join(self.hashes).encode()).hexdigest()[:16]


def derive(texts: pa.Table, payloads: pa.Table, reader: Reader, *, load_id: str) -> Mapping[str, pa.Table]:
    """Rows of the derived tables for `texts` (TEXTS) whose payload is among `payloads` (PAYLOADS), by table name."""
    made = _Making(reader, payloads, load_id)
    made.rows_of(texts)
    return made.tables()


class _Making:
    """One call of `derive`: what was made so far, and how much of the processor is left for the rest."""

    def __init__(self, reader: Reader, payloads: pa.Table, load_id: str) -> None:
        self.reader, self.hashes = reader, reader.hashes
        self.payloads, self.load_id = payloads, load_id
        self.left = MOST_CPU_SECONDS
        self.made: dict[str, list[pa.Table]] = {TRANSCRIPTS.name: [], TURNS.name: [], ANALYSES.name: []}

    def tables(self) -> Mapping[str, pa.Table]:
        of = {table.name: table for table in (TRANSCRIPTS, TURNS, ANALYSES)}
        return {name: pa.concat_tables([of[name].empty(), *parts]) for name, parts in self.made.items()}

    def rows_of(self, texts: pa.Table) -> None:
        """Make the rows of all texts, halving them to find those with which that fails."""
        if not texts.num_rows:
            return
        tried = _Tried()
        limit = min(self.left, CPU_SECONDS + CPU_SECONDS_FOR_MB * texts.nbytes / (1 << 20))
        before = time.thread_time()
        try:
            if limit <= 0:
                raise duckdb.InterruptException("no time left")
            with engine_of(self.reader.usable, mark=self.reader.mark) as engine, engine.limited(limit):
                made = self._made(engine, texts, tried)
        except duckdb.Error as error:
            self.left -= time.thread_time() - before
            if texts.num_rows > 1 and self.left > 0:
                half = texts.num_rows // 2
                self.rows_of(texts.slice(0, half))
                self.rows_of(texts.slice(half))
            else:
                self._give_up(texts, tried, error)
            return
        for name, rows in made:
            self.made[name].append(rows)

    def _made(self, engine: Engine, texts: pa.Table, tried: "_Tried") -> list[tuple[str, pa.Table]]:
        made = []
        for number in engine.recognise(texts, self.payloads):
            tried.shape = shape = None if number is None else self.reader.usable[number]
            tried.hash = self.hashes[-1 if number is None else number]
            if number is None or shape is None or "text" not in shape.parts:
                made.append((ANALYSES.name, _as(ANALYSES, engine.others(number), self._marks(tried))))
            else:
                said = engine.transcripts(number)
                spoken = turns(_column(said, "turns"), _column(said, "words"))
                for name, of in (("speakers", "speaker"), ("channels", "channel")):
                    heard = firsts(_column(spoken, "row"), _column(spoken, of), said.num_rows)
                    place = said.schema.get_field_index(name)
                    said = said.set_column(place, name, pc.coalesce(_column(said, name), heard))
                made.append((TRANSCRIPTS.name, _as(TRANSCRIPTS, said, self._marks(tried))))
                made.append((TURNS.name, _as(TURNS, _placed(said, spoken), {"load_id": self.load_id})))
            tried.shape = None
        return made

    def _marks(self, tried: "_Tried") -> dict[str, object]:
        return {
            "vendor": tried.shape and tried.shape.vendor,
            "shape_version": tried.shape and tried.shape.version,
            "load_id": self.load_id,
            "shape_hash": tried.hash or self.hashes[-1],
        }

    def _give_up(self, texts: pa.Table, tried: "_Tried", error: duckdb.Error) -> None:
        """Rows that say that these contents could not be read."""
        why = "too much memory" if isinstance(error, duckdb.OutOfMemoryException) else "too long"
        name = tried.shape.vendor if tried.shape else _UNTOLD
        sids = _column(texts, "payload_sid")
        held = self.payloads.filter(pc.is_in(self.payloads["payload_sid"], value_set=sids))
        days = dict(zip(sids.to_pylist(), texts["completed_date"].to_pylist(), strict=True))
        held = held.append_column(
            "completed_date", pa.array([days[sid] for sid in held["payload_sid"].to_pylist()], pa.date32())
        )
        marks = {**self._marks(tried), "problem": f"{FAILED.format(name)}it takes {why}."}
        self.made[ANALYSES.name].append(_as(ANALYSES, held, marks))


@dataclass(slots=True)
class _Tried:
    """The shape that is being run, and its mark."""

    shape: Shape | None = None
    hash: str = ""


def _placed(said: pa.Table, spoken: pa.Table) -> pa.Table:
    """Turns with what they have of their transcript."""
    names = ("payload_sid", "reference_sid", "completed_date")
    of = said.select(names).take(spoken["row"])
    places = pc.utf8_lpad(pc.cast(spoken["position"], pa.string()), 5, "0")
    ids = pc.binary_join_element_wise(pc.cast(of["payload_sid"], pa.string()), places, "/")
    held = {name: of[name] for name in names}
    return pa.table({"turn_id": ids, **held, **{name: spoken[name] for name in ("position", *FACTS)}})


def _as(table: Table, rows: pa.Table, marks: Mapping[str, object]) -> pa.Table:
    """`rows` in the schema of a table; what they lack is as in `marks`, or null."""
    columns = [
        pa.repeat(pa.scalar(marks[f.name], f.type), rows.num_rows)
        if f.name in marks
        else rows[f.name].cast(f.type)
        if f.name in rows.column_names
        else pa.nulls(rows.num_rows, f.type)
        for f in table.schema
    ]
    return pa.table(columns, schema=table.schema)


def _column(rows: pa.Table, name: str) -> pa.Array:
    return rows[name].combine_chunks()
