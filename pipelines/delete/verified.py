"""The proof that an add-on result is whole and safe here, as a value: only `pipelines.delete.proof` can make one."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, InitVar, dataclass
from datetime import date, datetime
from typing import final

from pipelines.records.sids import AccountSid, AddOnResultSid, PayloadSid, RecordingSid


class _Key:
    """What it takes to make a VerifiedResult."""


_KEY = _Key()


@dataclass(frozen=True, slots=True)
class VerifiedPayload:
    """A payload whose content is landed: length in bytes, SHA-256 (hex) as on the wire and as on the disk."""

    sid: PayloadSid
    length: int
    sha256: str
    date_updated: datetime | None
    fetched_at: datetime


@final
@dataclass(frozen=True, slots=True)
class VerifiedResult:
    """An add-on result that has just been read back whole, from the archive and from `addons.duckdb`.

    Attributes:
        rested_since: when the last of its row and contents was landed (UTC).
        commit: the commit it was read from.
        published_commit: the commit `addons.duckdb` shows.
        files: SHA-256 of each archive file it was read from, by path.
    """

    sid: AddOnResultSid
    recording_sid: RecordingSid
    account_sid: AccountSid
    completed_date: date
    status: str | None
    date_updated: datetime | None
    rested_since: datetime
    deleted_at: datetime | None
    payloads: tuple[VerifiedPayload, ...]
    commit: int
    published_commit: int
    files: Mapping[str, str]
    _: KW_ONLY
    key: InitVar[_Key]

    def __post_init__(self, key: _Key) -> None:
        """Refuse whoever does not verify."""
        if key is not _KEY:
            raise TypeError("only verify_results makes a VerifiedResult")


@dataclass(frozen=True, slots=True)
class Unverified:
    """An add-on result that is not proven to be whole and safe here: the proofs that failed, and a sentence."""

    sid: str
    recording_sid: str | None
    completed_date: date | None
    failed: frozenset[str]
    sentence: str


PROOFS = frozenset({"sealed", "reread", "published", "clean"})
