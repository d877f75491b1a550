"""What vendors' contents say as transcripts: a registry of shapes, each one file of SQL expressions.

A shape says by `when` whether a content is of its kind, and by the other expressions what it holds. The shapes in
`shapes/` are built in; a file dropped into `<EXPORT_ROOT>/_shapes/` adds one, or replaces the one of the same name.
Everything becomes one view, so that any DuckDB client can read it; no content, however odd, stops that view.
"""

import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from warehouse.published.shape_rules import guarded
from warehouse.published.shape_trial import problem
from warehouse.schema import CHUNK_BYTES, quote
from warehouse.store.names import SHAPES
from warehouse.store.stamp import FORMAT

FOLDER = SHAPES

FILE_BYTES = 64 << 10
"""Largest file of a shape."""

MOST_SHAPES = 50
"""Files that are read; every one is tried on every content."""

LONGEST_PROBLEM = 500
"""Characters; what is said of a file may quote it."""

LARGEST_BYTES = 8 << 20
"""Largest content that is read. Reading takes some fifty times its size in memory, for all shapes together."""

DEEPEST = 512
"""Levels of brackets in JSON that is read. DuckDB's casts and searches go down a level by calling themselves: with
8 MB of stack they crashed between 20,000 and 50,000 levels, and other systems give a thread a sixteenth of that."""

LEVELS_AT_ONCE = 16

BOM = "\ufeff"

TOO_LARGE, TOO_DEEP = "larger than 8 MB", f"nested more than {DEEPEST} times"
"""What `problem` says of a content that is not read."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")

BUILT_IN = ("ibm_watson", "google", "voicebase", "deepgram", "generic", "text")
"""In the order in which they are tried, after the operator's own; the first whose `when` holds is taken."""

WORD = (
    "STRUCT(word VARCHAR, start_seconds DOUBLE, end_seconds DOUBLE, confidence DOUBLE, speaker VARCHAR, "
    "channel VARCHAR)[]"
)

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "text": "VARCHAR",
        "confidence": "DOUBLE",
        "language": "VARCHAR",
        "words": WORD,
        "speakers": "VARCHAR[]",
    }
)
"""What a shape can say of a content, and as which type."""

INPUTS: Mapping[str, str] = MappingProxyType(
    {
        "json": "JSON",
        "content_text": "VARCHAR",
        "content_type": "VARCHAR",
        "label": "VARCHAR",
        "add_on_sid": "VARCHAR",
        "add_on_configuration_sid": "VARCHAR",
    }
)
"""The columns a shape's expressions can use; `json` is null where the content is not JSON."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one vendor's contents are recognised and read: SQL expressions over INPUTS."""

    vendor: str
    description: str
    when: str
    parts: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes in the order they are tried, and the operator's files that cannot be used: why, by file name."""

    usable: tuple[Shape, ...]
    broken: Mapping[str, str]


def shapes(root: Path) -> Shapes:
    """The operator's own shapes under `root`, then the built-in ones.

    A file that cannot be used is left out and listed as broken: it must not keep the others from analysts.
    """
    own: dict[str, Shape] = {}
    broken: dict[str, str] = {}
    for number, path in enumerate(sorted((root / FOLDER).glob("*.toml"))):
        name = path.name.encode("utf-8", "backslashreplace").decode()
        try:
            if number >= MOST_SHAPES:
                raise ValueError(f"No more than {MOST_SHAPES} files are read.")
            own[path.stem] = _tried(read_shape(path.stem, _read(path)))
        except (OSError, ValueError) as error:
            broken[name] = f"{error.strerror}." if isinstance(error, OSError) else str(error)[:LONGEST_PROBLEM]
    folder = Path(__file__).parent / "shapes"
    given = (read_shape(name, (folder / f"{name}.toml").read_bytes()) for name in BUILT_IN)
    return Shapes((*own.values(), *(shape for shape in given if shape.vendor not in own)), broken)


def read_shape(vendor: str, data: bytes) -> Shape:
    """What one file says.

    Raises:
        ValueError: it does not say what a shape says.
    """
    if not _NAME.fullmatch(vendor):
        raise ValueError("Its name is the vendor's: letters, digits, and _ . - between them, 64 at most.")
    try:
        values = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"It is not TOML: {error}.") from error
    if (needed := values.pop("format", 0)) not in range(FORMAT + 1):
        raise ValueError(f"It is of format {needed}; this version reads shapes up to format {FORMAT}.")
    known = {"description", "when", *PARTS}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"It sets {', '.join(unknown)}; what can be set is {', '.join(sorted(known))}.")
    if missing := sorted({"when", "text"} - values.keys()):
        raise ValueError(f"It lacks {' and '.join(missing)}.")
    if not all(isinstance(value, str) for value in values.values()):
        raise ValueError("Every value must be text.")
    parts = {name: values[name].strip() for name in PARTS if name in values}
    return Shape(vendor, values.get("description", ""), values["when"].strip(), parts)


