"""What a file says of itself in words: the title and the description that its container or its picture carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TOLD = ("title", "description", "imagedescription", "synopsis")  # in this order; comments are mostly of the encoder
MOST = 1 << 14  # characters kept


def told(tags: Mapping[Any, Any]) -> str:
    """Return the title and the description among a file's tags, in any case of letters, each once; "" for none."""
    known = {str(name).lower(): value for name, value in tags.items() if isinstance(value, str)}
    parts = dict.fromkeys(known[name].replace("\0", " ").strip() for name in _TOLD if name in known)
    return " ".join(" ".join(parts).split())[:MOST]
