"""What the assets need from outside: Twilio clients, the archive, and the counters of a run.

The resources hold no secrets: credentials are read from the environment when a run needs them, so they are in no
run config, repr, snapshot or event.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn

import dagster as dg

from assets.clients import client, network
from pipelines.errors import SourceError
from pipelines.export import Progress
from pipelines.opening import to_read, to_write
from pipelines.settings import TwilioSettings, environment, twilio_settings, warehouse_settings
from pipelines.sids import AccountSid
from pipelines.twilio.client import TwilioClient
from warehouse.archive import Archive
from warehouse.errors import FixWarehouse
from warehouse.publish import Destination


class Twilio(dg.ConfigurableResource[None]):
    """Clients for the account in TWILIO_ACCOUNT_SID and the subaccounts that TWILIO_SUBACCOUNTS names."""

    @asynccontextmanager
    async def clients(self, lacking: Callable[[str], None]) -> AsyncIterator[list[TwilioClient]]:
        """Open one client for each account; of those that Twilio does not name, `lacking` is told why.

        Raises:
            FixConfiguration: credentials are missing or refused.
        """
        async with AsyncExitStack() as stack:
            yield await _open_clients(twilio_settings(environment()), stack, lacking)

    @property
    def workers(self) -> int:
        """Recordings worked on at once: twice the ceiling keeps the limit filled while contents download."""
        return 2 * twilio_settings(environment()).max_concurrency


async def _open_clients(
    settings: TwilioSettings, stack: AsyncExitStack, lacking: Callable[[str], None]
) -> list[TwilioClient]:
    connections = await stack.enter_async_context(network(settings))
    main = client(connections, settings, settings.account_sid, settings.login)
    wanted = settings.subaccounts
    if wanted == "all":
        wanted = await _active(main, lacking)
    clients = [main]
    for sid in () if wanted == "none" else wanted:
        if sid != settings.account_sid:
            login = settings.subaccount_logins.get(sid, settings.login)
            clients.append(client(connections, settings, sid, login))
    return clients


async def _active(main: TwilioClient, lacking: Callable[[str], None]) -> tuple[AccountSid, ...]:
    """The accounts to export, each once. A bad row, or the end of the list, costs those that it names and no others."""
    found: dict[AccountSid, None] = {}
    try:
        async for account in main.accounts(skipped=lambda unreadable: lacking(str(unreadable))):
            if account.status in (None, "active"):
                found[account.sid] = None
    except SourceError as error:
        if error.status in (401, 403):
            raise
        lacking(str(error))
    return tuple(found)


class Warehouse(dg.ConfigurableResource[None]):
    """The archive in EXPORT_ROOT and what is published from it."""

    def archive(self) -> Archive:
        """Open the archive.

        Raises:
            FixConfiguration, FixWarehouse: the root cannot be used.
        """
        settings = warehouse_settings(environment())
        return to_write(settings)

    @property
    def destination(self) -> Destination:
        """Native tables or views."""
        return warehouse_settings(environment()).destination


def existing_warehouse() -> Archive | None:
    """The archive in EXPORT_ROOT for reading only; None while nothing has been exported. Needs no credentials.

    Raises:
        FixConfiguration: the settings of the warehouse cannot be used.
    """
    settings = warehouse_settings(environment())
    try:
        return to_read(settings)
    except FixWarehouse:
        return None


def fresh_progress(_: dg.InitResourceContext) -> Progress:
    """New counters for each run."""
    return Progress()


class _NoValues(dg.IOManager):
    """Keeps nothing: what runs make is in the warehouse."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """No step returns a value."""
        if obj is not None:
            raise TypeError("Steps of this project return no values.")

    def load_input(self, context: dg.InputContext) -> NoReturn:
        """No step takes a value from another."""
        raise TypeError("Steps of this project take no values.")


no_values = dg.IOManagerDefinition.hardcoded_io_manager(_NoValues())
"""In place of Dagster's own, whose folder a run config may set, also to a variable of the environment."""
