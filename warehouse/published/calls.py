"""The views over derived tables: `transcripts`, `turns`, `analyses`, and `calls`, which has one row for each recording.

They add to the inner tables what stands elsewhere: the names of add-ons, the recording, what becomes of its results.
"""

from collections.abc import Mapping
from types import MappingProxyType

from warehouse.schema import Table
from warehouse.states import OPEN_STATES, state_in

SCHEMA = "_derived"
"""Where the inner tables are."""


def inner(table: Table) -> str:
    """Where the published file has the rows of a table."""
    return f"{SCHEMA}.{table.name}" if table.derived else table.name


_ALIASES = {"reference_sid": "recording_sid"}
"""What people look for beside Twilio's name."""

_ADD_ON = "Name of the add-on, as TWILIO_ADDON_NAMES says; null when it says none."

# grouped, DuckDB knows that it finds no more than one name, and leaves the join out where nobody asks for it
_NAMES = "(SELECT add_on_sid, any_value(name) AS name FROM add_on_names GROUP BY add_on_sid)"


def columns(table: Table) -> Mapping[str, str]:
    """What a view over an inner table shows, and what it means."""
    shown: dict[str, str] = {}
    for column in table.columns:
        if column.name not in table.internal:
            shown[column.name] = column.description
        if column.name in _ALIASES:
            shown[_ALIASES[column.name]] = f"The same as `{column.name}`."
        if column.name == "add_on_sid":
            shown["add_on"] = _ADD_ON
    return MappingProxyType(shown)


def sql(table: Table) -> str:
    """The query behind a view over an inner table."""
    made = {**{alias: f"t.{name}" for name, alias in _ALIASES.items()}, "add_on": "n.name"}
    listed = ", ".join(f"{made.get(name, f't.{name}')} AS {name}" for name in columns(table))
    names = f" LEFT JOIN {_NAMES} n ON n.add_on_sid = t.add_on_sid" if "add_on_sid" in table.names else ""
    return f"SELECT {listed} FROM {inner(table)} t{names}"


BEST_FIRST = """
coalesce(text, '') <> '' DESC, len(channels) > 1 OR len(speakers) > 1 DESC NULLS LAST, words IS NOT NULL DESC,
confidence DESC NULLS LAST, payload_sid
"""
"""The order of the transcripts of a recording, as CALLS_RULE says it."""

_BEST = f"""
SELECT reference_sid, count(*) AS transcripts, arg_min(payload_sid, place) AS payload_sid FROM (
    SELECT reference_sid, payload_sid, row_number() OVER (PARTITION BY reference_sid ORDER BY {BEST_FIRST}) AS place
    FROM _derived.transcripts
) GROUP BY reference_sid
"""

CALLS_RULE = (
    "The best transcript is the first that has text; of those one that tells speakers or channels apart, then one that "
    "has words with times, then the one of the highest confidence."
)

CALLS = f"""
SELECT r.sid AS recording_sid, r.sid AS reference_sid, r.call_sid, r.account_sid, r.start_time,
    CASE WHEN r.duration_seconds >= 0 THEN r.duration_seconds END AS duration_seconds,
    b.payload_sid, t.vendor, t.language, t.text, t.confidence, t.redacted, coalesce(b.transcripts, 0) AS transcripts,
    coalesce(s.turns, 0) AS turns, s.talk_seconds, coalesce(d.results, 0) AS results, d.add_ons,
    coalesce(d.unsafe, 0) AS unsafe, d.next_deadline
FROM recordings r
LEFT JOIN ({_BEST}) b ON b.reference_sid = r.sid
LEFT JOIN _derived.transcripts t ON t.payload_sid = b.payload_sid
LEFT JOIN (
    SELECT payload_sid, sum(turns)::BIGINT AS turns,
        list({{'speaker': who, 'seconds': seconds}} ORDER BY first) FILTER (seconds IS NOT NULL) AS talk_seconds
    FROM (
        SELECT payload_sid, coalesce(speaker, channel) AS who, count(*) AS turns, min(position) AS first,
            sum(end_seconds - start_seconds) AS seconds
        FROM _derived.turns GROUP BY payload_sid, who
    ) GROUP BY payload_sid
) s ON s.payload_sid = b.payload_sid
LEFT JOIN (
    SELECT reference_sid, count(*) AS results, list_sort(list(DISTINCT coalesce(add_on, add_on_sid))) AS add_ons,
        count(*) FILTER (state NOT IN ('exported', 'deleted')) AS unsafe,
        min(expires_at) FILTER ({state_in(OPEN_STATES)}) AS next_deadline
    FROM add_on_result_details GROUP BY reference_sid
) d ON d.reference_sid = r.sid
"""

CALLS_COLUMNS = MappingProxyType(
    {
        "recording_sid": "Recording (RE...); joins `recordings.sid`.",
        "reference_sid": "The same as `recording_sid`.",
        "call_sid": "Call that was recorded (CA...).",
        "account_sid": "Account (AC...).",
        "start_time": "When the recording began (UTC).",
        "duration_seconds": "Length of the recording in seconds; null while it is not known (-1 at Twilio).",
        "payload_sid": "The best transcript; joins `transcripts` and `turns`. Null without any.",
        "vendor": "Of the best transcript.",
        "language": "Of the best transcript.",
        "text": "Of the best transcript.",
        "confidence": "Of the best transcript.",
        "redacted": "Of the best transcript.",
        "transcripts": "Transcripts there are.",
        "turns": "Turns of the best transcript.",
        "talk_seconds": "Seconds that each speaker, or channel, of the best transcript talks, by first turn.",
        "results": "Add-on results there are.",
        "add_ons": "Names of their add-ons, or SIDs of those without one.",
        "unsafe": "Results that are not safe here: pending, unfinished, lost or gone.",
        "next_deadline": "The earliest deadline of what can still be exported; null when nothing is left.",
    }
)
