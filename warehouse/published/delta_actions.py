"""What a Delta log says of a table: its actions, and what they come to. Values only; nothing here reads or writes.

Delta protocol, reader version 1: a version of a table is a JSON file of actions, and a checkpoint is a Parquet file of
all that are still in force. There are no statistics but numbers of rows: no value of any row stands in a log.
[github.com/delta-io/delta, PROTOCOL.md]
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from warehouse.schema import UTC_TIME, Table
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.names import NULL_DAY

Action = Mapping[str, Any]
"""One action, by its kind: `{"add": {...}}`."""

APP = "addon-export"

PROTOCOL: Action = MappingProxyType(
    {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["addonExportOnly"]}
)
"""Whoever keeps the protocol does not write to a table with a feature that it does not know; readers do not mind."""

_TYPES: Mapping[pa.DataType, str] = MappingProxyType(
    {
        pa.string(): "string",
        pa.binary(): "binary",
        pa.bool_(): "boolean",
        pa.int32(): "integer",
        pa.int64(): "long",
        pa.float64(): "double",
        pa.date32(): "date",
        UTC_TIME: "timestamp",
    }
)


@dataclass(frozen=True, slots=True)
class Log:
    """What the log of one table shows.

    Attributes:
        version: the newest version; -1 where there is none.
        table_id: what tells the table from others; None where none is known.
        schema: the columns, as a log says them.
        adds: the live files by path, each as it was added.
    """

    version: int = -1
    table_id: str | None = None
    schema: str = ""
    adds: Mapping[str, Action] = field(default_factory=dict)


def replayed(log: Log, version: int, actions: Iterable[Action]) -> Log:
    """The log after one more version.

    Raises:
        KeyError, TypeError, AttributeError: an action is not of the form that we give it.
    """
    adds, table_id, schema = dict(log.adds), log.table_id, log.schema
    for action in actions:
        for kind, value in action.items():
            if value is None:  # of a checkpoint, whose rows have a column for each kind
                continue
            if kind == "add":
                adds[value["path"]] = {**value, "partitionValues": dict(value["partitionValues"])}
            elif kind == "remove":
                adds.pop(value["path"], None)
            elif kind == "metaData":
                table_id, schema = value["id"], value["schemaString"]
    return Log(version, table_id, schema, adds)


def next_actions(table: Table, log: Log, head: Commit, *, new_id: str) -> list[Action]:
    """What makes a log show `head`: nothing where it does already.

    A version is the difference between what the log shows and the commit, not between two commits. So one that was
    missed, or made twice, or is of a restored backup, is made good by the next.
    """
    live, schema = live_files(table, head), schema_string(table)
    gone, new = sorted(log.adds.keys() - live.keys()), sorted(live.keys() - log.adds.keys())
    if not gone and not new and log.schema == schema and log.table_id is not None:
        return []
    at = _milliseconds(head)
    told = {"timestamp": at, "operation": "MERGE", "operationParameters": {}, "engineInfo": APP}
    actions: list[Action] = [{"commitInfo": {**told, "userMetadata": f"commit {head.number}"}}]
    if log.table_id is None:
        actions.append({"protocol": dict(PROTOCOL)})
    if log.table_id is None or log.schema != schema:
        actions.append({"metaData": _metadata(table, log.table_id or new_id, at)})
    actions.append(_transaction(head))
    for path in gone:
        kept = {name: log.adds[path][name] for name in ("partitionValues", "size")}
        removed = {"path": path, "deletionTimestamp": at, "dataChange": True, "extendedFileMetadata": True, **kept}
        actions.append({"remove": removed})
    actions += [{"add": _added(table, live[path], at)} for path in new]
    return actions


def checkpoint(table: Table, log: Log, head: Commit) -> pa.Table:
    """All that is in force once the log shows `head`, made of the commit itself."""
    at = _milliseconds(head)
    about = _metadata(table, log.table_id or "", at)
    rows: list[Action] = [
        {"protocol": dict(PROTOCOL)},
        {"metaData": {**about, "configuration": [], "format": {"provider": "parquet", "options": []}}},
        _transaction(head),
    ]
    for path, file in sorted(live_files(table, head).items()):
        added = log.adds.get(path) or _added(table, file, at)
        values = list(added["partitionValues"].items())
        rows.append(
            {"add": {**_added(table, file, added["modificationTime"]), "partitionValues": values, "dataChange": False}}
        )
    return pa.Table.from_pylist(rows, schema=_CHECKPOINT)


def live_files(table: Table, head: Commit) -> dict[str, LiveFile]:
    """The live files of a table by their path from its folder."""
    return {file.path.partition("/")[2]: file for file in head.tables[table.name].values()}


def schema_string(table: Table) -> str:
    """The columns of a table, with what they mean, as a log says them."""
    fields = [
        {"name": c.name, "type": _type(c.type), "nullable": True, "metadata": {"comment": c.description}}
        for c in table.columns
    ]
    return json.dumps({"type": "struct", "fields": fields}, separators=(",", ":"))


def _type(kind: pa.DataType) -> str | dict[str, Any]:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_list(kind):
        return {"type": "array", "elementType": _type(kind.value_type), "containsNull": True}
    if pa.types.is_struct(kind):
        fields = [{"name": f.name, "type": _type(f.type), "nullable": True, "metadata": {}} for f in kind]
        return {"type": "struct", "fields": fields}
    return _TYPES[kind]


def _milliseconds(head: Commit) -> int:
    return int(head.at.timestamp() * 1000)


def _transaction(head: Commit) -> Action:
    return {"txn": {"appId": APP, "version": head.number, "lastUpdated": _milliseconds(head)}}


def _metadata(table: Table, table_id: str, at: int) -> Action:
    return {
        "id": table_id,
        "name": table.name,
        "description": table.description,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema_string(table),
        "partitionColumns": [table.partition] if table.partition else [],
        "createdTime": at,
        "configuration": {},
    }


def _added(table: Table, file: LiveFile, at: int) -> dict[str, Any]:
    day = file.folder.partition("=")[2]
    return {
        "path": file.path.partition("/")[2],
        "partitionValues": {table.partition: None if day == NULL_DAY else day} if table.partition else {},
        "size": file.bytes,
        "modificationTime": at,
        "dataChange": True,
        "stats": json.dumps({"numRecords": file.rows}),
    }


_MAP = pa.map_(pa.string(), pa.string())

_CHECKPOINT = pa.schema(
    {
        "protocol": pa.struct(
            {"minReaderVersion": pa.int32(), "minWriterVersion": pa.int32(), "writerFeatures": pa.list_(pa.string())}
        ),
        "metaData": pa.struct(
            {
                "id": pa.string(),
                "name": pa.string(),
                "description": pa.string(),
                "format": pa.struct({"provider": pa.string(), "options": _MAP}),
                "schemaString": pa.string(),
                "partitionColumns": pa.list_(pa.string()),
                "createdTime": pa.int64(),
                "configuration": _MAP,
            }
        ),
        "txn": pa.struct({"appId": pa.string(), "version": pa.int64(), "lastUpdated": pa.int64()}),
        "add": pa.struct(
            {
                "path": pa.string(),
                "partitionValues": _MAP,
                "size": pa.int64(),
                "modificationTime": pa.int64(),
                "dataChange": pa.bool_(),
                "stats": pa.string(),
            }
        ),
    }
)
