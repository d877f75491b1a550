"""Derive: what contents say, as rows of `transcripts`, `turns` and `analyses`.

A content is looked at once to find its shape, then only the expressions of that shape are run on it, in a DuckDB that
reaches no file and no network. Nothing that a content or a shape does makes this fail, or hold others up: whatever
takes too long or too much memory becomes a row of `analyses` whose `problem` names the shape.
"""

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.schema import ANALYSES, TRANSCRIPTS, TURNS, Table, quote
from warehouse.transcripts.readable import BOM, DEEPEST, TOO_DEEP, TOO_LARGE, deep, plain
from warehouse.transcripts.rules import guarded
from warehouse.transcripts.shapes import PARSED, PARTS, Shape, recognised
from warehouse.transcripts.turns import FACTS, firsts, turns

RULE = 1
"""Version of what is done here with what shapes say; raised when other rows follow from the same shapes."""

CPU_SECONDS, CPU_SECONDS_FOR_MB = 1.0, 1.0
"""What reading some contents may take of the processor; the built-in shapes take a tenth of a second for 1 MB."""

MOST_CPU_SECONDS = 60.0
"""What one call may take in all: where many contents take too long, the last of them are not tried any more."""

MEMORY_MB = 512
"""Reading takes some fifty times the size of a content; what is landed at once needs a tenth of this."""

VECTOR_BYTES = 1 << 20
"""Texts that DuckDB works on at once; it holds what every expression makes of them."""

TEXTS = pa.schema({"payload_sid": pa.string(), "completed_date": pa.date32(), "text": pa.string()})
"""Contents that are text, by payload; `text` is null where one is too large to be read."""

ABOUT = ("add_on_result_sid", "reference_sid", "account_sid", "call_sid", "add_on_sid", "label")
"""What a row has of its payload and its recording."""

