"""The SQL by which observations of a row become one: within a batch (fold), and with what is landed (merge).

Both follow the rules that `warehouse.schema.Merge` states for each column.
"""

from warehouse.schema import UTC_TIME, Column, Table


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
    """SQL for one column's value after merging the seen row `s` into the landed row `o` (null when new).

    `$now` is the time of landing: a stamp of `o` that is later was made by a clock that was ahead, and decides nothing.
    """
    name = column.name
    stamp = column.type == UTC_TIME
    if name == table.key:
        return f"s.{name}"
    match column.merge:
        case "latest":
            later = f"o.{table.key} IS NULL OR {_is_later(table)}"
            return f"CASE WHEN {later} THEN coalesce(s.{name}, o.{name}) ELSE coalesce(o.{name}, s.{name}) END"
        case "first":
            kept = f"coalesce(o.{name}, s.{name})"
            return f"CASE WHEN o.{name} > $now THEN coalesce(s.{name}, o.{name}) ELSE {kept} END" if stamp else kept
        case "most":
            most = f"greatest(o.{name}, s.{name})"
            return f"CASE WHEN o.{name} > $now THEN coalesce(s.{name}, o.{name}) ELSE {most} END" if stamp else most
        case "load":
            return f"'{load_id}'"
        case "day":
            source = next(c for c in table.columns if c.name == column.day_of)
            return f"CAST(({merge_sql(table, source, load_id)}) AT TIME ZONE 'UTC' AS DATE)"


def _is_later(table: Table) -> str:
    """SQL for whether the seen row is the later one: the source's own date decides, then when it was observed.

    Where the landed one is from the future, which decides nothing, what is landed later is the later one.
    """
    observed = "(o.observed_at > $now OR s.observed_at >= o.observed_at)"
    if "date_updated" not in table.names:
        return observed
    apart = "s.date_updated <> o.date_updated AND o.date_updated <= $now"
    return f"CASE WHEN {apart} THEN s.date_updated > o.date_updated ELSE {observed} END"
