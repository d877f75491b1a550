"""The SQL of the published `addons.duckdb`: what analysts see, with a COMMENT on everything.

Both destinations get the same names, columns and answers; only where the rows come from differs (native
tables, or Parquet files named by the commit).
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from warehouse.archive import quote
from warehouse.schema import CONTENTS, TABLES, UNFINISHED_STATUSES, Table

_CONTENT_TEXT = "The content as text; null unless its type says text or JSON and it is valid UTF-8."

VIEW_COMMENTS: Mapping[str, tuple[str, Mapping[str, str]]] = MappingProxyType(
    {
        "contents": (
            CONTENTS.description,
            {
                **{c.name: c.description for c in CONTENTS.columns if c.name not in CONTENTS.internal},
                "content_text": _CONTENT_TEXT,
            },
        ),
        "transcripts": (
            "One row for each text or JSON payload: the transcript where the vendor's shape is known.",
            {
                "payload_sid": "Payload (XH...).",
                "add_on_result_sid": "Result (XR...).",
                "recording_sid": "Recording (RE...).",
                "completed_date": "UTC day the result was completed.",
                "vendor": "Shape recognised: ibm_watson, voicebase, google, or text; null when unknown.",
                "text": "The transcript; null when the shape is unknown.",
                "confidence": "Mean confidence the vendor gives, 0 to 1; null when it gives none.",
                "words": "The vendor's word timings as JSON; null when it gives none.",
                "json": "The whole content as JSON; null when it is not JSON.",
            },
        ),
        "retention": (
            "Every add-on result with its deadline at Twilio and what has become of it.",
            {
                "sid": "Result (XR...).",
                "reference_sid": "Recording (RE...).",
                "completed_date": "UTC day the result was completed; null while unknown.",
                "status": "Twilio's status.",
                "expires_at": "When Twilio deletes it.",
                "hours_left": "Hours from now to `expires_at`; negative when past.",
                "state": "exported, pending, unfinished, lost or deleted.",
            },
        ),
        "_commit": (
            "The commit this file shows.",
            {
                "number": "Number of the commit.",
                "committed_at": "When it was committed (UTC).",
                "published_at": "When this file was published (UTC).",
                "destination": "duckdb: native tables; parquet: views over the archive.",
                "layout": "Version of this file's inner layout.",
            },
        ),
    }
)


CONTENTS_VIEW = """
CREATE OR REPLACE VIEW contents AS
SELECT payload_sid, completed_date, content, CASE WHEN is_text THEN decode(content) END AS content_text
FROM _contents.whole
UNION ALL
SELECT payload_sid, completed_date, content, CASE WHEN is_text THEN decode(content) END
FROM (
    SELECT payload_sid, completed_date, any_value(is_text) AS is_text,
        unhex(string_agg(hex(content), '' ORDER BY chunk)) AS content
    FROM _contents.chunks GROUP BY payload_sid, completed_date
)
"""
"""Over the inner views `whole`, one row for each content, and `chunks`, the pieces of large ones."""


TRANSCRIPTS = """
CREATE OR REPLACE VIEW transcripts AS
WITH parsed AS (
    SELECT c.payload_sid, p.add_on_result_sid, p.reference_sid AS recording_sid, c.completed_date, c.content_text,
        starts_with(lower(trim(p.content_type)), 'text/') AS plain,
        CASE WHEN NOT plain THEN TRY_CAST(c.content_text AS JSON) END AS json
    FROM contents c JOIN add_on_payloads p ON p.sid = c.payload_sid
    WHERE c.content_text IS NOT NULL
), shaped AS (
    SELECT *,
        json_extract_string(json, '$.results[*].results[*].alternatives[0].transcript') AS watson,
        list_transform(
            json_extract(json, '$.results[*].results[*].alternatives[0].confidence'), lambda c: TRY_CAST(c AS DOUBLE)
        ) AS watson_confidence,
        json_extract(json, '$.results[*].results[*].alternatives[0].timestamps[*]') AS watson_words,
        coalesce(
            json_extract_string(json, '$.media.transcripts.text'),
            json_extract_string(json, '$.media.transcripts[0].text')
        ) AS voicebase,
        json_extract_string(json, '$.transcription') AS google
    FROM parsed
)
SELECT payload_sid, add_on_result_sid, recording_sid, completed_date,
    CASE WHEN len(watson) > 0 THEN 'ibm_watson' WHEN voicebase IS NOT NULL THEN 'voicebase'
        WHEN google IS NOT NULL THEN 'google' WHEN json IS NULL THEN 'text' END AS vendor,
    CASE WHEN len(watson) > 0 THEN trim(regexp_replace(array_to_string(watson, ' '), '\\s+', ' ', 'g'))
        WHEN voicebase IS NOT NULL THEN voicebase WHEN google IS NOT NULL THEN google
        WHEN json IS NULL THEN content_text END AS text,
    list_avg(watson_confidence) AS confidence,
    CASE WHEN len(watson_words) > 0 THEN to_json(watson_words) END AS words,
    json
