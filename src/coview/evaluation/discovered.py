"""clusters.html: what a pipeline found in pictures, to look at; and how pure it is where labels exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from coview.data.collection import Collection
from coview.errors import CoviewError, MediaError
from coview.evaluation.report import render
from coview.evaluation.sheets import as_uri
from coview.evaluation.statistics import Measurement, mean
from coview.evaluation.wording import in_words
from coview.files import write_aside
from coview.methods.parts.patch_pictures import read_picture
from coview.methods.pipeline import Cluster, Found, Member
from coview.randomness import make_key, uniform

PAGE = 24  # clusters, the best
SHOWN = 6  # members of each, the best
SIDE = 128  # pixels of a shown patch with what surrounds it
_DEALS, _DEAL = 100, 0x6465616C  # times that labels are dealt out anew, and the stream of that
_READ = 400  # pixels of the short side that pictures are read at


@dataclass(frozen=True)
class Shown:
    """A member: `picture` is a data URI, empty where it cannot be read any more; and its score."""

    recording: str
    picture: str
    score: float


def write_page(found: Found, collection: Collection, out: Path, name: str) -> tuple[Path, list[Measurement]]:
    """Write `out`/clusters.html; return its path and the figures on it (`figures_of`).

    Raises:
        CoviewError: the page cannot be written.
    """
    rows = {recording: row for row, recording in enumerate(collection.ids)}
    known = dict(zip(collection.ids, collection.column("label"), strict=True))
    results = figures_of(found, {recording: label for recording, label in known.items() if label is not None}, name)
    clusters = [
        (cluster, [_shown(member, collection, rows[member.recording]) for member in cluster.members[:SHOWN]])
        for cluster in found.clusters[:PAGE]
    ]
    page = render(
        "clusters.html.jinja", name=name, pictures=found.pictures, clusters=clusters,
        results=[(in_words(m), m) for m in results], left_out=len(found.clusters) - len(clusters),
    )  # fmt: skip
    path = out / "clusters.html"
    try:
        write_aside(path, page)
    except OSError as error:
        raise CoviewError(f"{path}: cannot be written ({error}); make room, or give another -o") from error
    return path, results


def figures_of(found: Found, labels: Mapping[str, str], name: str) -> list[Measurement]:
    """Return coverage, the share of the pictures that clusters touch; and where members have labels, purity.

    Purity is the mean over clusters of the share of members with the commonest label; its interval is over clusters.
    Its chance level is that of the same clusters after the labels were dealt out anew, `_DEALS` times: of few members
    most have the commonest label anyhow.
    """
    touched = {member.recording for cluster in found.clusters for member in cluster.members}
    covered = len(touched) / found.pictures if found.pictures else 0.0
    results = [Measurement(f"picture_coverage/{name}", covered, None, None, None, found.pictures)]
    pure = _purities(found.clusters, labels)
    if len(pure):
        results.append(mean(f"cluster_purity/{name}", pure, _chance(found.clusters, labels), 0))
    return results


def _purities(clusters: Sequence[Cluster], labels: Mapping[str, str]) -> Tensor:
    """Return the purity, float64, of every cluster that has a member with a label."""
    known = [Counter(labels[m.recording] for m in cluster.members if m.recording in labels) for cluster in clusters]
    pure = [each.most_common(1)[0][1] / each.total() for each in known if each]
    return torch.tensor(pure, dtype=torch.float64)


def _chance(clusters: Sequence[Cluster], labels: Mapping[str, str]) -> float:
    """Return the mean purity where the labels are dealt out anew among the recordings that have one."""
    names, values = list(labels), list(labels.values())
    dealt = uniform(make_key(torch.arange(_DEALS)), _DEAL, len(values)).argsort(dim=1, stable=True)
    anew = [dict(zip(names, (values[place] for place in order), strict=True)) for order in dealt.tolist()]
    return float(torch.stack([_purities(clusters, each).mean() for each in anew]).mean())


def _shown(member: Member, collection: Collection, row: int) -> Shown:
    """Return a member's patch, framed, in the middle of what surrounds it; mirrored as it was found."""
    about = collection[row]
    try:
        short = min(_READ, about.width, about.height)
        whole = Image.fromarray(read_picture(collection.path(about), about, short))
    except MediaError:
        return Shown(member.recording, "", member.score)
    across, down = whole.width / about.width, whole.height / about.height
    left, top, right, bottom = (edge * by for edge, by in zip(member.box, (across, down) * 2, strict=True))
    ImageDraw.Draw(whole).rectangle((left, top, right, bottom), outline=(255, 96, 32), width=max(1, short // 150))
    wide, high = right - left, bottom - top
    part = whole.crop(
        (round(left - wide / 2), round(top - high / 2), round(right + wide / 2), round(bottom + high / 2))
    )
    part = part.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return Shown(member.recording, as_uri(np.asarray(ImageOps.mirror(part) if member.mirrored else part)), member.score)
