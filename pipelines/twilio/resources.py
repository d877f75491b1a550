"""Where the resources of one account are, and which headers are sent to whom. Pure.

Twilio's v2010 API answers JSON only to paths that end in `.json`.
"""

import functools
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import metadata

from pipelines.records.sids import AccountSid, AddOnResultSid, PayloadSid, RecordingSid
from pipelines.twilio.paging import Listing
from pipelines.twilio.values import Credential

_ROOT = "/2010-04-01/Accounts"


@dataclass(frozen=True, slots=True)
class Resources:
    """The paths of one account's resources."""

    account: AccountSid

    @property
    def root(self) -> str:
        """What all paths of the account begin with."""
        return f"{_ROOT}/{self.account}/"

    def accounts(self) -> Listing:
        """List the accounts the credential can see."""
        return Listing(f"{_ROOT}.json", "accounts", f"accounts seen by account {self.account}", stops=False)

    def account_itself(self) -> str:
        """Return the path of the account."""
        return f"{_ROOT}/{self.account}.json"

    def recordings(self, first_day: date, last_day: date) -> Listing:
        """List the recordings created on the UTC days `first_day` to `last_day`, deleted ones included."""
        filters = (
            ("DateCreated>", first_day.isoformat()),
            ("DateCreated<", (last_day + timedelta(days=1)).isoformat()),  # the named day itself is left out
            ("IncludeSoftDeleted", "true"),
        )
        path = f"{_ROOT}/{self.account}/Recordings.json"
        return Listing(path, "recordings", f"recordings of account {self.account}", filters)

    def add_on_results(self, recording: RecordingSid) -> Listing:
        """List the add-on results of a recording."""
        path = f"{_ROOT}/{self.account}/Recordings/{recording}/AddOnResults.json"
        return Listing(path, "add_on_results", f"add-on results of recording {recording}")

    def payloads(self, recording: RecordingSid, result: AddOnResultSid) -> Listing:
        """List the payloads of an add-on result."""
        path = f"{self._result(recording, result)}/Payloads.json"
        return Listing(path, "payloads", f"payloads of add-on result {result}")

    def add_on_result(self, recording: RecordingSid, result: AddOnResultSid) -> str:
        """Return the path of one add-on result."""
        return f"{self._result(recording, result)}.json"

    def payload(self, recording: RecordingSid, result: AddOnResultSid, payload: PayloadSid) -> str:
        """One payload."""
        return f"{self._result(recording, result)}/Payloads/{payload}.json"

    def data(self, recording: RecordingSid, result: AddOnResultSid, payload: PayloadSid) -> str:
        """Return the path that redirects to a payload's content."""
        return f"{self._result(recording, result)}/Payloads/{payload}/Data.json"

    def _result(self, recording: RecordingSid, result: AddOnResultSid) -> str:
        return f"{_ROOT}/{self.account}/Recordings/{recording}/AddOnResults/{result}"


def api_headers(credential: Credential) -> Mapping[str, str]:
    """Return the headers for the API host, and for no other: they carry the credential."""
    pair = f"{credential.username}:{credential.password}".encode()
    basic = b64encode(pair).decode("ascii")
    return {**_plain_headers(), "Accept": "application/json", "Authorization": f"Basic {basic}"}


def storage_headers() -> Mapping[str, str]:
    """Return the headers for signed storage."""
    return {**_plain_headers(), "Accept": "*/*"}


def _plain_headers() -> dict[str, str]:
    # identity: half a compressed body can pass for a whole one
    return {"Accept-Encoding": "identity", "User-Agent": f"addon-export/{_version()}"}


@functools.cache
def _version() -> str:
    """This program's version; reading it takes milliseconds, and there may be hundreds of accounts."""
    try:
        return metadata.version("addon-export")
    except metadata.PackageNotFoundError:  # run from a source tree that was not installed
        return "0"
