"""A report as one page to look at and listen to."""

from html import escape
from pathlib import Path

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #222 }
img { max-width: 100%; height: auto } video { width: 320px; image-rendering: pixelated } figure { margin: 1rem 0 }
.films { display: flex; flex-wrap: wrap; gap: 1rem } .films figure { margin: 0 }
table { border-collapse: collapse; margin: .5rem 0 1.5rem }
td, th { padding: .15rem .7rem; border-bottom: 1px solid #ddd }
td { text-align: right; font-variant-numeric: tabular-nums } th { text-align: left; font-weight: 500 }
"""


def write_page(folder: Path, title: str, report: dict, films: list[str], pictures: list[str]) -> None:
    """Writes `index.html` to `folder`: films (with their sound), pictures, and the report's figures as tables.

    films, pictures: names of files in the folder. It needs nothing but them, so the folder can be moved and shared.
    """
    films = [f'<figure><video src="{f}" controls loop></video><figcaption>{f}</figcaption></figure>' for f in films]
    pictures = [f'<figure><img src="{p}" alt="{p}"><figcaption>{p}</figcaption></figure>' for p in pictures]
    body = [f"<h1>{escape(title)}</h1>", f'<div class="films">{"".join(films)}</div>', *pictures, _section(report)]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    lines = ["<!doctype html>", f'<html lang="en"><head>{head}</head><body>', *body, "</body></html>", ""]
    (folder / "index.html").write_text("\n".join(lines), encoding="utf-8")


def _section(report: dict, level: int = 2) -> str:
    """Figures of one part as a table, parts within it below; parts that have the same figures share a table."""
    plain = {k: v for k, v in report.items() if not isinstance(v, dict)}
    parts = {k: v for k, v in report.items() if isinstance(v, dict)}
    out = [_table([[k, _show(v)] for k, v in plain.items()])] if plain else []
    flat = {k: v for k, v in parts.items() if v and not any(isinstance(x, dict) for x in v.values())}
    if len(flat) > 1 and len({tuple(v) for v in flat.values()}) == 1:
        names = list(next(iter(flat.values())))
        out.append(_table([[k, *(_show(v[n]) for n in names)] for k, v in flat.items()], ["", *names]))
        parts = {k: v for k, v in parts.items() if k not in flat}
    size = min(level, 6)
    out += [f"<h{size}>{escape(k)}</h{size}>{_section(v, level + 1)}" for k, v in parts.items()]
    return "\n".join(out)


def _table(rows: list[list[str]], head: list[str] | None = None) -> str:
    cells = lambda row: f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(x)}</td>' for x in row[1:])}</tr>"
    first = f"<tr>{''.join(f'<th>{escape(x)}</th>' for x in head)}</tr>" if head else ""
    return f"<table>{first}{''.join(map(cells, rows))}</table>"


def _show(value) -> str:
    if isinstance(value, list):
        return ", ".join(map(_show, value))
    return "?" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
