"""Which accounts an archive is for: what ends, what only fails, and that one's trouble is no other's."""

import asyncio
import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from assets.channels.watch import Said, deadline_alert
from pipelines.accounts.account import Account, Configured, admit, news, settled, shown_name
from pipelines.accounts.directory import Directory, read_directory
from pipelines.accounts.wanted import drop, known_accounts, note_configured
from pipelines.errors import AccountRefused, FixConfiguration, IncompleteExport, SourceUnavailable
from pipelines.export import export
from pipelines.monitoring.completeness import completeness
from pipelines.monitoring.deadlines import Deadlines, deadlines
from pipelines.monitoring.status import status
from pipelines.report import ExportReport, Progress
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from pipelines.settings import Windows, twilio_settings
from pipelines.twilio.client import Credential
from pipelines.twilio.network import Network
from pipelines.twilio.values import Ceilings
from tests.pipelines.conftest import HASTY, NOW
from warehouse.store.archive import Archive
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

SETTLE = timedelta(hours=48)
PATIENT = replace(HASTY, unanswered_budget=30.0, api_deadline=30.0)
WINDOWS = Windows(timedelta(days=7), timedelta(days=3))
MAIN, FIRST, SECOND = (f"AC{number:032x}" for number in (1, 2, 3))
REFUSED = Reply(401, b'{"code": 20003, "status": 401}')


@pytest.fixture
def world() -> World:
    """A main account and two subaccounts with a call each, a day ago."""
    world = World()
    main = world.add_account(date_created=NOW.replace(year=2020))
    for name in ("Ash Grove", "Mill Street"):
        world.add_account(date_created=main.date_created, owner=main.sid, friendly_name=name)
    for sid in world.accounts:
        call(world, sid)
    return world


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive."""
    return open_archive(tmp_path / "data")


def call(world: World, account: str, *, hours: float = 30, outcome: str | None = "completed") -> None:
    """A recording with one result and its content, so long before NOW."""
    recording = world.add_recording(account, NOW - timedelta(hours=hours))
    result = world.add_result(recording, outcome=outcome)  # type: ignore[arg-type]
    if outcome is not None:
        world.add_payload(result, b"{}")


def configure(sandbox: Sandbox, archive: Archive, subaccounts: str) -> tuple[Directory, list[str], list[str]]:
    """What an export with this TWILIO_SUBACCOUNTS is for, what is said of it, and what was lacking."""
    lacking: list[str] = []

    async def run() -> Directory:
        settings = twilio_settings({**sandbox.environment, "TWILIO_SUBACCOUNTS": subaccounts})
        async with Network(sandbox.base_url, Ceilings()) as connections:
            client = connections.client(settings.account_sid, Credential(MAIN, sandbox.auth_token), tuning=PATIENT)
            return await read_directory(client, settings, known_accounts(archive), lacking.append)

    directory = asyncio.run(run())
    said = note_configured(archive, directory.configured, main=MAIN, whole=directory.whole, now=sandbox.now)
    return directory, said, lacking


def exported(
    sandbox: Sandbox, archive: Archive, subaccounts: str = "all", tokens: Mapping[str, str] | None = None
) -> ExportReport:
    """One export as the assets do it."""
    directory, _, lacking = configure(sandbox, archive, subaccounts)
    progress = Progress()
    for reason in lacking:
        progress.extraction.waits(reason)

    async def run() -> ExportReport:
        async with Network(sandbox.base_url, Ceilings(8, 8)) as connections:
            clients = [
                connections.client(
                    sid,
                    Credential((tokens or {}).get(sid, MAIN), (tokens and sid in tokens and "x") or sandbox.auth_token),
                    tuning=PATIENT,
                )
                for sid in directory.wanted
            ]
            return await export(
                clients,
                archive,
                destination="parquet",
                scope=Scope(),
                run_id="test",
                clock=lambda: sandbox.now,
                workers=4,
                progress=progress,
            )

    return asyncio.run(run())


def waiting(sandbox: Sandbox, archive: Archive) -> Deadlines:
    """What is waiting now."""
    return deadlines(archive, now=sandbox.now, within=WINDOWS.warn, settle=SETTLE)


def refuse(account: str, reply: Reply = REFUSED) -> object:
    """An interception that answers so to whatever is asked of one account's recordings."""

    def answer(request: Request) -> Reply | None:
        asked = request.origin == "api" and f"/Accounts/{account}/Recordings" in request.path
        return reply if asked else None

    return answer


