"""Pages in HTML that are one file and ask nothing of a network."""

from collections.abc import Collection, Iterable, Sequence
from html import escape


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: Collection[str] = ()) -> str:
    """A table, every cell escaped; columns named in ``left`` are text, which the page's style may set to the left."""
    marks = [' class="text"' if name in left else "" for name in head]
    lines = ["<table><tr>" + "".join(_cells("th", head, marks)) + "</tr>"]
    lines += ["<tr>" + "".join(_cells("td", row, marks)) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])


def _cells(tag: str, texts: Sequence[str], marks: Sequence[str]) -> list[str]:
    return [f"<{tag}{mark}>{escape(text)}</{tag}>" for text, mark in zip(texts, marks, strict=True)]


def document(title: str, style: str, body: str) -> str:
    """The whole page."""
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">{viewport}<title>{escape(title)}</title><style>{style}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
