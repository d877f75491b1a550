"""Deletion as a user meets it: two commands, a file between them, exit codes, and nothing without a confirmed hash."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from pipelines.scope import Scope
from tests.assets.conftest import MADE, RECORDINGS, CommandLine, put_export
from tests.pipelines.conftest import Exporter
from warehouse.store.opening import open_archive

TODAY = datetime.now(UTC).date()
RANGE = ("--from", f"{TODAY - timedelta(days=40)}", "--to", f"{TODAY}")
AT_ONCE = ("--min-age-hours", "0", "--max-share", "1")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A made-up world of this test's own."""
    with Sandbox(made_up_world(now=MADE, recordings=RECORDINGS)) as running:
        yield running


@pytest.fixture
def command(sandbox: Sandbox, tmp_path: Path) -> CommandLine:
    """The command line with an export key that may not delete and a delete key, and an export made."""
    export, delete = (sandbox.world.add_key(sandbox.account_sid, may_delete=may) for may in (False, True))
    command = CommandLine(
        tmp_path,
        {
            "TWILIO_ACCOUNT_SID": sandbox.account_sid,
            "TWILIO_API_KEY": export.sid,
            "TWILIO_API_SECRET": export.secret,
            "TWILIO_DELETE_API_KEY": delete.sid,
            "TWILIO_DELETE_API_SECRET": delete.secret,
            "TWILIO_BASE_URL": sandbox.base_url,
            "EXPORT_DELETE_MIN_AGE_HOURS": "0",
            "EXPORT_DELETE_MAX_SHARE": "1",
        },
    )
    put_export(command.root, recordings=RECORDINGS)
    return command


def deletes(sandbox: Sandbox) -> list[str]:
    """Paths of the DELETEs that reached the source."""
    return [entry.path for entry in sandbox.journal.entries if entry.method == "DELETE"]


def tree(root: Path) -> dict[str, tuple[int, int, int]]:
    """Everything under a folder: inode, size, time of change."""
    return {
        f"{path}": (state.st_ino, state.st_size, state.st_mtime_ns)
        for path in (root, *root.rglob("*"))
        for state in [path.lstat()]
    }


def test_plan_then_apply_then_export_and_backfill_again(command: CommandLine, sandbox: Sandbox) -> None:
    """What is deleted at Twilio is all still here: after deleting, exporting again, and a backfill of the same days."""
    before = tree(command.root)
    planned = command("delete", "plan", *RANGE, *AT_ONCE, "--out", "plan.json")
    assert planned.returncode == 0, planned.stderr
    assert tree(command.root) == before
    summary = json.loads(planned.stdout)
    plan = json.loads((command.folder / "plan.json").read_bytes())
    assert (command.folder / "plan.json").stat().st_mode & 0o777 == 0o600
    assert deletes(sandbox) == []
    assert summary["results"] == len(plan["plan"]["results"]) > 5
    assert f"--confirm {summary['hash']}" in planned.stderr
    truth = {t.result.sid: t for t in sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid)}
    landed = {sid for (sid,) in command.rows("SELECT sid FROM add_on_results WHERE completed_date IS NOT NULL")}
    named = {r["sid"] for r in plan["plan"]["results"]}
    left_out = {r["sid"]: r["reasons"] for r in plan["plan"]["left_out"]}
    assert named | left_out.keys() == landed
    assert all(left_out.values())
    for result in plan["plan"]["results"]:
        assert {p["sid"]: p["bytes"] for p in result["payloads"]} == {
            p.sid: len(p.content) for p in truth[result["sid"]].payloads
        }
    contents = command.rows("SELECT payload_sid, content FROM contents ORDER BY ALL")
    rows = command.rows("SELECT sid, date_completed, payload_count FROM add_on_results ORDER BY ALL")

    applied = command(
        "delete", "apply", "plan.json", "--confirm", summary["hash"], TWILIO_API_KEY="", TWILIO_API_SECRET=""
    )
    assert applied.returncode == 0, applied.stderr
    assert json.loads(applied.stdout)["deleted"] == summary["results"]
    assert {path.split("/")[-1].removesuffix(".json") for path in deletes(sandbox)} == named
    assert len(deletes(sandbox)) == len(named)

    for scope in (Scope(full=True), Scope(TODAY - timedelta(days=40), TODAY)):
        Exporter(sandbox, open_archive(command.root))(scope).verdict()
    done = command("rebuild")
    assert done.returncode == 0, done.stderr
    assert command.rows("SELECT payload_sid, content FROM contents ORDER BY ALL") == contents
    assert command.rows("SELECT sid, date_completed, payload_count FROM add_on_results ORDER BY ALL") == rows
    assert {sid for (sid,) in command.rows("SELECT sid FROM retention WHERE state = 'deleted'")} == named
    assert command.rows("SELECT count(*) FROM retention WHERE state IN ('pending', 'lost')") == [(0,)]
    assert {sid for (sid,) in command.rows("SELECT sid FROM add_on_results WHERE deleted_at IS NOT NULL")} == named
    status = json.loads(command("status", "--json").stdout)
    assert status["results"]["deleted"] == len(named)
    assert command("verify").returncode == 0
    once_more = command("delete", "apply", "plan.json", "--confirm", summary["hash"])
    assert once_more.returncode == 3
    assert "applied already" in once_more.stderr
    assert len(deletes(sandbox)) == len(named)