@pytest.mark.parametrize(("account", "status_code"), [(MAIN, 401), (MAIN, 503), (FIRST, 403), (SECOND, 503)])
def test_the_trouble_of_one_account_stops_no_other(
    account: str, status_code: int, sandbox: Sandbox, archive: Archive
) -> None:
    """All others are landed; the one is named in the report and in `status`, and stays wanted: run again."""
    sandbox.settings.intercept = refuse(account, Reply(status_code, b'{"code": 20003}'))  # type: ignore[assignment]
    report = exported(sandbox, archive)
    with pytest.raises(IncompleteExport) as incomplete:
        report.verdict()
    assert incomplete.value.again
    assert account in str(incomplete.value)
    found = status(archive, now=sandbox.now, settle=SETTLE)
    assert {a.account.sid for a in found.accounts if a.account.trouble} == {account}
    assert all(a.account.wanted for a in found.accounts)
    assert found.results["exported"] == 2
    assert verify(archive).mismatches == ()
    sandbox.settings.intercept = None
    exported(sandbox, archive).verdict()
    assert not any(a.account.trouble for a in status(archive, now=sandbox.now, settle=SETTLE).accounts)


@pytest.mark.parametrize(("reply", "error"), [(REFUSED, AccountRefused), (Reply(503, b""), SourceUnavailable)])
def test_where_no_account_can_be_read_the_export_fails(
    reply: Reply, error: type[Exception], sandbox: Sandbox, archive: Archive
) -> None:
    """With the refusal if all are refused, else with what may pass."""
    sandbox.settings.intercept = lambda request: reply if request.operation == "ListRecording" else None
    with pytest.raises(error):
        exported(sandbox, archive)


def test_a_list_of_accounts_that_may_not_be_read_costs_no_account_that_is_known(
    sandbox: Sandbox, archive: Archive
) -> None:
    """The main account and those exported before are exported; that the list is lacking is said."""
    exported(sandbox, archive).verdict()
    sandbox.settings.intercept = lambda request: REFUSED if request.operation == "ListAccount" else None
    directory, said, lacking = configure(sandbox, archive, "all")
    assert (set(directory.wanted), directory.whole, said) == ({MAIN, FIRST, SECOND}, False, [])
    assert len(lacking) == 1
    assert "401" in lacking[0]


def _as_if_first_were_gone(request: Request) -> Reply | None:
    """Of a closed account, a month later, Twilio knows nothing."""
    if request.operation == "ListAccount":
        listed = [{"sid": sid, "status": "active"} for sid in (MAIN, SECOND)]
        return Reply(200, json.dumps({"accounts": listed, "next_page_uri": None}).encode())
    return Reply(404, b"{}") if request.operation == "FetchAccount" else None


@pytest.mark.parametrize("how", ["closed", "suspended", "left out", "gone", "dropped"])
def test_an_account_that_has_ended_keeps_nothing_waiting(
    how: str, world: World, sandbox: Sandbox, archive: Archive
) -> None:
    """Neither days, nor deadlines, nor silence; what it left behind is told once, with its name."""
    call(world, FIRST, outcome=None)
    exported(sandbox, archive)
    last = sandbox.now
    sandbox.advance(timedelta(days=1))
    subaccounts = SECOND if how == "left out" else "all"
    if how in ("closed", "suspended"):
        world.put(replace(world.accounts[FIRST], status=how))  # type: ignore[arg-type]
    elif how == "gone":
        sandbox.settings.intercept = _as_if_first_were_gone
    if how == "dropped":
        drop(archive, FIRST)
    else:
        _, said, _ = configure(sandbox, archive, subaccounts)
        assert [FIRST in sentence and "Ash Grove" in sentence for sentence in said] == [True]
    for day in (1, 3):
        if how != "dropped":
            exported(sandbox, archive, subaccounts)
        sandbox.advance(timedelta(days=day))
    if how == "dropped":
        exported(sandbox, archive, SECOND).verdict()
    found = waiting(sandbox, archive)
    assert (found.at_risk, found.backlog, found.lost) == ((), 0, ())
    assert found.silent_for is not None
    assert found.silent_for < timedelta(days=5)
    assert not any("Ash Grove" in label for label in found.silent)
    assert list(found.ended.values()) == [1]
    alert, told = deadline_alert(found, Said(sandbox.now), WINDOWS)
    assert alert is not None
    assert "Ash Grove" in alert.text
    assert deadline_alert(found, Said.read(told.cursor(), now=sandbox.now), WINDOWS)[0] is None
    days = completeness(
        archive, first=last.date(), last=last.date() + timedelta(days=1), now=sandbox.now, settle=SETTLE
    )
    assert [day.complete for day in days] == [True, True], [day.reasons() for day in days]
    (ended,) = (a for a in status(archive, now=sandbox.now, settle=SETTLE).accounts if not a.account.wanted)
    assert (ended.account.sid, ended.account.until, ended.unexported) == (FIRST, last, 1)


