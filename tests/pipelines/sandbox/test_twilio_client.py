"""The sandbox satisfies Twilio's own Python client."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import TrueResult
from tests.pipelines.conftest import NOW
from tests.pipelines.sandbox.conftest import twilio_client


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    """Twilio's client on the sandbox."""
    client = twilio_client(sandbox)
    yield client
    client.http_client.session.close()


@pytest.fixture
def truth(sandbox: Sandbox) -> list[TrueResult]:
    """What the main account's source shows."""
    return list(sandbox.world.truth(NOW, account_sid=sandbox.account_sid))


def test_recordings_of_all_pages_are_the_shown_ones_newest_first(sandbox: Sandbox, client: Client) -> None:
    """Seven a page or all at once, each recording comes once, newest first."""
    shown = [row.sid for row in sandbox.world.list_recordings(sandbox.account_sid, NOW)]

    listed = [row.sid for row in client.recordings.list(page_size=7)]

    assert len(shown) > 50
    assert listed == shown
    created = [sandbox.world.recordings[sid].date_created for sid in listed]
    assert created == sorted(created, reverse=True)


def test_soft_deleted_recordings_are_listed_on_request_only(sandbox: Sandbox, client: Client) -> None:
    """IncludeSoftDeleted adds the deleted recordings, with status deleted."""
    plain = {row.sid for row in client.recordings.list()}
    more = {row.sid: row.status for row in client.recordings.list(include_soft_deleted=True)}

    extra = more.keys() - plain
    assert extra
    assert {more[sid] for sid in extra} == {"deleted"}
    assert plain < more.keys()


@pytest.mark.parametrize("as_type", [date, datetime])
def test_date_filters_cut_at_utc_midnight(
    sandbox: Sandbox, client: Client, as_type: type[date] | type[datetime]
) -> None:
    """The lower bound takes in its day; the upper one leaves its day out; the time of day is ignored."""
    clock = (13, 30) if as_type is datetime else ()
    low, high = as_type(2026, 11, 10, *clock), as_type(2026, 11, 15, *clock)
    first, end = datetime(2026, 11, 10, tzinfo=UTC), datetime(2026, 11, 15, tzinfo=UTC)
    every = sandbox.world.list_recordings(sandbox.account_sid, NOW)
    expected = [row.sid for row in every if first <= row.date_created < end]

    listed = client.recordings.list(date_created_after=low, date_created_before=high, page_size=3)

    assert len(expected) > 3
    assert [row.sid for row in listed] == expected


def test_one_day_filter_gives_that_day(sandbox: Sandbox, client: Client) -> None:
    """DateCreated alone means the whole UTC day."""
    days = [row.date_created.astimezone(UTC).date() for row in sandbox.world.list_recordings(sandbox.account_sid, NOW)]
    day = max(set(days), key=days.count)

    listed = client.recordings.list(date_created=day)

    assert len(listed) == days.count(day) > 1


def test_call_and_conference_filters_select_exactly(sandbox: Sandbox, client: Client) -> None:
    """CallSid and ConferenceSid each give the recordings that carry them."""
    rows = list(sandbox.world.list_recordings(sandbox.account_sid, NOW))
    meeting = next(row for row in rows if row.conference_sid)

    assert [row.sid for row in client.recordings.list(call_sid=rows[3].call_sid)] == [rows[3].sid]
    assert [row.sid for row in client.recordings.list(conference_sid=meeting.conference_sid)] == [meeting.sid]


def test_results_and_payloads_of_every_recording_equal_the_truth(client: Client, truth: list[TrueResult]) -> None:
    """Walking recordings, results and payloads finds what the world says is there, with the same facts."""
    found = {}
    for recording in client.recordings.list(include_soft_deleted=True):
        for result in client.recordings(recording.sid).add_on_results.list(page_size=2):
            payloads = client.recordings(recording.sid).add_on_results(result.sid).payloads.list(page_size=1)
            found[result.sid] = (
                result.status,
                result.date_created,
                result.date_updated,
                result.date_completed,
                [(payload.sid, payload.content_type, payload.label) for payload in payloads],
            )

    assert len(truth) > 100
    assert found == {
        true.result.sid: (
            true.state.status,
            true.result.date_created,
            true.state.date_updated,
            true.state.date_completed,
            [(payload.sid, payload.content_type, payload.label) for payload in true.payloads],
        )
        for true in truth
    }


