"""Which proxy a connection goes through: HTTPS_PROXY and NO_PROXY, as other programs read them.

Pure. Only https goes through a proxy, as a tunnel (CONNECT): the proxy sees host and port and carries what it cannot
read. Plain http is for this machine alone and never leaves it.
"""

import ipaddress
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pipelines.errors import FixConfiguration

_NAMES = ("https_proxy", "HTTPS_PROXY")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", re.ASCII)
_PORT = 80


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's host and port, and the credentials for it as its header says them, empty without."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxy, None without one, and the hosts that are reached without it."""

    proxy: Proxy | None = None
    direct: tuple[str, ...] = ()

    def to(self, host: str, port: int) -> Proxy | None:
        """The proxy on the way to a host; None if it is reached without."""
        return None if self.proxy is None or any(_matches(word, host, port) for word in self.direct) else self.proxy


DIRECT = Proxies()


def proxies(env: Mapping[str, str]) -> Proxies:
    """Read HTTPS_PROXY and NO_PROXY; the names in small letters go before.

    Raises:
        FixConfiguration: the proxy is none that can be used.
    """
    text = next((text for name in _NAMES if (text := env.get(name, "").strip())), "")
    if not text:
        return DIRECT
    words = (env.get("no_proxy") or env.get("NO_PROXY") or "").replace(" ", ",").split(",")
    return Proxies(_proxy(text), tuple(word.lower() for word in words if word))


def _proxy(text: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.netloc.rpartition("@")[2], parts.port
        name = host.rsplit(":", 1)[0] if port is not None else host.removesuffix(":")
    except ValueError:
        parts, name, port = None, "", None
    if parts is None or parts.scheme != "http" or _HOST.fullmatch(name) is None or port == 0:
        # not repeated in the message: it may hold a password
        raise FixConfiguration(
            "HTTPS_PROXY must be a proxy that is spoken to in plain HTTP, such as http://proxy.example:3128."
        )
    login = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = f"Basic {b64encode(pair.encode()).decode('ascii')}"
    return Proxy(name.strip("[]"), port or _PORT, login)


def _matches(word: str, host: str, port: int) -> bool:
    """Whether a word of NO_PROXY means a host: *, a name and all below it, an address, a network, each with a port."""
    host = host.lower().rstrip(".")
    if word == "*":
        return True
    if (ported := re.fullmatch(r"(\[[^]]*\]|[^:]*):([0-9]+)", word)) is not None:
        word = ported[1]
        if int(ported[2]) != port:
            return False
    word = word.strip("[]").removeprefix("*").removeprefix(".").rstrip(".")
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(word, strict=False)
    except ValueError:
        return bool(word) and (host == word or host.endswith(f".{word}"))
