"""What vendors' contents say as transcripts: a registry of shapes, each one file of SQL expressions.

A shape says by `when` whether a content is of its kind, and by the other expressions what it holds; one without `text`
is of contents that are no transcript. The shapes in `shapes/` are built in; a file dropped into
`<EXPORT_ROOT>/_shapes/` adds one, or replaces the one of the same name.
"""

import functools
import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from warehouse.schema import quote
from warehouse.store.names import SHAPES
from warehouse.store.stamp import FORMAT
from warehouse.transcripts.rules import guarded
from warehouse.transcripts.trial import Asked, problem

FOLDER = SHAPES

FILE_BYTES = 64 << 10
"""Largest file of a shape."""

MOST_SHAPES = 50
"""Files that are read; every one is tried on every content."""

LONGEST_PROBLEM = 500
"""Characters; what is said of a file may quote it."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")

_PATH = re.compile(r"\$(\.[A-Za-z_][A-Za-z0-9_]{0,62}|\[[0-9]{1,4}\]){1,16}")

BUILT_IN = (
    "ibm_watson",
    "voicebase",
    "deepgram",
    "amazon_transcribe",
    "amazon_call_analytics",
    "speechmatics",
    "google",
    "rev_ai",
    "azure",
    "azure_fast",
    "gong",
    "twilio_intelligence",
    "whisper",
    "whisper_cpp",
    "assemblyai",
    "gladia",
    "symbl",
    "elevenlabs",
    "vosk",
    "voicebase_analysis",
    "ibm_watson_analysis",
    "google_analysis",
    "amazon_comprehend",
    "deepgram_analysis",
    "twilio_intelligence_analysis",
    "generic",
    "text",
)
"""In the order in which they are tried, after the operator's own; the first whose `when` holds is taken."""

WORD = (
    "STRUCT(word VARCHAR, start_seconds DOUBLE, end_seconds DOUBLE, confidence DOUBLE, speaker VARCHAR, "
    "channel VARCHAR)[]"
)

TURN = "STRUCT(speaker VARCHAR, channel VARCHAR, start_seconds DOUBLE, end_seconds DOUBLE, text VARCHAR)[]"

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "text": "VARCHAR",
        "confidence": "DOUBLE",
        "language": "VARCHAR",
        "words": WORD,
        "turns": TURN,
        "speakers": "VARCHAR[]",
        "channels": "VARCHAR[]",
        "redacted": "BOOLEAN",
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

PARSED = "parsed"
"""The column that a shape with a `structure` has beside them, in all but `when`: the content as that says."""

LEAVES = ("VARCHAR", "DOUBLE", "BIGINT", "BOOLEAN", "JSON")
"""What a value in a structure can be; a value of another kind in a content is null."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one vendor's contents are recognised and read: SQL expressions over INPUTS."""

    vendor: str
    description: str
    when: str
    parts: Mapping[str, str] = field(repr=False)
    version: int = 1
    structure: str | None = field(default=None, repr=False)
    source: str = field(default="json", repr=False)
    arranged: str | None = field(default=None, repr=False)
    has: tuple[str, ...] = field(default=(), repr=False)

    @property
    def read(self) -> str | None:
        """SQL for what is at `source` as `structure` says; None where none is said."""
        return None if self.structure is None else f"from_json({guarded(self.source, 'JSON')}, {quote(self.structure)})"

    @property
    def parsed(self) -> str | None:
        """SQL for the same as `arranged` arranges it, made once for all parts."""
        if self.read is None or self.arranged is None:
            return self.read
        return f"list_transform([{self.read}], lambda {PARSED}: TRY(\n{self.arranged}\n))[1]"


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
    given = (shape for name, shape in built_in().items() if name not in own)
    return Shapes((*own.values(), *given), broken)


@functools.cache
def built_in() -> Mapping[str, Shape]:
    """The built-in shapes by name, in order."""
    folder = Path(__file__).parent / "shapes"
    return {name: read_shape(name, (folder / f"{name}.toml").read_bytes()) for name in BUILT_IN}


