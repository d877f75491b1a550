"""Credentials, errors, concurrency and storage behave as at Twilio."""

import asyncio
import re
from datetime import timedelta, timezone
from email.utils import parsedate_to_datetime

import httpx
import pytest

from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.server import Settings
from pipelines.sandbox.values import Payload
from pipelines.sandbox.world import World
from tests.pipelines.conftest import NOW
from tests.pipelines.sandbox.conftest import http


def account_uri(sandbox: Sandbox) -> str:
    """The main account's path."""
    return f"/2010-04-01/Accounts/{sandbox.account_sid}"


def refused(reply: httpx.Response) -> tuple[int, int]:
    """HTTP status and Twilio's code, of a body with exactly Twilio's members."""
    body = reply.json()
    assert body.keys() == {"code", "message", "more_info", "status"}
    assert body["status"] == reply.status_code
    return reply.status_code, body["code"]


def add_content(sandbox: Sandbox, content: bytes = b'{"a":1}', content_type: str = "text/plain") -> Payload:
    """One payload with this content on a fresh recording."""
    recording = sandbox.world.add_recording(sandbox.account_sid, NOW - timedelta(days=1))
    return sandbox.world.add_payload(sandbox.world.add_result(recording), content, content_type=content_type)


def data_uri(sandbox: Sandbox, payload: Payload) -> str:
    """Path of the payload's Data."""
    result = sandbox.world.results[payload.add_on_result_sid]
    return (
        f"{account_uri(sandbox)}/Recordings/{result.reference_sid}/AddOnResults/{result.sid}"
        f"/Payloads/{payload.sid}/Data.json"
    )


def signed_url(sandbox: Sandbox, payload: Payload) -> str:
    """What Data redirects to."""
    with http(sandbox) as client:
        return str(client.get(data_uri(sandbox, payload)).headers["location"])


# -- credentials ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "password"),
    [("AC" + "0" * 31 + "1", "wrong"), ("SK" + "0" * 32, "wrong"), ("nobody", "nothing")],
)
def test_a_wrong_credential_is_401(sandbox: Sandbox, user: str, password: str) -> None:
    """Code 20003, on every kind of path, whether it exists or not."""
    with http(sandbox, user, password) as client:
        for path in (f"{account_uri(sandbox)}/Recordings.json", "/2010-04-01/Accounts.json", "/nowhere"):
            assert refused(client.get(path)) == (401, 20003)


@pytest.mark.parametrize("header", [None, "", "Basic", "Basic !!!", "Basic /w==", "Bearer abc"])
def test_a_missing_or_malformed_credential_is_401(sandbox: Sandbox, header: str | None) -> None:
    """No header, no value, no base64, no text, no Basic."""
    headers = {} if header is None else {"Authorization": header}
    reply = httpx.get(f"{sandbox.base_url}/2010-04-01/Accounts.json", headers=headers, trust_env=False)

    assert refused(reply) == (401, 20003)


def test_a_read_only_key_reads_and_may_not_delete(sandbox: Sandbox) -> None:
    """It lists, and its DELETE is 403 and deletes nothing; the other key's is 204."""
    read_only, full = sandbox.world.keys.values()
    with http(sandbox, read_only.sid, read_only.secret) as client:
        uri = client.get(f"{account_uri(sandbox)}/Recordings.json").json()["recordings"][0]["uri"]
        assert refused(client.delete(uri)) == (403, 70051)
        assert client.get(uri).status_code == 200
    with http(sandbox, full.sid, full.secret) as client:
        assert client.delete(uri).status_code == 204


def test_keys_reach_their_own_account_only(sandbox: Sandbox) -> None:
    """A standard key gets 401 on Accounts and on a subaccount; a main key may list Accounts."""
    key = next(iter(sandbox.world.keys.values()))
    main = sandbox.world.add_key(sandbox.account_sid, main=True)
    branch = list(sandbox.world.accounts)[1]
    with http(sandbox, key.sid, key.secret) as client:
        assert refused(client.get("/2010-04-01/Accounts.json")) == (401, 20003)
        assert refused(client.get(f"{account_uri(sandbox)}.json")) == (401, 20003)
        assert refused(client.get(f"/2010-04-01/Accounts/{branch}/Recordings.json")) == (401, 20003)
    with http(sandbox, main.sid, main.secret) as client:
        assert client.get("/2010-04-01/Accounts.json").status_code == 200


