"""The names of the tables, and the days they are parted by: what file names and commits go by.

Apart from `warehouse.schema`, which says what is in them, so that whoever only finds files does not load Arrow.
"""

from collections.abc import Mapping
from types import MappingProxyType

PARTITIONS: Mapping[str, str | None] = MappingProxyType(
    {
        "recordings": "created_date",
        "add_on_results": "completed_date",
        "add_on_payloads": "completed_date",
        "contents": "completed_date",
        "loads": None,
        "deletions": None,
        "quarantine": None,
        "listings": None,
        "resolutions": None,
        "erasures": None,
        "transcripts": "completed_date",
        "turns": "completed_date",
        "analyses": "completed_date",
    }
)
"""By name of a table, its partition column; None where it has none."""
