"""Which base URL the credentials may be sent to.

Pure. The credentials go there with every request, so it must be https, or plain http on this machine only.
"""

import re
from urllib.parse import urlsplit

from pipelines.errors import FixConfiguration
from pipelines.twilio.storage_url import is_loopback_host

_BASE_URL = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?", re.ASCII)


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