def test_a_subaccount_does_not_reach_its_parent(sandbox: Sandbox) -> None:
    """Its token reads its own recordings; the parent's are 401."""
    branch = list(sandbox.world.accounts.values())[1]
    with http(sandbox, branch.sid, branch.auth_token) as client:
        assert client.get(f"/2010-04-01/Accounts/{branch.sid}/Recordings.json").status_code == 200
        assert refused(client.get(f"{account_uri(sandbox)}/Recordings.json")) == (401, 20003)


def test_a_recording_is_found_under_its_own_account_only(sandbox: Sandbox) -> None:
    """The parent's recording under the subaccount's path is 404."""
    branch = list(sandbox.world.accounts)[1]
    sid = next(sandbox.world.list_recordings(sandbox.account_sid, NOW)).sid
    with http(sandbox) as client:
        assert client.get(f"{account_uri(sandbox)}/Recordings/{sid}.json").status_code == 200
        assert refused(client.get(f"/2010-04-01/Accounts/{branch}/Recordings/{sid}.json")) == (404, 20404)


# -- paths and headers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tail",
    [
        "/Recordings",
        "/Recordings.xml",
        "/Calls.json",
        "/Recordings/RE0.json",
        "/Recordings/.json",
        "/Recordings/RE0/AddOnResults/XR0/Payloads/XH0/Data/more.json",
        "/Recordings/RE0/AddOnResults.json",
    ],
)
def test_unknown_paths_are_404(sandbox: Sandbox, tail: str) -> None:
    """Code 20404 for what is not there, and for a path without .json."""
    with http(sandbox) as client:
        assert refused(client.get(account_uri(sandbox) + tail)) == (404, 20404)


def test_other_methods_are_refused(sandbox: Sandbox) -> None:
    """There is no POST on these resources, and no DELETE on Data."""
    with http(sandbox) as client:
        assert refused(client.post(f"{account_uri(sandbox)}/Recordings.json")) == (405, 20004)
        true = next(t for t in sandbox.world.truth(NOW, account_sid=sandbox.account_sid) if t.payloads)
        assert refused(client.delete(data_uri(sandbox, true.payloads[0]))) == (405, 20004)


def test_api_replies_carry_twilios_headers_and_storage_does_not(desk: Sandbox) -> None:
    """Request id, duration and concurrency come with success and with errors."""
    url = signed_url(desk, add_content(desk))
    with http(desk) as client:
        replies = [client.get(f"{account_uri(desk)}/Recordings.json"), client.get("/nowhere")]
    for reply in replies:
        assert re.fullmatch(r"RQ[0-9a-f]{32}", reply.headers["Twilio-Request-Id"])
        assert float(reply.headers["Twilio-Request-Duration"]) >= 0
        assert reply.headers["Twilio-Concurrent-Requests"] == "1"
    assert replies[0].headers["Twilio-Request-Id"] != replies[1].headers["Twilio-Request-Id"]
    assert not [name for name in httpx.get(url, trust_env=False).headers if name.startswith("twilio")]


def test_dates_keep_the_offset_they_were_given(desk: Sandbox) -> None:
    """A recording made at +01:00 shows +0100; its results are shown in UTC."""
    zone = timedelta(hours=1)
    created = NOW.astimezone(timezone(zone)) - timedelta(hours=3)
    desk.world.add_result(desk.world.add_recording(desk.account_sid, created))
    with http(desk) as client:
        row = client.get(f"{account_uri(desk)}/Recordings.json").json()["recordings"][0]
        result = client.get(row["subresource_uris"]["add_on_results"]).json()["add_on_results"][0]

    assert row["date_created"] == "Fri, 20 Nov 2026 10:00:00 +0100"
    assert parsedate_to_datetime(row["date_updated"]).utcoffset() == zone
    assert result["date_created"] == "Fri, 20 Nov 2026 09:03:00 +0000"


