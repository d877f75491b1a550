"""Alerts: what somebody should know, and the channels that carry it to them.

An alert that cannot be delivered is an error of whoever sends it, never a line in a log. Addresses and passwords are
read when they are needed and are in no message, repr or traceback. What goes out are SIDs, numbers and times, never
content.
"""

import importlib
import json
import logging
import smtplib
import ssl
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from http.client import HTTPException, HTTPMessage
from types import MappingProxyType
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from assets.channels.alert import Alert
from assets.channels.forms import body, form_of
from pipelines import variables
from pipelines.errors import AlertNotDelivered
from pipelines.monitoring.alerts import AlertSettings, MailServer, alert_settings
from pipelines.parsers import Setting

TIMEOUT = 10.0
"""Seconds a channel may take to connect, and again for each reply."""


def channel_names(env: Mapping[str, str]) -> tuple[str, ...]:
    """The channels that are configured; the log when there is no other. Never fails: `send` says what is wrong."""
    chosen = [name for name, variable in VARIABLES.items() if variable.text(env)]
    return tuple(chosen) or ("log",)


def send(alert: Alert, channel: str, env: Mapping[str, str], *, log: logging.Logger) -> str:
    """Deliver one alert, or raise; returns what the channel answered.

    Args:
        alert: what to say.
        channel: one of `channel_names`.
        env: where the channel's settings are.
        log: where the channel "log" writes.

    Raises:
        FixConfiguration: a setting of the alerts cannot be used.
        AlertNotDelivered: the channel did not take it.
    """
    if channel == "log":
        log.log(logging.ERROR if alert.severity == "error" else logging.WARNING, alert.text)
        return "written"
    return _CHANNELS[channel](alert, alert_settings(env))


def _to_webhook(alert: Alert, settings: AlertSettings) -> str:
    """POST it in the form of its chat. The address is a secret of its own: errors say what happened and not where."""
    assert settings.webhook is not None, "send was asked for a channel that is not configured"
    form = form_of(settings.webhook, settings.form)
    headers = {"Content-Type": "application/json", "User-Agent": "addon-export"}
    request = Request(settings.webhook, data=json.dumps(body(alert, form)).encode(), headers=headers, method="POST")  # noqa: S310  # https or loopback
    try:
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=_tls()), _NoRedirect)
        with opener.open(request, timeout=TIMEOUT) as answer:
            return f"it answered HTTP {answer.status} to the form {form}"
    except HTTPError as error:
        error.close()
        reason = f"it answered HTTP {error.code}"
        if error.code in range(300, 400):
            reason += ", and redirects are not followed"
    except (OSError, HTTPException, ValueError) as error:
        reason = _unreachable(error)
    raise AlertNotDelivered(f"The webhook in EXPORT_ALERT_WEBHOOK did not take the alert: {reason}.")


class _NoRedirect(HTTPRedirectHandler):
    """What is sent to the configured address goes nowhere else."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Leave the redirect as the error it then is."""


def _tls() -> ssl.SSLContext:
    """What verifies a server, and writes the keys of its connections nowhere: SSLKEYLOGFILE is not honoured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # `create_default_context` honours it
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs()
    return context


def _to_email(alert: Alert, settings: AlertSettings) -> str:
    """Send it as one mail, the password only over TLS unless the server is on this machine."""
    server = settings.mail_server
    assert server is not None, "send was asked for a channel that is not configured"
    mail = EmailMessage()
    mail["Subject"] = f"[addon-export] {alert.subject}"
    mail["From"] = settings.mail_from
    mail["To"] = ", ".join(settings.mail_to)
    mail.set_content(alert.text)
    try:
        with _connected(server) as connection:
            if server.username:
                connection.login(server.username, server.password)
            connection.send_message(mail)
            return "the mail server took it"
    except smtplib.SMTPResponseException as error:
        reason = f"it answered {error.smtp_code}"
    except (smtplib.SMTPException, OSError, ValueError) as error:
        reason = _unreachable(error)
    raise AlertNotDelivered(f"The mail server in EXPORT_SMTP_URL did not take the alert: {reason}.")


def _connected(server: MailServer) -> smtplib.SMTP:
    if server.tls:
        return smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT, context=_tls())
    connection = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT)
    if not server.loopback:
        connection.starttls(context=_tls())  # an error when the server does not offer it
    return connection


def _to_callable(alert: Alert, settings: AlertSettings) -> str:
    """Call the user's own function. Its errors may carry anything, so only their type is passed on."""
    name, _, function = settings.own.partition(":")
    try:
        getattr(importlib.import_module(name), function)(alert)
        return "it returned"
    except Exception as error:  # it is not our code: whatever it raises, the alert is not delivered
        reason = type(error).__name__
    raise AlertNotDelivered(f"{settings.own} in EXPORT_ALERT_CALLABLE did not take the alert: it raised {reason}.")


def _unreachable(error: Exception) -> str:
    """What happened, without the address: the text of these errors may quote it."""
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower() if reason.errno is not None else type(reason).__name__
    return "it did not answer in time" if isinstance(reason, TimeoutError) else type(reason).__name__


VARIABLES: Mapping[str, Setting[Any]] = MappingProxyType(
    {"webhook": variables.ALERT_WEBHOOK, "email": variables.ALERT_EMAIL_TO, "own": variables.ALERT_CALLABLE}
)
"""The channels, and the variable that switches each on."""

_CHANNELS: Mapping[str, Callable[[Alert, AlertSettings], str]] = MappingProxyType(
    {"webhook": _to_webhook, "email": _to_email, "own": _to_callable}
)
