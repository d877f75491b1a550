"""Turns: who speaks when, from the turns that a vendor gives, else from words that say their speaker or channel. Pure.

Words in a row of one speaker and channel are a turn, in the order of their starts; where a start is not known, in the
order in which the vendor gives them. Nothing is guessed: without speakers and channels there are no turns.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

FACTS = ("speaker", "channel", "start_seconds", "end_seconds", "text")


def turns(given: pa.Array, words: pa.Array) -> pa.Table:
    """FACTS of each turn, with its `row` in the arrays and its `position` there from 1.

    Args:
        given: lists of turns as structs of FACTS, null or empty where the vendor gives none.
        words: lists of words, as in `transcripts`.
    """
    row = pc.list_parent_indices(given)
    said = given.flatten()
    own = pa.table({"row": row, **{name: said.field(name) for name in FACTS}})
    made = _of_words(words, without=pc.unique(row))
    both = _in_time(pa.concat_tables([own, made]).combine_chunks(), by="row")
    start = pc.indices_nonzero(_changes(both, ["row"]))
    first = pc.take(start, _running(both))
    position = pc.add(pc.subtract(_numbers(both.num_rows), pc.cast(first, pa.int64())), 1)
    return both.append_column("position", pc.cast(position, pa.int32()))


def firsts(rows: pa.Array, values: pa.Array, count: int) -> pa.Array:
    """For each of `count` rows the different values it has, in the order of their first one; null where none is."""
    told = pa.table({"row": rows, "value": values, "place": _numbers(len(rows))}).filter(pc.is_valid(values))
    found = told.group_by(["row", "value"], use_threads=False).aggregate([("place", "min")])
    found = found.sort_by([("row", "ascending"), ("place_min", "ascending")])
    counted = found["row"].combine_chunks().value_counts()
    sizes = dict(zip(*(part.to_pylist() for part in counted.flatten()), strict=True))
    lists, start = [], 0
    texts = found["value"].to_pylist()
    for number in range(count):
        size = sizes.get(number, 0)
        lists.append(texts[start : start + size] or None)
        start += size
    return pa.array(lists, pa.list_(pa.string()))


def _of_words(words: pa.Array, *, without: pa.Array) -> pa.Table:
    """Turns of the words of each list whose row is not in `without`."""
    spoken = words.flatten()
    flat = pa.table({"row": pc.list_parent_indices(words), **{f.name: spoken.field(f.name) for f in spoken.type}})
    flat = flat.filter(pc.invert(pc.is_in(flat["row"], value_set=without)))
    named = pc.or_(pc.is_valid(flat["speaker"]), pc.is_valid(flat["channel"]))
    flat = flat.filter(pc.is_in(flat["row"], value_set=pc.unique(flat["row"].filter(named)).cast(pa.int64())))
    flat = _in_time(flat.combine_chunks(), by="row")
    begins = pc.indices_nonzero(_changes(flat, ["row", "speaker", "channel"])).cast(pa.int32())
    ends = pa.concat_arrays([begins[1:], pa.array([flat.num_rows] if len(begins) else [], pa.int32())])
    bounds = pa.concat_arrays([begins, pa.array([flat.num_rows], pa.int32())])
    text = pc.binary_join(pa.ListArray.from_arrays(bounds, _one(flat["word"])), " ")
    heads = flat.take(begins)
    return pa.table(
        {
            **{name: heads[name] for name in ("row", "speaker", "channel", "start_seconds")},
            "end_seconds": flat["end_seconds"].take(pc.subtract(ends, 1)),
            "text": text,
        }
    )


def _in_time(stretches: pa.Table, *, by: str) -> pa.Table:
    """Sorted `by` row, and by start those rows in which every start is known."""
    row, start = _one(stretches[by]), _one(stretches["start_seconds"])
    unknown = pc.unique(row.filter(pc.is_null(start)))
    timed = pc.invert(pc.is_in(row, value_set=unknown))
    place = _numbers(stretches.num_rows)
    keys = pa.table({by: row, "at": pc.if_else(timed, start, 0.0), "place": place})
    backwards = pc.and_(pc.equal(row[1:], row[:-1]), pc.less(keys["at"][1:], keys["at"][:-1]))
    if not (pc.any(backwards).as_py() or pc.any(pc.less(row[1:], row[:-1])).as_py()):
        return stretches
    return stretches.take(pc.sort_indices(keys, [(by, "ascending"), ("at", "ascending"), ("place", "ascending")]))


def _changes(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """For each row whether one of its columns differs from the row before; true for the first."""
    if not table.num_rows:
        return pa.array([], pa.bool_())
    changed = pa.repeat(False, table.num_rows - 1)
    for name in columns:
        values = _one(table[name])
        here, before = values[1:], values[:-1]
        nulls = pc.xor(pc.is_null(here), pc.is_null(before))
        changed = pc.or_(changed, pc.or_(nulls, pc.fill_null(pc.not_equal(here, before), fill_value=False)))
    return pa.concat_arrays([pa.array([True]), changed])


def _running(table: pa.Table) -> pa.Array:
    """For each row how many rows of the table's first column there were before its own."""
    return pc.subtract(pc.cumulative_sum(pc.cast(_changes(table, ["row"]), pa.int64())), 1)


def _numbers(count: int) -> pa.Array:
    return pa.arange(0, count)


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
