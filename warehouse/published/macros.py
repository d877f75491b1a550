"""The macros of the published `addons.duckdb`: searching what was said, one transcript, days of another time zone.

A table macro is asked like a table. Named arguments that are not given restrict nothing. A column that is named in a
macro must not have the name of an argument, which would stand in its place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from warehouse.published.calls import BEST_FIRST
from warehouse.schema import quote

WORDS_AROUND = 8
"""Words that are shown before and behind what was searched for."""

# What is searched for, as a regular expression: any white space may be between its words, and nothing matches nothing.
_PHRASE = r"regexp_replace(regexp_escape(nullif(trim(phrase), '')), '(\\?\s)+', '\\s+', 'g')"

_MATCHES = f"regexp_matches(text, '(?i)' || {_PHRASE})"

_AROUND = (
    rf"regexp_extract(text, '(?i)(?:\S+\s+){{0,{WORDS_AROUND}}}\S*' || {_PHRASE} || "
    rf"'\S*(?:\s+\S+){{0,{WORDS_AROUND}}}')"
)

_DAYS = "(first_day IS NULL OR completed_date >= first_day) AND (last_day IS NULL OR completed_date <= last_day)"

# The word of a text that begins at a place, where its words are those with times, one for one; else nothing is guessed.
_WORD = rf"""
CASE WHEN len(regexp_split_to_array(trim(w.text), '\s+')) = len(w.words) THEN w.words[len(regexp_split_to_array(
    regexp_extract(trim(w.text), '(?is)^(.*?)' || {_PHRASE}, 1), '\s+'))] END
"""

# Texts are read twice, and of what does not match nothing else; words, which are ten times as large, of what is shown.
_SEARCH = f"""
WITH said AS (
    SELECT payload_sid, position, speaker, channel, start_seconds, text FROM _derived.turns
    WHERE {_MATCHES} AND {_DAYS} AND (by_speaker IS NULL OR by_speaker IN (speaker, channel))
), found AS (
    FROM said
    UNION ALL SELECT payload_sid, NULL, NULL, NULL, NULL, text FROM _derived.transcripts
    WHERE by_speaker IS NULL AND {_MATCHES} AND {_DAYS} AND payload_sid NOT IN (SELECT payload_sid FROM said)
), told AS (
    SELECT f.* EXCLUDE (text), t.reference_sid, t.call_sid, t.completed_date, t.vendor,
        len(regexp_extract_all(f.text, '(?i)' || {_PHRASE})) AS times, {_AROUND.replace("text", "f.text")} AS around
    FROM found f JOIN _derived.transcripts t ON t.payload_sid = f.payload_sid
    WHERE by_vendor IS NULL OR t.vendor = by_vendor
), heard AS (
    SELECT reference_sid, payload_sid, any_value(vendor) AS vendor, max(completed_date) AS day, sum(times) AS times,
        row_number() OVER (PARTITION BY reference_sid
            ORDER BY count(position) > 0 DESC, sum(times) DESC, payload_sid) AS place
    FROM told GROUP BY reference_sid, payload_sid
), ranked AS (
    SELECT reference_sid, min_by(payload_sid, place) AS payload_sid, list_sort(list(DISTINCT vendor)) AS heard_by,
        row_number() OVER (ORDER BY count(DISTINCT vendor) DESC, max(times) DESC, max(day) DESC NULLS LAST,
            reference_sid) AS rank
    FROM heard GROUP BY reference_sid
), shown AS (
    SELECT t.*, k.rank, k.heard_by FROM told t JOIN ranked k ON k.payload_sid = t.payload_sid
    WHERE most IS NULL OR k.rank <= most
), timed AS (
    SELECT w.payload_sid, {_WORD} AS word FROM _derived.transcripts w
    WHERE w.payload_sid IN (SELECT payload_sid FROM shown WHERE position IS NULL)
)
SELECT s.rank, s.call_sid, s.reference_sid AS recording_sid, r.start_time,
    coalesce(s.start_seconds, w.word.start_seconds) AS start_seconds, s.speaker, s.channel, s.around, s.times,
    s.vendor, s.heard_by, s.completed_date, s.payload_sid, s.position
FROM shown s LEFT JOIN timed w ON w.payload_sid = s.payload_sid AND s.position IS NULL
LEFT JOIN recordings r ON r.sid = s.reference_sid
ORDER BY s.rank, s.position
"""

# By day first: no more of the turns are read than those of one.
_TRANSCRIPT = f"""
WITH best AS (
    SELECT payload_sid, completed_date, vendor, text FROM _derived.transcripts
    WHERE sid IN (reference_sid, payload_sid) ORDER BY {BEST_FIRST} LIMIT 1
)
SELECT t.position, t.speaker, t.channel, t.start_seconds, t.end_seconds,
    CASE WHEN t.turn_id IS NULL THEN b.text ELSE t.text END AS text, b.vendor, b.payload_sid
