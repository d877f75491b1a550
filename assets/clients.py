"""The one place where clients of Twilio are made from settings: it says where the credentials go, if not to Twilio."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from assets.terminal import say
from pipelines.accounts.account import Account
from pipelines.accounts.directory import Directory, read_directory
from pipelines.records.sids import AccountSid
from pipelines.settings import DeleteSettings, TwilioSettings, environment, twilio_settings
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


@dataclass(frozen=True, slots=True)
class Opened:
    """The clients of the accounts that are wanted, and what the settings and Twilio say of accounts."""

    clients: Sequence[TwilioClient]
    directory: Directory


@asynccontextmanager
async def open_clients(known: Mapping[str, Account], lacking: Callable[[str], None]) -> AsyncIterator[Opened]:
    """Open one client for each account that is wanted; why Twilio does not name some, `lacking` is told.

    `known`: the accounts of the archive.

    Raises:
        FixConfiguration: credentials are missing.
    """
    settings = twilio_settings(environment())
    async with network(settings) as connections:
        asking = client(connections, settings, settings.account_sid, settings.login)
        directory = await read_directory(asking, settings, known, lacking)
        clients = [
            client(connections, settings, sid, settings.subaccount_logins.get(sid, settings.login))
            if sid != settings.account_sid
            else client(connections, settings, sid, settings.login)
            for sid in directory.wanted
        ]
        yield Opened(clients, directory)


@asynccontextmanager
async def own_client(settings: TwilioSettings | DeleteSettings) -> AsyncIterator[TwilioClient]:
    """A client for the account of the settings alone."""
    async with network(settings) as connections:
        yield client(connections, settings, settings.account_sid, settings.login)
