"""A page as a program reads it: its tables, the questions beside them, its texts, its tags."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Table:
    """One table: names of the columns as SQL has them, and cells, numbers as they stand in `value`."""

    columns: list[str] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    sql: str = ""


class Page(HTMLParser):
    """Everything of a page; raises on nothing."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, Table] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.labels: list[str] = []
        self._within: list[str] = []
        self._table = Table()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A table begins, or a row or a cell of it; all are kept."""
        values = dict(attrs)
        self.tags.append((tag, values))
        self._within.append(tag)
        if tag == "table":
            self._table = self.tables.setdefault(str(values["id"]).removeprefix("table-"), Table())
        elif tag == "tr" and "tbody" in self._within:
            self._table.rows.append([])
        elif tag == "td":
            self._table.rows[-1].append(None if "quiet" in (values.get("class") or "") else "")
        elif tag in ("data", "time") and "td" in self._within:
            self._table.rows[-1][-1] = values["value" if tag == "data" else "datetime"]
        elif tag == "svg":
            self.labels.append(values["aria-label"] or "")

    def handle_endtag(self, tag: str) -> None:
        """What was begun since, and needs no end, ends with it."""
        if tag in self._within:
            del self._within[len(self._within) - 1 - self._within[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        """A text, of the page or of a cell."""
        if "style" in self._within:
            return
        self.texts.append(data)
        if "th" in self._within:
            self._table.columns.append(data.replace(" ", "_"))
        elif "pre" in self._within:
            self._table.sql += data
        elif self._within[-1:] == ["td"]:
            cells = self._table.rows[-1]
            cells[-1] = None if cells[-1] is None else cells[-1] + data
