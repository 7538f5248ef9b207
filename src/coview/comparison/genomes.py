"""Population searches in the box [0, 1]^n: each asks for genomes, and is told how unfit they are (lower is better).

- random: uniform draws, what the others are to be compared with.
- tournament: (mu + lambda) of equal size. A child has two parents, each the fitter of two drawn by lot, and every gene
  of one of them; one of its genes is drawn anew. Of parents and children the fittest stay. (The operators that ELo,
  arXiv 2002.12177, names; rates and sizes are choices.)
- cma: covariance matrix adaptation (Hansen, arXiv 1604.00772) by the package cmaes, from the box's middle.

The same seed asks for the same genomes, as long as it is told the same.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from coview.errors import UsageError
from coview.randomness import integers, make_key, uniform

Kind = Literal["random", "tournament", "cma"]
_STEP = 0.3  # deviation of CMA's first genomes: most of the box
_CHILD, _PARENT, _GENE, _VALUE = range(4)  # streams


class Strategy(Protocol):
    """A search that can be asked for genomes, and told."""

    def ask(self) -> Tensor:
        """Return the next generation, float64 (P, n) in [0, 1]."""
        ...

    def tell(self, genomes: Tensor, unfit: Tensor) -> None:
        """Learn how unfit (P,) the genomes of a whole generation are; infinity is what failed."""
        ...


class Random:
    """Uniform draws."""

    def __init__(self, genes: int, population: int, seed: int) -> None:
        self.genes, self.population, self.seed, self.generation = genes, population, seed, 0

    def ask(self) -> Tensor:
        """See `Strategy.ask`."""
        return uniform(self._keys(), _VALUE, self.genes).double()

    def tell(self, genomes: Tensor, unfit: Tensor) -> None:
        """See `Strategy.tell`: nothing but the time goes on."""
        self.generation += 1

    def _keys(self) -> Tensor:
        return make_key(self.seed, self.generation, torch.arange(self.population))


class Tournament(Random):
    """(mu + lambda) with tournaments of two, uniform crossover, and one gene drawn anew."""

    def __init__(self, genes: int, population: int, seed: int) -> None:
        super().__init__(genes, population, seed)
        self.parents, self.unfit = torch.empty(0, genes, dtype=torch.float64), torch.empty(0, dtype=torch.float64)

    def ask(self) -> Tensor:
        """See `Strategy.ask`."""
        if not len(self.parents):
            return super().ask()
        keys = self._keys()
        drawn = integers(keys, _PARENT, len(self.parents), 2, 2)  # two rounds of two
        winners = drawn.gather(2, self.unfit[drawn].argmin(2, keepdim=True))[:, :, 0]
        first, second = (self.parents[winners[:, side]] for side in (0, 1))
        children = torch.where(uniform(keys, _CHILD, self.genes) < 0.5, first, second)
        return children.scatter(1, integers(keys, _GENE, self.genes, 1), uniform(keys, _VALUE, 1).double())

    def tell(self, genomes: Tensor, unfit: Tensor) -> None:
        """See `Strategy.tell`."""
        super().tell(genomes, unfit)
        everyone, all_unfit = torch.cat([self.parents, genomes]), torch.cat([self.unfit, unfit.double()])
        kept = all_unfit.argsort(stable=True)[: self.population]
        self.parents, self.unfit = everyone[kept], all_unfit[kept]


class CMA:
    """Covariance matrix adaptation inside the box: what is drawn outside is drawn again, at last moved to its edge."""

    def __init__(self, genes: int, population: int, seed: int) -> None:
        try:
            cmaes: Any = importlib.import_module("cmaes")
        except ImportError as error:
            raise UsageError("the strategy 'cma' needs the package cmaes: pip install 'coview[evolution]'") from error
        if genes < 2 or population < 3:
            raise UsageError(f"'cma' needs two settings and a population of three, found {genes} and {population}")
        middle = torch.full((genes,), 0.5, dtype=torch.float64).numpy()
        box = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(genes, 2).numpy()
        self.search = cmaes.CMA(middle, _STEP, bounds=box, seed=seed, population_size=population)

    def ask(self) -> Tensor:
        """See `Strategy.ask`."""
        return torch.stack([torch.from_numpy(self.search.ask()) for _ in range(self.search.population_size)])

    def tell(self, genomes: Tensor, unfit: Tensor) -> None:
        """See `Strategy.tell`."""
        self.search.tell(list(zip(genomes.numpy(), unfit.tolist(), strict=True)))


KINDS: dict[Kind, type[Random] | type[CMA]] = {"random": Random, "tournament": Tournament, "cma": CMA}


def strategy_of(kind: Kind, genes: int, population: int, seed: int) -> Strategy:
    """Begin a search; raises UsageError where there is nothing to search, or its package is not installed."""
    if genes < 1 or population < 2:
        raise UsageError(f"a search needs a setting to move and a population of two, found {genes} and {population}")
    return KINDS[kind](genes, population, seed)
