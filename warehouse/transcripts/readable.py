"""What of a content can be read as a transcript: SQL for its text, and for what is too large or too deep; pure."""

LARGEST_BYTES = 8 << 20
"""Largest content that is read. Reading takes some fifty times its size in memory, for all shapes together."""

DEEPEST = 512
"""Levels of brackets in JSON that is read. DuckDB's casts and searches go down a level by calling themselves: with
8 MB of stack they crashed between 20,000 and 50,000 levels, and other systems give a thread a sixteenth of that."""

LEVELS_AT_ONCE = 16

BOM = "\ufeff"

TOO_LARGE, TOO_DEEP = "larger than 8 MB", f"nested more than {DEEPEST} times"
"""What `problem` says of a content that is not read."""


def decoded(content: str) -> str:
    """SQL for the text of bytes in UTF-8, without the byte order mark that some write in front."""
    return f"ltrim(decode({content}), chr({ord(BOM)}))"


def plain(content_type: str) -> str:
    """SQL for whether a type of text is one that is not JSON."""
    kind = f"lower(trim(split_part({content_type}, ';', 1)))"
    return f"(starts_with({kind}, 'text/') AND NOT regexp_full_match({kind}, '.*[/+](x-)?(nd)?json[l5]?'))"


def deep(text: str) -> str:
    """SQL for whether a JSON text is nested more than DEEPEST times; cheap where it has too few brackets for that.

    What is left are the brackets outside of strings; then pairs that hold nothing but pairs are taken out, some levels
    at once. Pairs that are still there were nested deeper.
    """
    brackets = f"2 * strlen({text}) - strlen(replace({text}, '[', '')) - strlen(replace({text}, '{{', ''))"
    pair = "\\[\\]"
    for _ in range(LEVELS_AT_ONCE - 1):
        pair = f"\\[({pair})*\\]"
    left = f"""translate(regexp_replace({text}, '"(\\\\.|[^"\\\\])*"|[^\\[\\]{{}}"]+', '', 'g'), '{{}}', '[]')"""
    for _ in range(DEEPEST // LEVELS_AT_ONCE):
        left = f"regexp_replace({left}, '{pair}', '', 'g')"
    return f"CASE WHEN {brackets} > {DEEPEST} THEN {left} <> '' ELSE false END"
