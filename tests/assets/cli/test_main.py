"""The command line as a user meets it: exit codes, one clear sentence, data on stdout, nothing secret anywhere."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from tests.assets.cli.terminals import on_a_terminal
from tests.assets.conftest import RECORDINGS, CommandLine
from tests.pipelines.conftest import Exporter
from tests.warehouse.made_up import NOON, land_rows, whole
from warehouse.land import land
from warehouse.published.publish import publish
from warehouse.quarantine import QuarantineRow, quarantine_rows
from warehouse.store.opening import open_archive

RANGE = ("--from", "2026-11-01", "--to", "2026-11-02")


def test_export_verify_status_and_rebuild(command: CommandLine, sandbox: Sandbox) -> None:
    """The main job and what is asked about it afterwards, all with exit code 0 and JSON where promised."""
    exported = command("export")
    assert exported.returncode == 0, exported.stderr
    numbers = json.loads(exported.stdout)
    truth = list(sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid))
    assert numbers["results_landed"] == len(truth)
    assert numbers["contents_landed"] == sum(len(t.payloads) for t in truth)
    again = json.loads(command("export").stdout)
    assert (again["results_landed"], again["contents_landed"], again["commit"]) == (0, 0, numbers["commit"])
    verified = command("verify", "--json")
    assert (verified.returncode, json.loads(verified.stdout)["mismatches"]) == (0, [])
    shown = json.loads(command("status", "--json").stdout)
    assert shown["contents"] == numbers["contents_landed"]
    assert sum(shown["results"].values()) == len(truth)
    (command.root / "addons.duckdb").unlink()
    assert command("rebuild").returncode == 0
    assert command.rows("SELECT count(*) FROM contents") == [(numbers["contents_landed"],)]


def test_a_range_is_exported_into_parquet(command: CommandLine, sandbox: Sandbox) -> None:
    """`--from --to` with the other destination: the contents of those days, and views over Parquet."""
    last = datetime.now(UTC).date() - timedelta(days=2)
    first = last - timedelta(days=10)
    done = command("export", "--from", f"{first}", "--to", f"{last}", EXPORT_DESTINATION="parquet")
    assert done.returncode == 0, done.stderr
    days = {
        payload.sid: t.state.date_completed
        for t in sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid)
        for payload in t.payloads
    }
    wanted = {s for s, at in days.items() if at and first <= at.astimezone(UTC).date() <= last}
    landed = {sid for (sid,) in command.rows("SELECT payload_sid FROM contents WHERE completed_date IS NOT NULL")}
    assert landed == wanted
    assert command.rows("SELECT destination FROM _commit") == [("parquet",)]


def test_subaccounts_are_exported_with_the_main_accounts_token(command: CommandLine, sandbox: Sandbox) -> None:
    """`all` lists them at Twilio, whose list carries their tokens: none of those is kept anywhere."""
    done = command("export", TWILIO_SUBACCOUNTS="all")
    assert done.returncode == 0, done.stderr
    accounts = sandbox.world.accounts
    truth = {sid: sum(1 for _ in sandbox.world.truth(sandbox.now, account_sid=sid)) for sid in accounts}
    assert len(truth) == 2
    assert dict(command.rows("SELECT account_sid, count(*) FROM add_on_results GROUP BY account_sid")) == truth
    tokens = [account.auth_token.encode() for account in accounts.values()]
    for path in command.folder.rglob("*"):
        assert not path.is_file() or not any(token in path.read_bytes() for token in tokens), path


def test_only_what_talks_to_twilio_asks_for_credentials(exported: CommandLine) -> None:
    """Whoever has only the folder can look at it, check it, and put it in order."""
    nobody = dict.fromkeys(exported.environment, "")
    for arguments in (("status",), ("verify",), ("compact",), ("rebuild",), ("rebuild", "--archive")):
        done = exported(*arguments, **nobody, EXPORT_ROOT="data")
        assert done.returncode == 0, (arguments, done.stderr)


def test_a_bare_command_shows_help(command: CommandLine) -> None:
    """Whoever types only the name sees which commands there are."""
    done = command()
    assert (done.returncode, "Usage: addon-export [OPTIONS] COMMAND" in done.stdout) == (0, True)


def test_an_erasure_on_a_terminal_asks_first(exported: CommandLine) -> None:
    """Only yes erases; a program, which has no terminal, and --yes are not asked."""
    ((sid, recordings),) = exported.rows("SELECT min(sid), count(*) FROM recordings")
    asked = on_a_terminal(exported, "erase", "--recording", sid, answer="no\n")
    assert (asked.code, "would be erased here, for good" in asked.printed) == (3, True), asked.printed
    assert exported.rows("SELECT count(*) FROM recordings") == [(recordings,)]
    done = on_a_terminal(exported, "erase", "--recording", sid, "--yes")
    assert done.code == 0, done.printed
    assert exported.rows("SELECT count(*) FROM recordings") == [(recordings - 1,)]


def test_an_export_on_a_terminal_says_what_it_did(exported: CommandLine) -> None:
    """A sentence with its numbers, and what comes next; JSON is for programs, and for those who ask for it."""
    done = on_a_terminal(exported, "export")
    assert done.code == 0, done.printed
    assert f"Nothing new: {RECORDINGS} recordings looked at" in done.printed
    assert "Next: `addon-export status`" in done.printed
    assert '"commit"' not in done.printed


def test_a_root_of_another_account_lets_nobody_in_unless_it_is_said(exported: CommandLine, sandbox: Sandbox) -> None:
    """Nothing is asked and nothing changes; once it was said, both accounts are exported into the root."""
    main, other = sandbox.account_sid, next(sid for sid in sandbox.world.accounts if sid != sandbox.account_sid)
    theirs = {"TWILIO_ACCOUNT_SID": other, "TWILIO_AUTH_TOKEN": sandbox.world.accounts[other].auth_token}
    sandbox.journal.clear()
    done = exported("export", **theirs)
    assert done.returncode == 2, done.stderr
    sentence = done.stderr.strip().splitlines()[-1]
    assert all(part in sentence for part in (main, other, "--add-account"))
    assert not sandbox.journal.entries
    assert exported("export", "--add-account", **theirs).returncode == 0
    assert exported("export").returncode == 0
    dropped = exported("accounts", "--drop", other)
    assert dropped.returncode == 0, dropped.stderr
    accounts = {a["sid"]: a for a in json.loads(exported("accounts", "--json").stdout)}
    assert (accounts[main]["state"], accounts[other]["state"]) == ("wanted", "unwanted")
    assert accounts[other]["name"] == sandbox.world.accounts[other].friendly_name
    assert f"{other} ({accounts[other]['name']}): no longer wanted" in exported("status").stdout


@pytest.mark.parametrize("rows", [1, 0])
def test_a_bad_row_or_list_of_accounts_does_not_stop_the_accounts_that_are_known(
    rows: int, command: CommandLine, sandbox: Sandbox
) -> None:
    """The others, the main account among them, are exported; exit code 5 and a sentence say what is lacking."""
    other = next(sid for sid in sandbox.world.accounts if sid != sandbox.account_sid)
    listed = [{"sid": "ACxx", "status": "active"}, {"sid": other, "status": "active"}, {"sid": other, "status": 5}]

    def broken(request: Request) -> Reply | None:
        if request.operation != "ListAccount":
            return None
        return Reply(200, json.dumps({"accounts": listed, "next_page_uri": None} if rows else {}).encode())

    sandbox.settings.intercept = broken
    done = command("export", TWILIO_SUBACCOUNTS="all")
    assert done.returncode == 5, done.stderr
    assert f"accounts seen by account {sandbox.account_sid}" in done.stderr.strip().splitlines()[-1]
    exported = {sid for (sid,) in command.rows("SELECT DISTINCT account_sid FROM add_on_results")}
    assert exported == ({sandbox.account_sid, other} if rows else {sandbox.account_sid})


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "sentence"),
    [
        (("export",), {"TWILIO_ACCOUNT_SID": ""}, 2, "No Twilio credentials"),
        (("delete", "plan", *RANGE, "--out", "plan"), {"TWILIO_AUTH_TOKEN": ""}, 2, "No Twilio credentials"),
        (("status",), {"TWILIO_AUTH_TOKEN": ""}, 6, "Nothing has been exported"),
        (("exprot",), {}, 2, "did you mean export"),
        (("quarantine", "lst"), {}, 2, "did you mean list"),
        (("sql", "--form", "csv", "SELECT 1"), {}, 2, "--form"),
        (("export",), {"TWILIO_ACCOUNT_SID": "AC12"}, 2, "TWILIO_ACCOUNT_SID is not an Account SID"),
        (("export",), {"TWILIO_AUTH_TOKEN": "wrong"}, 2, "credentials"),
        (("export",), {"TWILIO_BASE_URL": "http://api.example.com"}, 2, "https"),
        (("export",), {"TWILIO_BASE_URL": "https://gateway.invalid"}, 2, "TWILIO_BASE_URL_CONFIRMED=gateway.invalid"),
        (("export",), {"TWILIO_BASE_URL": "", "TWILIO_REGION": "ie1/x"}, 2, "TWILIO_REGION"),
        (("export",), {"TWILIO_MAX_CONCURRENCY": "many"}, 2, "TWILIO_MAX_CONCURRENCY"),
        (("export",), {"EXPORT_DESTINATION": "csv"}, 2, "EXPORT_DESTINATION"),
        (("export",), {"EXPORT_ROOT": "s3://bucket/x"}, 2, "object store"),
        (("export",), {"EXPORT_ROOT": "/proc/nowhere"}, 6, "/proc/nowhere"),
        (("demo",), {"DAGSTER_HOME": "/proc/nowhere"}, 2, "DAGSTER_HOME"),
        (("export",), {"EXPORT_START_DATE": "yesterday"}, 2, "EXPORT_START_DATE"),
        (("export", "--from", "2026-11-20", "--to", "2026-11-01"), {}, 2, "--from 2026-11-20 is after --to"),
        (("export", "--from", "20.11.2026"), {}, 2, "is not a date"),
        (("export", "--from", "0001-01-01", "--to", "0001-01-02"), {}, 2, "0001-01-01 is not in the years 2008 to"),
        (("verify", "--from", "9999-12-31"), {}, 2, "9999-12-31 is not in the years 2008 to"),
        (("export", "--everything"), {}, 2, "--everything"),
    ],
)
def test_what_cannot_work_is_said_in_one_sentence(
    arguments: tuple[str, ...], environment: dict[str, str], code: int, sentence: str, command: CommandLine
) -> None:
    """The last line on stderr is the sentence; there is no traceback and no secret."""
    done = command(*arguments, **environment)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert command.environment["TWILIO_AUTH_TOKEN"] not in done.stderr
    assert done.stdout == ""


def test_an_unreachable_host_means_run_again(exported: CommandLine) -> None:
    """Nothing listens there; it is said after some tries, and nothing landed is harmed."""
    done = exported("export", TWILIO_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 5
    assert "Traceback" not in done.stderr
    assert exported("verify").returncode == 0


def test_a_hostile_next_page_ends_the_run_with_one_sentence(command: CommandLine, sandbox: Sandbox) -> None:
    """Exit code 5, the sentence names what was refused, and the credentials went nowhere else."""

    def elsewhere(request: Request) -> Reply | None:
        if request.operation != "ListRecording":
            return None
        return Reply(200, b'{"recordings": [], "next_page_uri": "http://127.0.0.1:1/2010-04-01/Accounts"}')

    sandbox.settings.intercept = elsewhere
    done = command("export")
    assert done.returncode == 5
    assert len(done.stderr.strip().splitlines()) == 2
    assert "Traceback" not in done.stderr


def test_quarantined_input_means_exit_code_4(command: CommandLine, sandbox: Sandbox) -> None:
    """Somebody has to look: running again does not help."""

    def broken(request: Request) -> Reply | None:
        if request.operation != "ListRecordingAddOnResult":
            return None
        return Reply(200, b'{"add_on_results": [{"sid": null}], "next_page_uri": null}')

    sandbox.settings.intercept = broken
    done = command("export")
    assert done.returncode == 4, done.stderr
    assert "quarantine" in done.stderr


def test_an_interrupted_export_leaves_a_whole_warehouse(command: CommandLine, sandbox: Sandbox) -> None:
    """Exit code 130, no traceback, verification passes, and the next export completes."""
    sandbox.settings.latency = 0.05
    try:
        process = command.start("export")
        deadline = time.monotonic() + 60
        while sandbox.journal.count("Content") < 10:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=60)
    finally:
        sandbox.settings.latency = 0.0
    assert process.returncode == 130, talk
    assert "Traceback" not in talk
    assert command("verify").returncode == 0
    assert command("export").returncode == 0
    truth = sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid)
    assert command.rows("SELECT count(*) FROM contents") == [(sum(len(t.payloads) for t in truth),)]


INTERRUPTED_IN_A_CALLBACK = """
import gc, os, signal
from assets.cli import main, process

