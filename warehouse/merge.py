"""The SQL by which observations of a row become one: within a batch (fold), and with what is landed (merge).

Both follow the rules that `warehouse.schema.Merge` states for each column.
"""

from warehouse.schema import Column, Table


def fold_sql(table: Table, column: Column) -> str:
    """SQL for one column's value over all observations of a row in one batch: the rules of merging, at once."""
    name = column.name
    if name == table.key:
        return name
    match column.merge:
        case "latest" | "load" | "day":
            return f"arg_max({name}, observed_at)"  # ignores nulls
        case "first":
            return f"arg_min({name}, observed_at)"
        case "most":
            return f"max({name})"


def merge_sql(table: Table, column: Column, load_id: str) -> str:
    """SQL for one column's value after merging the seen row `s` into the landed row `o` (null when new)."""
    name = column.name
    if name == table.key:
        return f"s.{name}"
    match column.merge:
        case "latest":
            later = f"o.{table.key} IS NULL OR s.observed_at >= o.observed_at"
            return f"CASE WHEN {later} THEN coalesce(s.{name}, o.{name}) ELSE coalesce(o.{name}, s.{name}) END"
        case "first":
            return f"coalesce(o.{name}, s.{name})"
        case "most":
            return f"greatest(o.{name}, s.{name})"
        case "load":
            return f"'{load_id}'"
        case "day":
            source = next(c for c in table.columns if c.name == column.day_of)
            return f"CAST(({merge_sql(table, source, load_id)}) AT TIME ZONE 'UTC' AS DATE)"
