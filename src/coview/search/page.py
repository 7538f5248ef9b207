"""A page of what a search has found: tiles that play, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coview.data.source import Source
from coview.errors import CoviewError
from coview.evaluation.report import render
from coview.evaluation.tiles import Clips, Tile
from coview.evaluation.wording import plain_view
from coview.files import write_aside
from coview.search.query import Hit

_BUDGET = 9_000_000  # bytes of all clips that play, before base64


def write_hits(
    path: Path, source: Source, hits: Sequence[Hit], *, words: str, asked: str, wanted: str, recording: str | None
) -> None:
    """Write the hits of one query, best first.

    Args:
        source: the recordings that were searched; a hit's row is a row of it.
        words: what was asked, for people: a file's name, words or an id.
        asked, wanted: the views that were compared.
        recording: the id of the query where it is a recording of the source; it is shown too.

    Raises:
        CoviewError: the page cannot be written.
    """
    clips = Clips(source, _BUDGET)
    query = None if recording is None else tile_of(source, clips, list(source.ids).index(recording))
    found = [(hit, tile_of(source, clips, hit.row)) for hit in hits]
    page = render(
        "search.html.jinja", words=words, asked=plain_view(asked), wanted=plain_view(wanted), query=query, found=found,
        recordings=len(source), collection=source.name, clips=clips, played=clips.played,
    )  # fmt: skip
    write_page(path, page)


def tile_of(source: Source, clips: Clips, row: int) -> Tile:
    """Return one recording as a tile."""
    label = int(source.labels[row])
    return Tile(source.ids[row], source.classes[label] if label >= 0 else "", clips.get(row))


def write_page(path: Path, page: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        CoviewError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, page)
    except OSError as error:
        raise CoviewError(f"{path}: cannot be written ({error}); make room, or give another name") from error