def collected(phase, info):
    if signal.getsignal(signal.SIGTERM) is process._interrupt:
        gc.callbacks.remove(collected)
        os.kill(os.getpid(), signal.SIGTERM)
        all(range(1, 100_000))  # the handler has been called by the end of it

gc.callbacks.append(collected)
main.main(["export"])
"""


def test_one_signal_is_enough_wherever_it_meets_the_interpreter(command: CommandLine) -> None:
    """What is raised in a callback of the garbage collector is ignored by Python, and must not be forgotten."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IN_A_CALLBACK],
        cwd=command.folder,
        env=command.clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, ""), done.stderr
    assert "Traceback" not in done.stderr


def test_erasing_from_the_command_line(exported: CommandLine) -> None:
    """A dry run changes nothing; then it is gone, says so, and neither an export nor a second erasure brings it up."""
    recording = exported.rows("SELECT reference_sid FROM add_on_results ORDER BY ALL LIMIT 1")[0][0]
    of_it = f"SELECT count(*) FROM add_on_results WHERE reference_sid = '{recording}'"
    (results,) = exported.rows(of_it)[0]
    tried = exported("erase", "--recording", recording, "--dry-run")
    assert (tried.returncode, json.loads(tried.stdout)["rows"]["add_on_results"]) == (0, results)
    assert exported.rows(of_it) == [(results,)]
    done = exported("erase", "--recording", recording)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == json.loads(tried.stdout)["rows"]
    assert recording not in done.stdout + done.stderr
    assert exported.rows(of_it) == [(0,)]
    assert json.loads(exported("erase", "--recording", recording).stdout)["rows"] == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("erase",), "Say what to erase"),
        (("erase", "--recording", "RE12"), "is not the SID of a recording"),
        (("erase", "--older"), "EXPORT_RETENTION_DAYS"),
    ],
)
def test_an_erasure_that_names_nothing_is_refused(
    arguments: tuple[str, ...], sentence: str, command: CommandLine
) -> None:
    """Exit code 2 and a sentence."""
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