def test_what_is_refused_says_why_and_sends_nothing(command: CommandLine, sandbox: Sandbox) -> None:
    """Exit code 3 for guards, 2 for what is missing; the last line is the reason; never a traceback or a secret."""
    summary = json.loads(command("delete", "plan", *RANGE, *AT_ONCE, "--out", "plan.json").stdout)
    confirm = ("--confirm", summary["hash"])
    text = (command.folder / "plan.json").read_text()
    (command.folder / "edited.json").write_text(text.replace('"max_delete": 500', '"max_delete": 501'))
    os.mkfifo(command.folder / "pipe")
    with (command.folder / "sparse").open("wb") as sparse:
        sparse.truncate(2**40)
    other = sandbox.world.add_account(date_created=datetime(2020, 1, 1, tzinfo=UTC))
    stranger = sandbox.world.add_key(other.sid)
    for arguments, environment, code, sentence in (
        (
            ("plan", *RANGE, "--min-age-hours", "72", "--out", "none.json"),
            {},
            0,
            "no add-on result of these days can be",
        ),
        (("plan", *RANGE, "--min-age-hours", "0", "--max-share", "0.2"), {}, 3, "Over budget"),
        (("plan", *RANGE, *AT_ONCE), {"EXPORT_DELETE_MIN_AGE_HOURS": ""}, 3, "asks for 72"),
        (("plan", *RANGE, *AT_ONCE), {"TWILIO_DELETE_API_SECRET": ""}, 2, "No credential that may delete"),
        (("plan", *RANGE, *AT_ONCE, "--max-delete", "1", "--out", "none.json"), {}, 3, "Over budget"),
        (("plan", *RANGE, "--max-share", "20", "--out", "none.json"), {}, 2, "not a share"),
        (("plan", "--out", "none.json"), {}, 2, "--from"),
        (("plan", *RANGE, *AT_ONCE, "--out", "no/such/folder.json"), {}, 2, "cannot be written"),
        (
            ("plan", *RANGE, *AT_ONCE, "--out", "none.json"),
            {"EXPORT_ROOT": "elsewhere"},
            6,
            "Nothing has been exported",
        ),
        (("apply", "plan.json"), {}, 2, "--confirm"),
        (("apply", "plan.json", "--confirm", summary["hash"][:12]), {}, 3, "not that of this plan"),
        (("apply", "edited.json", *confirm), {}, 3, "edited"),
        (("apply", "nothing.json", *confirm), {}, 2, "cannot be read"),
        (("apply", "/dev/zero", *confirm), {}, 2, "no regular file"),
        (("apply", "pipe", *confirm), {}, 2, "no regular file"),
        (("apply", "sparse", *confirm), {}, 2, "too large"),
        (("apply", "0" * 16, *confirm), {}, 2, "no plan with this id"),
        (("apply", "plan.json", *confirm), {"TWILIO_DELETE_API_SECRET": "guessed"}, 3, "not made with the credential"),
        (("apply", "plan.json", *confirm), {"EXPORT_DELETE_MAX": "1"}, 3, "EXPORT_DELETE_MAX allows 1"),
        (("apply", "plan.json", *confirm), {"EXPORT_DELETE_MIN_AGE_HOURS": "1"}, 3, "asks for 1"),
        (("apply", "plan.json", *confirm), {"EXPORT_DELETE_MAX_SHARE": "0.5"}, 3, "allows 0.5"),
        (("apply", "plan.json", *confirm), {"TWILIO_DELETE_API_KEY": ""}, 2, "No credential that may delete"),
        (("apply", "plan.json", *confirm), {"TWILIO_DELETE_API_SECRET": ""}, 2, "No credential that may delete"),
        (("apply", "plan.json", *confirm), {"TWILIO_ACCOUNT_SID": other.sid}, 3, "another account"),
        (
            ("apply", "plan.json", *confirm),
            {"TWILIO_DELETE_API_KEY": stranger.sid, "TWILIO_DELETE_API_SECRET": stranger.secret},
            3,
            "not made with the credential",
        ),
        (("apply", "plan.json", *confirm), {"EXPORT_DESTINATION": "parquet"}, 3, "another destination"),
        (("apply", "plan.json", *confirm), {"EXPORT_ROOT": "elsewhere"}, 6, "Nothing has been exported"),
    ):
        done = command("delete", *arguments, **environment)
        assert done.returncode == code, (arguments, environment, done.stderr)
        assert sentence in done.stderr.strip().splitlines()[-1], (arguments, environment, done.stderr)
        assert "Traceback" not in done.stderr
        assert command.environment["TWILIO_DELETE_API_SECRET"] not in done.stdout + done.stderr
    assert deletes(sandbox) == []
    assert not (command.folder / "elsewhere").exists()


