"""What an expression of a shape may say: one expression over the content, made of functions that are listed here.

An expression ends in a view that analysts' own clients run, with all that those clients may do: read files, load
extensions, reach the network. So nothing is judged by its text. DuckDB's parser takes it apart in the very form in
which the view holds it, and every node must be of a kind, and every function of a name, that is known to compute from
its arguments alone and to yield no more than a few times what it is given.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb

EXPRESSION_BYTES = 16 << 10
"""Longest expression; the longest built-in one has 1.5 KB."""

NESTING = 64
"""Nodes within nodes; the deepest built-in expression has 20."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TYPES = _words(
    """
    boolean tinyint smallint integer int bigint hugeint utinyint usmallint uinteger ubigint float real double decimal
    numeric varchar text string blob date time timestamp interval json list struct
    """
)

_FUNCTIONS = _words(
    """
    -> ->> json_extract json_extract_path json_extract_string json_extract_path_text json_exists json_type
    json_array_length json_keys json_valid json_value json_contains json_object json_array

    || ~~ !~~ ~~* !~~* ~ ^@ like_escape ilike_escape lower lcase upper ucase trim ltrim rtrim length len strlen substr
    substring left right replace concat concat_ws split_part split string_split str_split string_to_array
    string_split_regex str_split_regex regexp_split_to_array regexp_matches regexp_full_match regexp_extract
    regexp_extract_all regexp_replace contains starts_with ends_with prefix suffix position instr strpos reverse chr
    ascii unicode ord strip_accents translate array_to_string list_to_string

    list_value list_pack list_transform list_apply array_transform array_apply apply list_filter array_filter filter
    list_concat list_cat array_concat array_cat list_extract list_element array_extract list_slice array_slice
    list_contains list_has array_contains array_has list_position list_indexof array_position array_indexof
    list_distinct array_distinct list_unique list_sort array_sort list_reverse_sort array_reverse_sort list_reverse
    array_reverse list_zip array_zip flatten list_sum list_avg list_min list_max list_count list_first list_last
    list_any_value array_length struct_pack row struct_extract

    + - * / // % abs round floor ceil ceiling greatest least sign isnan isfinite ifnull if nullif coalesce
    try_strptime strptime date_part epoch epoch_ms
    """
)
"""None that reads anything else, and none that makes much out of little, such as `repeat`, `range` and `lpad`."""

_OPERATORS = _words(
    """
    OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_NULLIF OPERATOR_COALESCE OPERATOR_TRY COMPARE_IN
    COMPARE_NOT_IN ARRAY_EXTRACT ARRAY_SLICE ARRAY_CONSTRUCTOR STRUCT_EXTRACT
    """
)

_PLAIN = frozenset({"CONSTANT", "COMPARISON", "CONJUNCTION", "CASE", "CAST", "BETWEEN"})
"""Classes of nodes that are harmless whatever their type."""


def guarded(expression: str, kind: str) -> str:
    """An expression that is null, of the given type, where it cannot be computed; the form that is judged."""
    return f"TRY_CAST(TRY(\n{expression}\n) AS {kind})"


def judge(db: duckdb.DuckDBPyConnection, expression: str, kind: str, *, inputs: Iterable[str]) -> None:
    """Accept an expression over the columns `inputs`, or say what speaks against it; nothing of it is run.

    Raises:
        ValueError: it is not one expression, or not of what is listed here.
    """
    if len(expression.encode()) > EXPRESSION_BYTES:
        raise ValueError(f"has more than {EXPRESSION_BYTES} bytes")
    if "\0" in expression:
        raise ValueError("holds a NUL")
    frame, made = _parsed(db, guarded("NULL", kind)), _parsed(db, guarded(expression, kind))
    items, empty = made.pop("select_list", ()), frame.pop("select_list")
    if made != frame or len(items) != 1:
        raise ValueError("is not one expression")
    (cast,), (bare,) = items, empty
    tried = cast.pop("child", {})
    if tried.get("type") != "OPERATOR_TRY" or len(tried["children"]) != 1 or _facts(cast, bare) != _facts(bare, bare):
        raise ValueError("is not one expression")
    _walk(tried["children"][0], frozenset(inputs), NESTING)


