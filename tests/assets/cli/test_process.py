"""The process of a command: closed streams, signals, warnings of libraries, limits, and a person at a terminal."""

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from assets.runs.turn import Patience, turn
from assets.runs.undisclosed import undisclosed
from pipelines.errors import ExportError, FixProcess
from pipelines.sandbox.run import Sandbox
from tests.assets.cli.terminals import on_a_terminal
from tests.assets.conftest import CommandLine
from warehouse.errors import FixWarehouse
from warehouse.store.damage import reading_errors
from warehouse.store.files import storage_errors
from warehouse.store.limits import limit
from warehouse.store.names import ERASING
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify


def in_a_shell(
    command: CommandLine, line: str, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a line of a shell, where it stands for `{}`."""
    ours = shlex.join([sys.executable, "-m", "assets.cli", *arguments])
    return subprocess.run(
        ["bash", "-c", line.format(ours)],
        cwd=command.folder,
        env=command.clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_closed_streams_and_strict_warnings_stop_no_export(command: CommandLine) -> None:
    """As a strange crontab starts it; nothing that is talk gets into the data."""
    strict = {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1", "PYTHONOPTIMIZE": "2"}
    done = in_a_shell(command, "exec {} <&- 2>&-", "export", **strict)
    assert done.returncode == 0
    assert json.loads(done.stdout)["results_landed"] > 0
    nothing = in_a_shell(command, "exec {} <&- >&- 2>&-", "status", **strict)
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "")
    assert list((command.root / "_commits").iterdir()), "the files got no standard stream's number"


def test_processes_that_a_command_starts_run_no_code_from_where_it_was_started(tmp_path: Path) -> None:
    """A large export is concluded in one; somebody else's folder may hold modules with the names of Python's own."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("multiprocessing.py", "signal.py", "runpy.py"):
        (elsewhere / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w'); raise SystemExit(3)")
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from assets.cli.process import prepare\nfrom multiprocessing import get_context\n"
        "if __name__ == '__main__':\n"
        "    prepare()\n    each = get_context('spawn').Process(target=print)\n"
        "    each.start()\n    each.join()\n    sys.exit(each.exitcode)\n"
    )
    done = subprocess.run([sys.executable, program], cwd=elsewhere, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU])
def test_a_signal_cuts_no_import_short(number: signal.Signals, tmp_path: Path) -> None:
    """Compiled modules print pages about one that is half imported."""
    (tmp_path / "imported.py").write_text(
        f"import os, signal\nos.kill(os.getpid(), {int(number)})\nfor _ in range(1000): pass\nprint('whole')\n"
    )
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path[:0] = {[str(tmp_path), *sys.path]!r}\nimport time\n"
        "from assets.cli.ending import end_with\nfrom assets.cli.process import prepare\n"
        "def work():\n    import imported\n    time.sleep(60)\n    return 0\n"
        "prepare()\nend_with(work)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (130, "whole\n")
    assert len(done.stderr.splitlines()) == 1


def test_what_is_said_for_a_closed_stderr_is_not_on_stdout(command: CommandLine) -> None:
    """Python prints to stdout when there is no stderr; also a file of the command's may have its number."""
    refused = in_a_shell(command, "exec {} 2>&-", "sql", "SELECT nonsense")
    assert (refused.returncode, refused.stdout) != (0, "")
    assert refused.stdout == ""


