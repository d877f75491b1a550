"""Every table the warehouse keeps: columns, types, descriptions, keys and how two observations of a row merge.

This is the only place a column is described: Arrow schemas, DuckDB types, COMMENTs and Dagster's column
tables are all derived from here. All timestamps are UTC with microseconds. A partition column is stored in
the folder name, not in the file, so readers can skip folders.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import pyarrow as pa

UTC_TIME = pa.timestamp("us", tz="UTC")
PRICE = pa.decimal128(20, 8)
TEXTS = pa.list_(pa.string())
WORDS = pa.list_(
    pa.struct(
        {
            "word": pa.string(),
            "start_seconds": pa.float64(),
            "end_seconds": pa.float64(),
            "confidence": pa.float64(),
            "speaker": pa.string(),
            "channel": pa.string(),
        }
    )
)

Merge = Literal["latest", "first", "most", "load", "day"]
"""How a column of an old row `o` and a newly observed row `s` become one value.

latest: the later observation's value, or the other's where that is null (nothing is ever blanked);
first: the value landed first; most: the greater; load: the id of this load; day: the UTC day of `day_of`.
"""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its Arrow type, what it means, and how it merges."""

    name: str
    type: pa.DataType
    description: str
    merge: Merge = "latest"
    is_change: bool = True
    """Whether a different value alone is a reason to land the row again."""
    day_of: str | None = None
    """For merge "day": the timestamp column this date is derived from."""
    json: bool = False
    """Text that holds JSON; DuckDB shows it as JSON."""
    late: bool = False
    """Added after archives were written: files of earlier versions lack it, and it is null there."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table: name, key column, columns, and the column its files are partitioned by."""

    name: str
    key: str
    description: str
    columns: tuple[Column, ...]
    partition: str | None = None
    append_only: bool = False
    """Rows are only ever added: the first row with a key stays."""
    internal: tuple[str, ...] = field(default=())
    """Columns stored in the archive that analysts do not see."""
    derived: bool = False
    """Rows follow from contents and are made anew when shapes change; analysts see them through views."""

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of a batch of rows, partition column included, descriptions as field metadata."""
        return pa.schema([pa.field(c.name, c.type, metadata={"description": c.description}) for c in self.columns])

    @property
    def file_schema(self) -> pa.Schema:
        """Arrow schema of a Parquet file: without the partition column, which is the folder's name."""
        return pa.schema([f for f in self.schema if f.name != self.partition])

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(c.name for c in self.columns)

    def empty(self) -> pa.Table:
        """No rows, right types."""
        return self.schema.empty_table()


def sql_type(column: Column) -> str:
    """DuckDB type of a column."""
    if column.json:
        return "JSON"
    if pa.types.is_decimal(column.type):
        return f"DECIMAL({column.type.precision},{column.type.scale})"
    return _SQL_TYPES[column.type]


_SQL_TYPES: Mapping[pa.DataType, str] = MappingProxyType(
    {
        pa.string(): "VARCHAR",
        pa.binary(): "BLOB",
        pa.bool_(): "BOOLEAN",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.date32(): "DATE",
        UTC_TIME: "TIMESTAMP WITH TIME ZONE",
        pa.float64(): "DOUBLE",
        TEXTS: "VARCHAR[]",
        WORDS: "STRUCT(word VARCHAR, start_seconds DOUBLE, end_seconds DOUBLE, confidence DOUBLE, speaker VARCHAR, "
        "channel VARCHAR)[]",
    }
)

_LOAD_ID = Column(
    "load_id", pa.string(), "The load that last wrote this row; see `loads`.", merge="load", is_change=False
)
_OBSERVED_AT = Column(
    "observed_at", UTC_TIME, "When Twilio showed this state of the row.", merge="most", is_change=False
)
_FIRST_SEEN_AT = Column(
    "first_seen_at", UTC_TIME, "When this row was first seen at Twilio.", merge="first", is_change=False
)
_RAW = Column(
    "raw",
    pa.string(),
    "The row's JSON exactly as Twilio sent it.",
    is_change=False,
    json=True,
)
_COMPLETED_DATE = Column(
    "completed_date",
    pa.date32(),
    "Partition: the UTC day of the result's `date_completed`; null while that is not known.",
)

