"""The card of a model: README.md with a YAML head, as hubs read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from coview.methods.contract import Method


def card(method: Method, about: Mapping[str, Any]) -> str:
    """Return the card of a method that was trained as `about` says."""
    who = method.about
    head = {"library_name": "coview", "tags": [who.slug, who.family, *method.views]}
    views = "\n".join(f"- `{name}`: {spec}" for name, spec in method.views.items())
    known = {
        **about["collection"],
        "labels in it (not learnt from unless the method says so)": len(about["classes"]),
    }
    known |= {name: value for name, value in about.items() if isinstance(value, (int, float, str))}
    numbers = "\n".join(f"- {name}: {value}" for name, value in known.items())
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# {who.title}\n\n{who.paper}. "
        f"State in coview: {who.state}.\n\n## Views\n\n{views}\n\n## Training\n\n{numbers}\n\n## Use\n\n"
        '```python\nimport coview\n\nmodel = coview.load("path/to/this/folder")\n'
        'embeddings = model.embed(["clip.mp4"])\n```\n'
    )