@pytest.mark.parametrize(
    ("line", "number", "ends"),
    [
        ("exec {}", signal.SIGHUP, 130),
        ("trap '' HUP; exec {}", signal.SIGHUP, 0),
        ("trap '' INT; exec {}", signal.SIGTERM, 130),
    ],
)
def test_a_hangup_ends_an_export_as_sigterm_does(
    line: str, number: signal.Signals, ends: int, command: CommandLine, sandbox: Sandbox
) -> None:
    """What was landed is published and the run has ended; who is told to ignore it goes on."""
    sandbox.settings.latency = 0.05
    ours = shlex.join([sys.executable, "-m", "assets.cli", "export"])
    process = subprocess.Popen(
        ["bash", "-c", line.format(ours)],
        cwd=command.folder,
        env=command.clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: sandbox.journal.count("Content") >= 10)
        process.send_signal(number)
        _, talk = process.communicate(timeout=120)
    finally:
        process.kill()
        sandbox.settings.latency = 0.0
    assert process.returncode == ends, talk
    assert "Traceback" not in talk
    assert command.rows("SELECT count(*) > 0 FROM add_on_results") == [(True,)]
    with turn(open_archive(command.root), waits=print, sleep=time.sleep, patience=Patience(waits=False)):
        pass  # nobody has it


def until(holds: Callable[[], object]) -> None:
    """Wait for something, and fail when it does not come."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def files_of_children(process: int) -> list[Path]:
    """What the processes that a command has started have open."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [fd for child in children for fd in Path(f"/proc/{child}/fd").iterdir()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_query_is_an_interruption(number: signal.Signals, exported: CommandLine) -> None:
    """DuckDB raises an error of its own then, which is no defect."""
    endless = "SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3"
    process = exported.start("sql", endless)
    try:
        until(lambda: "addons.duckdb" in str([os.path.realpath(fd) for fd in files_of_children(process.pid)]))
        process.send_signal(number)
        _, talk = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, talk
    assert talk.splitlines()[-1].startswith("Interrupted; ")
    assert "defect" not in talk


def test_the_limit_on_processor_time_is_named(command: CommandLine) -> None:
    """The system says so by a signal, which ends a process by default."""
    ended = in_a_shell(command, "ulimit -S -t 1; exec {}", "export")
    assert ended.returncode == 130
    assert ended.stderr.splitlines()[-1].startswith("The limit on processor time (ulimit -t) is reached; ")


def test_the_line_of_progress_moves_and_ctrl_c_is_one_sentence(command: CommandLine, sandbox: Sandbox) -> None:
    """On a real terminal: other numbers as the export goes on, and no traceback of any process when it is stopped."""
    sandbox.settings.latency = 0.1
    try:
        session = on_a_terminal(command, "export", columns=80, interrupt_at=r"[1-9]\d* contents.*\r")
    finally:
        sandbox.settings.latency = 0.0
    assert session.code == 130, session.printed
    assert "Traceback" not in session.printed
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", session.printed)
    lines = re.split(r"[\r\n]+", plain.strip())
    assert lines[-1].startswith("Interrupted; ")
    shown = [line for line in lines if " results, " in line]
    assert len({re.sub(r".*?(\d+ results, )", r"\1", line) for line in shown}) > 1, shown
    assert max(len(line.replace("^C", "")) for line in shown) <= 80


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("can't start new thread"), "processes or threads"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "processes or threads"),
        (pa.ArrowException("Unknown error: Failed to launch worker thread: Resource temporarily u..."), "processes"),
        (MemoryError(), "too little memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "too little memory"),
        (duckdb.OutOfMemoryException("Out of Memory Error: Allocation failure: std::bad_alloc"), "too little memory"),
        (OSError(errno.EMFILE, "Too many open files"), "open"),
        (OSError(errno.EFBIG, "File too large"), "size of files"),
        (duckdb.IOException('IO Error: Could not write file "x": File too large'), "size of files"),
    ],
)
def test_a_limit_names_itself_wherever_it_is_met(error: Exception, reason: str, tmp_path: Path) -> None:
    """Reading, writing and anywhere else; one sentence, and no defect or failing disk."""
    edges: tuple[Callable[[], AbstractContextManager[None]], ...] = (undisclosed,)
    edges += (lambda: reading_errors(tmp_path),) if isinstance(error, duckdb.Error | pa.ArrowException) else ()
    edges += (lambda: storage_errors(tmp_path),) if isinstance(error, OSError) else ()
    for edge in edges:
        with pytest.raises(FixWarehouse, match=reason), edge():
            raise error
    wrapped = ExceptionGroup("", [ExportError("Twilio had no memory")])
    assert limit(wrapped, tmp_path) is None
    wrapped.exceptions[0].__cause__ = error
    assert isinstance(limit(wrapped, tmp_path), FixWarehouse)
    assert isinstance(limit(wrapped, tmp_path), FixProcess) == ("size" not in reason)