PAYLOADS = pa.schema(
    {name: pa.string() for name in ("payload_sid", *ABOUT, "add_on_configuration_sid", "content_type")}
)
"""The facts of payloads that are needed here."""

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
        self.shapes, self.hashes = reader.usable, reader.hashes
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
        try:
            if self.left <= 0:
                raise duckdb.InterruptException("no time left")
            with self._limited(texts.nbytes) as db:
                made = self._made(db, texts, tried)
        except duckdb.Error as error:
            if texts.num_rows > 1 and self.left > 0:
                half = texts.num_rows // 2
                self.rows_of(texts.slice(0, half))
                self.rows_of(texts.slice(half))
            else:
                self._give_up(texts, tried, error)
            return
        for name, rows in made:
            self.made[name].append(rows)

    def _made(self, db: duckdb.DuckDBPyConnection, texts: pa.Table, tried: "_Tried") -> list[tuple[str, pa.Table]]:
        given = _in_vectors(texts)
        too_deep = f"WHEN brackets > {DEEPEST} AND NOT plain AND {deep('content_text')} THEN {quote(TOO_DEEP)}"
        if (pc.max(given["brackets"]).as_py() or 0) <= DEEPEST:
            too_deep = ""  # to plan it alone takes longer than to read a hundred contents
        db.register("texts", given)
        db.register("payloads", self.payloads)
        about = ", ".join(f"p.{name}" for name in self.payloads.column_names if name != "payload_sid")
        db.execute(
            f"CREATE OR REPLACE TEMP TABLE recognised AS SELECT *, "
            f"CASE WHEN problem IS NULL THEN {recognised(self.shapes)} END AS shape FROM ("
            "SELECT *, CASE WHEN problem IS NULL AND NOT plain THEN TRY_CAST(content_text AS JSON) END AS json FROM ("
            "SELECT * REPLACE (CASE WHEN problem IS NULL THEN content_text END AS content_text) FROM (SELECT *, "
            f"CASE WHEN content_text IS NULL THEN {quote(TOO_LARGE)} {too_deep} END AS problem "
            f"FROM (SELECT t.payload_sid, t.completed_date, t.text AS content_text, t.brackets, {about}, "
            f"coalesce({plain('p.content_type')}, false) AS plain FROM texts t JOIN payloads p USING (payload_sid)))))"
        )
        made = []
        for (number,) in db.execute("SELECT DISTINCT shape FROM recognised ORDER BY ALL").fetchall():
            tried.shape = None if number is None else self.shapes[number]
            tried.hash = self.hashes[-1 if number is None else number]
            if tried.shape is None or "text" not in tried.shape.parts:
                made.append((ANALYSES.name, self._analyses(db, number, tried)))
            else:
                made += self._transcripts(db, number, tried.shape)
            tried.shape = None
        return made

    def _analyses(self, db: duckdb.DuckDBPyConnection, number: int | None, tried: "_Tried") -> pa.Table:
        rows = db.sql(
            "SELECT *, $vendor::VARCHAR AS vendor, $version::INTEGER AS shape_version, $load AS load_id, "
            "$hash AS shape_hash FROM recognised WHERE shape IS NOT DISTINCT FROM $number",
            params={
                "vendor": tried.shape and tried.shape.vendor,
                "version": tried.shape and tried.shape.version,
                "load": self.load_id,
                "hash": tried.hash,
                "number": number,
            },
        ).to_arrow_table()
        return rows.select(ANALYSES.names).cast(ANALYSES.schema)

    def _transcripts(self, db: duckdb.DuckDBPyConnection, number: int, shape: Shape) -> list[tuple[str, pa.Table]]:
        parts = ", ".join(
            f"{guarded(shape.parts[name], kind) if name in shape.parts else f'NULL::{kind}'} AS {name}"
            for name, kind in PARTS.items()
        )
        about = ", ".join(("payload_sid", "completed_date", *ABOUT))
        parsed = f", {shape.parsed} AS {PARSED}" if shape.parsed else ""
        said = (
            db.sql(
                f"""
            SELECT * REPLACE (coalesce(confidence, mean) AS confidence), CASE WHEN confidence IS NOT NULL THEN 'vendor'
                WHEN mean IS NOT NULL THEN 'words' END AS confidence_from
            FROM (SELECT *, list_avg(list_transform(words, lambda w: w.confidence)) AS mean FROM (
                SELECT * REPLACE (
                    nullif(list_filter(words, lambda w: w.word IS NOT NULL), []) AS words,
                    list_filter(turns, lambda t: t.text IS NOT NULL) AS turns,
                    nullif(list_filter(speakers, lambda s, i: list_position(speakers, s) = i), []) AS speakers,
                    nullif(list_filter(channels, lambda c, i: list_position(channels, c) = i), []) AS channels
                ) FROM (SELECT {about}, {parts} FROM (SELECT *{parsed} FROM recognised WHERE shape = {number}))
            ))
            """
            )
            .to_arrow_table()
            .combine_chunks()
        )
        spoken = turns(_column(said, "turns"), _column(said, "words"))
        for name, of in (("speakers", "speaker"), ("channels", "channel")):
            heard = firsts(_column(spoken, "row"), _column(spoken, of), said.num_rows)
            place = said.schema.get_field_index(name)
            said = said.set_column(place, name, pc.coalesce(_column(said, name), heard))
        marks = {
            "vendor": shape.vendor,
            "shape_version": shape.version,
            "load_id": self.load_id,
            "shape_hash": self.hashes[number],
        }
        return [
            (TRANSCRIPTS.name, _as(TRANSCRIPTS, said, marks)),
            (TURNS.name, _as(TURNS, _placed(said, spoken), {"load_id": self.load_id})),
        ]

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
        marks = {
            "problem": f"{FAILED.format(name)}it takes {why}.",
            "vendor": tried.shape and tried.shape.vendor,
            "shape_version": tried.shape and tried.shape.version,
            "load_id": self.load_id,
            "shape_hash": tried.hash or self.hashes[-1],
        }
        self.made[ANALYSES.name].append(_as(ANALYSES, held, marks))

    @contextlib.contextmanager
    def _limited(self, size: int) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that is interrupted when so many bytes take too long; no error leaves its database in use."""
        limit = min(self.left, CPU_SECONDS + CPU_SECONDS_FOR_MB * size / (1 << 20))
        ended, clock = threading.Event(), time.pthread_getcpuclockid(threading.get_ident())
        before = time.clock_gettime(clock)

        def watch() -> None:
            while not ended.wait(0.2):
                if time.clock_gettime(clock) - before > limit:
                    db.interrupt()

        with contextlib.closing(_database()) as db:
            threading.Thread(target=watch, daemon=True).start()
            try:
                yield db
            except BaseException:
                _forget()
                raise
            finally:
                ended.set()
                self.left -= time.clock_gettime(clock) - before


@dataclass(slots=True)
class _Tried:
    """The shape that is being run, and its mark."""

    shape: Shape | None = None
    hash: str = ""


_KEPT: list[duckdb.DuckDBPyConnection] = []
"""The one database that reads contents: to make one takes a tenth of what landing a batch does."""

_LOCK = threading.Lock()


def _database() -> duckdb.DuckDBPyConnection:
    """A connection of its own to the database that reads contents; the caller closes it."""
    with _LOCK:
        if not _KEPT:
            config: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": f"{MEMORY_MB}MB",
                "threads": "1",
                "async_threads": "0",
                "temp_directory": "",
            }
            db = duckdb.connect(config=config)
            for setting in (
                "autoinstall_known_extensions = false",
                "autoload_known_extensions = false",
                "enable_external_access = false",
                "lock_configuration = true",
            ):
                db.execute(f"SET {setting}")
            _KEPT.append(db)
        return _KEPT[0].cursor()


def _forget() -> None:
    """Have the next one make a database anew: an error may have broken this one."""
    with _LOCK:
        _KEPT.clear()


def _in_vectors(texts: pa.Table) -> pa.Table:
    """TEXTS without byte order marks and with the number of their brackets, in batches of VECTOR_BYTES or one row."""
    text = texts["text"].combine_chunks()
    if pc.any(pc.starts_with(text, BOM)).as_py():
        text = pc.utf8_ltrim(text, BOM)
    brackets = pc.add(pc.count_substring(text, "["), pc.count_substring(text, "{"))
    whole = pa.table(
        {
            "payload_sid": texts["payload_sid"].combine_chunks(),
            "completed_date": texts["completed_date"].combine_chunks(),
            "text": text,
            "brackets": brackets,
        }
    )
    batches, start, size = [], 0, 0
    for place, length in enumerate(pc.fill_null(pc.binary_length(text), 0).to_pylist()):
        if size and size + length > VECTOR_BYTES:
            batches += whole.slice(start, place - start).to_batches()
            start, size = place, 0
        size += length
    return pa.Table.from_batches([*batches, *whole.slice(start).to_batches()])


def _placed(said: pa.Table, spoken: pa.Table) -> pa.Table:
    """Turns with what they have of their transcript."""
    of = said.take(spoken["row"])
    places = pc.utf8_lpad(pc.cast(spoken["position"], pa.string()), 5, "0")
    ids = pc.binary_join_element_wise(pc.cast(of["payload_sid"], pa.string()), places, "/")
    held = {name: of[name] for name in ("payload_sid", "reference_sid", "completed_date")}
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
