"""Configuration: read from the environment (and a `.env` file, if present) in one place.

Promises: a missing or impossible value is one FixConfiguration sentence that says what to set; secrets are in
no repr, message or log. Nothing is read at import.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Literal, cast

from pipelines.environment import environment as environment
from pipelines.environment import path_of, secret, trusted_writers
from pipelines.errors import FixConfiguration
from pipelines.records import sids
from pipelines.records.sids import AccountSid
from pipelines.twilio.base_url import confirmed_base_url, regional_url
from pipelines.twilio.certificates import PUBLIC, Authorities, authorities
from pipelines.twilio.proxy import DIRECT, Proxies, proxies
from pipelines.twilio.storage_url import IpNetwork, parse_networks
from pipelines.twilio.values import MAX_CONCURRENCY, REPLY_SECONDS
from warehouse.store.trust import NOBODY_ELSE, Writers

LEAST_SEAL_KEY = 32
"""Characters of EXPORT_SEAL_KEY: seals can be tried against guesses by whoever reads a commit."""


@dataclass(frozen=True, slots=True)
class Login:
    """What authenticates requests for one account: Auth Token or API key, and the `variable` that holds it."""

    username: str
    password: str = field(repr=False)
    variable: str = ""


@dataclass(frozen=True, slots=True)
class TwilioSettings:
    """How to reach Twilio."""

    account_sid: AccountSid
    login: Login
    base_url: str
    max_concurrency: int
    subaccounts: Literal["none", "all"] | tuple[AccountSid, ...]
    subaccount_logins: Mapping[AccountSid, Login] = field(repr=False)
    reply_seconds: float = REPLY_SECONDS
    storage_networks: tuple[IpNetwork, ...] = ()
    authorities: Authorities = PUBLIC
    proxies: Proxies = DIRECT


@dataclass(frozen=True, slots=True)
class DeleteSettings:
    """How to reach Twilio with the one credential that may delete."""

    account_sid: AccountSid
    login: Login
    base_url: str
    max_concurrency: int
    reply_seconds: float = REPLY_SECONDS
    storage_networks: tuple[IpNetwork, ...] = ()
    authorities: Authorities = PUBLIC
    proxies: Proxies = DIRECT


@dataclass(frozen=True, slots=True)
class DeleteLimits:
    """What may be deleted at most: how long a copy has rested, and how many results and which share a day."""

    min_age_hours: float
    max_delete: int
    max_share: float


@dataclass(frozen=True, slots=True)
class DeleteSchedule:
    """When to delete without being asked each time, within its limits."""

    cron: str
    limits: DeleteLimits


@dataclass(frozen=True, slots=True)
class Windows:
    """How long before a deadline something that is not exported is worth a warning, and then an error."""

    warn: timedelta
    error: timedelta


@dataclass(frozen=True, slots=True)
class WarehouseSettings:
    """Where exported data goes."""

    root: Path
    destination: Literal["duckdb", "parquet"]
    shared_read: Literal["none", "group", "all"] | None
    """None: as it is."""
    add_on_names: Mapping[str, str] = field(default_factory=dict)
    """Names by add-on SID, for analysts."""
    writers: Writers = NOBODY_ELSE
    seal_secret: str = field(default="", repr=False)


def twilio_settings(env: Mapping[str, str]) -> TwilioSettings:
    """Read the Twilio settings.

    Raises:
        FixConfiguration: no credentials, or a value that cannot be used.
    """
    account_text = secret(env, "TWILIO_ACCOUNT_SID")
    login = _login(env, "")
    if not account_text or login is None:
        raise FixConfiguration(
            "No Twilio credentials: set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN "
            "(or TWILIO_API_KEY and TWILIO_API_SECRET), or try `addon-export demo`, which needs no account."
        )
    account = _account(account_text, "TWILIO_ACCOUNT_SID")
    if login.username == "":
        login = replace(login, username=account)
    subaccounts = _subaccounts(env.get("TWILIO_SUBACCOUNTS", "none").strip())
    named = subaccounts if isinstance(subaccounts, tuple) else ()
    own: dict[AccountSid, Login] = {}
    for name in env:
        sid = name.removeprefix("TWILIO_AUTH_TOKEN_").removeprefix("TWILIO_API_KEY_")
        if sid != name and sid.startswith("AC"):
            key = _account(sid, name)
            if (given := _login(env, f"_{sid}")) is not None:
                own[key] = replace(given, username=given.username or key)
    return TwilioSettings(
        account_sid=account,
        login=login,
        base_url=_base_url(env),
        max_concurrency=_number(env, "TWILIO_MAX_CONCURRENCY", default=MAX_CONCURRENCY, least=1, most=1000),
        subaccounts=named or subaccounts,
        subaccount_logins=own,
        reply_seconds=_reply_seconds(env),
        storage_networks=storage_networks(env),
        authorities=authorities(env),
        proxies=proxies(env),
    )


def delete_settings(env: Mapping[str, str]) -> DeleteSettings:
    """Read the credential that may delete; only `delete apply` and the delete job ask for it.

    Raises:
        FixConfiguration: there is none, or a value cannot be used.
    """
    account, key = secret(env, "TWILIO_ACCOUNT_SID"), secret(env, "TWILIO_DELETE_API_KEY")
    word = secret(env, "TWILIO_DELETE_API_SECRET") or secret(env, "TWILIO_DELETE_API_KEY_SECRET")
    if not (account and key and word):
        raise FixConfiguration(
            "No credential that may delete: set TWILIO_ACCOUNT_SID, TWILIO_DELETE_API_KEY and "
            "TWILIO_DELETE_API_SECRET; exporting needs neither of the last two."
        )
    return DeleteSettings(
        account_sid=_account(account, "TWILIO_ACCOUNT_SID"),
        login=Login(key, word, "TWILIO_DELETE_API_KEY"),
        base_url=_base_url(env),
        max_concurrency=_number(env, "TWILIO_MAX_CONCURRENCY", default=MAX_CONCURRENCY, least=1, most=1000),
        reply_seconds=_reply_seconds(env),
        storage_networks=storage_networks(env),
        authorities=authorities(env),
        proxies=proxies(env),
    )


def delete_limits(env: Mapping[str, str]) -> DeleteLimits:
    """What every deletion keeps to, whoever asks for it; careful unless the environment says otherwise.

    Raises:
        FixConfiguration: a value cannot be used.
    """
    return DeleteLimits(
        min_age_hours=_number(env, _MIN_AGE, default=72, least=0, most=24 * 40),
        max_delete=_number(env, _MAX, default=500, least=0, most=1_000_000),
        max_share=share(env.get(_MAX_SHARE, "").strip() or "0.2", _MAX_SHARE),
    )


def delete_schedule(env: Mapping[str, str]) -> DeleteSchedule | None:
    """The scheduled deletion; None without EXPORT_DELETE_SCHEDULE, which needs the three limits beside it.

    Raises:
        FixConfiguration: a limit is missing, or a value cannot be used.
    """
    cron = env.get("EXPORT_DELETE_SCHEDULE", "").strip()
    if not cron:
        return None
    if missing := [name for name in (_MIN_AGE, _MAX, _MAX_SHARE) if not env.get(name, "").strip()]:
        raise FixConfiguration(f"A scheduled deletion needs its own limits: set {', '.join(missing)} as well.")
    return DeleteSchedule(cron, delete_limits(env))


_MIN_AGE, _MAX, _MAX_SHARE = "EXPORT_DELETE_MIN_AGE_HOURS", "EXPORT_DELETE_MAX", "EXPORT_DELETE_MAX_SHARE"


def share(text: str, name: str) -> float:
    """A part of a whole, 0 to 1; FixConfiguration when `text`, the value of `name`, is none."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise FixConfiguration(f"{name} is {text!r}; it must be a number from 0 to 1.")
    return value


