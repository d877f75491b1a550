"""The DuckDB that reads contents by shapes: without files, network or other settings, and with a limit of memory.

To make one takes as long as to read hundreds of contents, so it is kept in a process.
"""

import atexit
import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.schema import quote
from warehouse.transcripts.readable import BOM, DEEPEST, TOO_DEEP, TOO_LARGE, deep, plain
from warehouse.transcripts.rules import guarded
from warehouse.transcripts.shapes import PARSED, PARTS, Shape, recognised

MEMORY_MB = 512
"""Reading takes some fifty times the size of a content; what is landed at once needs a tenth of this."""

TEXTS = pa.schema({"payload_sid": pa.string(), "completed_date": pa.date32(), "text": pa.string()})
"""Contents that are text, by payload; `text` is null where one is too large to be read."""

ABOUT = ("add_on_result_sid", "reference_sid", "account_sid", "call_sid", "add_on_sid", "label")
"""What a row has of its payload and its recording."""

PAYLOADS = pa.schema(
    {name: pa.string() for name in ("payload_sid", *ABOUT, "add_on_configuration_sid", "content_type")}
)
"""The facts of payloads that are needed here."""


class Engine:
    """Reads contents by some shapes. To be used by one thread at a time: see `engine_of`."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{MEMORY_MB}MB",
            "threads": "1",
            "async_threads": "0",
            "temp_directory": "",
        }
        self._shapes, self._prepared = shapes, set[str]()
        self._db = duckdb.connect(config=config)
        for setting in (
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self._db.execute(f"SET {setting}")

    def close(self) -> None:
        """Give back what it holds."""
        self._db.close()

    def let_go(self) -> None:
        """Hold no content any more."""
        for table in ("given", "recognised"):  # TRUNCATE keeps the memory of rows
            self._db.execute(f"DROP TABLE IF EXISTS {table}")

    def recognise(self, texts: pa.Table, payloads: pa.Table) -> list[int | None]:
        """Take these TEXTS in, those whose payload is among PAYLOADS, and say which shapes they have, from 0.

        Raises:
            duckdb.Error: that takes too long, or too much memory.
        """
        text = texts["text"].combine_chunks()
        if pc.any(pc.starts_with(text, BOM)).as_py():
            text = pc.utf8_ltrim(text, BOM)
        brackets = pc.max(pc.add(pc.count_substring(text, "["), pc.count_substring(text, "{"))).as_py() or 0
        self._db.register("texts", texts.set_column(2, TEXTS.field(2), text))
        self._db.register("payloads", payloads)
        facts = ", ".join(f"p.{name}" for name in PAYLOADS.names)
        self._db.execute(
            f"CREATE OR REPLACE TABLE given AS SELECT {facts}, t.completed_date, t.text AS content_text "
            "FROM texts t JOIN payloads p ON p.payload_sid = t.payload_sid"
        )
        self._db.unregister("texts")
        self._db.unregister("payloads")
        # to tell what is deep takes long to plan, so only where there are brackets enough
        reading = self._recognising(too_deep=brackets > DEEPEST)
        self._db.execute(f"CREATE OR REPLACE TABLE recognised AS {reading}")
        return [number for (number,) in self._db.execute("SELECT DISTINCT shape FROM recognised ORDER BY 1").fetchall()]

    def transcripts(self, number: int) -> pa.Table:
        """What a shape says of its contents: ABOUT each, its PARTS, and `confidence_from`; raises as `recognise`."""
        shape = self._shapes[number]
        parts = ", ".join(
            f"{guarded(shape.parts[name], kind) if name in shape.parts else f'NULL::{kind}'} AS {name}"
            for name, kind in PARTS.items()
        )
        about = ", ".join(("payload_sid", "completed_date", *ABOUT))
        parsed = f", {shape.parsed} AS {PARSED}" if shape.parsed else ""
        return self._asked(
            f"shape_{number}",
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
            """,
        ).combine_chunks()

    def others(self, number: int | None) -> pa.Table:
        """Contents of a shape, or of none, as they are: ABOUT each, `json`, `problem`; raises as `recognise`."""
        about = ", ".join(("payload_sid", "completed_date", *ABOUT))
        where = "shape IS NULL" if number is None else f"shape = {number}"
        return self._asked(
            f"others_{number}", f"SELECT {about}, json::VARCHAR AS json, problem FROM recognised WHERE {where}"
        )

    @contextlib.contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Interrupt what runs in the block once this thread has had so much of the processor.

        Time is that of the processor, so that a verdict does not depend on how busy the machine is.
        """
        ended, clock = threading.Event(), time.pthread_getcpuclockid(threading.get_ident())
        until = time.clock_gettime(clock) + seconds

        def watch() -> None:
            while not ended.wait(0.2):
                if time.clock_gettime(clock) > until:
                    self._db.interrupt()

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _prepare(self, name: str, sql: str) -> str:
        """The SQL that runs `sql`, which is planned the first time."""
        if name not in self._prepared:
            self._db.execute(f"PREPARE {name} AS {sql}")
            self._prepared.add(name)
        return f"EXECUTE {name}"

    def _asked(self, name: str, sql: str) -> pa.Table:
        return self._db.sql(self._prepare(name, sql)).to_arrow_table()

    def _recognising(self, *, too_deep: bool = False) -> str:
        """SQL for the columns of `given`, what of them is read, and the number of the shape."""
        deeper = f"WHEN NOT plain AND {deep('content_text')} THEN {quote(TOO_DEEP)} " if too_deep else ""
        return (
            f"SELECT *, CASE WHEN problem IS NULL THEN {recognised(self._shapes)} END AS shape FROM ("
            "SELECT *, CASE WHEN problem IS NULL AND NOT plain THEN TRY_CAST(content_text AS JSON) END AS json FROM ("
            "SELECT * REPLACE (CASE WHEN problem IS NULL THEN content_text END AS content_text) FROM ("
            f"SELECT *, CASE WHEN content_text IS NULL THEN {quote(TOO_LARGE)} {deeper}END AS problem FROM ("
            f"SELECT *, coalesce({plain('content_type')}, false) AS plain FROM given))))"
        )


_KEPT: dict[str, Engine] = {}
"""The engine of the shapes that were used last, by what tells them from others."""

_LOCK = threading.Lock()


@contextlib.contextmanager
def engine_of(shapes: Sequence[Shape], *, mark: str) -> Iterator[Engine]:
    """The engine of these shapes, for this thread alone; what an error may have broken is made anew the next time."""
    with _LOCK:
        if mark not in _KEPT:
            forget()
            _KEPT[mark] = Engine(shapes)
        try:
            yield _KEPT[mark]
            _KEPT[mark].let_go()
        except BaseException:
            forget()
            raise


def forget() -> None:
    """Close the engine that is kept."""
    while _KEPT:
        _KEPT.popitem()[1].close()


atexit.register(forget)