ASKING = (
    ("verify",),
    ("status",),
    ("quarantine", "list"),
    ("quarantine", "list", "--json"),
    ("erase", "--recording", "RE" + 32 * "0", "--dry-run"),
)
CHANGING = (
    ("erase", "--recording", "RE" + 32 * "0", "--dry-run"),
    ("quarantine", "retry"),
    ("quarantine", "dismiss", "00", "--because", "made up"),
)


@pytest.mark.parametrize("arguments", [*ASKING, *CHANGING], ids=" ".join)
def test_where_nothing_was_exported_nothing_is_made(arguments: tuple[str, ...], command: CommandLine) -> None:
    """A mistyped EXPORT_ROOT is exit code 6 and a sentence that names it, not a new and empty warehouse."""
    done = command(*arguments, EXPORT_ROOT="mistyped")
    assert (done.returncode, done.stdout) == (6, "")
    assert f"Nothing has been exported to {command.folder / 'mistyped'}; check EXPORT_ROOT." in done.stderr
    assert list(command.folder.iterdir()) == []


def test_an_archive_is_sealed_once_its_owner_says_so(exported: CommandLine) -> None:
    """Commits from before the key are named and not built on; `seal` takes them over; another key shows."""
    key, other = {"EXPORT_SEAL_KEY": "a made-up key" * 3}, {"EXPORT_SEAL_KEY": "another one" * 4}
    for arguments in (("verify",), ("compact",)):
        done = exported(*arguments, **key)
        assert done.returncode == 4
        assert "run `addon-export seal`" in done.stdout + done.stderr
    assert exported("seal", **key).returncode == 0
    assert [exported("verify", **keys).returncode for keys in (key, other, {})] == [0, 4, 0]
    assert exported("compact", **key).returncode == 0
    assert "made-up" not in "".join(path.read_text() for path in (exported.root / "_commits").iterdir())


