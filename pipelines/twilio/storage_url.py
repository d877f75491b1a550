"""Which URLs and addresses contents may be fetched from.

Pure. A signed URL comes from outside and is fetched from inside somebody's network, so it must not lead
to that network: https only, a plain host, and no address that is private, local, reserved or a cloud's
metadata service. Host names are checked again by address when the connection is made
(`transport.CheckedResolver`). Only a source that itself runs on this machine (the sandbox, tests) may
name plain http and loopback. No message here repeats the URL: whoever holds it can read the content.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipelines.errors import SourceUntrusted

_URI = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", re.ASCII)
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NUMERIC = re.compile(r"(0[xX][0-9A-Fa-f]*|[0-9]+)", re.ASCII)

# What `ipaddress` calls global, or does in some Python versions, though it is not the public internet.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's metadata and DNS address
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata address
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # protocol assignments, Teredo among them
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
    )
)
_PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")  # all that is given out; NAT64 and mapped forms lie outside


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """A checked URL of one content, good for a short time. Its repr is empty: it must not get into a log."""

    text: str = field(repr=False)


def signed_url(target: str, *, loopback: bool, subject: str) -> SignedUrl:
    """Check where Twilio sends us for a content; `loopback`: the API itself is on this machine.

    Raises:
        SourceUntrusted: the target must not be fetched.
    """
    reason = _objection(target, loopback=loopback)
    if reason is not None:
        raise SourceUntrusted(f"{subject}: Twilio's redirect leads to {reason}")
    return SignedUrl(target)


def address_allowed(address: str, *, loopback: bool) -> bool:
    """Tell whether contents may be fetched from this IP address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.is_loopback:
        return loopback
    if any(ip in network for network in _NOT_PUBLIC if network.version == ip.version):
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _PUBLIC_IPV6:
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_private)


def is_loopback_host(host: str) -> bool:
    """Tell whether a host, as written in a URL, is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _objection(target: str, *, loopback: bool) -> str | None:
    if _URI.fullmatch(target) is None:
        return "a URL with characters that no URL has"
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "a URL that cannot be read"
    if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
        return "something other than https"
    if host is None or port == 0:
        return "no host"
    if "@" in parts.netloc:
        return "a URL with a user name"
    if any(segment in {".", ".."} for segment in parts.path.lower().replace("%2e", ".").split("/")):
        return "a path with dot segments"
    if "[" in parts.netloc:
        return None if address_allowed(host, loopback=loopback) else "an address that is not public"
    if _HOST.fullmatch(host) is None:
        return "a host name that is not plain"
    if _NUMERIC.fullmatch(host.rpartition(".")[2]) is None:
        return None
    # A host ending in a number is an IPv4 address; only the plain spelling is read the same way everywhere.
    return None if address_allowed(host, loopback=loopback) else "an address that is not public"
