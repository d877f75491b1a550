"""Every variable that this program reads: one table, from which the values are read and `docs/settings.md` is made.

A setting is added here and nowhere else; what several of them mean together is in `pipelines.settings` and, for alerts,
in `pipelines.monitoring.alerts`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pipelines import parsers
from pipelines.environment import path_of, secret, writers
from pipelines.parsers import Setting, optional
from pipelines.twilio import values
from warehouse.store import seal, trust

FORMS = ("json", "slack", "google-chat", "discord", "teams")
"""In which a webhook can be told."""

ACCOUNT_SID = Setting("TWILIO_ACCOUNT_SID", secret, "the account", unset="required")
AUTH_TOKEN = Setting("TWILIO_AUTH_TOKEN", secret, "its Auth Token", unset="this, or an API key")
API_KEY = Setting("TWILIO_API_KEY", secret, "an API key of it, which goes before the Auth Token")
API_SECRET = Setting("TWILIO_API_SECRET", secret, "the secret of that key")
REGION = Setting(
    "TWILIO_REGION", parsers.text, "Twilio's region, such as `ie1`; credentials are made in a region", unset="`us1`"
)
EDGE = Setting("TWILIO_EDGE", parsers.text, "Twilio's edge, such as `dublin`", unset="that of the region")
BASE_URL = Setting(
    "TWILIO_BASE_URL",
    parsers.text,
    "where the API is, whatever the region; https, or http on this machine",
    unset="`https://api.twilio.com`",
)
BASE_URL_CONFIRMED = Setting(
    "TWILIO_BASE_URL_CONFIRMED",
    parsers.text,
    "the host in `TWILIO_BASE_URL` again, if it is neither Twilio's nor this machine: the credentials go there",
)
SUBACCOUNTS = Setting(
    "TWILIO_SUBACCOUNTS", parsers.subaccounts, "`none`, `all`, or SIDs separated by commas", default="none"
)
ADD_ACCOUNT = Setting(
    "EXPORT_ADD_ACCOUNT",
    parsers.text,
    "the account in `TWILIO_ACCOUNT_SID` once more, to let it into a root that belongs to others "
    "(`export --add-account`)",
)
MAX_CONCURRENCY = Setting(
    "TWILIO_MAX_CONCURRENCY",
    parsers.number(1, 1000),
    "most requests at once; how many are really sent follows what Twilio accepts",
    default=str(values.MAX_CONCURRENCY),
)
REPLY_SECONDS = Setting(
    "TWILIO_REPLY_SECONDS",
    parsers.number(1, 600),
    "how long Twilio may take to begin a reply, at first; more for a host that has shown to be slow, and twice as long "
    "for storage",
    default=str(int(values.REPLY_SECONDS)),
)
STORAGE_NETWORKS = Setting(
    "EXPORT_STORAGE_NETWORKS",
    parsers.networks,
    "networks in which contents may be stored beside the public internet, such as `10.0.0.0/8,fd12:3456::/48` for a "
    "private endpoint; never this machine, its links or metadata services",
)
# these have their forms from other programs; pipelines.twilio.certificates and .proxy read them
CERT_FILE = Setting(
    "SSL_CERT_FILE",
    parsers.text,
    "a file with the authorities of your organisation's network; it stands in place of the public ones",
    unset="public authorities",
)
CERT_DIR = Setting(
    "SSL_CERT_DIR", parsers.text, "a folder of them as OpenSSL names its files", unset="public authorities"
)
HTTPS_PROXY = Setting(
    "HTTPS_PROXY",
    parsers.text,
    "the proxy that https goes through, such as `http://proxy.example:3128`; a login in the URL is a secret",
)
NO_PROXY = Setting("NO_PROXY", parsers.text, "hosts, networks or `*` that are reached without it")

ROOT = Setting(
    "EXPORT_ROOT",
    parsers.root,
    "the folder for everything that is exported; new, or without files of others under our names",
    default="./data",
)
DESTINATION = Setting(
    "EXPORT_DESTINATION",
    parsers.choice("duckdb", "parquet"),
    "`duckdb`: native tables, contents included; `parquet`: views over the archive",
    default="duckdb",
)
SHARED_READ = Setting(
    "EXPORT_SHARED_READ",
    optional(parsers.choice("none", "group", "all")),
    "who may read: `none` (only you), `group` or `all`; all that is there follows a change",
    unset="as it is; at first `none`",
)
TRUSTED_WRITERS = Setting(
    trust.SETTING,
    writers,
    "who besides you and root may own and change `.env`, `DAGSTER_HOME` and `EXPORT_ROOT`: users, `group`, or `all` "
    "where the file system knows no permissions",
    unset="nobody",
)
SEAL_KEY = Setting(
    seal.SETTING,
    parsers.seal_key,
    "a secret that [seals](security.md#seals) each commit, so that `verify` tells what was made without it; "
    f"{parsers.LEAST_SEAL_KEY} letters or more",
)
ADDON_NAMES = Setting(
    "TWILIO_ADDON_NAMES", parsers.add_on_names, "names for analysts: `XB...=IBM Watson,XB...=VoiceBase`"
)
RETENTION_DAYS = Setting(
    "EXPORT_RETENTION_DAYS",
    optional(parsers.number(30, 36_500)),
    "what completed longer ago is [erased here](deleting.md#erasing-here) at the end of each export; 30 or more",
    unset="never",
)

SETTLE_HOURS = Setting(
    "EXPORT_SETTLE_HOURS",
    parsers.number(0, 24 * 40),
    "how long a recording may gain results and is listed again",
    default="48",
)
LOOK_BACK_DAYS = Setting(
    "EXPORT_LOOK_BACK_DAYS",
    parsers.number(2, 40),
    "how long before a range a recording may have been created",
    default="40",
)
START_DATE = Setting(
    "EXPORT_START_DATE",
    optional(parsers.day),
    "first partition that Dagster shows, when earlier than 31 days ago",
    unset="what is landed",
)
HOME = Setting(
    "DAGSTER_HOME",
    path_of,
    "where Dagster keeps its history; that of a second `EXPORT_ROOT` is kept apart, in `archives/` there",
    default=".dagster_home",
)
UI_TOKEN = Setting(
    "EXPORT_UI_TOKEN",
    parsers.text,
    "what a proxy before [`ui`](dagster.md#who-gets-in) sends; a secret of 32 letters or more",
)

WARN_DAYS = Setting(
    "EXPORT_WARN_DAYS", parsers.number(1, 30), "how many days before a deadline there is a warning", default="7"
)
ERROR_DAYS = Setting(
    "EXPORT_ERROR_DAYS",
    parsers.number(1, 30),
    "how many days before a deadline it is an error; not more than `EXPORT_WARN_DAYS`",
    default="3",
)
ALERT_WEBHOOK = Setting(
    "EXPORT_ALERT_WEBHOOK",
    optional(parsers.webhook),
    "alerts to this address (https; a secret), in the form of Slack, Google Chat, Discord or Teams where it is theirs, "
    "else as JSON; try it with `addon-export alert --test`",
    unset="the log",
)
ALERT_FORM = Setting(
    "EXPORT_ALERT_FORM",
    optional(parsers.choice(*FORMS)),
    "the form for another address: `slack` (also Mattermost), `google-chat`, `discord`, `teams` or `json`",
    unset="that of the host",
)
ALERT_EMAIL_TO = Setting("EXPORT_ALERT_EMAIL_TO", parsers.addresses, "alerts by e-mail to these addresses")
ALERT_EMAIL_FROM = Setting("EXPORT_ALERT_EMAIL_FROM", parsers.text, "the sender of those e-mails")
SMTP_URL = Setting(
    "EXPORT_SMTP_URL", parsers.text, "the server for those e-mails, like `smtps://user:password@host:465` (a secret)"
)
ALERT_CALLABLE = Setting(
    "EXPORT_ALERT_CALLABLE",
    optional(parsers.function),
    "alerts to a function of your own, `package.module:function`, which gets an `Alert`",
)

DELETE_API_KEY = Setting(
    "TWILIO_DELETE_API_KEY",
    secret,
    "the API key that may [delete](deleting.md#deleting-at-twilio); only `delete` reads it, to seal plans and to carry "
    "them out",
)
DELETE_API_SECRET = Setting("TWILIO_DELETE_API_SECRET", secret, "the secret of that key")
DELETE_MIN_AGE_HOURS = Setting(
    "EXPORT_DELETE_MIN_AGE_HOURS",
    parsers.number(0, 24 * 40),
    "how long a copy must have rested here before its result is deleted",
    default="72",
)
DELETE_MAX = Setting(
    "EXPORT_DELETE_MAX", parsers.number(0, 1_000_000), "most results that are deleted in a day", default="500"
)
DELETE_MAX_SHARE = Setting(
    "EXPORT_DELETE_MAX_SHARE",
    parsers.share,
    "largest share of what is exported that is deleted in a day",
    default="0.2",
)
DELETE_SCHEDULE = Setting(
    "EXPORT_DELETE_SCHEDULE",
    parsers.text,
    "scheduled deletion: cron (UTC); needs the three limits above set beside it",
)

SETTINGS: Mapping[str, tuple[Setting[Any], ...]] = MappingProxyType(
    {
        "Twilio": (
            ACCOUNT_SID,
            AUTH_TOKEN,
            API_KEY,
            API_SECRET,
            REGION,
            EDGE,
            BASE_URL,
            BASE_URL_CONFIRMED,
            SUBACCOUNTS,
            ADD_ACCOUNT,
            MAX_CONCURRENCY,
            REPLY_SECONDS,
            STORAGE_NETWORKS,
            CERT_FILE,
            CERT_DIR,
            HTTPS_PROXY,
            NO_PROXY,
        ),
        "What is exported, and for whom": (
            ROOT,
            DESTINATION,
            SHARED_READ,
            TRUSTED_WRITERS,
            SEAL_KEY,
            ADDON_NAMES,
            RETENTION_DAYS,
        ),
        "Scheduling and Dagster": (SETTLE_HOURS, LOOK_BACK_DAYS, START_DATE, HOME, UI_TOKEN),
        "Warnings and alerts": (
            WARN_DAYS,
            ERROR_DAYS,
            ALERT_WEBHOOK,
            ALERT_FORM,
            ALERT_EMAIL_TO,
            ALERT_EMAIL_FROM,
            SMTP_URL,
            ALERT_CALLABLE,
        ),
        "Deleting at Twilio": (
            DELETE_API_KEY,
            DELETE_API_SECRET,
            DELETE_MIN_AGE_HOURS,
            DELETE_MAX,
            DELETE_MAX_SHARE,
            DELETE_SCHEDULE,
        ),
    }
)
"""All of them, by what they are about."""
