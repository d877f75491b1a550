"""Configuration: what the variables of `pipelines.variables` mean together.

Promises: a missing or impossible value is one FixConfiguration sentence that says what to set; secrets are in
no repr, message or log. Nothing is read at import.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Literal, cast

from pipelines import parsers, variables
from pipelines.environment import environment as environment
from pipelines.environment import trusted_writers
from pipelines.errors import FixConfiguration
from pipelines.records.sids import AccountSid
from pipelines.twilio.base_url import confirmed_base_url, regional_url
from pipelines.twilio.certificates import PUBLIC, Authorities, authorities
from pipelines.twilio.proxy import DIRECT, Proxies, proxies
from pipelines.twilio.storage_url import IpNetwork
from pipelines.twilio.values import REPLY_SECONDS, Credential
from warehouse.store.trust import NOBODY_ELSE, Writers


@dataclass(frozen=True, slots=True)
class TwilioSettings:
    """How to reach Twilio."""

    account_sid: AccountSid
    login: Credential
    base_url: str
    max_concurrency: int
    subaccounts: Literal["none", "all"] | tuple[AccountSid, ...]
    subaccount_logins: Mapping[AccountSid, Credential] = field(repr=False)
    reply_seconds: float = REPLY_SECONDS
    storage_networks: tuple[IpNetwork, ...] = ()
    authorities: Authorities = PUBLIC
    proxies: Proxies = DIRECT


@dataclass(frozen=True, slots=True)
class DeleteSettings:
    """How to reach Twilio with the one credential that may delete."""

    account_sid: AccountSid
    login: Credential
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
    account_text = variables.ACCOUNT_SID.of(env)
    login = _login(env, "")
    if not account_text or login is None:
        raise FixConfiguration(
            "No Twilio credentials: set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN "
            "(or TWILIO_API_KEY and TWILIO_API_SECRET), or try `addon-export demo`, which needs no account."
        )
    account = parsers.account(account_text, variables.ACCOUNT_SID.name)
    if login.username == "":
        login = replace(login, username=account)
    own: dict[AccountSid, Credential] = {}
    for name in env:
        sid = name.removeprefix(f"{variables.AUTH_TOKEN.name}_").removeprefix(f"{variables.API_KEY.name}_")
        if sid != name and sid.startswith("AC"):
            key = parsers.account(sid, name)
            if (given := _login(env, f"_{sid}")) is not None:
                own[key] = replace(given, username=given.username or key)
    return TwilioSettings(
        account_sid=account,
        login=login,
        base_url=_base_url(env),
        max_concurrency=variables.MAX_CONCURRENCY.of(env),
        subaccounts=cast("Literal['none', 'all'] | tuple[AccountSid, ...]", variables.SUBACCOUNTS.of(env)),
        subaccount_logins=own,
        reply_seconds=variables.REPLY_SECONDS.of(env),
        storage_networks=variables.STORAGE_NETWORKS.of(env),
        authorities=authorities(env),
        proxies=proxies(env),
    )


def delete_settings(env: Mapping[str, str]) -> DeleteSettings:
    """Read the credential that may delete; only `delete apply` and the delete job ask for it.

    Raises:
        FixConfiguration: there is none, or a value cannot be used.
    """
    account, key, word = (
        one.of(env) for one in (variables.ACCOUNT_SID, variables.DELETE_API_KEY, variables.DELETE_API_SECRET)
    )
    word = word or variables.DELETE_API_KEY.with_suffix("_SECRET").of(env)  # the other way to read the name
    if not (account and key and word):
        raise FixConfiguration(
            "No credential that may delete: set TWILIO_ACCOUNT_SID, TWILIO_DELETE_API_KEY and "
            "TWILIO_DELETE_API_SECRET; exporting needs neither of the last two."
        )
    return DeleteSettings(
        account_sid=parsers.account(account, variables.ACCOUNT_SID.name),
        login=Credential(key, word, variables.DELETE_API_KEY.name),
        base_url=_base_url(env),
        max_concurrency=variables.MAX_CONCURRENCY.of(env),
        reply_seconds=variables.REPLY_SECONDS.of(env),
        storage_networks=variables.STORAGE_NETWORKS.of(env),
        authorities=authorities(env),
        proxies=proxies(env),
    )


def delete_limits(env: Mapping[str, str]) -> DeleteLimits:
    """What every deletion keeps to, whoever asks for it; careful unless the environment says otherwise.

    Raises:
        FixConfiguration: a value cannot be used.
    """
    return DeleteLimits(
        min_age_hours=variables.DELETE_MIN_AGE_HOURS.of(env),
        max_delete=variables.DELETE_MAX.of(env),
        max_share=variables.DELETE_MAX_SHARE.of(env),
    )


def delete_schedule(env: Mapping[str, str]) -> DeleteSchedule | None:
    """The scheduled deletion; None without EXPORT_DELETE_SCHEDULE, which needs the three limits beside it.

    Raises:
        FixConfiguration: a limit is missing, or a value cannot be used.
    """
    cron = variables.DELETE_SCHEDULE.of(env)
    if not cron:
        return None
    limits = (variables.DELETE_MIN_AGE_HOURS, variables.DELETE_MAX, variables.DELETE_MAX_SHARE)
    if missing := [limit.name for limit in limits if not limit.text(env)]:
        raise FixConfiguration(f"A scheduled deletion needs its own limits: set {', '.join(missing)} as well.")
    return DeleteSchedule(cron, delete_limits(env))


def warehouse_settings(env: Mapping[str, str]) -> WarehouseSettings:
    """Read where exported data goes.

    Raises:
        FixConfiguration: a value that cannot be used.
    """
    return WarehouseSettings(
        variables.ROOT.of(env),
        cast("Literal['duckdb', 'parquet']", variables.DESTINATION.of(env)),
        cast("Literal['none', 'group', 'all'] | None", variables.SHARED_READ.of(env)),
        variables.ADDON_NAMES.of(env),
        trusted_writers(env),
        variables.SEAL_KEY.of(env),
    )


def added_account(env: Mapping[str, str]) -> str:
    """The account that may export into a root that belongs to others; empty when there is none."""
    return variables.ADD_ACCOUNT.of(env)


def settle_time(env: Mapping[str, str]) -> timedelta:
    """How long after its creation a recording may still gain results: it is listed again until then."""
    return timedelta(hours=variables.SETTLE_HOURS.of(env))


def retention_days(env: Mapping[str, str]) -> int | None:
    """How many days what was exported is kept here; None, unless it is set: for ever.

    Less than Twilio's own 30 days cannot be set: a typing error must not erase what nobody else has.
    """
    return variables.RETENTION_DAYS.of(env)


def start_date(env: Mapping[str, str]) -> date | None:
    """The first partition that is asked for, if one is.

    Raises:
        FixConfiguration: it is no date.
    """
    return variables.START_DATE.of(env)


def windows(env: Mapping[str, str]) -> Windows:
    """How many days before a deadline checks and alerts speak up.

    Raises:
        FixConfiguration: a value cannot be used.
    """
    warn, error = variables.WARN_DAYS.of(env), variables.ERROR_DAYS.of(env)
    if error > warn:
        raise FixConfiguration(f"EXPORT_ERROR_DAYS is {error} and EXPORT_WARN_DAYS {warn}; warn before the error.")
    return Windows(timedelta(days=warn), timedelta(days=error))


def look_back(env: Mapping[str, str]) -> timedelta:
    """How long before the first day of a range a recording may have been created and still have results in it."""
    return timedelta(days=variables.LOOK_BACK_DAYS.of(env))


def _login(env: Mapping[str, str], suffix: str) -> Credential | None:
    """The API key, else the Auth Token (with an empty user name: the account's SID is it)."""
    chosen = (variables.API_KEY, variables.API_SECRET, variables.AUTH_TOKEN)
    api_key, api_secret, auth_token = (one.with_suffix(suffix) for one in chosen)
    key, word = api_key.of(env), api_secret.of(env)
    if key and word:
        return Credential(key, word, api_key.name)
    if key or word:
        raise FixConfiguration(f"Set both {api_key.name} and {api_secret.name}, or neither.")
    token = auth_token.of(env)
    return Credential("", token, auth_token.name) if token else None


def _base_url(env: Mapping[str, str]) -> str:
    """Where the API is: TWILIO_BASE_URL goes before TWILIO_REGION and TWILIO_EDGE."""
    chosen = (variables.BASE_URL, variables.BASE_URL_CONFIRMED, variables.REGION, variables.EDGE)
    given, confirmed, region, edge = (one.of(env) for one in chosen)
    return confirmed_base_url(given, confirmed) if given else regional_url(region, edge)