def _parsed(db: duckdb.DuckDBPyConnection, guarded_expression: str) -> dict[str, Any]:
    """The one SELECT that an expression makes, as DuckDB's parser sees it."""
    try:
        (text,) = db.execute("SELECT json_serialize_sql($1)", [f"SELECT {guarded_expression}"]).fetchall()[0]
        parsed = json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if parsed["error"]:
        raise ValueError(f"cannot be read: {parsed['error_message']}")
    if len(parsed["statements"]) != 1 or parsed["statements"][0]["named_param_map"]:
        raise ValueError("is not one expression")
    node: dict[str, Any] = parsed["statements"][0]["node"]
    return node


def _facts(node: Mapping[str, Any], like: Mapping[str, Any]) -> list[Any]:
    """The class of a node, its alias, and whatever it holds beside what it is about: not where it stands."""
    return [json.dumps(_placeless(node.get(key))) for key in like if key != "child" and "location" not in key]


def _placeless(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _placeless(value) for key, value in tree.items() if "location" not in key}
    return [_placeless(part) for part in tree] if isinstance(tree, list) else tree


def _walk(node: Any, names: frozenset[str], room: int) -> None:
    """Accept a node and all that is in it; `names` are the columns and parameters that can be used there."""
    if room <= 0:
        raise ValueError("is nested too deeply")
    if isinstance(node, list):
        for part in node:
            _walk(part, names, room)
    elif isinstance(node, dict):
        if "class" in node:
            names = _accepted(node, names)
        elif "node" in node or str(node.get("type", "")).endswith("_NODE"):
            raise ValueError("holds a query")
        for value in node.values():
            if isinstance(value, dict | list):
                _walk(value, names, room - ("class" in node))


def _accepted(node: Mapping[str, Any], names: frozenset[str]) -> frozenset[str]:
    """What can be named inside a node of a kind that may be used.

    Raises:
        ValueError: it may not be used.
    """
    match node["class"]:
        case "FUNCTION":
            _function(node)
        case "COLUMN_REF":
            first = str(node["column_names"][0])
            if first.lower() not in names:
                raise ValueError(f"uses {first}; what can be used is {', '.join(sorted(names))}")
        case "LAMBDA":
            return names | _parameters(node["lhs"])
        case "OPERATOR" if node["type"] in _OPERATORS:
            pass
        case "TYPE":
            if str(node["type_name"]).lower() not in _TYPES or node["schema"] or node["catalog"]:
                raise ValueError(f"uses the type {node['type_name']}")
        case kind if kind not in _PLAIN:
            raise ValueError(f"uses {str(node['type']).lower().replace('_', ' ')}")
    return names


def _function(node: Mapping[str, Any]) -> None:
    name = str(node["function_name"])
    if name.lower() not in _FUNCTIONS:
        raise ValueError(f"uses the function {name}, which is not among those that shapes can use")
    if node["schema"] or node["catalog"] or len(node["qualified_name"]["path"]) != 1:
        raise ValueError(f"takes the function {name} from a schema")
    if node["filter"] or node["distinct"] or node["order_bys"]["orders"] or node["export_state"]:
        raise ValueError(f"uses the function {name} as an aggregate")


def _parameters(left: Mapping[str, Any]) -> frozenset[str]:
    """The names of a lambda's parameters: one column, or a row of them."""
    listed = [left] if left["class"] == "COLUMN_REF" else [a["expression"] for a in left.get("arguments", ())]
    if not all(each["class"] == "COLUMN_REF" and len(each["column_names"]) == 1 for each in listed):
        raise ValueError("uses an arrow other than for a lambda")
    return frozenset(str(each["column_names"][0]).lower() for each in listed)