# -- concurrency ------------------------------------------------------------------------------------


def test_requests_over_the_cap_are_429_and_not_processed(empty: World) -> None:
    """Of twelve DELETEs at once with a cap of five, those that find five in flight delete nothing."""
    recordings = [empty.add_recording("AC" + "0" * 31 + "1", NOW - timedelta(hours=i)) for i in range(1, 13)]

    async def all_at_once(sandbox: Sandbox) -> list[httpx.Response]:
        auth = (sandbox.account_sid, sandbox.auth_token)
        async with httpx.AsyncClient(base_url=sandbox.base_url, auth=auth, trust_env=False) as client:
            uris = [f"{account_uri(sandbox)}/Recordings/{row.sid}.json" for row in recordings]
            return await asyncio.gather(*(client.delete(uri) for uri in uris))

    settings = Settings(cap=5, latency=0.5, retry_after=2)
    with Sandbox(empty, now=NOW, settings=settings) as sandbox:
        replies = asyncio.run(all_at_once(sandbox))
        left = {row.sid for row in sandbox.world.list_recordings(sandbox.account_sid, NOW)}
        found = [(entry.status, entry.concurrent > 5) for entry in sandbox.journal.entries]
        settings.latency = 0
        with http(sandbox) as client:
            assert client.get(f"{account_uri(sandbox)}/Recordings.json").status_code == 200

    by_status = {row.sid: reply.status_code for row, reply in zip(recordings, replies, strict=True)}
    assert set(found) == {(204, False), (429, True)}
    assert left == {sid for sid, status in by_status.items() if status == 429}
    busy = next(reply for reply in replies if reply.status_code == 429)
    assert refused(busy) == (429, 20429)
    assert busy.headers["Retry-After"] == "2"
    assert busy.headers["Twilio-Concurrent-Requests"] == "6"


def test_the_cap_is_for_each_account(sandbox: Sandbox) -> None:
    """While the parent's only place is taken, the subaccount is still served."""
    sandbox.settings.cap = 1
    sandbox.settings.latency = 0.4
    branch = list(sandbox.world.accounts)[1]

    async def both() -> list[int]:
        auth = (sandbox.account_sid, sandbox.auth_token)
        async with httpx.AsyncClient(base_url=sandbox.base_url, auth=auth, trust_env=False) as client:
            uris = [f"/2010-04-01/Accounts/{sid}/Recordings.json" for sid in (sandbox.account_sid, branch)]
            return [reply.status_code for reply in await asyncio.gather(*map(client.get, uris))]

    assert asyncio.run(both()) == [200, 200]


# -- storage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"plain words\r\n", "text/plain"),
        (bytes(range(256)) * 3, "application/octet-stream"),
        (b"", "application/json"),
        (b"x" * 3_000_000, "audio/x-wav"),
    ],
)
def test_the_signed_url_gives_the_exact_bytes(desk: Sandbox, content: bytes, content_type: str) -> None:
    """Location and body agree; the bytes, their length and type come back as they were put in."""
    payload = add_content(desk, content, content_type)
    with http(desk) as client:
        reply = client.get(data_uri(desk, payload))
    stored = httpx.get(reply.headers["location"], trust_env=False)

    assert reply.status_code == 307
    assert reply.json() == {"redirect_to": reply.headers["location"]}
    assert stored.content == content
    assert stored.headers["content-type"] == content_type
    assert stored.headers["content-length"] == str(len(content))


def test_storage_refuses_a_request_that_carries_authorization(desk: Sandbox) -> None:
    """400 and XML, as an object store answers, and the journal shows that credentials came."""
    url = signed_url(desk, add_content(desk))
    reply = httpx.get(url, auth=(desk.account_sid, desk.auth_token), trust_env=False)

    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/xml"
    assert "Only one auth mechanism allowed" in reply.text
    entry = desk.journal.entries[-1]
    assert (entry.origin, entry.operation, entry.authorized) == ("storage", "Content", True)


