"""Which URLs and addresses contents may be fetched from.

Pure. A signed URL comes from outside and is fetched from inside somebody's network, so it must not lead
to that network: https only, a plain host, and no address that is private, local, reserved or a cloud's
metadata service. Private networks in which contents are stored can be named; this machine, its links and metadata
services cannot. Host names are checked again by address when the connection is made
(`dial.Dialer`). Only a source that itself runs on this machine (the sandbox, tests) may
name plain http and loopback. No message here repeats the URL: whoever holds it can read the content.
"""

import functools
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipelines.errors import SourceUntrusted

_URI = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", re.ASCII)
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:", re.ASCII)
_ORIGIN = re.compile(r"([A-Za-z]+:)//[^/?#]*", re.ASCII)
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
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the IPv4 address is in the last 32 bits
_NAT64_OF_A_NETWORK = ipaddress.ip_network("64:ff9b:1::/48")  # RFC 8215
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("::/127", "fe80::/10", "fec0::/10", "ff00::/8"),
        *("168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128"),
    )
)
"""Where nobody may store contents: this machine, its links, and the metadata services of AWS, Azure, Google, Alibaba,
Oracle and those that copy them."""

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


_NOT_PUBLIC_ADDRESS = (
    "an address that is not public; if contents are stored in a network of your own, name it in EXPORT_STORAGE_NETWORKS"
)


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """A checked URL of one content, good for a short time. Its repr is empty: it must not get into a log."""

    text: str = field(repr=False)


def signed_url(
    target: str, *, loopback: bool, subject: str, networks: Sequence[IpNetwork] = (), base: str | None = None
) -> SignedUrl:
    """Check where we are sent for a content.

    Args:
        target: a URL, or with `base` a reference to be resolved against that URL.
        loopback: the API itself is on this machine.
        subject: for the message.
        networks: where contents may be stored beside the public internet.
        base: what was asked.

    Raises:
        SourceUntrusted: the target must not be fetched.
    """
    target = target if base is None else _resolved(target, base)
    reason = _objection(target, loopback=loopback, networks=networks)
    if reason is not None:
        raise SourceUntrusted(f"{subject}: Twilio's redirect leads to {reason}")
    return SignedUrl(target)


def _resolved(reference: str, base: str) -> str:
    """A URL as it is, to the byte, as it may be signed; a relative reference made absolute."""
    if _ABSOLUTE.match(reference) or not reference:
        return reference
    origin, path = _ORIGIN.match(base), base.partition("?")[0]
    assert origin is not None, "it has been asked"
    if reference.startswith("//"):
        return origin[1] + reference
    if reference.startswith("/"):
        return origin[0] + reference
    return (path if reference.startswith("?") else path.rpartition("/")[0] + "/") + reference


def within(url: SignedUrl, base_url: str, path: str) -> str | None:
    """Path and query of `url` if it is at `base_url`, character for character, and below `path`; else None."""
    rest = url.text.removeprefix(base_url).partition("#")[0]
    return rest if rest != url.text and rest.startswith(path) else None


def address_allowed(address: str, *, loopback: bool, networks: Sequence[IpNetwork] = ()) -> bool:
    """Tell whether contents may be fetched from this IP address: a public one, or one of `networks`.

    An address that stands for an IPv4 one is judged by that.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.is_loopback:
        return loopback
    inside = _inside(ip)
    if any(each in network for each in (ip, inside) if each is not None for network in _NEVER if _fit(each, network)):
        return False
    if any(each in network for each in (ip, inside) if each is not None for network in networks if _fit(each, network)):
        return True
    return _is_public(inside if inside is not None and ip in _NAT64 else ip)


def parse_networks(text: str) -> tuple[IpNetwork, ...]:
    """Read networks with commas between them; ValueError, which quotes the part, when one is none or never allowed."""
    found: list[IpNetwork] = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            network = ipaddress.ip_network(part, strict=False)
        except ValueError:
            raise ValueError(f"{part!r} is not a network like 10.0.0.0/8 or fd12:3456::/48") from None
        if any(_fit(network.network_address, never) and network.subnet_of(never) for never in _NEVER):  # type: ignore[arg-type]
            raise ValueError(f"{part!r} is this machine, a link of it, or a metadata service")
        found.append(network)
    return tuple(found)


def _fit(ip: _Address, network: IpNetwork) -> bool:
    return ip.version == network.version


def _inside(ip: _Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, None for others."""
    if not isinstance(ip, ipaddress.IPv6Address):
        return None
    if ip in _NAT64 or ip in _NAT64_OF_A_NETWORK:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped


def _is_public(ip: _Address) -> bool:
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


def _objection(target: str, *, loopback: bool, networks: Sequence[IpNetwork]) -> str | None:
    if _URI.fullmatch(target) is None:
        return "a URL with characters that no URL has"
    origin = _ORIGIN.match(target)
    if (reason := _objection_to(origin[0] if origin else target, loopback, tuple(networks))) is not None:
        return reason
    path = target[origin.end() if origin else 0 :].partition("?")[0].partition("#")[0].lower()
    if any(segment in {".", ".."} for segment in path.replace("%2e", ".").split("/")):
        return "a path with dot segments"
    return None


@functools.lru_cache(maxsize=256)
def _objection_to(origin: str, loopback: bool, networks: tuple[IpNetwork, ...]) -> str | None:
    """The objection to a scheme with a host, which thousands of contents have in common."""
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "a URL that cannot be read"
    if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
        return "something other than https"
    if host is None or port == 0:
        return "no host"
    if "@" in parts.netloc:
        return "a URL with a user name"
    if "[" in parts.netloc:
        return None if address_allowed(host, loopback=loopback, networks=networks) else _NOT_PUBLIC_ADDRESS
    if _HOST.fullmatch(host) is None:
        return "a host name that is not plain"
    if _NUMERIC.fullmatch(host.rpartition(".")[2]) is None:
        return None
    # A host ending in a number is an IPv4 address; only the plain spelling is read the same way everywhere.
    return None if address_allowed(host, loopback=loopback, networks=networks) else _NOT_PUBLIC_ADDRESS
