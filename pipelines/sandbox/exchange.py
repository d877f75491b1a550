"""A request and its reply, as the answers see them: values without sockets, and Twilio's operation ids. Pure.

The operation id is read off method and path alone, so that the journal can name even a refused request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipelines.sandbox.wire import API, error

_COLLECTIONS = ("Recordings", "AddOnResults", "Payloads", "Data")
_NAMES = (
    "Account",
    "Recording",
    "RecordingAddOnResult",
    "RecordingAddOnResultPayload",
    "RecordingAddOnResultPayloadData",
)
_VERBS = {"GET": "Fetch", "DELETE": "Delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as far as answers depend on it. `operation` is empty when the path is none of Twilio's."""

    origin: Literal["api", "storage"]
    method: str
    path: str
    query: Mapping[str, str]
    authorization: str | None = field(repr=False)
    operation: str
    sids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: status, body, its type, and further headers by lower-case name."""

    status: int
    body: bytes = b""
    content_type: str | None = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(Exception):  # it is an answer, not a fault
    """The request is answered with an error body."""

    def __init__(self, status: int, code: int, message: str) -> None:
        self.reply = Reply(status, error(status, code, message))
        super().__init__(message)


def operation_of(method: str, path: str) -> tuple[str, tuple[str, ...]]:
    """Operation id and the SIDs in the path, outermost first; an empty id for a path Twilio does not have."""
    rest = path.removeprefix(API).removesuffix(".json")
    if len(path) - len(rest) != len(API) + len(".json") or (rest and rest[0] != "/"):
        return "", ()
    parts = rest.split("/")[1:]
    sids, words = tuple(parts[0::2]), tuple(parts[1::2])
    if words != _COLLECTIONS[: len(words)] or "" in parts or len(parts) > 2 * len(_COLLECTIONS):
        return "", ()
    listing = len(parts) % 2 == 0 and words[-1:] != ("Data",)
    verb = "List" if listing and method == "GET" else _VERBS.get(method, method)
    return f"{verb}{_NAMES[len(words)]}", sids
