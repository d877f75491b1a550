"""Every error of this project, as one tree named for what the operator does next.

    ExportError
    +-- FixConfiguration            change a setting or credential, then run again (exit code 2)
    |   +-- AccountRefused          Twilio refuses the credential for one account; others may be read (then exit code 5)
    +-- SourceError                 Twilio did not give what was asked for; run again later (exit code 5)
    |   +-- SourceUnavailable       the time budget ran out on network errors, 429 or 5xx
    |   +-- SourceRefused           a 4xx that a retry does not change (404 after its one retry, 400, ...)
    |   |   +-- SourceForbidden     a 403 of the API, asked twice: this one thing may not be read, others perhaps
    |   +-- SourceUntrusted         the reply breaks the protocol: foreign host, page loop, truncated body
    |       +-- SourceBlocked       no way leads to a host as things are set here: an address, certificate or proxy
    |       +-- SourceDoubtful      all of a content has come, and nothing proves that it is whole: its bytes are kept
    +-- IncompleteExport            the run ended, but something asked for could not be landed (exit code 4 or 5)
    +-- VerificationMismatch        what is stored differs from what was received (exit code 4)
    +-- PlanAgain                   a guard refused to delete; look at the reason, then make a new plan (exit code 3)
    +-- ConfirmErasure              an erasure by age takes more than usual; confirm its number (exit code 3)
    +-- ApplyAgain                  a confirmed deletion stopped on the way; run the same command again (exit code 5)
    +-- RunLater                    another run is in the way or does the same; run again later (exit code 5)
    +-- AlertNotDelivered           nobody was told; see to the channel that alerts go to
    +-- WarehouseError ...          see `warehouse.errors` (exit code 6, of FixProcess 2)
    +-- FixQuery                    the question in SQL cannot be answered as it is; change it (exit code 2)
    +-- ChooseRoot                  EXPORT_ROOT holds files of others where ours would be; set another (exit code 2)

Each message is one clear sentence and ends with the SID, HTTP status, Twilio code and request id where known.
No message carries a token, a signed URL or content.
"""

from collections.abc import Sequence

from warehouse.errors import (
    ChooseRoot,
    CommitRace,
    ExportError,
    FixProcess,
    FixQuery,
    FixWarehouse,
    NotSealed,
    RepairWarehouse,
    Untrusted,
    UpdateProgram,
    WarehouseError,
)

__all__ = [
    "AccountRefused",
    "AlertNotDelivered",
    "ApplyAgain",
    "ChooseRoot",
    "CommitRace",
    "ConfirmErasure",
    "ExportError",
    "FixConfiguration",
    "FixProcess",
    "FixQuery",
    "FixWarehouse",
    "IncompleteExport",
    "NotSealed",
    "PlanAgain",
    "RepairWarehouse",
    "RunLater",
    "SourceBlocked",
    "SourceDoubtful",
    "SourceError",
    "SourceForbidden",
    "SourceGarbled",
    "SourceRefused",
    "SourceUnavailable",
    "SourceUntrusted",
    "Untrusted",
    "UpdateProgram",
    "VerificationMismatch",
    "WarehouseError",
    "first_cause",
    "known_facts",
]


class FixConfiguration(ExportError):
    """A setting or credential is missing or wrong."""


class AccountRefused(FixConfiguration):
    """Twilio refuses the credential for one account; it says nothing of the other accounts."""


def known_facts(status: int | None, code: int | None, request_id: str | None) -> str:
    """What is known of a reply, in brackets behind a blank; empty when nothing is."""
    facts = [
        f"{name} {value}"
        for name, value in (("HTTP", status), ("Twilio code", code), ("request", request_id))
        if value is not None
    ]
    return f" ({', '.join(facts)})" if facts else ""


class SourceError(ExportError):
    """Twilio did not give what was asked for.

    Attributes:
        status: HTTP status of the last reply, None when there was none.
        code: Twilio's error code, None when the reply carried none.
        request_id: value of the `Twilio-Request-Id` header, None when absent.
    """

    def __init__(
        self,
        sentence: str,
        *,
        status: int | None = None,
        code: int | None = None,
        request_id: str | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.request_id = request_id
        super().__init__(f"{sentence}{known_facts(status, code, request_id)}")


class SourceUnavailable(SourceError):
    """Network errors, 429 or 5xx went on until the time budget was spent."""


class SourceRefused(SourceError):
    """A 4xx reply that a retry does not change."""


class SourceForbidden(SourceRefused):
    """The API refuses access (403) to what was asked for; it says nothing of whether that exists."""


class SourceUntrusted(SourceError):
    """A reply that breaks the protocol and is therefore not followed or not stored."""


class SourceGarbled(SourceUntrusted):
    """Something else than the API's JSON came again and again, until the time budget was spent."""


class SourceBlocked(SourceUntrusted):
    """No way leads to a host as things are set here; the message names the setting. Running again changes nothing."""


class SourceDoubtful(SourceUntrusted):
    """A content has come, and nothing proves that it is whole; asked again it would come the same way.

    Attributes:
        data: its bytes as they came, to be kept and judged by somebody; None when they are too many to be kept.
        why: what is wrong, a clause for a sentence.
    """

    def __init__(self, sentence: str, *, why: str, data: bytes | None, status: int | None) -> None:
        self.data, self.why = data, why
        super().__init__(sentence, status=status)


class IncompleteExport(ExportError):
    """The run ended and kept what it sealed, but something asked for is not landed.

    Attributes:
        again: True when running again can still land it (exit code 5); False when somebody must look (4).
    """

    def __init__(self, sentence: str, *, again: bool) -> None:
        self.again = again
        super().__init__(sentence)


class VerificationMismatch(ExportError):
    """What is stored differs from what was received."""


class PlanAgain(ExportError):
    """A guard refused: nothing (more) is deleted, and this plan can do no more without somebody looking.

    Attributes:
        reasons: every reason that is known, the sentence of the message first.
    """

    def __init__(self, sentence: str, *, reasons: Sequence[str] = ()) -> None:
        self.reasons = (sentence, *reasons)
        super().__init__(sentence)


class ConfirmErasure(ExportError):
    """An erasure by age waits until somebody confirms what it takes; what was exported is landed."""


class ApplyAgain(ExportError):
    """A confirmed deletion is not done: what is open is settled when the same command is run again."""


class RunLater(ExportError):
    """Another run is in the way, and this one was not to wait for it."""


class AlertNotDelivered(ExportError):
    """A channel did not take an alert. The address and what the channel answered are not in the message."""


def first_cause(error: BaseException) -> BaseException:
    """The first real error of a group of parallel failures; any other error is its own."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
