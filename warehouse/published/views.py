"""The SQL of the published `addons.duckdb`: what analysts see, with a COMMENT on everything.

Both destinations get the same names, columns and answers; only where the rows come from differs (native
tables, or Parquet files named by the commit). A view is described once, here; `docs/tables.md` is made from it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from warehouse.published import calls
from warehouse.schema import CONTENTS, DERIVED, TABLES, UNFINISHED_STATUSES, Table, quote
from warehouse.states import GONE, OPEN_STATES, STATES, state_in
from warehouse.transcripts.readable import decoded

CONTENTS_VIEW = f"""
CREATE OR REPLACE VIEW contents AS
SELECT payload_sid, completed_date, content, CASE WHEN is_text THEN {decoded("content")} ELSE text END AS content_text
FROM _contents.whole
UNION ALL
SELECT payload_sid, completed_date, content, CASE WHEN is_text THEN {decoded("content")} ELSE text END
FROM (
    SELECT payload_sid, completed_date, any_value(is_text) AS is_text,
        unhex(string_agg(hex(content), '' ORDER BY chunk)) AS content, string_agg(text, '' ORDER BY chunk) AS text
    FROM _contents.chunks GROUP BY payload_sid, completed_date
)
"""
"""Over the inner views `whole`, one row for each content, and `chunks`, the pieces of large ones."""


_DELIVERED = """
SELECT add_on_result_sid, count(*) AS payloads, sum(content_length)::BIGINT AS content_bytes,
    count(*) FILTER (content_sha256 IS NULL) AS missing
FROM {payloads} GROUP BY add_on_result_sid
"""


def _state(now: str) -> str:
    return f"""
    CASE WHEN r.deleted_at IS NOT NULL THEN 'deleted'
        WHEN r.exported_at IS NOT NULL AND coalesce(p.missing, 0) = 0 THEN 'exported'
        WHEN {GONE.format("r.")} THEN 'gone'
        WHEN r.expires_at < {now} THEN 'lost'
        WHEN r.status IN ({", ".join(quote(s) for s in UNFINISHED_STATUSES)}) THEN 'unfinished'
        ELSE 'pending' END"""


def states(results: str, payloads: str, now: str) -> str:
    """SQL for every result with what has become of it at `now`; the one rule for `retention` and for `status`."""
    return f"""
SELECT r.sid, r.reference_sid, r.completed_date, r.status, r.expires_at,
    date_diff('second', {now}, r.expires_at) / 3600.0 AS hours_left, {_state(now)} AS state
FROM {results} r LEFT JOIN ({_DELIVERED.format(payloads=payloads)}) p ON p.add_on_result_sid = r.sid
"""


def owing(results: str, payloads: str, now: str) -> str:
    """SQL for the recordings of which a landed result is not whole at `now` and can still be had."""
    return f"""
SELECT reference_sid FROM ({states(results, payloads, now)}) WHERE {state_in(OPEN_STATES)}
UNION SELECT p.reference_sid FROM {payloads} p ANTI JOIN {results} r ON r.sid = p.add_on_result_sid
"""


_DETAILS = f"""
SELECT r.sid, r.reference_sid, c.call_sid, r.account_sid, r.add_on_sid, n.name AS add_on, r.status, {_state("now()")}
    AS state, r.completed_date, r.date_created, r.date_completed, r.expires_at,
    date_diff('millisecond', r.date_created, r.date_completed) / 1000.0 AS latency_seconds,
    CASE WHEN c.duration_seconds >= 0 THEN c.duration_seconds END AS duration_seconds,
    coalesce(p.payloads, 0) AS payloads, coalesce(p.content_bytes, 0) AS content_bytes