RECORDINGS = Table(
    name="recordings",
    key="sid",
    partition="created_date",
    description="Call recordings seen at Twilio: the way to their add-on results. Audio is not exported.",
    columns=(
        Column("sid", pa.string(), "Recording SID (RE...)."),
        Column("account_sid", pa.string(), "Account that owns the recording (AC...)."),
        Column("call_sid", pa.string(), "Call that was recorded (CA...)."),
        Column("conference_sid", pa.string(), "Conference that was recorded (CF...), if any."),
        Column("status", pa.string(), "Twilio's status of the recording."),
        Column("source", pa.string(), "How the recording was made, in Twilio's words."),
        Column("channels", pa.int64(), "Number of audio channels."),
        Column("duration_seconds", pa.int64(), "Length of the recording in seconds."),
        Column("price", PRICE, "What Twilio charged, in `price_unit`; negative is a charge."),
        Column("price_unit", pa.string(), "Currency of `price`, ISO 4217."),
        Column("error_code", pa.int64(), "Twilio's error code when the recording is absent."),
        Column("start_time", UTC_TIME, "When the recording started (UTC)."),
        Column("date_created", UTC_TIME, "When Twilio created the recording (UTC)."),
        Column("date_updated", UTC_TIME, "When Twilio last changed the recording (UTC)."),
        Column(
            "created_date",
            pa.date32(),
            "Partition: the UTC day of `date_created`.",
            merge="day",
            day_of="date_created",
        ),
        Column("encryption_details", pa.string(), "Twilio's encryption details, if any.", json=True),
        Column("media_url", pa.string(), "Twilio's address of the audio."),
        Column("soft_deleted", pa.bool_(), "Whether the recording was deleted at Twilio when last listed."),
        Column(
            "listed_at",
            UTC_TIME,
            "When its add-on results were last listed and landed; moves with each UTC day and when settled.",
            merge="most",
        ),
        Column("open_results", pa.int64(), "Results that were unfinished or lacked a content at `listed_at`."),
        _OBSERVED_AT,
        _FIRST_SEEN_AT,
        _LOAD_ID,
    ),
)

ADD_ON_RESULTS = Table(
    name="add_on_results",
    key="sid",
    partition="completed_date",
    description="Add-on results: one row for each run of an add-on on a recording.",
    columns=(
        Column("sid", pa.string(), "Add-on result SID (XR...)."),
        Column("account_sid", pa.string(), "Account that owns the result (AC...)."),
        Column("reference_sid", pa.string(), "Recording the add-on ran on (RE...); joins `recordings.sid`."),
        Column(
            "status",
            pa.string(),
            "Twilio's status, e.g. completed, failed, in-progress; unknown words as sent.",
        ),
        Column("add_on_sid", pa.string(), "Add-on (XB...)."),
        Column("add_on_configuration_sid", pa.string(), "Installed add-on (XE...)."),
        Column("date_created", UTC_TIME, "When Twilio created the result (UTC)."),
        Column("date_updated", UTC_TIME, "When Twilio last changed the result (UTC)."),
        Column("date_completed", UTC_TIME, "When the add-on finished (UTC); null while unfinished."),
        Column(
            "completed_date",
            pa.date32(),
            _COMPLETED_DATE.description,
            merge="day",
            day_of="date_completed",
        ),
        Column(
            "payload_count",
            pa.int64(),
            "Most payloads Twilio has listed for it; null until listed.",
            merge="most",
        ),
        Column(
            "exported_at",
            UTC_TIME,
            "When this row and all its contents had been landed; null before.",
            merge="first",
        ),
        Column("expires_at", UTC_TIME, "Deadline: when Twilio deletes it, 30 days after the earliest known date."),
        Column(
            "deleted_at",
            UTC_TIME,
            "When this project deleted it at Twilio, on request; else null.",
            merge="first",
        ),
        _OBSERVED_AT,
        _FIRST_SEEN_AT,
        _LOAD_ID,
        _RAW,
        Column(
            "gone_at",
            UTC_TIME,
            "When Twilio no longer had it (404, twice, some time apart) though it was not whole here; else null.",
            merge="most",
            late=True,
        ),
    ),
)

