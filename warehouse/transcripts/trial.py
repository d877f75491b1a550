"""Trial of a shape: its expressions are judged, then run on samples, in a process that may do nothing else.

The process has a clean environment, an empty DuckDB without access to files or network, one thread, and limits of
memory and of CPU time; whatever becomes of it, the process that asked goes on. Time is that of the processor, so
that a verdict does not depend on how busy the machine is.
"""

import functools
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import duckdb

from warehouse.transcripts.rules import guarded, judge

CPU_SECONDS = 5
"""What a trial may take; the built-in shapes take up to 2 s."""

WALL_SECONDS = 120
"""When a trial that waits, and computes nothing, is given up."""

MEMORY_MB = 256

ADDRESS_SPACE = 2 << 30
"""Bytes that the process may map: what DuckDB's own limit does not see."""

WORDS = 2000
"""In the samples; work that grows with the square of the words passes, with the cube it does not."""


Asked = tuple[str, str, str, str | None]
"""An expression of a shape: its name, its SQL, its type, and the SQL of one more column `parsed` that it can use."""


@functools.lru_cache(maxsize=256)
def problem(
    expressions: tuple[Asked, ...],
    inputs: tuple[tuple[str, str], ...],
    *,
    cpu_seconds: int = CPU_SECONDS,
) -> str | None:
    """Why the expressions of a shape cannot be used over the columns `inputs`, or None.

    Found out once for each text, as long as this process lives.
    """
    asked = json.dumps({"expressions": expressions, "inputs": dict(inputs), "cpu_seconds": cpu_seconds})
    path = os.pathsep.join(part for part in sys.path if part)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "warehouse.transcripts.trial"],  # -P: no module from the folder it is in
            input=asked,
            capture_output=True,
            text=True,
            timeout=WALL_SECONDS,
            env={"PYTHONPATH": path, "PATH": os.defpath},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"Its trial did not end within {WALL_SECONDS} s."
    if done.returncode == 0:
        found: str | None = json.loads(done.stdout)
        return found
    if -done.returncode in (signal.SIGXCPU, signal.SIGKILL):
        return f"Its trial took more than {cpu_seconds} s or more memory than there is."
    return "Its trial broke DuckDB."


def trial(expressions: Sequence[Asked], inputs: Mapping[str, str]) -> str | None:
    """The same in this process: without limits of time, and a crash is this process's."""
    with duckdb.connect(config={"memory_limit": f"{MEMORY_MB}MB", "threads": "1", "temp_directory": ""}) as db:
        for setting in (
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            db.execute(f"SET {setting}")
        for name, expression, kind, parsed in expressions:
            try:
                judge(db, expression, kind, inputs=[*inputs, *([] if parsed is None else ["parsed"])])
            except ValueError as error:
                return f"Its `{name}` cannot be used: it {error}."
        for name, expression, kind, parsed in expressions:
            try:
                for sample in samples():
                    columns = ", ".join(f"CAST(${column} AS {of}) AS {column}" for column, of in inputs.items())
                    row = {column: sample.get(column) for column in inputs}
                    source = f"SELECT *, {parsed or 'NULL'} AS parsed FROM (SELECT {columns})"
                    db.execute(f"SELECT {guarded(expression, kind)} FROM ({source})", row).fetchall()
            except duckdb.Error as error:
                return f"Its `{name}` cannot be used: {str(error).splitlines()[0]}"
    return None


def samples() -> Sequence[Mapping[str, str | None]]:
    """Contents to try a shape on: none, long texts, and JSON with as many words as a call has."""
    word = {"word": "said", "w": "said", "start": 1.5, "end": 2, "startTime": "1.5s", "confidence": 0.9, "speaker": 0}
    best = {"transcript": "said " * WORDS, "confidence": 0.9, "words": [word] * WORDS, "timestamps": [["said", 1, 2]]}
    channels = {"results": {"channels": [{"alternatives": [best]}], "transcripts": [{"transcript": "said"}]}}
    results = {"results": [{"alternatives": [best]}], "text": "said " * WORDS, "transcript": {"words": [word] * WORDS}}
    nested = '{"a":[' * 40 + "]}" * 40
    texts = [json.dumps(channels), json.dumps(results), json.dumps([word] * WORDS), nested, "{}", "null"]
    base = {"content_type": "application/json", "label": "transcript", "add_on_sid": f"XB{'0' * 32}"}
    return [
        {},
        *({**base, "json": text, "content_text": text} for text in texts),
        *(
            {**base, "content_type": "text/plain", "content_text": text}
            for text in ("", "Ab 1.\n" * WORDS, "a" * 65536)
        ),
    ]


def _main() -> None:
    """Read what to try from stdin, and print the problem."""
    asked = json.load(sys.stdin)
    for limit, value in (
        (resource.RLIMIT_CPU, int(asked["cpu_seconds"])),
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard),) * 2)
    print(json.dumps(trial(asked["expressions"], asked["inputs"])))  # noqa: T201  # what the caller reads


if __name__ == "__main__":
    _main()