FROM add_on_results r
LEFT JOIN ({_DELIVERED.format(payloads="add_on_payloads")}) p ON p.add_on_result_sid = r.sid
LEFT JOIN recordings c ON c.sid = r.reference_sid
LEFT JOIN add_on_names n ON n.add_on_sid = r.add_on_sid
"""

_MEASURES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "results": ("count(*)", "Add-on results."),
        **{
            status: (f"count(*) FILTER (status = '{status}')", f"Results with status {status}.")
            for status in ("completed", "failed", "canceled")
        },
        **{
            state: (f"count(*) FILTER (state = '{state}')", f"Results that are {state}, as `retention` says.")
            for state in STATES
        },
        "failure_rate": (
            "count(*) FILTER (status = 'failed') / nullif(count(*) FILTER (status IN ('completed', 'failed')), 0)",
            "Failed results among the completed and failed ones, 0 to 1; null when there are none.",
        ),
        "latency_seconds_median": (
            "median(latency_seconds) FILTER (status = 'completed')",
            "Median time from `date_created` to `date_completed` of completed results, in seconds.",
        ),
        "latency_seconds_p95": (
            "quantile_cont(latency_seconds, 0.95) FILTER (status = 'completed')",
            "95 % of the completed results took no longer, in seconds.",
        ),
        "recording_seconds": (
            "coalesce(sum(duration_seconds), 0)::BIGINT",
            "Length of the recordings in seconds, once for each result.",
        ),
        "payloads": ("sum(payloads)::BIGINT", "Payloads delivered."),
        "content_bytes": ("sum(content_bytes)::BIGINT", "Bytes of the landed contents."),
        "next_deadline": (
            f"min(expires_at) FILTER ({state_in(OPEN_STATES)})",
            "The earliest deadline of what is not exported; null when all is.",
        ),
    }
)
"""What the summaries measure: SQL over `add_on_result_details`, and what it means."""


def _summary(key: str) -> str:
    measures = ", ".join(f"{sql} AS {name}" for name, (sql, _) in _MEASURES.items())
    return f"SELECT {key}, {measures} FROM add_on_result_details GROUP BY {key}"


_ADD_ONS = f"""
SELECT coalesce(s.add_on_sid, n.add_on_sid) AS add_on_sid, n.name, coalesce(s.results, 0) AS results,
    s.* EXCLUDE (add_on_sid, results)