FROM shaped
"""


def states(results: str, payloads: str, now: str) -> str:
    """SQL for every result with what has become of it at `now`; the one rule for `retention` and for `status`."""
    return f"""
SELECT r.sid, r.reference_sid, r.completed_date, r.status, r.expires_at,
    date_diff('second', {now}, r.expires_at) / 3600.0 AS hours_left,
    CASE WHEN r.deleted_at IS NOT NULL THEN 'deleted'
        WHEN r.exported_at IS NOT NULL AND coalesce(p.missing, 0) = 0 THEN 'exported'
        WHEN r.expires_at < {now} THEN 'lost'
        WHEN r.status IN ({", ".join(quote(s) for s in UNFINISHED_STATUSES)}) THEN 'unfinished'
        ELSE 'pending' END AS state
FROM {results} r LEFT JOIN (
    SELECT add_on_result_sid, count(*) FILTER (content_sha256 IS NULL) AS missing
    FROM {payloads} GROUP BY add_on_result_sid
) p ON p.add_on_result_sid = r.sid
"""


def owing(results: str, payloads: str, now: str) -> str:
    """SQL for the recordings of which a landed result is not whole at `now` and can still be had."""
    return f"""
SELECT reference_sid FROM ({states(results, payloads, now)}) WHERE state IN ('pending', 'unfinished')
UNION SELECT p.reference_sid FROM {payloads} p ANTI JOIN {results} r ON r.sid = p.add_on_result_sid
"""


RETENTION = f"CREATE OR REPLACE VIEW retention AS {states('add_on_results', 'add_on_payloads', 'now()')}"


def comments(destination: str) -> Iterator[str]:
    """COMMENT statements for every table, view and column."""
    for table in TABLES.values():
        if table is not CONTENTS:
            kind = "TABLE" if destination == "duckdb" else "VIEW"
            yield from _comments(kind, table.name, table.description, _descriptions(table))
    for name, (text, columns) in VIEW_COMMENTS.items():
        yield from _comments("TABLE" if name == "_commit" else "VIEW", name, text, columns)
    yield f"COMMENT ON VIEW _contents.whole IS {quote('Behind `contents`: one row for each content.')}"
    yield f"COMMENT ON VIEW _contents.chunks IS {quote('Behind `contents`: the chunks of large ones.')}"


def _descriptions(table: Table) -> Mapping[str, str]:
    return {column.name: column.description for column in table.columns}


def _comments(kind: str, name: str, text: str, columns: Mapping[str, str]) -> Iterator[str]:
    yield f"COMMENT ON {kind} {name} IS {quote(text)}"
    for column, description in columns.items():
        yield f"COMMENT ON COLUMN {name}.{column} IS {quote(description)}"
