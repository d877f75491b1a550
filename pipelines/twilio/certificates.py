"""Whom a host's certificate may come from: the public authorities, or those that an organisation names."""

import functools
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import certifi

from pipelines.errors import FixConfiguration


@dataclass(frozen=True, slots=True)
class Authorities:
    """A file of certificates and a folder of them, as OpenSSL reads them; empty for the public authorities."""

    file: str = ""
    folder: str = ""


PUBLIC = Authorities()


def authorities(env: Mapping[str, str]) -> Authorities:
    """What SSL_CERT_FILE and SSL_CERT_DIR say: as for OpenSSL, they stand in place of the public authorities."""
    return Authorities(env.get("SSL_CERT_FILE", "").strip(), env.get("SSL_CERT_DIR", "").strip())


@functools.cache
def tls_context(trusted: Authorities = PUBLIC) -> ssl.SSLContext:
    """TLS settings: certificates verified. Made once for all connections, because making them takes 50 ms.

    Python's and httpx's own defaults write the keys of every session to the file in SSLKEYLOGFILE.

    Raises:
        FixConfiguration: what the authorities name cannot be read, or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trusted == PUBLIC:
        context.load_verify_locations(certifi.where())
        return context
    try:
        name, text = "SSL_CERT_FILE", trusted.file
        if text:
            context.load_verify_locations(cafile=text)
        name, text = "SSL_CERT_DIR", trusted.folder
        if text:
            os.listdir(text)  # noqa: PTH208  # OpenSSL does not say that there is none
            context.load_verify_locations(capath=text)
    except OSError as error:  # ssl.SSLError is one
        why = "it holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise FixConfiguration(f"{name} is {text!r}, which cannot be used: {why}.") from None
    return context
