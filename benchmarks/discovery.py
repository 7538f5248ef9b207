"""What one query of context discovery costs at the published sizes: CPU-seconds and most memory.

    python benchmarks/discovery.py            # 20 predictors, 2,000 parts in each of 16 mixtures, 12 cells around

The pictures are noise about one pattern, so that every cell of the window is predicted: the most that a query can cost.
"""

from __future__ import annotations

import resource
import time

import torch

from coview.methods.context_discovery import ContextDiscoverySettings
from coview.objectives.context_growth import Windows, grow
from coview.objectives.stuff_model import Dictionary, Stuff, half_diamonds

DEVIATION = 0.02  # of a cell's numbers about the pattern, which are up to .2


def dictionary(half: torch.Tensor, parts: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Return a dictionary of parts at random."""
    cells = int(half.sum())
    means, middle = (0.2 * torch.rand(parts, *shape, generator=generator) for shape in ((cells, 31), (31,)))
    spread = DEVIATION * torch.eye(31).expand(parts, 31, 31)
    shares = torch.full((parts,), 1 / parts)
    return Dictionary(half, shares, means, torch.full_like(means, DEVIATION), middle, spread.clone()).tensors()


def main() -> None:
    """Measure and print."""
    settings, generator = ContextDiscoverySettings(), torch.Generator().manual_seed(0)
    halves, side = half_diamonds(), settings.patch + 2 * settings.reach
    stuff = Stuff({str(n): dictionary(halves[..., n], settings.parts, generator) for n in range(halves.shape[-1])})
    pattern = 0.2 * torch.rand(1, side, side, 31, generator=generator)
    noise = torch.randn(1 + settings.predictors, side, side, 31, generator=generator)
    ones = torch.ones(1 + settings.predictors, side, side)
    windows = Windows(pattern + DEVIATION * noise, 100 * ones, ones > 0, 0.5 * ones)
    begin = time.process_time()
    found = grow(windows[:1], windows[1:], stuff.log_likelihood, settings.patch)
    spent, most = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{int(found.predicted.sum())} cells predicted: {spent:.1f} CPU-seconds, {most:.0f} MB at most")


if __name__ == "__main__":
    main()