def test_a_file_system_without_inodes_is_told_from_a_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same errno: only the file system knows which of the two it has run out of."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "new"))
    assert limit(full, tmp_path) is None
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((*real[:5], 10, 0, 0, *real[8:])))
    with pytest.raises(FixWarehouse, match="no room for more files"), storage_errors(tmp_path):
        raise full


def test_an_erasure_that_is_interrupted_is_finished_all_the_same(exported: CommandLine) -> None:
    """What is erased must not stay on the disk until somebody comes back; then it ends with 130 and one sentence."""
    command, archive = exported, open_archive(exported.root)
    ((sid,),) = command.rows("SELECT min(add_on_result_sid) FROM add_on_payloads WHERE content_sha256 IS NOT NULL")
    program = command.folder / "program.py"
    program.write_text(
        f"import os, signal, sys; sys.path[:0] = {sys.path!r}\n"
        "sent = []\n"
        "def hook(event, arguments):\n"  # a folder of that name is made to publish in, after the commit
        "    if event == 'os.mkdir' and not sent and str(arguments[0]).endswith('.tmp'):\n"
        "        sent.append(event)\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "from assets.cli.main import main\n"
        "sys.addaudithook(hook)\n"
        f"main(['erase', '--result', {sid!r}, '--yes'])\n"
    )
    done = subprocess.run(
        [sys.executable, program],
        env=command.clean_environment(),
        cwd=command.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert len(done.stderr.splitlines()) == 1
    assert not (command.root / ERASING).exists()
    assert verify(archive).mismatches == ()
    assert command.rows(f"SELECT count(*) FROM add_on_results WHERE sid = '{sid}'") == [(0,)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_process_ends_changes_nothing_of_its_end(number: signal.Signals, tmp_path: Path) -> None:
    """Its work is done, and its exit code is known; also where it ends because of another signal."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path[:0] = {sys.path!r}\nimport atexit, os\n"
        "from assets.cli.ending import end_with\nfrom assets.cli.process import prepare\n"
        f"prepare()\natexit.register(os.kill, os.getpid(), {int(number)})\nend_with(lambda: 5)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (5, "")


def test_signals_that_come_together_are_one(tmp_path: Path) -> None:
    """Shells, wrappers and terminals send several: what is cleaned up after the first is cleaned up to its end."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path[:0] = {sys.path!r}\nimport os, signal, time\n"
        "from assets.cli.ending import end_with\nfrom assets.cli.process import prepare\n"
        "def work():\n    try:\n        os.kill(os.getpid(), signal.SIGINT)\n        time.sleep(60)\n"
        "    finally:\n        os.kill(os.getpid(), signal.SIGTERM)\n        print('cleaned up')\n"
        "prepare()\nend_with(work)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (130, "cleaned up\n")
    assert len(done.stderr.splitlines()) == 1


def test_what_libraries_log_of_being_cut_short_is_not_said(tmp_path: Path) -> None:
    """SQLAlchemy logs a page for a connection in whose closing a signal came."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path[:0] = {sys.path!r}\nimport logging, os, signal, time\n"
        "import assets.cli.main as command, assets.cli.arguments as shared\n"
        "def cut_short():\n    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n        time.sleep(60)\n"
        "    except BaseException:\n        logging.getLogger('library').exception('closing')\n        raise\n"
        "shared.raise_open_files = cut_short\ncommand.main(['status'])\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 130, done.stderr
    assert len(done.stderr.splitlines()) == 1