def test_an_account_that_only_fails_still_alarms_with_its_name(sandbox: Sandbox, archive: Archive) -> None:
    """An outage of one account looks like one: days stay incomplete, and silence is told, of that account."""
    exported(sandbox, archive).verdict()
    sandbox.settings.intercept = refuse(FIRST)  # type: ignore[assignment]
    for days in (1, 3):
        sandbox.advance(timedelta(days=days))
        exported(sandbox, archive)
    found = waiting(sandbox, archive)
    assert found.silent_for == timedelta(days=4)
    alert, _ = deadline_alert(found, Said(sandbox.now), WINDOWS)
    assert alert is not None
    assert f"{FIRST} (Ash Grove); 2 others are listed" in alert.text
    yesterday = (sandbox.now - timedelta(days=1)).date()
    (day,) = completeness(archive, first=yesterday, last=yesterday, now=sandbox.now, settle=SETTLE)
    assert not day.complete
    assert f"of account {FIRST} (Ash Grove) was not read" in " ".join(day.reasons())


def test_an_account_that_never_answered_is_missed_too(sandbox: Sandbox, archive: Archive) -> None:
    """Wanted is what the settings say, and not what was listed once."""
    sandbox.settings.intercept = refuse(SECOND)  # type: ignore[assignment]
    exported(sandbox, archive)
    sandbox.advance(timedelta(days=3))
    exported(sandbox, archive)
    assert waiting(sandbox, archive).silent[f"{SECOND} (Mill Street)"] == timedelta(days=3)


def test_an_account_that_is_named_again_is_wanted_again(sandbox: Sandbox, archive: Archive) -> None:
    """The settings decide, in both directions, and nothing landed is lost."""
    exported(sandbox, archive).verdict()
    exported(sandbox, archive, "none").verdict()
    assert {a.sid for a in known_accounts(archive).values() if a.wanted} == {MAIN}
    exported(sandbox, archive, f"{FIRST},{SECOND}").verdict()
    assert all(a.wanted and a.until is None for a in known_accounts(archive).values())
    assert status(archive, now=sandbox.now, settle=SETTLE).results["exported"] == 3


def test_a_new_subaccount_leaves_days_that_twilio_has_forgotten_complete(
    world: World, sandbox: Sandbox, archive: Archive
) -> None:
    """It could not be asked for them any more, whenever it was added."""
    exported(sandbox, archive, "none").verdict()
    day = sandbox.now.date()
    for days in (5, 40):
        sandbox.advance(timedelta(days=days))
        exported(sandbox, archive, "none")
    exported(sandbox, archive).verdict()
    (found,) = completeness(archive, first=day, last=day, now=sandbox.now, settle=SETTLE)
    assert found.complete, found.reasons()


def test_a_root_of_other_accounts_lets_nobody_in_unless_it_is_said() -> None:
    """The sentence names both accounts and what to do; a subaccount of the root is no stranger."""
    known = {MAIN: Account(MAIN, name="Harbor Lane", main=MAIN), FIRST: Account(FIRST, main=MAIN)}
    stranger = "AC" + "f" * 32
    with pytest.raises(FixConfiguration) as caught:
        admit(stranger, known, added="", root="./data")
    for part in (stranger, f"{MAIN} (Harbor Lane) and 1 more", "--add-account", "./data"):
        assert part in str(caught.value)
    with pytest.raises(FixConfiguration):
        admit(stranger, known, added=FIRST, root="./data")
    for main, added in ((stranger, stranger), (MAIN, ""), (FIRST, "")):
        admit(main, known, added=added, root="./data")
    admit(stranger, {}, added="", root="./data")


