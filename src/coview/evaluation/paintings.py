"""paintings.html: pictures before and after, beside each other and the truth where there is one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from coview.data.identity import as_text
from coview.errors import shown
from coview.evaluation.report import render
from coview.evaluation.sheets import as_uri
from coview.files import write_aside
from coview.painting.files import Painted

PAGE = "paintings.html"
LIMIT = 60  # pictures on a page: about two megabytes


def write_page(out: Path, painted: Sequence[Painted], model: str, paints: str, problems: int) -> Path:
    """Write `out`/paintings.html with the first pictures, each beside what it was made of; return its path.

    Args:
        model: its method, for the heading.
        paints: "colour", "holes" or "noise".
        problems: how many pictures were left out.
    """
    rows = [
        {
            "name": shown(as_text(one.source.name)),
            "link": quote(os.fsencode(one.target.relative_to(out))),
            "pictures": [(caption, as_uri(small)) for caption, small in one.shown],
        }
        for one in painted[:LIMIT]
    ]
    page = render(
        "paintings.html.jinja", model=model, paints=paints, rows=rows, more=len(painted) - len(rows), problems=problems
    )
    write_aside(out / PAGE, page)
    return out / PAGE
