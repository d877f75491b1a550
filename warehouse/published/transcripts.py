"""The view `transcripts`: what the shapes say of every content, computed when it is asked."""

from collections.abc import Sequence

from warehouse.schema import CHUNK_BYTES, quote
from warehouse.transcripts.readable import LARGEST_BYTES, TOO_DEEP, TOO_LARGE, decoded, deep, plain
from warehouse.transcripts.rules import guarded
from warehouse.transcripts.shapes import PARSED, PARTS, Shape, recognised

_SHOWN = ("text", "confidence", "language", "words")
"""Parts that are columns as they are."""


def transcripts_sql(usable: Sequence[Shape]) -> str:
    """The query behind the view `transcripts`."""
    vendors = ", ".join(quote(shape.vendor) for shape in usable)
    parts = ",\n".join(f"    {_part(usable, name, kind)} AS {name}" for name, kind in PARTS.items() if name in _SHOWN)
    spoken = "list_sort(list_distinct(list_transform(words, lambda w: coalesce(w.speaker, w.channel))))"
    return f"""
WITH held AS ({_held()}), texts AS (
    SELECT h.payload_sid, p.add_on_result_sid, p.reference_sid AS recording_sid, h.completed_date, p.add_on_sid,
        p.add_on_configuration_sid, p.label, p.content_type, h.held[1] AS whole_text,
        {plain("p.content_type")} AS plain
    FROM held h JOIN add_on_payloads p ON p.sid = h.payload_sid
), looked_at AS (
    SELECT *, CASE WHEN whole_text IS NULL THEN {quote(TOO_LARGE)}
        WHEN NOT coalesce(plain, false) AND {deep("whole_text")} THEN {quote(TOO_DEEP)} END AS problem
    FROM texts
), parsed AS (
    SELECT * EXCLUDE (whole_text), CASE WHEN problem IS NULL THEN whole_text END AS content_text,
        CASE WHEN problem IS NULL AND NOT plain THEN TRY_CAST(whole_text AS JSON) END AS json
    FROM looked_at
), recognised AS (
    SELECT *, CASE WHEN problem IS NULL THEN [{vendors}][{recognised(usable)} + 1] END AS vendor FROM parsed
), heard AS (
    SELECT *,
{parts},
    {_part(usable, "speakers", PARTS["speakers"])} AS named
    FROM recognised
)
SELECT payload_sid, add_on_result_sid, recording_sid, completed_date, h.add_on_sid, n.name AS add_on, label, vendor,
    text, confidence, language, nullif(list_filter(words, lambda w: w.word IS NOT NULL), []) AS words,
    coalesce(nullif(list_sort(list_distinct(named)), []), nullif({spoken}, [])) AS speakers, json, problem
FROM heard h LEFT JOIN add_on_names n ON n.add_on_sid = h.add_on_sid
"""


def _held() -> str:
    """SQL for the contents that are text: each in a list of one element, null where it is too large to be read.

    DuckDB puts rows that have no list together, up to 2,048 of them, before it goes on; the texts of so many large
    contents, and what is made of each, would be in memory at once.
    """
    chunks = range(-(-LARGEST_BYTES // CHUNK_BYTES))
    whole = " || ".join(f"coalesce(max(content) FILTER (chunk = {number}), ''::BLOB)" for number in chunks)
    text = " || ".join(f"coalesce(max(text) FILTER (chunk = {number}), '')" for number in chunks)
    return f"""
    SELECT payload_sid, completed_date, [CASE WHEN octet_length(content) <= {LARGEST_BYTES}
        THEN CASE WHEN is_text THEN {decoded("content")} ELSE text END END] AS held
    FROM _contents.whole WHERE is_text OR text IS NOT NULL
    UNION ALL
    SELECT payload_sid, completed_date, [CASE WHEN max(chunk) < {len(chunks)}
        THEN CASE WHEN bool_and(is_text) THEN {decoded(whole)} ELSE {text} END END]
    FROM _contents.chunks WHERE is_text OR text IS NOT NULL GROUP BY payload_sid, completed_date
"""


def _part(usable: Sequence[Shape], name: str, kind: str) -> str:
    cases = " ".join(
        f"WHEN {quote(shape.vendor)} THEN {_expression(shape, name, kind)}" for shape in usable if name in shape.parts
    )
    return f"CASE vendor {cases} END" if cases else f"CAST(NULL AS {kind})"


def _expression(shape: Shape, name: str, kind: str) -> str:
    bare = guarded(shape.parts[name], kind)
    return bare if shape.parsed is None else f"list_transform([{shape.parsed}], lambda {PARSED}: {bare})[1]"