FROM ({_summary("add_on_sid")}) s FULL JOIN add_on_names n ON n.add_on_sid = s.add_on_sid
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A view, or a table that holds settings and no landed rows: what it is and what its columns mean."""

    name: str
    description: str
    columns: Mapping[str, str]
    sql: str | None = None
    """The query behind a view that stands on the tables alone; None for what is made elsewhere."""


_RESULT = {"sid": "Result (XR...).", "reference_sid": "Recording (RE...); joins `recordings.sid`."}
_ADD_ON = {
    "add_on_sid": "Add-on (XB...).",
    "add_on": "Its name, as TWILIO_ADDON_NAMES says; null when it says none.",
}
_DAY = "UTC day the result was completed; null while unknown."
_STATE = (
    "exported, pending, unfinished, lost (it expired at Twilio before it was whole here), gone (the same, but somebody "
    "deleted it there) or deleted (at Twilio, on request, by this project)."
)

RELATIONS: tuple[Relation, ...] = (
    Relation(
        "contents",
        CONTENTS.description,
        {
            **{c.name: c.description for c in CONTENTS.columns if c.name not in CONTENTS.internal},
            "content_text": "The content as text, without a byte order mark; null unless its type says text or JSON "
            "and it is valid in the charset that the type names (UTF-8 if none).",
        },
    ),
    *(Relation(table.name, table.description, calls.columns(table), calls.sql(table)) for table in DERIVED),
    Relation(
        "retention",
        "Every add-on result with its deadline at Twilio and what has become of it.",
        {
            **_RESULT,
            "completed_date": _DAY,
            "status": "Twilio's status.",
            "expires_at": "When Twilio deletes it.",
            "hours_left": "Hours from now to `expires_at`; negative when past.",
            "state": _STATE,
        },
        states("add_on_results", "add_on_payloads", "now()"),
    ),
    Relation(
        "add_on_result_details",
        "Every add-on result with the name of its add-on, its latency, its recording and what it delivered.",
        {
            **_RESULT,
            "call_sid": "Call that was recorded (CA...).",
            "account_sid": "Account (AC...).",
            **_ADD_ON,
            "status": "Twilio's status.",
            "state": _STATE,
            "completed_date": _DAY,
            "date_created": "When Twilio created the result (UTC).",
            "date_completed": "When the add-on finished (UTC); null while unfinished.",
            "expires_at": "When Twilio deletes it.",
            "latency_seconds": "Seconds from `date_created` to `date_completed`.",
            "duration_seconds": "Length of the recording in seconds; null while it is not known (-1 at Twilio).",
            "payloads": "Payloads it delivered.",
            "content_bytes": "Bytes of its landed contents.",
        },
        _DETAILS,
    ),
    Relation(
        "calls",
        f"Every recording with its best transcript, who talks how long, and its add-ons. {calls.CALLS_RULE}",
        calls.CALLS_COLUMNS,
        calls.CALLS,
    ),
    Relation(
        "days",
        "Each UTC day of completion in numbers; the row without a day holds what has no `date_completed`.",
        {"completed_date": _DAY, **{name: text for name, (_, text) in _MEASURES.items()}},
        _summary("completed_date"),
    ),
    Relation(
        "add_ons",
        "Each add-on that was seen, or is named, in numbers.",
        {
            "add_on_sid": _ADD_ON["add_on_sid"],
            "name": _ADD_ON["add_on"],
            **{name: text for name, (_, text) in _MEASURES.items()},
        },
        _ADD_ONS,
    ),
    Relation(
        "add_on_names",
        "Names of add-ons, from TWILIO_ADDON_NAMES at the time of publication.",
        {"add_on_sid": _ADD_ON["add_on_sid"], "name": "The name."},
    ),
    Relation(
        "transcript_shapes",
        "Shapes by which contents are read as transcripts, in the order they are tried, and files that cannot be used.",
        {
            "position": "Order in which it is tried; null when it cannot be used.",
            "vendor": "What `transcripts.vendor` says when it is this shape.",
            "version": "Its version, as in `transcripts.shape_version`.",
            "description": "What it reads.",
            "problem": "Why a file of your own cannot be used; else null.",
        },
    ),
    Relation(
        "_commit",
        "The commit this file shows.",
        {
            "number": "Number of the commit.",
            "committed_at": "When it was committed (UTC).",
            "published_at": "When this file was published (UTC).",
            "destination": "duckdb: native tables; parquet: views over the archive.",
            "layout": "Version of this file's inner layout.",
            "definitions": "SHA-256 over the definitions of the views and the names in this file.",
        },
    ),
)

SETTINGS = ("add_on_names", "transcript_shapes", "_commit")
"""Relations that are tables in both destinations."""


def views() -> Iterator[str]:
    """Statements that make every view, over the tables, the inner tables and views, and `add_on_names`."""
    yield CONTENTS_VIEW
    for relation in RELATIONS:
        if relation.sql is not None:
            yield f"CREATE OR REPLACE VIEW {relation.name} AS {relation.sql}"


def comments(destination: str) -> Iterator[str]:
    """COMMENT statements for every table, view and column."""
    kind = "TABLE" if destination == "duckdb" else "VIEW"
    for table in TABLES.values():
        if table is not CONTENTS and not table.derived:
            yield from _comments(kind, table.name, table.description, _descriptions(table))
    for relation in RELATIONS:
        made = "TABLE" if relation.name in SETTINGS else "VIEW"
        yield from _comments(made, relation.name, relation.description, relation.columns)
    for table in DERIVED:
        yield f"COMMENT ON {kind} {calls.inner(table)} IS {quote(f'Behind `{table.name}`.')}"
    yield from comments_on_contents()


def comments_on_contents() -> Iterator[str]:
    """COMMENT statements for the inner views of contents, which each publication makes anew."""
    yield f"COMMENT ON VIEW _contents.whole IS {quote('Behind `contents`: one row for each content.')}"
    yield f"COMMENT ON VIEW _contents.chunks IS {quote('Behind `contents`: the chunks of large ones.')}"


def _descriptions(table: Table) -> Mapping[str, str]:
    return {column.name: column.description for column in table.columns}


def _comments(kind: str, name: str, text: str, columns: Mapping[str, str]) -> Iterator[str]:
    yield f"COMMENT ON {kind} {name} IS {quote(text)}"
    for column, description in columns.items():
        yield f"COMMENT ON COLUMN {name}.{column} IS {quote(description)}"
