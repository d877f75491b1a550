"""The forms in which chats take an alert: one table, chosen by the address, or by EXPORT_ALERT_FORM.

An alert is data in each of them: nothing in it mentions anybody, and no preview of a link is fetched. Sources:
Slack "Incoming webhooks" and "Escaping text", Google Chat "Create a text message" (4,096 bytes), Discord "Execute
Webhook" (2,000 characters, `allowed_mentions`), Microsoft "Adaptive Cards" (a text run has no markup).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from assets.channels.alert import Alert

DISCORD_CHARACTERS, CHAT_BYTES, CARD_CHARACTERS = 2_000, 4_000, 20_000

NO_EMBEDS = 1 << 2
"""Discord's flag of a message whose links are not shown as previews."""

_HOSTS = {
    "slack": ("hooks.slack.com", "hooks.slack-gov.com"),
    "google-chat": ("chat.googleapis.com",),
    "discord": ("discord.com", "discordapp.com"),
    "teams": (".webhook.office.com", ".logic.azure.com", ".api.powerplatform.com"),
}
"""By form: hosts, or their ends."""


def form_of(url: str, chosen: str = "") -> str:
    """The form for an address: the chosen one, or the one of its host; "json" for any other."""
    host = f".{urlsplit(url).hostname or ''}"
    fitting = (form for form, names in _HOSTS.items() for name in names if host.endswith(f".{name.lstrip('.')}"))
    return chosen or next(fitting, "json")


def body(alert: Alert, form: str) -> dict[str, Any]:
    """What is POSTed as JSON."""
    return FORMS[form](alert)


def _json(alert: Alert) -> dict[str, Any]:
    return {
        "text": alert.text,
        "subject": alert.subject,
        "sentences": alert.sentences,
        "severity": alert.severity,
        "facts": dict(alert.facts),
    }


def _slack(alert: Alert) -> dict[str, Any]:
    text = alert.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": text, "mrkdwn": False, "link_names": False, "unfurl_links": False, "unfurl_media": False}


def _google_chat(alert: Alert) -> dict[str, Any]:
    text = alert.text.replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}")  # `<users/all>` mentions everybody
    return {"text": text.encode()[:CHAT_BYTES].decode(errors="ignore")}


def _discord(alert: Alert) -> dict[str, Any]:
    return {"content": alert.text[:DISCORD_CHARACTERS], "allowed_mentions": {"parse": []}, "flags": NO_EMBEDS}


def _teams(alert: Alert) -> dict[str, Any]:
    lines = alert.text[:CARD_CHARACTERS].split("\n")
    card = {
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.4",
        "body": [{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": line}]} for line in lines],
    }
    content = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [content]}


FORMS: Mapping[str, Callable[["Alert"], dict[str, Any]]] = MappingProxyType(
    {"json": _json, "slack": _slack, "google-chat": _google_chat, "discord": _discord, "teams": _teams}
)
"""By name, as EXPORT_ALERT_FORM gives it."""
