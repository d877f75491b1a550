"""How the text of a setting becomes its value: one FixConfiguration sentence, with the setting's name, where it cannot.

A parser takes the text and the name. Texts come without blanks around them, and are empty when nothing is set and
there is no default.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from pipelines.environment import path_of
from pipelines.errors import FixConfiguration
from pipelines.records import sids
from pipelines.records.sids import AccountSid
from pipelines.twilio.storage_url import IpNetwork, is_loopback_host, parse_networks

Value = TypeVar("Value")
Parser = Callable[[str, str], Value]

LEAST_SEAL_KEY = 32
"""Characters of EXPORT_SEAL_KEY: seals can be tried against guesses by whoever reads a commit."""


@dataclass(frozen=True, slots=True)
class Setting(Generic[Value]):
    """One variable: its name, how its text is read, its meaning in a few words, and its text when it is not set."""

    name: str
    parse: Parser[Value]
    words: str
    default: str = ""
    unset: str = "none"
    """What the page of settings says where there is no default."""

    def of(self, env: Mapping[str, str]) -> Value:
        """Its value.

        Raises:
            FixConfiguration: the text cannot be used.
        """
        return self.parse(self.text(env) or self.default, self.name)

    def text(self, env: Mapping[str, str]) -> str:
        """Its text, without blanks around it; empty when it is not set."""
        return env.get(self.name, "").strip()

    def with_suffix(self, suffix: str) -> "Setting[Value]":
        """The same for one subaccount."""
        return replace(self, name=f"{self.name}{suffix}")


def text(value: str, name: str) -> str:
    """Any text: it is looked at together with other settings."""
    return value


def optional(parse: Parser[Value]) -> Parser[Value | None]:
    """None when nothing is set."""
    return lambda value, name: parse(value, name) if value else None


def number(least: int, most: int) -> Parser[int]:
    """A whole number within bounds."""

    def parse(value: str, name: str) -> int:
        if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
            raise FixConfiguration(f"{name} is {value!r}; it must be a whole number from {least} to {most}.")
        return int(value)

    return parse


def share(value: str, name: str) -> float:
    """A part of a whole, 0 to 1."""
    try:
        part = float(value)
    except ValueError:
        part = -1
    if not 0 <= part <= 1:
        raise FixConfiguration(f"{name} is {value!r}; it must be a number from 0 to 1.")
    return part


def choice(*choices: str) -> Parser[str]:
    """One of a few words."""

    def parse(value: str, name: str) -> str:
        if value not in choices:
            raise FixConfiguration(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
        return value

    return parse


def day(value: str, name: str) -> date:
    """A date."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise FixConfiguration(f"{name} is {value!r}; it must be a date like 2026-11-20.") from None


def account(value: str, name: str) -> AccountSid:
    """An Account SID. The value is not repeated: it may be a secret in the wrong place."""
    try:
        return sids.account_sid(value)
    except ValueError:
        raise FixConfiguration(f"{name} is not an Account SID: it must be AC and 32 hexadecimal digits.") from None


def subaccounts(value: str, name: str) -> str | tuple[AccountSid, ...]:
    """`none`, `all`, in whatever case, or the SIDs."""
    if value.lower() in ("none", "all"):
        return value.lower()
    try:
        return tuple(sids.account_sid(part.strip()) for part in value.split(",") if part.strip()) or "none"
    except ValueError:
        raise FixConfiguration(
            f"{name} must be none, all, or Account SIDs with commas between them, each AC and 32 hexadecimal digits."
        ) from None


def root(value: str, name: str) -> Path:
    """A folder for what is exported."""
    if "://" in value:
        raise FixConfiguration(
            f"{name} {value.partition('://')[0]}://... is an object store, which this version cannot write to; "
            "set it to a folder."
        )
    return path_of(value, name)


def add_on_names(value: str, name: str) -> Mapping[str, str]:
    """Names by add-on SID."""
    names: dict[str, str] = {}
    for part in filter(None, map(str.strip, value.split(","))):
        sid, _, called = map(str.strip, part.partition("="))
        if not (re.fullmatch("XB[0-9a-f]{32}", sid) and called):
            raise FixConfiguration(
                f"{name} holds {part!r}; it must be XB and 32 hexadecimal digits, =, and a name, "
                "with commas between them."
            )
        names[sid] = called
    return names


def networks(value: str, name: str) -> tuple[IpNetwork, ...]:
    """Networks beside the public internet, none of them one that must never be asked."""
    try:
        return parse_networks(value)
    except ValueError as reason:
        raise FixConfiguration(f"{name} cannot be used: {reason}.") from None


def seal_key(value: str, name: str) -> str:
    """A secret that is long enough; empty when there is none."""
    if value and len(value) < LEAST_SEAL_KEY:
        raise FixConfiguration(
            f"{name} is too short to keep anybody out: make one of {LEAST_SEAL_KEY} characters or more, "
            "for example with `openssl rand -hex 32`."
        )
    return value


def webhook(value: str, name: str) -> str:
    """An address for alerts, which is a secret and never repeated."""
    problem = FixConfiguration(f"{name} must be an https URL, or http on this machine.")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise problem from None
    if not host or port == 0 or "@" in parts.netloc or not re.fullmatch(r"[!-~]+", value):
        raise problem
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback_host(host)):
        raise problem
    return value


def function(value: str, name: str) -> str:
    """A function that can be imported."""
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", value):
        raise FixConfiguration(f"{name} must be package.module:function.")
    return value


def addresses(value: str, name: str) -> tuple[str, ...]:
    """E-mail addresses with commas between them; they are looked at together with the sender's."""
    return tuple(part.strip() for part in value.split(",") if part.strip())