def test_fetch_gives_the_same_as_the_list(client: Client, truth: list[TrueResult]) -> None:
    """A recording, a result and a payload fetched alone agree with the world."""
    true = next(each for each in truth if each.payloads and each.recording.deleted_at is None)
    recording = client.recordings(true.recording.sid)
    result = recording.add_on_results(true.result.sid)

    assert recording.fetch().call_sid == true.recording.call_sid
    assert result.fetch().status == true.state.status
    assert result.payloads(true.payloads[0].sid).fetch().content_type == true.payloads[0].content_type


def test_data_gives_the_redirect_to_storage(sandbox: Sandbox, client: Client, truth: list[TrueResult]) -> None:
    """Twilio's client hands back the 307's redirect_to, a URL on the other origin."""
    true = next(each for each in truth if each.payloads)
    payload = client.recordings(true.recording.sid).add_on_results(true.result.sid).payloads(true.payloads[0].sid)

    assert payload.data().fetch().redirect_to.startswith(sandbox.storage_url + "/")


def test_deleting_a_result_purges_its_payloads_and_a_second_delete_is_404(
    client: Client, truth: list[TrueResult]
) -> None:
    """204 once; then the result is off its list, and it, its payloads and their data are not found."""
    true = next(each for each in truth if each.payloads and each.recording.deleted_at is None)
    results = client.recordings(true.recording.sid).add_on_results
    result = results(true.result.sid)

    assert result.delete() is True

    assert true.result.sid not in [row.sid for row in results.list()]
    for call in (
        result.delete,
        result.fetch,
        result.payloads(true.payloads[0].sid).fetch,
        result.payloads(true.payloads[0].sid).data().fetch,
    ):
        with pytest.raises(TwilioRestException) as refused:
            call()
        assert (refused.value.status, refused.value.code) == (404, 20404)
    with pytest.raises(TwilioException, match="20404"):
        result.payloads.list()


def test_deleting_a_payload_leaves_its_siblings(client: Client, truth: list[TrueResult]) -> None:
    """One payload goes, the others and the result stay."""
    true = next(each for each in truth if len(each.payloads) > 1)
    payloads = client.recordings(true.recording.sid).add_on_results(true.result.sid).payloads

    assert payloads(true.payloads[0].sid).delete() is True

    assert [row.sid for row in payloads.list()] == [payload.sid for payload in true.payloads[1:]]


def test_deleting_a_recording_is_soft_and_its_results_stay(client: Client, truth: list[TrueResult]) -> None:
    """It leaves the plain list, stays in the full one, and its results can still be listed."""
    true = next(each for each in truth if each.recording.deleted_at is None)
    sid = true.recording.sid

    assert client.recordings(sid).delete() is True

    assert sid not in {row.sid for row in client.recordings.list()}
    assert sid in {row.sid for row in client.recordings.list(include_soft_deleted=True)}
    assert client.recordings(sid).fetch(include_soft_deleted=True).status == "deleted"
    assert true.result.sid in [row.sid for row in client.recordings(sid).add_on_results.list()]
    with pytest.raises(TwilioRestException):
        client.recordings(sid).delete()


def test_parent_reaches_subaccounts_by_path(sandbox: Sandbox, client: Client) -> None:
    """The Accounts list names the subaccount; the parent's token reads its recordings and results."""
    accounts = client.api.v2010.accounts.list()
    branch = next(row for row in accounts if row.sid != sandbox.account_sid)

    listed = client.api.v2010.accounts(branch.sid).recordings.list(include_soft_deleted=True)

    assert branch.owner_account_sid == sandbox.account_sid
    assert branch.auth_token == sandbox.world.accounts[branch.sid].auth_token
    expected = sandbox.world.list_recordings(branch.sid, NOW, include_soft_deleted=True)
    assert [row.sid for row in listed] == [row.sid for row in expected]
    assert listed


def test_accounts_can_be_filtered(sandbox: Sandbox, client: Client) -> None:
    """FriendlyName is exact."""
    own = sandbox.world.accounts[sandbox.account_sid]

    listed = client.api.v2010.accounts.list(friendly_name=own.friendly_name)

    assert [row.sid for row in listed] == [own.sid]
    assert client.api.v2010.accounts(own.sid).fetch().status == "active"
    assert client.api.v2010.accounts.list(status="closed") == []


def test_expiry_takes_results_off_while_paging_continues(sandbox: Sandbox, client: Client) -> None:
    """Twenty days on, only the results of the last ten days before are left."""
    sandbox.advance(timedelta(days=20))

    left = {
        row.sid
        for recording in client.recordings.list(include_soft_deleted=True)
        for row in client.recordings(recording.sid).add_on_results.list()
    }

    assert left == {
        sid
        for sid, row in sandbox.world.results.items()
        if row.account_sid == sandbox.account_sid and row.date_created > NOW - timedelta(days=10)
    }
    assert left
