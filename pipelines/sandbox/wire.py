"""The made-up source's rows as Twilio puts them on the wire: JSON bodies, dates, signed URLs, errors.

Pure functions of their arguments. Keys, nullability and relative URIs follow Twilio's OpenAPI document and
its published samples. Storage URLs carry a keyed hash, so that one made up by a client is refused.
"""

import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from pipelines.sandbox.values import Account, Payload, Recording, Result

API = "/2010-04-01/Accounts"
_SUBRESOURCES = {
    "available_phone_numbers": "AvailablePhoneNumbers",
    "calls": "Calls",
    "conferences": "Conferences",
    "incoming_phone_numbers": "IncomingPhoneNumbers",
    "notifications": "Notifications",
    "outgoing_caller_ids": "OutgoingCallerIds",
    "recordings": "Recordings",
    "transcriptions": "Transcriptions",
    "addresses": "Addresses",
    "signing_keys": "SigningKeys",
    "connect_apps": "ConnectApps",
    "sip": "SIP",
    "authorized_connect_apps": "AuthorizedConnectApps",
    "usage": "Usage",
    "keys": "Keys",
    "applications": "Applications",
    "short_codes": "SMS/ShortCodes",
    "queues": "Queues",
    "messages": "Messages",
    "balance": "Balance",
}

Json = dict[str, object]


def encode(body: Mapping[str, object]) -> bytes:
    """Compact JSON."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def date(moment: datetime) -> str:
    """RFC 2822 with a numeric offset: +0000, or the moment's own."""
    return format_datetime(moment)


def account(row: Account) -> Json:
    """An account, its auth token included, as Twilio does."""
    uri = f"{API}/{row.sid}"
    return {
        "auth_token": row.auth_token,
        "date_created": date(row.date_created),
        "date_updated": date(row.date_created),
        "friendly_name": row.friendly_name,
        "owner_account_sid": row.owner_account_sid,
        "sid": row.sid,
        "status": row.status,
        "subresource_uris": {name: f"{uri}/{path}.json" for name, path in _SUBRESOURCES.items()},
        "type": "Full",
        "uri": f"{uri}.json",
    }


def recording(row: Recording, now: datetime) -> Json:
    """A recording at `now`; duration and price are null until it ends."""
    uri = f"{API}/{row.account_sid}/Recordings/{row.sid}"
    status = row.status(now)
    ended = status != "in-progress"
    minutes = -(-row.duration.total_seconds() // 60)
    zone = row.date_created.tzinfo
    return {
        "account_sid": row.account_sid,
        "api_version": "2010-04-01",
        "call_sid": row.call_sid,
        "conference_sid": row.conference_sid,
        "channels": row.channels,
        "date_created": date(row.date_created),
        "date_updated": date(row.date_updated(now).astimezone(zone)),
        "start_time": date(row.date_created),
        "price": f"{-0.0025 * minutes:.5f}" if ended else None,
        "price_unit": "USD",
        "duration": str(int(row.duration.total_seconds())) if ended else None,
        "sid": row.sid,
        "source": row.source,
        "status": status,
        "error_code": row.error_code if status == "absent" else None,
        "uri": f"{uri}.json",
        "subresource_uris": {
            "add_on_results": f"{uri}/AddOnResults.json",
            "transcriptions": f"{uri}/Transcriptions.json",
        },
        "encryption_details": None,
        "media_url": f"https://api.twilio.com{uri}",
        **row.overrides,
    }


def result(row: Result, now: datetime) -> Json:
    """An add-on result at `now`."""
    state = row.at(now)
    uri = f"{API}/{row.account_sid}/Recordings/{row.reference_sid}/AddOnResults/{row.sid}"
    return {
        "sid": row.sid,
        "account_sid": row.account_sid,
        "reference_sid": row.reference_sid,
        "status": state.status,
        "add_on_sid": row.add_on_sid,
        "add_on_configuration_sid": row.add_on_configuration_sid,
        "date_created": date(row.date_created.astimezone(UTC)),
        "date_updated": date(state.date_updated.astimezone(UTC)),
        "date_completed": date(state.date_completed.astimezone(UTC)) if state.date_completed else None,
        "subresource_uris": {"payloads": f"{uri}/Payloads.json"},
        **row.overrides,
    }


def payload(row: Payload, of: Result) -> Json:
    """A payload of the result."""
    uri = f"{API}/{of.account_sid}/Recordings/{of.reference_sid}/AddOnResults/{of.sid}/Payloads/{row.sid}"
    return {
        "sid": row.sid,
        "reference_sid": of.reference_sid,
        "add_on_sid": of.add_on_sid,
        "add_on_configuration_sid": of.add_on_configuration_sid,
        "add_on_result_sid": of.sid,
        "account_sid": of.account_sid,
        "label": row.label,
        "content_type": row.content_type,
        "date_created": date(row.date_created.astimezone(UTC)),
        "date_updated": date(row.date_updated.astimezone(UTC)),
        "subresource_uris": {"data": f"{uri}/Data.json"},
        **row.overrides,
    }


def sign_content(sid: str, expires: int, secret: bytes) -> str:
    """Path and query of a storage URL that is good until `expires` (Unix seconds)."""
    signature = _mac(secret, sid.encode(), str(expires).encode()).hex()
    return f"/add-on-payloads/{sid}?Expires={expires}&Signature={signature}"


def content_signature_is(signature: str, sid: str, expires: str, secret: bytes) -> bool:
    """Whether this server signed that content for that instant."""
    return hmac.compare_digest(signature.encode(), _mac(secret, sid.encode(), expires.encode()).hex().encode())


def _mac(secret: bytes, *parts: bytes) -> bytes:
    return hmac.digest(secret, b"\0".join(parts), "sha256")


def error(status: int, code: int, message: str) -> bytes:
    """Twilio's error body."""
    more_info = f"https://www.twilio.com/docs/errors/{code}"
    return encode({"code": code, "message": message, "more_info": more_info, "status": status})


def storage_error(code: str, message: str) -> bytes:
    """An object store's error body."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{head}<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