def test_two_main_accounts_in_one_root_leave_each_other_alone() -> None:
    """An export ends no account that another main account's export names."""
    other = "AC" + "f" * 32
    known = {other: Account(other, main=other), FIRST: Account(FIRST, main=MAIN), MAIN: Account(MAIN, main=MAIN)}
    after = settled(known, [Configured(MAIN)], main=MAIN, whole=True, last_listed={FIRST: NOW}, now=NOW)
    assert {sid: account.state for sid, account in after.items()} == {
        other: "wanted",
        FIRST: "unwanted",
        MAIN: "wanted",
    }
    assert after[FIRST].until == NOW
    assert len(news(known, after)) == 1
    assert settled(known, [Configured(MAIN)], main=MAIN, whole=False, last_listed={}, now=NOW)[FIRST].wanted


def test_a_friendly_name_is_one_short_line() -> None:
    """It is any text that somebody has typed, and gets into alerts and terminals."""
    assert shown_name("Harbor\x1b[31m Lane\n\u202eevil") == "Harbor [31m Lane evil"
    assert len(shown_name("x" * 500)) < 70
    assert shown_name(None) == ""


@pytest.mark.parametrize("body", [b"", b"<html>We are down</html>"])
def test_an_account_of_which_nothing_but_pages_comes_keeps_no_other_waiting(
    world: World, sandbox: Sandbox, archive: Archive, body: bytes
) -> None:
    """Asked in vain for as long as a request may take, it is not asked again for each of its days."""

    def garbled(request: Request) -> Reply | None:
        return Reply(200, body) if SECOND in request.sids and request.operation == "ListRecording" else None

    for account in (MAIN, FIRST, SECOND):
        call(world, account, hours=50)
    sandbox.settings.intercept = garbled
    with pytest.raises(IncompleteExport, match="something else came than the JSON of the API"):
        exported(sandbox, archive).verdict()
    lists = [each for each in sandbox.journal.entries if SECOND in each.path and each.operation == "ListRecording"]
    assert len({each.query for each in lists}) == 1
    assert status(archive, now=sandbox.now, settle=SETTLE).results["exported"] == 4, "of the two others, two calls each"


def test_an_idle_account_among_many_costs_one_request(world: World, sandbox: Sandbox, archive: Archive) -> None:
    """An hour in which nothing happens asks each account once, and every day is known to be listed all the same."""
    sandbox.advance(timedelta(days=3))
    exported(sandbox, archive).verdict()
    sandbox.journal.clear()
    sandbox.advance(timedelta(days=1))
    exported(sandbox, archive).verdict()
    asked = sorted(entry.operation for entry in sandbox.journal.entries)
    assert asked == ["FetchAccount", "ListAccount", *["ListRecording"] * 3], "the first only for Twilio's time"
    yesterday = (sandbox.now - timedelta(days=1)).date()
    (day,) = completeness(archive, first=yesterday, last=yesterday, now=sandbox.now, settle=SETTLE)
    assert day.complete


def test_small_and_large_accounts_are_worked_on_in_the_order_of_their_deadlines(
    world: World, sandbox: Sandbox, archive: Archive
) -> None:
    """A list of more than a page is read by days; what a small account has of a day comes with that day."""
    for number in range(1001):
        world.add_recording(SECOND, NOW - timedelta(days=1 + number % 30))
    for days in (2, 9, 20, 29):
        call(world, FIRST, hours=24 * days)
        call(world, MAIN, hours=24 * days)
    exported(sandbox, archive).verdict()
    asked = [entry for entry in sandbox.journal.entries if entry.operation == "ListRecordingAddOnResult"]
    listed = [entry.path.split("/Recordings/")[1].split("/")[0] for entry in asked]
    assert len(listed) == len(world.recordings)
    created = [world.recordings[sid].date_created for sid in listed]
    late = sum(before - after > timedelta(days=2) for before, after in itertools.pairwise(created))
    assert late < 8, "but for what is worked on side by side"


def test_a_bad_list_of_all_days_costs_none_of_them(sandbox: Sandbox, archive: Archive) -> None:
    """The days are asked for one by one then, and each stands for itself."""

    def bad(request: Request) -> Reply | None:
        whole = request.operation == "ListRecording" and FIRST in request.path
        if whole:
            since, until = (date.fromisoformat(request.query[name]) for name in ("DateCreated>", "DateCreated<"))
            whole = until - since > timedelta(days=2)
        return Reply(200, b'{"recordings": [') if whole else None

    sandbox.settings.intercept = bad
    exported(sandbox, archive).verdict()
    assert status(archive, now=sandbox.now, settle=SETTLE).results["exported"] == 3