def test_an_erasure_before_the_first_export_is_kept(command: CommandLine, sandbox: Sandbox) -> None:
    """Asked for on the day of the call: it is recorded where nothing is yet, and no export lands it."""
    truth = [t.recording.sid for t in sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid)]
    done = command("erase", "--recording", truth[0])
    assert done.returncode == 0, done.stderr
    assert f"Nothing has been exported to {command.root} yet" in done.stderr
    Exporter(sandbox, open_archive(command.root))().verdict()
    landed = {sid for (sid,) in command.rows("SELECT sid FROM recordings")}
    assert landed >= {*truth} - {truth[0]}
    assert truth[0] not in landed


def test_what_only_reads_needs_no_space(command: CommandLine) -> None:
    """It answers where not a byte more can be written, and leaves everything as it is."""
    archive = open_archive(command.root)
    land_rows(archive, whole(1, b"made up"))
    publish(archive, "duckdb", now=NOON)

    def files() -> dict[str, int]:
        return {f"{path}": path.lstat().st_mtime_ns for path in (command.root, *command.root.rglob("*"))}

    before = files()
    for arguments in ASKING:
        done = command.without_space(0, *arguments)
        assert (done.returncode, files() == before) == (0, True), (arguments, done.stderr)


def test_a_full_disk_for_the_log_stops_nothing(command: CommandLine) -> None:
    """What cannot be said is not said; the export lands everything and its result is on stdout."""
    with Path("/dev/full").open("w") as full, (command.folder / "said").open("w+") as shown:
        assert command.into(shown, full, "export") == 0
        shown.seek(0)
        assert json.loads(shown.read())["results_landed"] > 0


