"""What goes into the Twilio client and what comes out of it. Secrets and contents stay out of every repr."""

from dataclasses import dataclass, field, replace
from enum import Enum

from pipelines.records.sids import AccountSid

MAX_CONCURRENCY = 400
"""Ceiling for API requests at once: well above the limits people report, as the limit itself is found."""

MAX_DOWNLOADS = 256
"""Ceiling for contents fetched at once: storage has no limit of Twilio's, and may be much slower than the API."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Most connections at once, of all accounts together: to the API and to storage."""

    api: int = MAX_CONCURRENCY
    storage: int = MAX_DOWNLOADS


@dataclass(frozen=True, slots=True)
class Credential:
    """User name and password at Twilio: account SID and auth token, or API key SID and its secret.

    `variable` is the setting that holds it, for messages.
    """

    username: str
    password: str = field(repr=False)
    variable: str = ""

    @property
    def kind(self) -> str:
        """Which it is, and where it was set; never its value."""
        kind = "Auth Token" if self.username.startswith("AC") else "API key"
        return f"{kind} in {self.variable}" if self.variable else kind


@dataclass(frozen=True, slots=True)
class Subaccount:
    """An account that the credential can see; `status` is active, suspended or closed, None if not said."""

    sid: AccountSid
    status: str | None
    name: str | None = None


class DeleteOutcome(Enum):
    """What is known after one DELETE."""

    DELETED = "deleted"  # a direct 204
    ABSENT = "absent"  # 404: it was not there
    UNKNOWN = "unknown"  # anything else: it may or may not be gone, ask with a GET


@dataclass(frozen=True, slots=True)
class DeleteReply:
    """The outcome of one DELETE with what the reply said; `reason` is empty unless the outcome is unknown."""

    outcome: DeleteOutcome
    status: int | None
    code: int | None = None
    request_id: str | None = None
    reason: str = ""


REPLY_SECONDS = 30.0
"""For the head of a reply of the API, at first; storage has twice as long."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """The client's limits: times in seconds, sizes in bytes."""

    budget: float = 120.0  # attempts and waits of one request
    unanswered_budget: float = 15.0  # the same while a host has never answered
    api_deadline: float = REPLY_SECONDS  # the head of an API reply, at first, and from there its body
    content_deadline: float = 2 * REPLY_SECONDS  # the same of a content, to which what has arrived adds size / slowest
    longest_patience: float = 300.0  # for the head of a reply, by a host that has shown to be slow
    pauses: float = 600.0  # of one request in all, when the host says when to ask again
    slowest: float = 64 * 1024  # bytes a second
    page_cap: int = 8 * 1024 * 1024  # nine times a page of 1,000 recordings
    content_cap: int = 1024 * 1024 * 1024
    most_pages: int = 10_000
    apart: float = 15.0  # until what should be there is asked for once more


def patient(reply_seconds: float) -> Tuning:
    """The usual limits, but for how long a reply of the API may keep us waiting at first."""
    usual = Tuning()
    longest = max(usual.longest_patience, 2 * reply_seconds)
    return replace(usual, api_deadline=reply_seconds, content_deadline=2 * reply_seconds, longest_patience=longest)