ADD_ON_PAYLOADS = Table(
    name="add_on_payloads",
    key="sid",
    partition="completed_date",
    description="Payloads: what an add-on result delivered, without the bytes; those are in `contents`.",
    columns=(
        Column("sid", pa.string(), "Payload SID (XH...)."),
        Column("add_on_result_sid", pa.string(), "Result it belongs to (XR...); joins `add_on_results.sid`."),
        Column("reference_sid", pa.string(), "Recording the add-on ran on (RE...)."),
        Column("account_sid", pa.string(), "Account that owns it (AC...)."),
        Column("label", pa.string(), "The vendor's name for this payload."),
        Column("add_on_sid", pa.string(), "Add-on (XB...)."),
        Column("add_on_configuration_sid", pa.string(), "Installed add-on (XE...)."),
        Column("content_type", pa.string(), "The vendor's MIME type of the content."),
        Column("date_created", UTC_TIME, "When Twilio created the payload (UTC)."),
        Column("date_updated", UTC_TIME, "When Twilio last changed the payload (UTC)."),
        _COMPLETED_DATE,
        Column("content_length", pa.int64(), "Bytes of the content; null while it is not landed.", merge="first"),
        Column("content_sha256", pa.string(), "SHA-256 of the content, hex, taken as it came.", merge="first"),
        Column("fetched_at", UTC_TIME, "When the content was fetched (UTC).", merge="first"),
        _OBSERVED_AT,
        _LOAD_ID,
        _RAW,
        Column(
            "encoded_sha256",
            pa.string(),
            "SHA-256 of the bytes off the wire, hex, of a content that came encoded (gzip, ...); else null.",
            merge="first",
            late=True,
        ),
    ),
)

CONTENTS = Table(
    name="contents",
    key="payload_sid",
    partition="completed_date",
    append_only=True,
    internal=("is_text", "chunk", "text"),
    description="The payloads' bytes, exactly as Twilio delivered them.",
    columns=(
        Column("payload_sid", pa.string(), "Payload (XH...); joins `add_on_payloads.sid`."),
        _COMPLETED_DATE,
        Column("content", pa.binary(), "The exact bytes."),
        Column("is_text", pa.bool_(), "Whether the type says text or JSON and the bytes are valid UTF-8."),
        Column("chunk", pa.int32(), "Null: the row is the whole content; else its chunks in order, from 0.", late=True),
        Column("text", pa.string(), "The text, of bytes that are text in another charset than UTF-8.", late=True),
    ),
)

LOADS = Table(
    name="loads",
    key="load_id",
    append_only=True,
    description="What was landed when, and by which run: one row for each load.",
    columns=(
        Column("load_id", pa.string(), "Id of the load."),
        Column("run_id", pa.string(), "Dagster run that landed it."),
        Column("loaded_at", UTC_TIME, "When it was landed (UTC)."),
        Column("recordings", pa.int64(), "Recordings landed new or changed."),
        Column("add_on_results", pa.int64(), "Add-on results landed new or changed."),
        Column("add_on_payloads", pa.int64(), "Payloads landed new or changed."),
        Column("contents", pa.int64(), "Contents landed."),
        Column("content_bytes", pa.int64(), "Bytes of the contents landed."),
        Column("quarantine", pa.int64(), "Rows put into quarantine."),
    ),
)

DELETIONS = Table(
    name="deletions",
    key="deletion_id",
    append_only=True,
    description="Every step of every deletion at Twilio, as one chain of hashes. Empty unless somebody asked for it.",
    columns=(
        Column("deletion_id", pa.string(), "SHA-256 over this row and `previous_id`: no row can be changed unseen."),
        Column("previous_id", pa.string(), "`deletion_id` of the step before; null for the first."),
        Column("sequence", pa.int64(), "Number of the step, from 1, without gaps."),
        Column(
            "step",
            pa.string(),
            "started, intent (before a DELETE), then deleted (204), absent (gone after one), present (still there), "
            "unknown, vanished (gone without one) or withdrawn (none was sent); spent: the plan is done.",
        ),
        Column("step_at", UTC_TIME, "When (UTC)."),
        Column("add_on_result_sid", pa.string(), "Result (XR...); null for steps of a whole plan."),
        Column("reference_sid", pa.string(), "Recording (RE...); null for steps of a whole plan."),
        Column("account_sid", pa.string(), "Account at Twilio (AC...)."),
        Column("plan_hash", pa.string(), "Hash of the confirmed plan that named it."),
        Column("apply_id", pa.string(), "The run of `delete apply` that took the step."),
        Column("host", pa.string(), "The machine it ran on."),
        Column("proof", pa.string(), "Of an intent: what it rested on, as the plan says it.", json=True),
        Column("reply", pa.string(), "Of an outcome: what Twilio answered.", json=True),
    ),
)

