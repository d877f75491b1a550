"""What the assets need from outside: Twilio clients, the archive, and the counters of a run.

The resources hold no secrets: credentials are read from the environment when a run needs them, so they are in no
run config, repr, snapshot or event.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import dagster as dg

from assets.clients import client, network
from pipelines.accounts.account import Account
from pipelines.accounts.directory import Directory, read_directory
from pipelines.opening import to_read, to_write
from pipelines.report import Progress
from pipelines.settings import environment, twilio_settings, warehouse_settings
from pipelines.twilio.client import TwilioClient
from warehouse.errors import FixWarehouse
from warehouse.store.archive import Archive
from warehouse.store.names import Destination


@dataclass(frozen=True, slots=True)
class Opened:
    """The clients of the accounts that are wanted, and what the settings and Twilio say of accounts."""

    clients: Sequence[TwilioClient]
    directory: Directory


class Twilio(dg.ConfigurableResource[None]):
    """Clients for the account in TWILIO_ACCOUNT_SID and the subaccounts that TWILIO_SUBACCOUNTS names."""

    @asynccontextmanager
    async def clients(self, known: Mapping[str, Account], lacking: Callable[[str], None]) -> AsyncIterator[Opened]:
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

    @property
    def workers(self) -> int:
        """Recordings worked on at once: twice the ceiling keeps the limit filled while contents download."""
        return 2 * twilio_settings(environment()).max_concurrency


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


def resources(progress: Progress | None = None, *, let_in: str = "") -> dict[str, Any]:
    """What the assets need, by the names that they call it.

    Args:
        progress: keeps the counters of the run for whoever shows them; None gives each run its own.
        let_in: an account that may export into a root that belongs to others.
    """
    counters = dg.ResourceDefinition(fresh_progress)
    if progress is not None:
        counters = dg.ResourceDefinition.hardcoded_resource(progress)
    return {
        "twilio": Twilio(),
        "warehouse": Warehouse(),
        "progress": counters,
        "let_in": dg.ResourceDefinition.hardcoded_resource(let_in),
        "io_manager": no_values,
    }


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
