"""What a file says of itself in words: the title and the description that its container or its picture carries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import av

_TOLD = ("title", "description", "imagedescription", "synopsis")  # in this order; comments are mostly of the encoder
MOST = 1 << 14  # characters kept
# For `av.open`: a tag in an old encoding says less, and harms nothing else. PyAV 19 is so of itself, and has no choice.
LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
_HALVES = re.compile("[\ud800-\udfff]")  # what PyAV 19 makes of bytes that are no UTF-8


def told(tags: Mapping[Any, Any]) -> str:
    """Return the title and the description among a file's tags, in any case of letters, each once; "" for none."""
    known = {str(name).lower(): value for name, value in tags.items() if isinstance(value, str)}
    parts = dict.fromkeys(
        _HALVES.sub("\ufffd", known[name]).replace("\0", " ").strip() for name in _TOLD if name in known
    )
    return " ".join(" ".join(parts).split())[:MOST]
