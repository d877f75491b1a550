"""Which base URL the credentials may be sent to.

Pure. The credentials go there with every request, so it must be https, or plain http on this machine only; and a host
that is neither Twilio's nor this machine has to be confirmed by its name.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from pipelines.errors import FixConfiguration
from pipelines.twilio.storage_url import is_loopback_host

_BASE_URL = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_TWILIO = re.compile(r"api(\.[a-z0-9-]+){0,2}\.twilio\.com", re.ASCII)

_EDGES: Mapping[str, str] = MappingProxyType(
    {
        "au1": "sydney",
        "br1": "sao-paulo",
        "de1": "frankfurt",
        "ie1": "dublin",
        "jp1": "tokyo",
        "jp2": "osaka",
        "sg1": "singapore",
        "us1": "ashburn",
        "us2": "umatilla",
    }
)
"""The edge of a region for which none is given, as in Twilio's own libraries; `api.<region>.twilio.com` is retired."""


def checked_base_url(base_url: str) -> tuple[str, bool]:
    """Return the base URL without trailing slash, and whether it is on this machine.

    Raises: FixConfiguration: it is not scheme, host and port of an https server, or of an http server
    on loopback.
    """
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if _BASE_URL.fullmatch(base_url) is None or host is None or port == 0:
        # not repeated in the message: a user name and password may have been put into it
        raise FixConfiguration("TWILIO_BASE_URL must be a scheme, host and port, such as https://api.twilio.com")
    loopback = is_loopback_host(host)
    if parts.scheme != "https" and not loopback:
        raise FixConfiguration(f"TWILIO_BASE_URL must be https, because credentials are sent to {host}")
    return base_url.rstrip("/"), loopback


def regional_url(region: str, edge: str) -> str:
    """The API's base URL for TWILIO_REGION and TWILIO_EDGE, either of which may be empty.

    As Twilio's own libraries build it: an edge without a region is one of us1, a region without an edge has its own.

    Raises: FixConfiguration: one of them cannot be part of a host's name.
    """
    for name, value in (("TWILIO_REGION", region), ("TWILIO_EDGE", edge)):
        if value and _LABEL.fullmatch(value) is None:
            example = "ie1" if name == "TWILIO_REGION" else "dublin"
            raise FixConfiguration(f"{name} must be one name of small letters, digits and hyphens, such as {example}.")
    edge = edge or _EDGES.get(region, "")
    region = region or (edge and "us1")
    return f"https://{'.'.join(part for part in ('api', edge, region, 'twilio.com') if part)}"


def host_of(base_url: str) -> str:
    """Host of a checked base URL, and its port if it names one other than its scheme's own."""
    parts = urlsplit(base_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return host if parts.port in (None, {"https": 443, "http": 80}[parts.scheme]) else f"{host}:{parts.port}"


def region_of(base_url: str) -> str | None:
    """The region that Twilio's API answers for at a checked base URL; None when the host is not Twilio's.

    A retired host of the form `api.<region>.twilio.com` has always been processed in us1, but says another region.
    """
    host = urlsplit(base_url).hostname or ""
    if _TWILIO.fullmatch(host) is None:
        return None
    labels = host.removesuffix(".twilio.com").split(".")
    return labels[-1] if len(labels) > 1 else "us1"


def stranger(base_url: str) -> str | None:
    """The host of a base URL that is neither Twilio's nor this machine's; None when it is one of these.

    Raises: FixConfiguration: as `checked_base_url`.
    """
    checked, loopback = checked_base_url(base_url)
    return None if loopback or region_of(checked) is not None else host_of(checked)


def confirmed_base_url(base_url: str, confirmed: str) -> str:
    """The base URL, if it is Twilio's, this machine's, or of the host that `confirmed` names.

    Raises: FixConfiguration: it is none of these, or as `checked_base_url`.
    """
    host = stranger(base_url)
    if host is not None and confirmed.lower() != host:
        raise FixConfiguration(
            f"TWILIO_BASE_URL names {host}, which is neither Twilio's nor this machine: the credentials would be sent "
            f"there. If that is meant, set TWILIO_BASE_URL_CONFIRMED={host}."
        )
    return base_url
