"""The one place where clients of Twilio are made from settings: it says where the credentials go, if not to Twilio."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from assets.terminal import say
from pipelines.records.sids import AccountSid
from pipelines.settings import DeleteSettings, TwilioSettings
from pipelines.twilio.base_url import stranger
from pipelines.twilio.client import Credential, TwilioClient
from pipelines.twilio.network import Network
from pipelines.twilio.open_files import ceilings, open_now, raise_open_files
from pipelines.twilio.values import patient


def network(settings: TwilioSettings | DeleteSettings) -> Network:
    """Connections for all accounts, as many as this process may open; whoever asks closes them."""
    if (host := stranger(settings.base_url)) is not None:
        say(f"The credentials of account {settings.account_sid} are sent to {host}, as TWILIO_BASE_URL says.")
    limit = raise_open_files()
    return Network(
        settings.base_url,
        ceilings(limit=limit, used=open_now(), wanted=settings.max_concurrency),
        networks=settings.storage_networks,
        authorities=settings.authorities,
        proxies=settings.proxies,
    )


def client(
    connections: Network, settings: TwilioSettings | DeleteSettings, account: AccountSid, login: Credential
) -> TwilioClient:
    """A client for one account."""
    return connections.client(
        account, login, max_concurrency=settings.max_concurrency, tuning=patient(settings.reply_seconds)
    )


@asynccontextmanager
async def own_client(settings: TwilioSettings | DeleteSettings) -> AsyncIterator[TwilioClient]:
    """A client for the account of the settings alone."""
    async with network(settings) as connections:
        yield client(connections, settings, settings.account_sid, settings.login)