def warehouse_settings(env: Mapping[str, str]) -> WarehouseSettings:
    """Read where exported data goes.

    Raises:
        FixConfiguration: a value that cannot be used.
    """
    root = env.get("EXPORT_ROOT", "").strip() or "./data"
    if "://" in root:
        raise FixConfiguration(
            f"EXPORT_ROOT {root.partition('://')[0]}://... is an object store, which this version cannot write to; "
            "set it to a folder."
        )
    destination = _choice(env, "EXPORT_DESTINATION", ("duckdb", "parquet"))
    given = env.get("EXPORT_SHARED_READ", "").strip()
    shared = _choice(env, "EXPORT_SHARED_READ", ("none", "group", "all")) if given else None
    return WarehouseSettings(
        path_of(root, "EXPORT_ROOT"),
        cast("Literal['duckdb', 'parquet']", destination),
        cast("Literal['none', 'group', 'all'] | None", shared),
        _add_on_names(env.get("TWILIO_ADDON_NAMES", "")),
        trusted_writers(env),
        _seal_secret(env),
    )


def _seal_secret(env: Mapping[str, str]) -> str:
    text = env.get("EXPORT_SEAL_KEY", "").strip()
    if text and len(text) < LEAST_SEAL_KEY:
        raise FixConfiguration(
            f"EXPORT_SEAL_KEY is too short to keep anybody out: make one of {LEAST_SEAL_KEY} characters or more, "
            "for example with `openssl rand -hex 32`."
        )
    return text


def added_account(env: Mapping[str, str]) -> str:
    """The account that may export into a root that belongs to others; empty when there is none."""
    return env.get("EXPORT_ADD_ACCOUNT", "").strip()


