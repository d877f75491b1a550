"""What the asset graph shows: Twilio, the tables that runs land, and the views analysts read.

Only words and columns are here; what runs is in `add_ons`. Columns come from `warehouse.schema` and
`warehouse.published.views`, where analysts' COMMENTs come from too.
"""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import timedelta

import dagster as dg

from pipelines.errors import ExportError
from pipelines.settings import environment, warehouse_settings
from warehouse.published.views import RELATIONS
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, DERIVED, RECORDINGS, Table, sql_type
from warehouse.store.names import PUBLISHED

OWNERS = ["team:data-engineering"]

SOURCE_GROUP, WAREHOUSE_GROUP, DELETION_GROUP = "twilio", "warehouse", "deletion"

SOURCE = dg.AssetKey("twilio_api")
"""Twilio itself. Runs observe it: what they have asked for so far, and what it answered."""

FRESH = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=3), fail_window=timedelta(hours=26))
"""An hourly export that was missed twice is worth a look, a day without one more. Of runs; alerts look at the
warehouse."""

TABLE_NAME = "dagster/table_name"
"""Metadata that a table or view has."""

PARTITIONS = (
    "**A partition is one UTC day of `date_completed`**, the moment an add-on finished, whenever the call was. Results "
    "without that date are in no partition; they are landed, and join their day when they finish."
)

VIEW_TYPES: Mapping[str, Mapping[str, str]] = {
    **{table.name: {c.name: sql_type(c) for c in table.columns} for table in DERIVED},
    "calls": {
        "start_time": "TIMESTAMP WITH TIME ZONE",
        "duration_seconds": "BIGINT",
        "confidence": "DOUBLE",
        "redacted": "BOOLEAN",
        **dict.fromkeys(("transcripts", "turns", "results", "unsafe"), "BIGINT"),
        "talk_seconds": 'STRUCT(speaker VARCHAR, "seconds" DOUBLE)[]',
        "add_ons": "VARCHAR[]",
        "next_deadline": "TIMESTAMP WITH TIME ZONE",
    },
    "retention": {
        "completed_date": "DATE",
        "expires_at": "TIMESTAMP WITH TIME ZONE",
        "hours_left": "DOUBLE",
    },
}
"""Types of the views' columns that are not VARCHAR."""


def _columns(table: Table) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=sql_type(column),
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.name != table.key, unique=column.name == table.key
                ),
            )
            for column in table.columns
            if column.name not in table.internal
        ]
    )


def _metadata(name: str, columns: dg.TableSchema) -> dict[str, object]:
    return {"dagster/column_schema": columns, TABLE_NAME: name}


def _landed(table: Table, upstream: Sequence[dg.AssetKey | str], description: str) -> dg.AssetSpec:
    """A table that runs land."""
    return dg.AssetSpec(
        table.name,
        deps=upstream,
        description=f"{table.description}\n\n{description}",
        group_name=WAREHOUSE_GROUP,
        owners=OWNERS,
        kinds={"parquet", "duckdb"},
        metadata=_metadata(table.name, _columns(table)),
        freshness_policy=FRESH,
    )


def _view(name: str, upstream: Sequence[str]) -> dg.AssetSpec:
    """A view over the tables: nothing has to be run for it."""
    relation = next(relation for relation in RELATIONS if relation.name == name)
    types = VIEW_TYPES[name]
    schema = dg.TableSchema(
        columns=[
            dg.TableColumn(column, types.get(column, "VARCHAR"), text) for column, text in relation.columns.items()
        ]
    )
    return dg.AssetSpec(
        name,
        deps=upstream,
        description=f"{relation.description}\n\nA view in `{PUBLISHED}`, always as new as the tables: nothing has to "
        "be run for it.",
        group_name=WAREHOUSE_GROUP,
        owners=OWNERS,
        kinds={"duckdb", "view"},
        metadata=_metadata(name, schema),
    )


TWILIO = dg.AssetSpec(
    SOURCE,
    description="Add-on results at Twilio, which deletes them **30 days** after they were made. They can be listed "
    "recording by recording only.\n\nA run observes this while it works and at its end: how much it has asked for, and "
    "what Twilio refused. An export never changes anything here.",
    group_name=SOURCE_GROUP,
    owners=OWNERS,
    kinds={"twilio"},
)

RECORDINGS_SPEC = _landed(
    RECORDINGS,
    [SOURCE],
    "Every run refreshes it, with the numbers of the whole run: look here for requests, refusals (429), backlog and "
    "the hours left to the nearest deadline, over time. It has no partitions and cannot be run by itself: "
    "materialize `add_on_results`.",
)

RESULTS_SPEC = _landed(
    ADD_ON_RESULTS,
    [RECORDINGS.name],
    f"{PARTITIONS}\n\nA partition is materialised when what Twilio has of its day is landed; one that still owes a "
    "content is not. `exported` counts the results that are safe here, `pending` and `unfinished` those still owed, "
    "`lost` those that Twilio deleted before.",
)

PAYLOADS_SPEC = _landed(
    ADD_ON_PAYLOADS,
    [ADD_ON_RESULTS.name],
    f"{PARTITIONS}\n\nThe bytes themselves are in `contents`, which lands together with this table.",
)

VIEWS = [
    *(_view(table.name, [ADD_ON_PAYLOADS.name]) for table in DERIVED),
    _view("calls", [RECORDINGS.name, *(table.name for table in DERIVED)]),
    _view("retention", [ADD_ON_RESULTS.name, ADD_ON_PAYLOADS.name]),
]

EXTERNAL = [TWILIO, RECORDINGS_SPEC, *VIEWS]
"""Assets that nobody runs: Dagster shows them and what runs say about them."""

DELETIONS = dg.AssetKey("deleted_add_on_results")
"""What was deleted at Twilio. Only the job `delete` reports it."""

BY_DAY = {RESULTS_SPEC.key, PAYLOADS_SPEC.key, DELETIONS}
"""Assets with a partition for each day."""


def placed(
    assets: Sequence[dg.AssetSpec | dg.AssetsDefinition], days: dg.PartitionsDefinition[str]
) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """The assets in their partitions, and with the file in EXPORT_ROOT that has their tables."""
    file: dict[str, str] = {}
    with contextlib.suppress(ExportError, ValueError):  # a run says what is wrong with EXPORT_ROOT; the graph must load
        file["dagster/uri"] = (warehouse_settings(environment()).root.absolute() / PUBLISHED).as_uri()

    def place(spec: dg.AssetSpec) -> dg.AssetSpec:
        if TABLE_NAME in spec.metadata:
            spec = spec.merge_attributes(metadata=file)
        return spec.replace_attributes(partitions_def=days) if spec.key in BY_DAY else spec

    return list(dg.map_asset_specs(place, assets))
