"""The answer to a question in SQL, printed."""

from assets.cli.formats import FORMATS
from assets.terminal import show
from pipelines.opening import mend_moved
from pipelines.settings import environment, warehouse_settings
from warehouse.published.query import answer


def print_answer(query: str, form: str) -> None:
    """Ask the published file, and print the rows as they come.

    Raises:
        FixQuery, WarehouseError: as `answer`.
    """
    settings = warehouse_settings(environment())
    mend_moved(settings)
    with answer(settings.root, query) as found:
        for line in FORMATS[form](found):
            show(line)
