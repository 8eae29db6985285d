"""A report as one HTML page: text, tables, pictures, and players that keep their place when you switch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import soundfile

from ..audio import Audio
from ..files import atomic_write

DASH = "\N{EN DASH}"  # nothing to show

STYLE = """
:root { color-scheme: light; --ink: #1d2430; --faint: #5b6470; --line: #e3e6ea; --accent: #3b6fb6; --best: #e9f3ec; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 62rem; margin: 2.5rem auto;
  padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { margin-top: 2.6rem; font-size: 1.25rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; overflow-wrap: anywhere; }
p, li { max-width: 46rem; } .faint, caption, figcaption { color: var(--faint); font-size: .88rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: pre-wrap; }
td.best { background: var(--best); font-weight: 600; }
tr > :not(:first-child) { padding-left: .9rem; }
table.prose td { white-space: normal; text-align: left; vertical-align: top; } table.prose th { text-align: left; }
table.prose th:first-child { white-space: nowrap; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
.players { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1rem; align-items: center; }
.players span { overflow-wrap: anywhere; } audio { width: 100%; height: 2.4rem; }
details summary { cursor: pointer; color: var(--accent); }
@media (max-width: 40rem) { .players { grid-template-columns: 1fr; } }
"""

# One sound at a time; the next one of a group goes on from where the last one was.
SCRIPT = """
for (const group of document.querySelectorAll('.players.same')) {
  const all = [...group.querySelectorAll('audio')];
  let last = null;
  for (const a of all) a.addEventListener('play', () => {
    if (last && last !== a && !last.ended) a.currentTime = Math.min(last.currentTime, a.duration || Infinity);
    last = a;
  });
}
document.addEventListener('play', event => {
  for (const a of document.querySelectorAll('audio')) if (a !== event.target) a.pause();
}, true);
"""


class Page:
    """Collects the body; `text` is the whole page. Everything given is escaped."""

    def __init__(self, title: str, subtitle: str) -> None:
        self.title = title
        self.body = [f"<h1>{escape(title)}</h1>", f'<p class="faint">{escape(subtitle)}</p>']

    def heading(self, text: str, level: int = 2) -> None:
        self.body.append(f"<h{level}>{escape(text)}</h{level}>")

    def paragraph(self, text: str, faint: bool = False) -> None:
        self.body.append(f'<p class="faint">{escape(text)}</p>' if faint else f"<p>{escape(text)}</p>")

    def items(self, lines: Iterable[str]) -> None:
        self.body.append("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")

    def table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        best: Mapping[int, set[int]] | None = None,
        caption: str = "",
        folded: str = "",
        prose: bool = False,
    ) -> None:
        """`best`: {row: columns to mark}. `folded`: the words that open it. `prose`: cells are text that wraps."""
        marked = best or {}
        lines = [
            "<thead><tr>" + "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head) + "</tr></thead><tbody>"
        ]
        for number, row in enumerate(rows):
            cells = [f'<th scope="row">{escape(row[0])}</th>'] if row else []
            for column, cell in enumerate(row[1:], 1):
                mark = ' class="best"' if column in marked.get(number, ()) else ""
                cells.append(f"<td{mark}>{escape(cell)}</td>")
            lines.append(f"<tr>{''.join(cells)}</tr>")
        about = f"<caption>{escape(caption)}</caption>" if caption else ""
        kind = ' class="prose"' if prose else ""
        table = f'<div class="wide"><table{kind}>{about}{"".join(lines)}</tbody></table></div>'
        self.body.append(f"<details><summary>{escape(folded)}</summary>{table}</details>" if folded else table)

    def picture(self, path: str, alt: str, caption: str = "") -> None:
        about = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self.body.append(f'<figure><img src="{escape(path)}" alt="{escape(alt)}" loading="lazy">{about}</figure>')

    def players(self, sounds: Mapping[str, str], same: bool = True) -> None:
        """{name: path}. `same`: versions of one sound, which keep their place when you switch."""
        rows = "".join(
            f'<span>{escape(name)}</span><audio controls preload="none" src="{escape(path)}" '
            f'aria-label="{escape(name)}"></audio>'
            for name, path in sounds.items()
        )
        self.body.append(f'<div class="players{" same" if same else ""}">{rows}</div>')

    @property
    def text(self) -> str:
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{STYLE}</style></head>\n<body>\n"
            + "\n".join(self.body)
            + f"\n<script>{SCRIPT}</script>\n</body></html>\n"
        )


def write_flac(path: Path, sound: Audio, rate_hz: int) -> None:
    """For listening: 16 bit, which every browser plays; what would clip is turned down as a whole."""
    peak = float(np.abs(sound).max(initial=0.0))
    with atomic_write(path) as temporary:
        soundfile.write(temporary, (sound / max(1.0, peak)).T, rate_hz, subtype="PCM_16", format="FLAC")


def number(value: float | None, digits: int = 3) -> str:
    """Three figures that count, and no more decimals than that; a dash for nothing."""
    if value is None or not np.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{min(decimals, 3)}f}"


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