QUARANTINE = Table(
    name="quarantine",
    key="quarantine_id",
    append_only=True,
    description="Input that could not be landed as it should, with its raw bytes and the reason.",
    columns=(
        Column(
            "quarantine_id",
            pa.string(),
            "SHA-256 over kind, SID, reason and raw bytes: the same input is kept once.",
        ),
        Column("kind", pa.string(), "What it is: recording, add_on_result, payload or content."),
        Column("sid", pa.string(), "Its SID if it has a usable one."),
        Column("parent_sid", pa.string(), "The recording, result or payload it was found under."),
        Column("account_sid", pa.string(), "Account it was found in."),
        Column("reason", pa.string(), "Why, in one sentence."),
        Column("raw", pa.binary(), "The bytes as received, 16 KB of a larger row; null when there were none."),
        Column("quarantined_at", UTC_TIME, "When (UTC)."),
    ),
)

LISTINGS = Table(
    name="listings",
    key="listing_id",
    append_only=True,
    description="When the list of an account's recordings was read to its end: the first time of each UTC day.",
    columns=(
        Column("listing_id", pa.string(), "Account, UTC day of `listed_at`, first and last day: kept once."),
        Column("account_sid", pa.string(), "Account whose recordings were listed (AC...)."),
        Column("first_day", pa.date32(), "First UTC day of `recordings.date_created` that was listed."),
        Column("last_day", pa.date32(), "Last UTC day of `recordings.date_created` that was listed."),
        Column("listed_at", UTC_TIME, "When reading the list began (UTC); all it held is landed or in quarantine."),
    ),
)

RESOLUTIONS = Table(
    name="resolutions",
    key="quarantine_id",
    append_only=True,
    description="What became of rows in quarantine; those without a row here are open.",
    columns=(
        Column("quarantine_id", pa.string(), "The row in `quarantine`."),
        Column(
            "how", pa.string(), "landed: what it was about is landed; dismissed: somebody decided that it need not."
        ),
        Column("note", pa.string(), "Why, in the words of who dismissed it."),
        Column("resolved_at", UTC_TIME, "When (UTC)."),
    ),
)

ERASURES = Table(
    name="erasures",
    key="erasure_id",
    append_only=True,
    description="What was erased here, without saying what it was. It is never exported again.",
    columns=(
        Column(
            "erasure_id",
            pa.string(),
            "SHA-256 (hex) of a SID that was erased; of its number for the erasure itself.",
        ),
        Column("kind", pa.string(), "erasure, or what the SID is of: recording, add_on_result or payload."),
        Column("reason", pa.string(), "Of an erasure: asked for, or older than so many days."),
        Column("rows", pa.int64(), "Of an erasure: rows erased, of all tables."),
        Column("commit", pa.int64(), "The first commit without it."),
        Column("erased_at", UTC_TIME, "When (UTC)."),
    ),
)

_ABOUT_PAYLOAD = (
    Column("payload_sid", pa.string(), "Payload (XH...); joins `add_on_payloads.sid`."),
    Column("add_on_result_sid", pa.string(), "Result (XR...); joins `add_on_results.sid`."),
    Column("reference_sid", pa.string(), "Recording (RE...); joins `recordings.sid`."),
    Column("account_sid", pa.string(), "Account (AC...)."),
    Column("call_sid", pa.string(), "Call that was recorded (CA...)."),
    _COMPLETED_DATE,
    Column("add_on_sid", pa.string(), "Add-on (XB...)."),
    Column("label", pa.string(), "The vendor's name for the payload."),
)
_SHAPE_HASH = Column(
    "shape_hash", pa.string(), "What made the row: hash of the shape, of those tried before it, and of our rules."
)
_SHAPE_VERSION = Column("shape_version", pa.int32(), "Version of the shape that made the row.")