def test_a_key_that_may_not_delete_deletes_nothing_and_says_so(command: CommandLine, sandbox: Sandbox) -> None:
    """Given by mistake: exit code 2, the intents are withdrawn, and the right key carries the same plan out."""
    summary = json.loads(command("delete", "plan", *RANGE, *AT_ONCE, "--out", "plan.json").stdout)
    arguments = ("delete", "apply", "plan.json", "--confirm", summary["hash"])
    wrong = {
        "TWILIO_DELETE_API_KEY": command.environment["TWILIO_API_KEY"],
        "TWILIO_DELETE_API_SECRET": command.environment["TWILIO_API_SECRET"],
    }
    assert "not made with the credential" in command(*arguments, **wrong).stderr
    mistaken = json.loads(command("delete", "plan", *RANGE, *AT_ONCE, **wrong).stdout)
    refused = command("delete", "apply", mistaken["plan"], "--confirm", mistaken["hash"], **wrong)
    assert refused.returncode == 2, refused.stderr
    assert len(list(sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid))) >= summary["results"]
    assert command.rows(
        "SELECT count(*) FILTER (step = 'intent'), count(*) FILTER (step = 'withdrawn') FROM deletions"
    ) == [(min(25, summary["results"]),) * 2]
    assert command(*arguments).returncode == 0


def test_plans_of_single_days_together_keep_to_the_limit_of_a_day(command: CommandLine, sandbox: Sandbox) -> None:
    """Each by itself is within it; the sentence says what the day has seen, and --out is not needed."""
    days = command.rows(
        "SELECT completed_date, count(*) FROM add_on_results WHERE status = 'completed' AND payload_count > 0 "
        "GROUP BY ALL ORDER BY count(*) DESC, completed_date LIMIT 2"
    )
    most = {"EXPORT_DELETE_MAX": str(days[0][1])}
    codes = []
    for day, _ in days:
        planned = command("delete", "plan", "--from", f"{day}", "--to", f"{day}", "--max-share", "1", **most)
        assert planned.returncode == 0, planned.stderr
        plan = json.loads(planned.stdout)
        assert plan["plan"] == plan["id"]
        done = command("delete", "apply", plan["id"], "--confirm", plan["hash"], **most)
        codes.append((done.returncode, done.stderr.strip().splitlines()[-1]))
    assert [code for code, _ in codes] == [0, 3], codes
    assert f"{days[0][1]} results were deleted within a day" in codes[1][1]
    assert len(deletes(sandbox)) == days[0][1]


def test_a_plan_says_when_the_first_result_has_rested(command: CommandLine) -> None:
    """And by which option and setting, so that somebody who tries it out knows what to change."""
    talk = command("delete", "plan", *RANGE, "--min-age-hours", "72").stderr
    assert "72.0 hours" in talk or "71.9 hours" in talk
    assert "--min-age-hours is 72" in talk
    assert "EXPORT_DELETE_MIN_AGE_HOURS" in talk


def test_two_deletions_at_once_send_each_delete_once(command: CommandLine, sandbox: Sandbox) -> None:
    """One does the work; the other is refused, or finds it done."""
    summary = json.loads(command("delete", "plan", *RANGE, *AT_ONCE, "--out", "plan.json").stdout)
    sandbox.settings.latency = 0.02
    both = [command.start("delete", "apply", "plan.json", "--confirm", summary["hash"]) for _ in range(2)]
    codes = []
    for process in both:
        _, talk = process.communicate(timeout=120)
        assert "Traceback" not in talk
        codes.append(process.returncode)
    assert sorted(codes) == [0, 3]
    assert len(deletes(sandbox)) == len(set(deletes(sandbox))) == summary["results"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_deletion_that_was_cut_off_is_finished_by_the_same_command(
    number: signal.Signals, command: CommandLine, sandbox: Sandbox
) -> None:
    """In the middle of a DELETE: nothing is deleted that is not named, and nothing is left open."""
    summary = json.loads(command("delete", "plan", *RANGE, *AT_ONCE, "--out", "plan.json").stdout)
    arguments = ("delete", "apply", "plan.json", "--confirm", summary["hash"])
    sandbox.settings.latency = 0.05
    process = command.start(*arguments)
    deadline = time.monotonic() + 60
    while len(deletes(sandbox)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), talk
    assert "Traceback" not in talk
    sandbox.settings.latency = 0.0
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert len({*deletes(sandbox)}) == summary["results"]
    assert command.rows("SELECT count(*) FROM retention WHERE state = 'deleted'") == [(summary["results"],)]
    assert command("verify").returncode == 0


def test_exporting_never_uses_the_credential_that_may_delete(command: CommandLine, sandbox: Sandbox) -> None:
    """Only the wrong export credential is used, although a good one that may delete lies beside it."""
    done = command("export", TWILIO_API_SECRET="wrong")
    assert done.returncode == 2
    assert {e.status for e in sandbox.journal.entries[-2:]} == {401}
    assert os.environ.get("TWILIO_DELETE_API_KEY") is None