FROM best b LEFT JOIN (
    SELECT t.* FROM _derived.turns t JOIN best USING (payload_sid, completed_date)
    UNION ALL
    SELECT t.* FROM _derived.turns t JOIN best USING (payload_sid) WHERE t.completed_date IS NULL
) t ON true ORDER BY t.position
"""


@dataclass(frozen=True, slots=True)
class Macro:
    """A macro: how it is called, what it is, and what it makes of its arguments."""

    name: str
    arguments: Mapping[str, str]
    """What each means."""
    optional: frozenset[str]
    """Arguments that may be left out, and are null then."""
    description: str
    sql: str
    columns: Mapping[str, str] | None = None
    """Of a table macro: what it returns; None of one that returns a value."""

    @property
    def call(self) -> str:
        """How it is called."""
        given = (f"{name} := NULL" if name in self.optional else name for name in self.arguments)
        return f"{self.name}({', '.join(given)})"


MACROS: tuple[Macro, ...] = (
    Macro(
        "search",
        {
            "phrase": "What is searched for, in small or capital letters alike; a part of a word is found too.",
            "first_day": "The first `completed_date`.",
            "last_day": "The last `completed_date`, included.",
            "by_vendor": "Transcripts of this vendor alone.",
            "by_speaker": "Turns of this speaker or channel alone, as the vendor names it.",
            "most": "No more than so many recordings, the first by rank.",
        },
        frozenset(("first_day", "last_day", "by_vendor", "by_speaker", "most")),
        "Where something was said: one row for each turn that holds it, or for a transcript in which no turn does. Of "
        "several transcripts of a recording one is shown: that whose turns have it, then that which has it most often. "
        "First come the recordings in which the most vendors heard it, then those in which it was said most "
        "often, then the newest.",
        _SEARCH,
        {
            "rank": "Place of the recording, from 1.",
            "call_sid": "Call that was recorded (CA...).",
            "recording_sid": "Recording (RE...); `transcript(recording_sid)` has all of it.",
            "start_time": "When the recording began (UTC).",
            "start_seconds": "Seconds into the recording: of the turn, else of the word; null when not given.",
            "speaker": "Who says it, as the vendor names him; null when not given.",
            "channel": "Channel of the recording, as the vendor numbers it; null when not given.",
            "around": f"It, with up to {WORDS_AROUND} words before and behind it: the first time in this turn.",
            "times": "How often this turn has it.",
            "vendor": "Vendor of the transcript shown.",
            "heard_by": "All vendors whose transcript of the recording has it.",
            "completed_date": "UTC day of the result.",
            "payload_sid": "The transcript shown (XH...); joins `transcripts` and `turns`.",
            "position": "The turn; null where no turn has it.",
        },
    ),
    Macro(
        "transcript",
        {"sid": "Recording (RE...), or a payload (XH...) for that one transcript."},
        frozenset(),
        "The best transcript of a recording, turn by turn; one row with the whole text when it has no turns. Which is "
        "the best is said at `calls`.",
        _TRANSCRIPT,
        {
            "position": "The turn, from 1; null when there are none.",
            "speaker": "Who speaks, as the vendor says it; null when it does not.",
            "channel": "Channel of the recording; null when not given.",
            "start_seconds": "When it begins, in seconds; null when not given.",
            "end_seconds": "When it ends, in seconds; null when not given.",
            "text": "What is said.",
            "vendor": "Vendor of the transcript.",
            "payload_sid": "The transcript (XH...).",
        },
    ),
    Macro(
        "local_day",
        {"ts": "A time, such as `date_completed`.", "zone": "Name of a time zone, such as 'America/New_York'."},
        frozenset(),
        "The day that a time falls on in another time zone; `completed_date` is the day in UTC.",
        "(ts AT TIME ZONE zone)::DATE",
    ),
)


def macros() -> Iterator[str]:
    """Statements that make them, over the inner tables, and say what they are."""
    for macro in MACROS:
        of_rows = macro.columns is not None
        yield f"CREATE OR REPLACE MACRO {macro.call} AS {'TABLE ' if of_rows else ''}{macro.sql}"
        yield f"COMMENT ON MACRO {'TABLE ' if of_rows else ''}{macro.name} IS {quote(macro.description)}"
