"""Protocol extrapolation: how far features go straight on, as the rank of what comes next among all that is known.

Jayaraman & Grauman, CVPR 2016 (arXiv 1506.04714), sequence completion: given two moments, candidates for the third are
ordered by their distance to 2 z_m - z_l. The moments are evenly spaced cuts of a recording: their step is the longer,
the longer the recording and the fewer the cuts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.statistics import mean

_ROWS = 1024  # triplets compared at a time


def extrapolation_ranks(z: Tensor) -> Tensor:
    """Return, for every three moments in a row, the share of candidates nearer to 2 z_m - z_l than the true z_n.

    0 is best, .5 chance. Candidates are all moments of all recordings but the two that are given; equal distances count
    half.

    Args:
        z: features (R, T, D) of R recordings at T >= 3 moments in equal steps, not scaled to unit length.

    Returns:
        (R, T - 2), float64.
    """
    recordings, moments, _ = z.shape
    everything = z.double().flatten(0, 1)
    at = torch.arange(recordings * moments, device=z.device).view(recordings, moments)
    given, goal = at[:, :-2].flatten(), at[:, 2:].flatten()
    ranks = []
    for l, n in zip(torch.split(given, _ROWS), torch.split(goal, _ROWS), strict=True):  # noqa: E741
        expected = 2 * everything[l + 1] - everything[l]
        distance = torch.cdist(expected, everything, compute_mode="donot_use_mm_for_euclid_dist")
        true = distance.gather(1, n[:, None])
        distance.scatter_(1, torch.stack([l, l + 1], 1), torch.nan)  # what is given is no candidate
        nearer = (distance < true).sum(1) + ((distance == true).sum(1) - 1) / 2
        ranks.append(nearer.double() / (len(everything) - 3))
    return torch.cat(ranks).view(recordings, moments - 2)


def extrapolation(bench: Bench) -> None:
    """Add "<view>_next_rank/<name>" for every view to the bench's result: the mean over recordings, .5 by chance.

    In the projected space. Recordings with a cut missing, or too short for cuts at different times, are left out and
    counted.

    Raises:
        UsageError: fewer than three cuts of each recording were asked for.
    """
    if bench.windows < 3:
        raise UsageError(f"extrapolation needs three cuts of each recording or more, not {bench.windows}: --windows 12")
    held = bench.features("test", "projected")
    for view in bench.model.distinct_views():
        what, clips, start = f"{view}_next_rank", held.clips[view], held.start[view]
        cuts = clips.shape[1]
        used = held.clip_present[view].all(1) & (start.diff(dim=1) > 0).all(1)
        if cuts < 3:
            bench.result.lacks(what, [f"{bench.test.name} has {cuts} cut of each recording, and no later ones"])
            continue
        if int(used.sum()) < 2:
            bench.result.lacks(what, [f"{int(used.sum())} recordings have {view!r} at {cuts} different times"])
            continue
        bench.result.choices[what] = {
            "space": "projected",
            "cuts": cuts,
            "step_seconds": float(start[used].diff(dim=1).median()),
            "left_out": int((~used).sum()),
        }
        ranks = extrapolation_ranks(clips[used]).mean(1)
        bench.result.results.append(mean(f"{what}/{bench.name}", ranks, 0.5, bench.seed))
