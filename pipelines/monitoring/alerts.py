"""Where alerts go: read from the environment, as the other settings are.

A webhook's address and a mail server's URL are secrets: they are in no repr and no message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pipelines import variables
from pipelines.errors import FixConfiguration
from pipelines.twilio.storage_url import is_loopback_host


@dataclass(frozen=True, slots=True)
class MailServer:
    """An SMTP server. `tls`: encrypted from the first byte; else STARTTLS, unless it is on this machine."""

    host: str
    port: int
    tls: bool
    loopback: bool
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Where alerts go. Addresses that are secrets by themselves are in no repr."""

    webhook: str | None = field(default=None, repr=False)
    form: str = ""
    """Form of the webhook's messages; empty for the one of its host."""
    mail_server: MailServer | None = None
    mail_from: str = ""
    mail_to: tuple[str, ...] = ()
    own: str = ""


def alert_settings(env: Mapping[str, str]) -> AlertSettings:
    """Read where alerts go.

    Raises:
        FixConfiguration: a value cannot be used; it is not repeated, as most of them are secrets.
    """
    webhook, form = variables.ALERT_WEBHOOK.of(env), variables.ALERT_FORM.of(env)
    to, sender = variables.ALERT_EMAIL_TO.of(env), variables.ALERT_EMAIL_FROM.of(env)
    server, own = variables.SMTP_URL.of(env), variables.ALERT_CALLABLE.of(env)
    if to and not (sender and server):
        raise FixConfiguration("Alerts by e-mail need EXPORT_ALERT_EMAIL_FROM and EXPORT_SMTP_URL as well.")
    if any("\n" in address or "@" not in address for address in (*to, *([sender] if to else []))):
        raise FixConfiguration("EXPORT_ALERT_EMAIL_TO and EXPORT_ALERT_EMAIL_FROM must be e-mail addresses.")
    return AlertSettings(webhook, form or "", _mail_server(server) if to else None, sender, to, own or "")


def _mail_server(url: str) -> MailServer:
    problem = FixConfiguration("EXPORT_SMTP_URL must be like smtps://user:password@host:465 or smtp://host:587.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise problem from None
    if parts.scheme not in ("smtp", "smtps") or not host or port == 0 or parts.path.strip("/"):
        raise problem
    tls = parts.scheme == "smtps"
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    return MailServer(host, port or (465 if tls else 587), tls, is_loopback_host(host), username, password)
