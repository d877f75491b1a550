"""What the assets need from outside: Twilio clients, the archive, and the counters of a run.

The resources hold no secrets: credentials are read from the environment when a run needs them, so they are in no
run config, repr, snapshot or event.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn

import dagster as dg

from assets.clients import Opened, open_clients
from pipelines.accounts.account import Account
from pipelines.opening import to_read, to_write
from pipelines.report import Progress
from pipelines.settings import environment, warehouse_settings
from warehouse.errors import FixWarehouse
from warehouse.store.archive import Archive
from warehouse.store.names import Destination


class Twilio(dg.ConfigurableResource[None]):
    """Clients for the account in TWILIO_ACCOUNT_SID and the subaccounts that TWILIO_SUBACCOUNTS names."""

    def clients(
        self, known: Mapping[str, Account], lacking: Callable[[str], None]
    ) -> AbstractAsyncContextManager[Opened]:
        """As `assets.clients.open_clients`."""
        return open_clients(known, lacking)


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
