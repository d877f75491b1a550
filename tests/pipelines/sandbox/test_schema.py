"""Every reply satisfies Twilio's OpenAPI document, and has the keys of Twilio's published samples."""

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from pipelines.sandbox.exchange import operation_of
from pipelines.sandbox.run import Sandbox
from tests.pipelines.conftest import NOW
from tests.pipelines.sandbox.conftest import http

TWILIO = Path(__file__).resolve().parents[4] / "shared" / "twilio"
pytestmark = pytest.mark.skipif(
    not TWILIO.is_dir(), reason=f"Twilio's OpenAPI document and samples are not at {TWILIO}"
)


def to_json_schema(node: Any) -> Any:
    """OpenAPI 3.0's `nullable` as JSON schema, and objects that refuse keys they do not name."""
    if isinstance(node, list):
        return [to_json_schema(each) for each in node]
    if not isinstance(node, dict):
        return node
    schema = {key: to_json_schema(value) for key, value in node.items() if key not in {"nullable", "examples"}}
    if "properties" in node and node.get("type") == "object":
        schema["additionalProperties"] = False
        schema["required"] = list(node["properties"])
    if node.get("nullable") is True and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI subset, as JSON schema."""
    loaded = json.loads((TWILIO / "openapi-recordings-subset.json").read_text())
    converted: dict[str, Any] = to_json_schema(loaded)
    return converted


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Operation id to its declared responses."""
    return {
        operation["operationId"]: operation["responses"]
        for path in document["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict) and "operationId" in operation
    }


def check(reply: httpx.Response, document: dict[str, Any], operations: dict[str, dict[str, Any]]) -> str:
    """Assert the reply is one the document declares for its operation; gives the operation id."""
    operation, _ = operation_of(reply.request.method, reply.request.url.path)
    declared = operations[operation]
    assert str(reply.status_code) in declared, reply.text
    contents = declared[str(reply.status_code)].get("content")
    if contents is None:
        assert reply.content == b""
        return operation
    assert reply.headers["content-type"] == "application/json"
    schema = {**contents["application/json"]["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(reply.json())
    return operation


def sample(name: str) -> Any:
    """A published body."""
    return json.loads((TWILIO / "samples" / f"{name}.json").read_text())


def walk(client: httpx.Client, uri: str | None) -> list[httpx.Response]:
    """All pages from this one on."""
    pages = []
    while uri is not None:
        pages.append(client.get(uri))
        uri = pages[-1].json().get("next_page_uri")
    return pages


def test_every_operation_replies_as_declared(
    sandbox: Sandbox, document: dict[str, Any], operations: dict[str, dict[str, Any]]
) -> None:
    """All twelve operations, every page of every list: full, last and empty ones."""
    seen = set()
    with http(sandbox) as client:
        account = f"/2010-04-01/Accounts/{sandbox.account_sid}"
        replies = [client.get("/2010-04-01/Accounts.json?PageSize=1"), client.get(f"{account}.json")]
        replies += walk(client, "/2010-04-01/Accounts.json?PageSize=1")[1:]
        replies += walk(client, f"{account}/Recordings.json?PageSize=20&IncludeSoftDeleted=true")
        replies.append(client.get(f"{account}/Recordings.json?DateCreated>=2027-01-01"))
        recordings = [row for reply in replies for row in reply.json().get("recordings", [])]
        for recording in recordings:
            results = walk(client, recording["subresource_uris"]["add_on_results"] + "?PageSize=2")
            replies += [*results, client.get(recording["uri"] + "?IncludeSoftDeleted=true")]
            for result in (row for reply in results for row in reply.json()["add_on_results"]):
                uri = result["subresource_uris"]["payloads"]
                payloads = walk(client, f"{uri}?PageSize=1")
                replies += [*payloads, client.get(uri.replace("/Payloads.json", ".json"))]
                for payload in (row for reply in payloads for row in reply.json()["payloads"]):
                    data = payload["subresource_uris"]["data"]
                    replies += [client.get(data), client.get(data.replace("/Data.json", ".json"))]
        true = next(
            t for t in sandbox.world.truth(NOW) if t.payloads and t.recording.account_sid == sandbox.account_sid
        )
        result_uri = f"{account}/Recordings/{true.recording.sid}/AddOnResults/{true.result.sid}"
        replies.append(client.delete(f"{result_uri}/Payloads/{true.payloads[0].sid}.json"))
        replies.append(client.delete(f"{result_uri}.json"))
        replies.append(client.delete(next(r["uri"] for r in recordings if r["status"] != "deleted")))
    for reply in replies:
        seen.add(check(reply, document, operations))

    assert seen == operations.keys()
    bodies = [reply.json() for reply in replies if reply.status_code == 200]
    empty = {name for body in bodies for name in body if body[name] == []}
    assert empty == {"recordings", "add_on_results", "payloads"}
    assert any(body.get("page") == 2 for body in bodies)
    statuses = {row["status"] for body in bodies for row in body.get("add_on_results", [])}
    words = document["components"]["schemas"]["recording_add_on_result_enum_status"]["enum"]
    assert statuses == set(words)


@pytest.mark.parametrize(
    ("path", "name", "rows"),
    [
        ("/2010-04-01/Accounts.json", "account_read", "accounts"),
        ("{account}/Recordings.json", "recording_read", "recordings"),
        ("{recording}/AddOnResults.json", "add_on_result_read", "add_on_results"),
        ("{result}/Payloads.json", "payload_read", "payloads"),
    ],
)
def test_pages_have_the_samples_keys(sandbox: Sandbox, path: str, name: str, rows: str) -> None:
    """Envelope and rows carry exactly the keys that the published bodies carry; an empty page the same."""
    true = next(t for t in sandbox.world.truth(NOW, account_sid=sandbox.account_sid) if t.payloads)
    account = f"/2010-04-01/Accounts/{sandbox.account_sid}"
    recording = f"{account}/Recordings/{true.recording.sid}"
    uri = path.format(account=account, recording=recording, result=f"{recording}/AddOnResults/{true.result.sid}")
    full = sample(f"{name}_full")
    with http(sandbox) as client:
        body = client.get(uri).json()

    assert body.keys() == full.keys() == sample(f"{name}_empty").keys()
    assert body[rows][0].keys() == full[rows][0].keys()
    assert (body[rows][0]["subresource_uris"] or {}).keys() == full[rows][0]["subresource_uris"].keys()


def test_empty_page_equals_the_sample(desk: Sandbox) -> None:
    """The numbers of an empty page are those Twilio shows: start 0 and end 0."""
    expected = sample("recording_read_empty")
    with http(desk) as client:
        body = client.get(f"/2010-04-01/Accounts/{desk.account_sid}/Recordings.json?PageSize=1").json()

    assert json.loads(json.dumps(body).replace(desk.account_sid, "AC" + "a" * 32)) == expected


def test_the_data_body_has_the_samples_keys(sandbox: Sandbox) -> None:
    """307 carries redirect_to and nothing else."""
    true = next(t for t in sandbox.world.truth(NOW, account_sid=sandbox.account_sid) if t.payloads)
    uri = (
        f"/2010-04-01/Accounts/{sandbox.account_sid}/Recordings/{true.recording.sid}"
        f"/AddOnResults/{true.result.sid}/Payloads/{true.payloads[0].sid}/Data.json"
    )
    with http(sandbox) as client:
        assert client.get(uri).json().keys() == sample("spec_payload_data_fetch_307").keys()


def test_watson_contents_have_the_shape_of_the_sample(sandbox: Sandbox) -> None:
    """The made-up Watson transcript carries the keys of Watson's published one, at each level."""
    found = [
        (true.result.sid, json.loads(payload.content))
        for true in sandbox.world.truth(NOW)
        for payload in true.payloads
        if b"recognitions.completed" in payload.content
    ]
    expected = sample("docs_payload_content_ibm_watson")

    assert found
    for sid, body in found:
        assert body.keys() == expected.keys()
        assert body["user_token"] == sid
        mine, theirs = body["results"][0]["results"][0], expected["results"][0]["results"][0]
        assert mine.keys() == theirs.keys()
        assert mine["alternatives"][0].keys() == theirs["alternatives"][0].keys()
        assert [type(each) for each in mine["alternatives"][0]["timestamps"][0]] == [str, float, float]