def settle_time(env: Mapping[str, str]) -> timedelta:
    """How long after its creation a recording may still gain results: it is listed again until then."""
    return timedelta(hours=_number(env, "EXPORT_SETTLE_HOURS", default=48, least=0, most=24 * 40))


def retention_days(env: Mapping[str, str]) -> int | None:
    """How many days what was exported is kept here; None, unless it is set: for ever.

    Less than Twilio's own 30 days cannot be set: a typing error must not erase what nobody else has.
    """
    return _number(env, "EXPORT_RETENTION_DAYS", default=0, least=30, most=36_500) or None


def start_date(env: Mapping[str, str]) -> date | None:
    """The first partition that is asked for, if one is.

    Raises:
        FixConfiguration: it is no date.
    """
    text = env.get("EXPORT_START_DATE", "").strip()
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise FixConfiguration(f"EXPORT_START_DATE is {text!r}; it must be a date like 2026-11-20.") from None


def windows(env: Mapping[str, str]) -> Windows:
    """How many days before a deadline checks and alerts speak up.

    Raises:
        FixConfiguration: a value cannot be used.
    """
    warn = _number(env, "EXPORT_WARN_DAYS", default=7, least=1, most=30)
    error = _number(env, "EXPORT_ERROR_DAYS", default=3, least=1, most=30)
    if error > warn:
        raise FixConfiguration(f"EXPORT_ERROR_DAYS is {error} and EXPORT_WARN_DAYS {warn}; warn before the error.")
    return Windows(timedelta(days=warn), timedelta(days=error))


def look_back(env: Mapping[str, str]) -> timedelta:
    """How long before the first day of a range a recording may have been created and still have results in it."""
    return timedelta(days=_number(env, "EXPORT_LOOK_BACK_DAYS", default=40, least=2, most=40))


def _login(env: Mapping[str, str], suffix: str) -> Login | None:
    """The API key, else the Auth Token (with an empty user name: the account's SID is it)."""
    key, word = secret(env, f"TWILIO_API_KEY{suffix}"), secret(env, f"TWILIO_API_SECRET{suffix}")
    if key and word:
        return Login(key, word, f"TWILIO_API_KEY{suffix}")
    if key or word:
        raise FixConfiguration(f"Set both TWILIO_API_KEY{suffix} and TWILIO_API_SECRET{suffix}, or neither.")
    token = secret(env, f"TWILIO_AUTH_TOKEN{suffix}")
    return Login("", token, f"TWILIO_AUTH_TOKEN{suffix}") if token else None


def storage_networks(env: Mapping[str, str]) -> tuple[IpNetwork, ...]:
    """Networks in which contents may be stored beside the public internet.

    Raises:
        FixConfiguration: one is no network, or must never be one of them.
    """
    try:
        return parse_networks(env.get("EXPORT_STORAGE_NETWORKS", ""))
    except ValueError as reason:
        raise FixConfiguration(f"EXPORT_STORAGE_NETWORKS cannot be used: {reason}.") from None


def _reply_seconds(env: Mapping[str, str]) -> float:
    return _number(env, "TWILIO_REPLY_SECONDS", default=int(REPLY_SECONDS), least=1, most=600)


def _base_url(env: Mapping[str, str]) -> str:
    """Where the API is: TWILIO_BASE_URL goes before TWILIO_REGION and TWILIO_EDGE."""
    names = ("TWILIO_BASE_URL", "TWILIO_BASE_URL_CONFIRMED", "TWILIO_REGION", "TWILIO_EDGE")
    given, confirmed, region, edge = (env.get(name, "").strip() for name in names)
    return confirmed_base_url(given, confirmed) if given else regional_url(region, edge)


def _account(text: str, name: str) -> AccountSid:
    try:
        return sids.account_sid(text)
    except ValueError:
        raise FixConfiguration(f"{name} is not an Account SID: it must be AC and 32 hexadecimal digits.") from None


def _subaccounts(text: str) -> Literal["none", "all"] | tuple[AccountSid, ...]:
    if text in ("", "none"):
        return "none"
    if text == "all":
        return "all"
    return tuple(_account(part.strip(), "TWILIO_SUBACCOUNTS") for part in text.split(",") if part.strip())


def _add_on_names(text: str) -> Mapping[str, str]:
    names: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        sid, _, name = map(str.strip, part.partition("="))
        if not (re.fullmatch("XB[0-9a-f]{32}", sid) and name):
            raise FixConfiguration(
                f"TWILIO_ADDON_NAMES holds {part!r}; it must be XB and 32 hexadecimal digits, =, and a name, "
                "with commas between them."
            )
        names[sid] = name
    return names


def _choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = env.get(name, "").strip() or choices[0]
    if value not in choices:
        raise FixConfiguration(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
    return value


def _number(env: Mapping[str, str], name: str, *, default: int, least: int, most: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise FixConfiguration(f"{name} is {text!r}; it must be a whole number from {least} to {most}.")
    return int(text)
