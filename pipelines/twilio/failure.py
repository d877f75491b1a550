"""What went wrong with one attempt, and the error it becomes when no further attempt is made.

Pure. A `Failure` is a value, not an exception, so that nothing of a signed URL can hang on an exception
chain. Exceptions of the API connection are kept as the error's cause; those of storage are not kept at
all.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum

import msgspec

from pipelines.errors import (
    SourceBlocked,
    SourceError,
    SourceForbidden,
    SourceGarbled,
    SourceRefused,
    SourceUnavailable,
    SourceUntrusted,
)

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII)


class Cause(Enum):
    """Why an attempt failed; the value completes the sentence "...: <value>"."""

    NETWORK = "the connection failed"
    OPEN_FILES = "this process may open no more files, see `ulimit -n`"
    DEADLINE = "no complete reply before the deadline"
    TRUNCATED = "the reply ended early"
    UNFRAMED = "the reply does not say where it ends and two fetches differed"
    ENDLESS = "the reply does not say where it ends"
    THROTTLED = "too many concurrent requests"
    SERVER = "the server has a fault"
    NO_DOCUMENT = "something else came than the JSON of the API"
    NOT_FOUND = "not found"
    UNAUTHORIZED = "credentials refused"
    FORBIDDEN = "access refused"
    STOPPED = "not asked any more, as the credentials were refused"
    EXPIRED = "storage refused the signed URL"
    REFUSED = "refused"
    PART = "the reply is a part, not the whole"
    ENCODED = "the reply is encoded and cannot be decoded whole"
    BROKEN = "the reply breaks HTTP"
    TOO_LARGE = "the reply exceeds the size limit"
    UNEXPECTED = "a reply that this request does not have"
    ADDRESS = (
        "the host's address is not public; if contents are stored in a network of your own, name it in "
        "EXPORT_STORAGE_NETWORKS"
    )
    CERTIFICATE = (
        "the certificate of the host is not trusted; if your network has an authority of its own, name the file of its "
        "certificates in SSL_CERT_FILE"
    )
    PROXY = (
        "the proxy in HTTPS_PROXY refuses the connection; give it the credentials that it wants, or name the host in "
        "NO_PROXY if it is reached without"
    )


UNAVAILABLE = {
    Cause.NETWORK,
    Cause.OPEN_FILES,
    Cause.DEADLINE,
    Cause.TRUNCATED,
    Cause.UNFRAMED,
    Cause.THROTTLED,
    Cause.SERVER,
}
_UNTRUSTED = {
    Cause.ENDLESS,
    Cause.PART,
    Cause.ENCODED,
    Cause.BROKEN,
    Cause.TOO_LARGE,
    Cause.UNEXPECTED,
}
BLOCKED = {Cause.ADDRESS, Cause.CERTIFICATE, Cause.PROXY}
"""What a setting here decides."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt without result; `seconds` is how long it took, waiting for a place not counted."""

    cause: Cause
    seconds: float = 0.0
    status: int | None = None
    code: int | None = None
    request_id: str | None = None
    retry_after: float = 0.0
    detail: str = ""
    error: Exception | None = field(default=None, repr=False)


def error_for(failure: Failure, subject: str, *, attempts: int, seconds: float) -> SourceError:
    """Build the error to raise after `attempts` attempts that took `seconds` in all."""
    kind: type[SourceError] = SourceRefused
    if failure.cause in UNAVAILABLE:
        kind = SourceUnavailable
    elif failure.cause is Cause.NO_DOCUMENT:
        kind = SourceGarbled
    elif failure.cause in _UNTRUSTED:
        kind = SourceUntrusted
    elif failure.cause in BLOCKED:
        kind = SourceBlocked
    elif failure.cause is Cause.FORBIDDEN:
        kind = SourceForbidden
    reason = f"{failure.cause.value} ({failure.detail})" if failure.detail else failure.cause.value
    tried = f", after {attempts} attempts in {seconds:.1f} s" if attempts > 1 or kind is SourceUnavailable else ""
    error = kind(f"{subject}: {reason}{tried}", status=failure.status, code=failure.code, request_id=failure.request_id)
    error.__cause__ = failure.error
    return error


def cause_of_status(status: int) -> Cause:
    """Name the failure that a status stands for, when it is not the one that was asked for."""
    named = {
        401: Cause.UNAUTHORIZED,
        403: Cause.FORBIDDEN,
        404: Cause.NOT_FOUND,
        408: Cause.SERVER,
        429: Cause.THROTTLED,
    }
    if status in named:
        return named[status]
    if status >= 500:
        return Cause.SERVER
    return Cause.REFUSED if status >= 400 else Cause.UNEXPECTED


def error_code(body: bytes) -> int | None:
    """Twilio's code in an error body, None when there is none: error bodies come in many shapes."""
    try:
        code = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["code"]
        return msgspec.json.decode(code, type=int, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return None


def request_id(headers: Mapping[str, str]) -> str | None:
    """The `Twilio-Request-Id`, None when absent or not fit for a message."""
    value = headers.get("twilio-request-id", "")
    return value if _REQUEST_ID.fullmatch(value) else None


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds the server asks us to wait, 0 when it does not say.

    A date is measured against the server's own `Date`, so that a wrong clock here does not matter.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, wait.total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0