def read_shape(name: str, data: bytes) -> Shape:
    """What one file says.

    Raises:
        ValueError: it does not say what a shape says.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("Its name is the vendor's: letters, digits, and _ . - between them, 64 at most.")
    try:
        values = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"It is not TOML: {error}.") from error
    if (needed := values.pop("format", 0)) not in range(FORMAT + 1):
        raise ValueError(f"It is of format {needed}; this version reads shapes up to format {FORMAT}.")
    known = {"description", "vendor", "version", "has", "when", "source", "structure", "arranged", *PARTS}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"It sets {', '.join(unknown)}; what can be set is {', '.join(sorted(known))}.")
    if "when" not in values:
        raise ValueError("It lacks when.")
    version = values.pop("version", 1)
    if type(version) is not int or not 0 < version < 1 << 31:
        raise ValueError("Its version must be a whole number from 1 on.")
    has = values.pop("has", [])
    if not isinstance(has, list) or not all(isinstance(path, str) and _PATH.fullmatch(path) for path in has):
        raise ValueError('What it has must be a list of paths such as "$.results[0].text".')
    if not all(isinstance(value, str) for value in values.values()):
        raise ValueError("Every other value must be text.")
    if not _NAME.fullmatch(vendor := values.get("vendor", name)):
        raise ValueError("Its vendor must be letters, digits, and _ . - between them, 64 at most.")
    if "structure" not in values and (alone := values.keys() & {"source", "arranged"}):
        raise ValueError(f"It sets {' and '.join(sorted(alone))} without a structure.")
    return Shape(
        vendor,
        values.get("description", ""),
        values["when"].strip(),
        {part: values[part].strip() for part in PARTS if part in values},
        version,
        _structure(values["structure"]) if "structure" in values else None,
        values.get("source", "json").strip(),
        values["arranged"].strip() if "arranged" in values else None,
        tuple(has),
    )


def recognised(usable: Sequence[Shape]) -> str:
    """SQL over INPUTS for the number of the first shape, from 0, that a content is of; null where it is of none.

    Which of the members that shapes look for are there is found out at once: to ask each shape alone reads the content
    again for each of them.
    """
    paths = list(dict.fromkeys(path for shape in usable for path in shape.has))
    cases = []
    for number, shape in enumerate(usable):
        when = guarded(shape.when, "BOOLEAN")
        if shape.has:
            when = f"CASE WHEN {' OR '.join(f'has[{paths.index(path) + 1}]' for path in shape.has)} THEN {when} END"
        cases.append(f"WHEN {when} THEN {number}")
    case = f"CASE {' '.join(cases)} END" if cases else "CAST(NULL AS INTEGER)"
    there = f"json_exists(json, [{', '.join(map(quote, paths))}])" if paths else "CAST(NULL AS BOOLEAN[])"
    return f"list_transform([{there}], lambda has: {case})[1]"


def _structure(text: str) -> str:
    """A structure in one line of JSON: objects and lists of one element, of LEAVES.

    Raises:
        ValueError: it is something else.
    """
    try:
        structure = json.loads(text)
        said = json.dumps(structure, separators=(",", ":"))
        is_one = isinstance(structure, dict | list) and _is_structure(structure)
    except (ValueError, RecursionError) as error:
        raise ValueError("Its structure is not JSON, or nested too deeply.") from error
    if not is_one:
        raise ValueError(f"Its structure must be of objects, lists of one element, and {', '.join(LEAVES)}.")
    return said


def _is_structure(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(map(_is_structure, value.values()))
    if isinstance(value, list):
        return len(value) == 1 and _is_structure(value[0])
    return value in LEAVES


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
    if (found := problem(asked(shape), tuple(INPUTS.items()))) is not None:
        raise ValueError(found)
    return shape


def asked(shape: Shape) -> tuple[Asked, ...]:
    """The expressions of a shape as they are tried: name, SQL, type, and the SQL of `parsed` where they have it.

    What makes `parsed` comes before what uses it: nothing runs that was not judged.
    """
    read, parsed = shape.read, shape.parsed
    return (
        ("when", shape.when, "BOOLEAN", None),
        ("source", shape.source, "JSON", None),
        *([] if shape.arranged is None else [("arranged", shape.arranged, "VARCHAR", read)]),
        *((name, expression, PARTS[name], parsed) for name, expression in shape.parts.items()),
    )
