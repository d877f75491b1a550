"""The SIDs of Twilio resources, one type each, so that one cannot be passed where another belongs.

A SID is two letters naming the resource and 32 hexadecimal digits. The functions below are the only way in
for text from outside; they accept the exact form and nothing else (no trailing newline, no look-alike digits)
and keep upper and lower case as given, because a SID is compared, never interpreted.
"""

import re
from typing import NewType

AccountSid = NewType("AccountSid", str)
RecordingSid = NewType("RecordingSid", str)
AddOnResultSid = NewType("AddOnResultSid", str)
PayloadSid = NewType("PayloadSid", str)

_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}", re.ASCII)
_RECORDING = re.compile(r"RE[0-9a-fA-F]{32}", re.ASCII)
_ADD_ON_RESULT = re.compile(r"XR[0-9a-fA-F]{32}", re.ASCII)
_PAYLOAD = re.compile(r"XH[0-9a-fA-F]{32}", re.ASCII)


def account_sid(text: str) -> AccountSid:
    """Return `text` as the SID of an account; ValueError when it is not `AC` and 32 hex digits."""
    return AccountSid(_checked(text, _ACCOUNT, "an account"))


def recording_sid(text: str) -> RecordingSid:
    """Return `text` as the SID of a recording; ValueError when it is not `RE` and 32 hex digits."""
    return RecordingSid(_checked(text, _RECORDING, "a recording"))


def add_on_result_sid(text: str) -> AddOnResultSid:
    """Return `text` as the SID of an add-on result; ValueError when it is not `XR` and 32 hex digits."""
    return AddOnResultSid(_checked(text, _ADD_ON_RESULT, "an add-on result"))


def payload_sid(text: str) -> PayloadSid:
    """Return `text` as the SID of a payload; ValueError when it is not `XH` and 32 hex digits."""
    return PayloadSid(_checked(text, _PAYLOAD, "a payload"))


def in_lower_case(sid: str) -> str:
    """The SID with its hexadecimal digits as Twilio writes them: the same number, so no other resource's."""
    return sid[:2] + sid[2:].lower()


def _checked(text: str, form: re.Pattern[str], what: str) -> str:
    if form.fullmatch(text) is None:
        # The first characters are enough to find the value; the whole may be a secret put in the wrong place.
        raise ValueError(f"{text[:4]!r}... is not the SID of {what} ({form.pattern})")
    return text