def _read(path: Path) -> bytes:
    """The bytes of a file of a shape: a plain file, of a size that shapes have.

    Raises:
        ValueError: it is another kind of file, or larger.
        OSError: it cannot be read.
    """
    # a pipe must not be waited for, and a link may lead to anything
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("It is not a plain file.")
        data = file.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise ValueError(f"It has more than {FILE_BYTES} bytes.")
    return data


def _tried(shape: Shape) -> Shape:
    """`shape`, if its expressions are of what shapes can say, and pass a trial.

    Raises:
        ValueError: they do not.
    """
    expressions = {"when": shape.when, **shape.parts}
    asked = tuple((name, expression, PARTS.get(name, "BOOLEAN")) for name, expression in expressions.items())
    if (found := problem(asked, tuple(INPUTS.items()))) is not None:
        raise ValueError(found)
    return shape


def transcripts_sql(usable: Sequence[Shape]) -> str:
    """The query behind the view `transcripts`."""
    vendor = " ".join(f"WHEN {guarded(shape.when, 'BOOLEAN')} THEN {quote(shape.vendor)}" for shape in usable)
    parts = ",\n".join(
        f"    {_part(usable, name, kind)} AS {name}" for name, kind in PARTS.items() if name != "speakers"
    )
    spoken = "list_sort(list_distinct(list_transform(words, lambda w: coalesce(w.speaker, w.channel))))"
    return f"""
WITH held AS ({_held()}), texts AS (
    SELECT h.payload_sid, p.add_on_result_sid, p.reference_sid AS recording_sid, h.completed_date, p.add_on_sid,
        p.add_on_configuration_sid, p.label, p.content_type, h.held[1] AS whole_text,
        {_plain("p.content_type")} AS plain
    FROM held h JOIN add_on_payloads p ON p.sid = h.payload_sid
), looked_at AS (
    SELECT *, CASE WHEN whole_text IS NULL THEN {quote(TOO_LARGE)}
        WHEN NOT coalesce(plain, false) AND {_deep("whole_text")} THEN {quote(TOO_DEEP)} END AS problem
    FROM texts
), parsed AS (
    SELECT * EXCLUDE (whole_text), CASE WHEN problem IS NULL THEN whole_text END AS content_text,
        CASE WHEN problem IS NULL AND NOT plain THEN TRY_CAST(whole_text AS JSON) END AS json
    FROM looked_at
), recognised AS (
    SELECT *, CASE WHEN problem IS NULL THEN CASE {vendor} END END AS vendor FROM parsed
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


def decoded(content: str) -> str:
    """SQL for the text of bytes in UTF-8, without the byte order mark that some write in front."""
    return f"ltrim(decode({content}), chr({ord(BOM)}))"


def _plain(content_type: str) -> str:
    """SQL for whether a type of text is one that is not JSON."""
    kind = f"lower(trim(split_part({content_type}, ';', 1)))"
    return f"(starts_with({kind}, 'text/') AND NOT regexp_full_match({kind}, '.*[/+](x-)?(nd)?json[l5]?'))"


def _deep(text: str) -> str:
    """SQL for whether a JSON text is nested more than DEEPEST times; cheap where it has too few brackets for that.

    What is left are the brackets outside of strings; then pairs that hold nothing but pairs are taken out, some levels
    at once. Pairs that are still there were nested deeper.
    """
    brackets = f"2 * strlen({text}) - strlen(replace({text}, '[', '')) - strlen(replace({text}, '{{', ''))"
    pair = "\\[\\]"
    for _ in range(LEVELS_AT_ONCE - 1):
        pair = f"\\[({pair})*\\]"
    left = f"""translate(regexp_replace({text}, '"(\\\\.|[^"\\\\])*"|[^\\[\\]{{}}"]+', '', 'g'), '{{}}', '[]')"""
    for _ in range(DEEPEST // LEVELS_AT_ONCE):
        left = f"regexp_replace({left}, '{pair}', '', 'g')"
    return f"CASE WHEN {brackets} > {DEEPEST} THEN {left} <> '' ELSE false END"


def _part(usable: Sequence[Shape], name: str, kind: str) -> str:
    cases = " ".join(
        f"WHEN {quote(shape.vendor)} THEN {guarded(shape.parts[name], kind)}" for shape in usable if name in shape.parts
    )
    return f"CASE vendor {cases} END" if cases else f"CAST(NULL AS {kind})"