TRANSCRIPTS = Table(
    name="transcripts",
    key="payload_sid",
    partition="completed_date",
    derived=True,
    internal=("shape_hash",),
    description="One row for each payload that holds a transcript: what was said, read from its content.",
    columns=(
        *_ABOUT_PAYLOAD,
        Column("vendor", pa.string(), "Shape it was read by, see `transcript_shapes`."),
        _SHAPE_VERSION,
        Column("language", pa.string(), "Language as the vendor says it, e.g. en-us; null when it does not."),
        Column("text", pa.string(), "The transcript; null when the vendor gives none."),
        Column("confidence", pa.float64(), "Confidence in the transcript, 0 to 1; null when none is given."),
        Column(
            "confidence_from", pa.string(), "vendor: it gives `confidence` itself; words: the mean over them; or null."
        ),
        Column(
            "words",
            WORDS,
            "Each word with its times in seconds, confidence, speaker and channel, each null when not given.",
        ),
        Column("speakers", TEXTS, "Speakers in the order of their first word; null when the vendor tells none apart."),
        Column("channels", TEXTS, "Channels, also without words; null when the vendor tells none apart."),
        Column("redacted", pa.bool_(), "Whether the vendor took out what is sensitive; null when that is not known."),
        _LOAD_ID,
        _SHAPE_HASH,
    ),
)

TURNS = Table(
    name="turns",
    key="turn_id",
    partition="completed_date",
    derived=True,
    description="One row for each stretch of speech of one speaker or channel.",
    columns=(
        Column("turn_id", pa.string(), "The payload and the position: XH.../00001."),
        _ABOUT_PAYLOAD[0],
        _ABOUT_PAYLOAD[2],
        _COMPLETED_DATE,
        Column("position", pa.int32(), "Place in the transcript, from 1, by time."),
        Column("speaker", pa.string(), "Who speaks, as the vendor says it; null when it does not."),
        Column("channel", pa.string(), "Channel of the recording, as the vendor numbers it; null when not given."),
        Column("start_seconds", pa.float64(), "When it begins, in seconds; null when not given."),
        Column("end_seconds", pa.float64(), "When it ends, in seconds; null when not given."),
        Column("text", pa.string(), "What is said."),
        _LOAD_ID,
    ),
)

ANALYSES = Table(
    name="analyses",
    key="payload_sid",
    partition="completed_date",
    derived=True,
    internal=("shape_hash",),
    description="One row for each payload of text or JSON that is no transcript: keywords, analyses, what is unknown.",
    columns=(
        *_ABOUT_PAYLOAD,
        Column("vendor", pa.string(), "Shape recognised, see `transcript_shapes`; null when unknown."),
        _SHAPE_VERSION,
        Column("json", pa.string(), "The whole content as JSON; null when it is not JSON, or not read.", json=True),
        Column("problem", pa.string(), "Why the content is not read; else null. Its bytes are in `contents`."),
        _LOAD_ID,
        _SHAPE_HASH,
    ),
)

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            *(RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS, CONTENTS, LOADS, DELETIONS, QUARANTINE, LISTINGS),
            *(RESOLUTIONS, ERASURES, TRANSCRIPTS, TURNS, ANALYSES),
        )
    }
)

DERIVED = (TRANSCRIPTS, TURNS, ANALYSES)
"""Tables whose rows follow from contents."""

UNFINISHED_STATUSES = ("init", "queued", "in-progress", "processing")
"""Add-on result states that will change by themselves. [OpenAPI enum; API.md section 7]"""

KNOWN_STATUSES = (*UNFINISHED_STATUSES, "completed", "failed", "canceled", "deleted")

_SHOWN = "[a-z-]{1,40}"
_SOMETHING_ELSE = "something else"
"""For a status that does not look like Twilio's: it could say anything."""


def shown_status(status: str) -> str:
    """A status as it may be shown outside of the tables, which hold it as sent."""
    return status if re.fullmatch(_SHOWN, status) else _SOMETHING_ELSE


def shown_status_sql(column: str) -> str:
    """SQL for the same of a column; null stays null."""
    shown = f"regexp_full_match({column}, '{_SHOWN}')"
    return f"CASE WHEN {shown} THEN {column} WHEN {column} IS NOT NULL THEN '{_SOMETHING_ELSE}' END"


def quote(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


CHUNK_BYTES = 4 << 20
"""Contents larger than this are sealed in chunks of this size. A row group is as large, so whoever reads one holds
no more than what reading small contents takes."""
