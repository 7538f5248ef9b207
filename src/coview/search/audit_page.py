"""What an audit leaves: a page to look at, a table for programs, and the same in plain text."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from coview.data.source import Source
from coview.errors import CoviewError
from coview.evaluation.report import render
from coview.evaluation.tiles import Clips
from coview.files import write_aside, written_whole
from coview.search.audit import KINDS, Audit
from coview.search.page import tile_of, write_page

_SHOWN, _TILES, _BUDGET = 24, 6, 9_000_000  # suspects of a kind, recordings of each, bytes of all clips


def write_audit(folder: Path, source: Source, found: Audit, name: str) -> Path:
    """Write audit.html, audit.parquet (kind, group, id, score, why; a row per recording) and audit.md; return the page.

    Raises:
        CoviewError: the folder cannot be written.
    """
    clips = Clips(source, _BUDGET)
    kinds = []
    for kind, words in KINDS.items():
        some = [each for each in found.suspects if each.kind == kind][:_SHOWN]
        tiles = [(each, [tile_of(source, clips, row) for row in each.rows[:_TILES]]) for each in some]
        kinds.append((words, found.counts[kind], tiles))
    page = render(
        "audit.html.jinja", collection=source.name, recordings=len(source), name=name, kinds=kinds, notes=found.notes,
        clips=clips, played=clips.played,
    )  # fmt: skip
    write_page(folder / "audit.html", page)
    try:
        with written_whole(folder / "audit.parquet") as aside:
            pq.write_table(table(source, found), aside)
        write_aside(folder / "audit.md", text(source, found))
    except OSError as error:
        raise CoviewError(f"{folder}: cannot be written ({error}); make room, or give another -o") from error
    return folder / "audit.html"


def table(source: Source, found: Audit) -> pa.Table:
    """Return a row per suspect recording; those that are suspect together share a group."""
    rows = [
        {"kind": each.kind, "group": number, "id": source.ids[row], "score": each.score, "why": each.why}
        for number, each in enumerate(found.suspects)
        for row in each.rows
    ]
    fields = {"kind": pa.string(), "group": pa.int64(), "id": pa.string(), "score": pa.float64(), "why": pa.string()}
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def text(source: Source, found: Audit) -> str:
    """Return the audit as Markdown."""
    lines = [f"# What is suspect in {source.name}", "", f"{len(source)} recordings.", *found.notes]
    for kind, words in KINDS.items():
        lines += ["", f"## {words}: {found.counts[kind]}", ""]
        some = [each for each in found.suspects if each.kind == kind]
        lines += [f"- {', '.join(f'`{source.ids[row]}`' for row in each.rows)}: {each.why}" for each in some]
    return "\n".join(lines).encode(errors="backslashreplace").decode() + "\n"