def test_a_signed_url_expires_and_a_fresh_one_works(desk: Sandbox) -> None:
    """Good until its last second by the source's clock, then 403 and XML."""
    payload = add_content(desk)
    url = signed_url(desk, payload)
    desk.advance(timedelta(minutes=15) - timedelta(seconds=1))
    assert httpx.get(url, trust_env=False).status_code == 200

    desk.advance(timedelta(seconds=1))
    late = httpx.get(url, trust_env=False)

    assert (late.status_code, "Request has expired" in late.text) == (403, True)
    assert httpx.get(signed_url(desk, payload), trust_env=False).status_code == 200


def test_an_altered_signed_url_is_refused(desk: Sandbox) -> None:
    """Another content, a later expiry, no signature: 403 each."""
    payload, other = add_content(desk), add_content(desk)
    url = signed_url(desk, payload)
    expires = int(httpx.URL(url).params["Expires"])
    altered = [
        url.replace(payload.sid, other.sid),
        url.replace(f"Expires={expires}", f"Expires={expires + 60}"),
        url.replace(f"Expires={expires}", "Expires=never"),
        url.replace("Signature=", "Signature=%C3%A9"),
        url.partition("?")[0],
    ]

    for each in altered:
        reply = httpx.get(each, trust_env=False)
        assert (reply.status_code, "SignatureDoesNotMatch" in reply.text) == (403, True)


def test_deleting_removes_the_content_behind_a_url_still_good(desk: Sandbox) -> None:
    """After the result is deleted, its signed URL is 404."""
    payload = add_content(desk)
    url = signed_url(desk, payload)
    with http(desk) as client:
        assert client.delete(data_uri(desk, payload).partition("/Payloads")[0] + ".json").status_code == 204

    assert httpx.get(url, trust_env=False).status_code == 404


def test_the_two_origins_do_not_answer_for_each_other(desk: Sandbox) -> None:
    """The API has no contents, and storage has no API."""
    url = signed_url(desk, add_content(desk))
    with http(desk) as client:
        assert refused(client.get(url.replace(desk.storage_url, ""))) == (404, 20404)
    listing = f"{account_uri(desk)}/Recordings.json"
    assert httpx.get(desk.storage_url + listing, trust_env=False).status_code == 403


# -- scripted faults and the journal ----------------------------------------------------------------


def test_an_intercepted_request_is_answered_as_scripted_and_not_processed(desk: Sandbox) -> None:
    """A scripted 500 on DELETE leaves the row; the journal has what was sent."""
    recording = desk.world.add_recording(desk.account_sid, NOW - timedelta(hours=1))

    def fail_deletes(request: Request) -> Reply | None:
        return Reply(500, b"{}") if request.operation == "DeleteRecording" else None

    desk.settings.intercept = fail_deletes
    uri = f"{account_uri(desk)}/Recordings/{recording.sid}.json"
    with http(desk) as client:
        assert client.delete(uri).status_code == 500
        assert client.get(uri).status_code == 200

    assert desk.journal.counts == {("DeleteRecording", 500): 1, ("FetchRecording", 200): 1}
    assert desk.journal.count("DeleteRecording") == 1
    assert [entry.path for entry in desk.journal.entries] == [uri, uri]
    desk.journal.clear()
    assert desk.journal.count("DeleteRecording") == 0


def test_overrides_put_anything_on_the_wire(desk: Sandbox) -> None:
    """A row can show a null SID, an unknown status, a date that is none."""
    odd = {"sid": None, "status": "brand-new", "date_completed": "soon"}
    recording = desk.world.add_recording(desk.account_sid, NOW - timedelta(hours=1))
    desk.world.add_result(recording, overrides=odd)
    with http(desk) as client:
        rows = client.get(f"{account_uri(desk)}/Recordings/{recording.sid}/AddOnResults.json").json()

    assert {name: rows["add_on_results"][0][name] for name in odd} == odd