NO_ROOM = "Cannot write to stdout: No space left on device; what the command did so far stays.\n"


@pytest.mark.parametrize("arguments", [("status",), ("verify", "--json"), ("sql", "SELECT 1")], ids=" ".join)
def test_a_full_disk_for_the_results_is_said_in_one_sentence(arguments: tuple[str, ...], exported: CommandLine) -> None:
    """With exit code 6, and not as a defect."""
    with Path("/dev/full").open("w") as full, (exported.folder / "said").open("w+") as said:
        assert exported.into(full, said, *arguments) == 6
        said.seek(0)
        assert said.read() == NO_ROOM


def test_a_process_that_can_write_its_results_nowhere_ends_with_that_code_too(exported: CommandLine) -> None:
    """Also where an interpreter writes at its end what it still holds; without a word where nothing can be said."""
    with Path("/dev/full").open("w") as full:
        with exported.start("tables", stdout=full) as running:
            _, said = running.communicate(timeout=120)
        assert (running.returncode, said) == (6, NO_ROOM)
        with exported.start("tables", stdout=full, stderr=full) as running:
            pass
        assert running.returncode == 6


def test_a_reader_that_has_seen_enough_is_no_error(exported: CommandLine) -> None:
    """A closed pipe ends the command with exit code 0 and without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe, exported.start("tables", stdout=pipe) as running:
        _, said = running.communicate(timeout=120)
    assert (running.returncode, said) == (0, "")


@pytest.mark.parametrize("arguments", [("erase", "--recording", "RE" + 32 * "0"), ("quarantine", "list")], ids=" ".join)
def test_what_is_kept_can_be_seen_to_without_an_account(arguments: tuple[str, ...], command: CommandLine) -> None:
    """The duty to erase may outlive it."""
    land_rows(open_archive(command.root), whole(1, b"made up"))
    done = command(*arguments, TWILIO_ACCOUNT_SID="", TWILIO_AUTH_TOKEN="")
    assert done.returncode == 0, done.stderr


def test_exports_erase_what_is_older_than_asked_for_when_it_was_announced_or_confirmed(command: CommandLine) -> None:
    """A new EXPORT_RETENTION_DAYS is announced and takes nothing for a day; who confirms the number need not wait."""
    old = datetime.now(UTC) - timedelta(days=45)
    land_rows(open_archive(command.root), whole(1, b"of long ago", at=old, done=old), now=old)
    oldest = "SELECT min(completed_date) FROM add_on_results"
    announced = command("export", EXPORT_RETENTION_DAYS="30")
    assert announced.returncode == 0, announced.stderr
    assert "EXPORT_RETENTION_DAYS=30 is new or shorter" in announced.stderr
    assert "EXPORT_RETENTION_DAYS=30 is new or shorter" in command("status").stdout
    waits = command("erase", "--older", EXPORT_RETENTION_DAYS="30")
    assert (waits.returncode, command.rows(oldest)[0][0]) == (3, old.date())
    rows = sum(json.loads(command("erase", "--older", "--dry-run", EXPORT_RETENTION_DAYS="30").stdout)["rows"].values())
    wrong = command("erase", "--older", "--confirm", f"{rows + 1}", EXPORT_RETENTION_DAYS="30")
    assert (wrong.returncode, command.rows(oldest)[0][0]) == (3, old.date())
    done = command("erase", "--older", "--confirm", f"{rows}", EXPORT_RETENTION_DAYS="30")
    assert done.returncode == 0, done.stderr
    assert command.rows(oldest)[0][0] > old.date() + timedelta(days=1)
    assert "new or shorter" not in command("status").stdout
    verified = command("verify")
    assert verified.returncode == 0, verified.stdout


def test_quarantine_from_the_command_line(command: CommandLine, sandbox: Sandbox) -> None:
    """List, show, retry and dismiss: ids may be shortened, 4 while something stays open, bytes exactly as received."""
    said = b'{"sid": "RE\xff\x1b[2J"}'
    rows = quarantine_rows([QuarantineRow("recording", None, None, sandbox.account_sid, "bad", said)], now=NOON)
    land(open_archive(command.root), {"quarantine": rows}, run_id="test", now=NOON)
    listed = json.loads(command("quarantine", "list", "--json").stdout)
    assert (listed["kind"], listed["bytes"], listed["how"]) == ("recording", len(said), None)
    short = listed["quarantine_id"][:12]
    assert command("quarantine", "list").stdout.startswith(f"{short}  ")
    shown = command("quarantine", "show", short)
    assert "\x1b" not in shown.stdout
    assert "\\x1b[2J" in shown.stdout
    tried = command("quarantine", "retry")
    assert (tried.returncode, json.loads(tried.stdout)["resolved"]) == (4, 0)
    assert command("quarantine", "dismiss", short).returncode == 2
    assert command("quarantine", "dismiss", short, "--because", "made up").returncode == 0
    assert command("quarantine", "list").stdout == ""
    assert "made up" in command("quarantine", "list", "--all", "--json").stdout
    assert command.rows("SELECT how, note FROM resolutions") == [("dismissed", "made up")]
    assert command("quarantine", "retry", "nothing").returncode == 2


def test_a_damaged_archive_is_repaired_from_the_command_line(exported: CommandLine) -> None:
    """Verify names the file (4), the repair says what came back (0), and then nothing is wrong."""
    path = min((exported.root / "contents").rglob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    found = exported("verify")
    assert (found.returncode, path.name in found.stdout) == (4, True)
    results = min((exported.root / "add_on_results").rglob("*.parquet"))
    results.write_bytes(results.read_bytes()[:-100])
    said = exported("status")
    assert (said.returncode, "rebuild --archive" in said.stderr) == (6, True)
    done = exported("rebuild", "--archive")
    assert done.returncode == 0, done.stderr
    assert sum(json.loads(done.stdout)["restored"].values()) > 0
    assert exported("verify").returncode == 0
