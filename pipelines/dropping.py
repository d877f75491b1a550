"""The trouble of one account ends that account's part of an export, and no other's."""

from collections.abc import Callable, Collection, MutableMapping

from pipelines.discover import Unlisted
from pipelines.errors import AccountRefused, ExportError, SourceGarbled, SourceUnavailable
from pipelines.records.sids import AccountSid
from pipelines.tally import Extraction

AWAY = 3
"""Accounts whose host does not answer, while no other has been answered, before nobody is asked any more."""


class Dropping:
    """Which accounts are given up, and why.

    Args:
        accounts: those that are exported.
        dropped: filled with those that are given up.
        tally: told of what is missing for that.
        answered: whether anything of any account has been given.
    """

    def __init__(
        self,
        accounts: Collection[AccountSid],
        dropped: MutableMapping[AccountSid, ExportError],
        tally: Extraction,
        answered: Callable[[], bool],
    ) -> None:
        self._accounts, self.dropped, self._tally, self._answered = accounts, dropped, tally, answered

    def drop(self, account: AccountSid, error: SourceUnavailable | SourceGarbled | AccountRefused) -> None:
        """Give an account up.

        Raises:
            SourceUnavailable, SourceGarbled: no account can be had now, or nobody is there at all.
            AccountRefused: every account is refused.
        """
        if account in self.dropped:
            return
        self.dropped[account] = error
        silent = sum(isinstance(e, SourceUnavailable) and e.status is None for e in self.dropped.values())
        if len(self.dropped) == len(self._accounts) or (silent >= AWAY and not self._answered()):
            raise next((e for e in self.dropped.values() if isinstance(e, SourceUnavailable)), error)
        self._tally.waits(f"account {account}: {error}")

    def unlisted(self, value: Unlisted) -> None:
        """Note a list that could not be had.

        Raises:
            SourceUnavailable, SourceGarbled, AccountRefused: as `drop`.
        """
        account, error = value.client.account_sid, value.error
        if account in self.dropped:
            return
        if isinstance(error, AccountRefused):
            self.drop(account, error)
            return
        # of one account alone another day may come as it should; of several, one may not keep the others waiting
        in_vain = SourceUnavailable if len(self._accounts) == 1 else (SourceUnavailable, SourceGarbled)
        if isinstance(error, in_vain) and not value.client.traffic.bytes_received:
            self.drop(account, error)  # nothing was had of it at all
            return
        self._tally.waits(f"recordings created on {value.day}: {error}")
        try:
            self._tally.unanswered(account, error)
        except (SourceUnavailable, AccountRefused) as last:
            self.drop(account, last)
