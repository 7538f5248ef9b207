"""What k-means walks over: rows in blocks, the nearest centroids of a block, and exact sums of clusters."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.parallel import gather, rank, row_counts, sum_with_grad

BLOCK = 1 << 12  # rows looked at together
CENTRE_ROWS = 4096  # rows whose mean is taken for the common offset


class Rows:
    """This process's rows of features, read in blocks: on one device, joined, scaled as asked, less `offset` (D,)."""

    def __init__(
        self, parts: list[Tensor], index: Tensor | None, unit: bool, spherical: bool, device: torch.device
    ) -> None:
        self.parts, self.index = parts, None if index is None else index.cpu()
        self.unit, self.spherical, self.device = unit, spherical, device
        self.offset = torch.zeros(sum(part.shape[1] for part in parts), dtype=torch.float64, device=device)

    def __len__(self) -> int:
        return self.parts[0].shape[0] if self.index is None else self.index.shape[0]

    def take(self, place: slice | Tensor) -> Tensor:
        """Return rows (n, D), float64, by their position among this process's."""
        read = [part.to(torch.float64) for part in self._read(place)]
        read = [normalize(part, dim=1) for part in read] if self.unit else read
        joined = torch.cat(read, 1) if len(read) > 1 else read[0]
        return (normalize(joined, dim=1) if self.spherical else joined) - self.offset

    def near(self, place: slice) -> Tensor:
        """Return the same rows in float32, rounded once."""
        if len(self.parts) > 1 or self.unit or self.spherical or self.parts[0].dtype != torch.float32:
            return self.take(place).float()
        return self._read(place)[0] - self.offset.float()

    def _read(self, place: slice | Tensor) -> list[Tensor]:
        where = place.cpu() if isinstance(place, Tensor) else place
        where = where if self.index is None else self.index[where]
        where = where.to(self.parts[0].device) if isinstance(where, Tensor) else where
        return [part[where].to(self.device) for part in self.parts]

    def places(self) -> Iterator[slice]:
        """Yield the places of this process's rows, a block at a time."""
        for first in range(0, len(self), BLOCK):
            yield slice(first, min(first + BLOCK, len(self)))

    def centre(self, row: Tensor) -> None:
        """Take the mean of the rows with the lowest numbers for `offset`: the same on every number of processes."""
        order, mine = row.sort()
        keys, some = gather(order[:CENTRE_ROWS]), gather(self.take(mine[:CENTRE_ROWS]))
        if len(some):
            # Of float32's digits, so that float32 features lose none by it.
            self.offset = some[keys.argsort()[:CENTRE_ROWS]].mean(0).float().double()

    def unit_length(self, centroids: Tensor) -> Tensor:
        """Return centred centroids (K, D), of unit length (with the offset) where the clustering is spherical."""
        return normalize(centroids + self.offset, dim=1) - self.offset if self.spherical else centroids

    def numbers(self) -> Tensor:
        """Return int64 (N_r,): the number of each row among those of all processes, in order of rank."""
        own = torch.arange(len(self), device=self.device)
        return own + sum(row_counts(own)[: rank()])

    def survey(self) -> tuple[int, float]:
        """Return the number of rows and the largest magnitude, of all processes."""
        own = torch.zeros(1, 2, dtype=torch.float64, device=self.device)
        own[0, 0] = len(self)
        for place in self.places():
            for end in torch.aminmax(self.take(place) if self.parts[0].dtype == torch.float64 else self.near(place)):
                own[0, 1] = torch.maximum(own[0, 1], end.abs())  # what is not a number comes through both
        everyone = gather(own)
        return int(everyone[:, 0].sum()), max(float(everyone[:, 1].max()), 1e-200)


class Nearest:
    """The nearest of centroids (K, D) to rows of the same type, and how far rounding could have chosen."""

    def __init__(self, centroids: Tensor) -> None:
        self.centroids, self.sizes = centroids, centroids.square().sum(1)
        self.largest = float(self.sizes.max().sqrt())

    def scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return squared distances less the rows' own squares (n, K), and a bound (n,) of two scores' errors."""
        length = x.square().sum(1).sqrt()
        # Rounded inputs, D products and as many sums, each of half a unit.
        error = torch.finfo(x.dtype).eps * (x.shape[1] + 4) * self.largest * (2 * length + self.largest)
        return torch.addmm(self.sizes, x, self.centroids.T, alpha=-2), error

    def one(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest (n,), and whether it is so beyond rounding."""
        scores, error = self.scores(x)
        best, index = scores.min(1)
        return index, scores.scatter_(1, index[:, None], torch.inf).amin(1) - best > error

    def first(self, x: Tensor) -> Tensor:
        """Return the first (n,) of those that are nearest up to rounding, which no kernel or shape can change."""
        scores, error = self.scores(x)
        return (scores <= scores.amin(1, keepdim=True) + error[:, None]).int().argmax(1)


class Sums:
    """The sums (K, D) of clusters in fixed point and counts (K,), int64: exact, so that changes alone are added."""

    def __init__(self, rows: Rows, clusters: int, scale: float) -> None:
        self.rows, self.scale = rows, scale
        self.sums = torch.zeros(clusters, len(rows.offset), dtype=torch.int64, device=rows.device)
        self.labels = torch.full((len(rows),), -1, dtype=torch.int64, device=rows.device)

    def follow(self, labels: Tensor) -> bool:
        """Move rows to the clusters of `labels` (N_r,); return whether any row of any process moved."""
        moved = (labels != self.labels).nonzero().flatten()
        for some in torch.split(moved, BLOCK):
            values = (self.rows.take(some) * self.scale).round_().long()
            self.sums.index_add_(0, labels[some], values)
            known = self.labels[some] >= 0
            if bool(known.any()):
                self.sums.index_add_(0, self.labels[some][known], values[known].neg_())
        self.labels = labels
        return bool(sum_with_grad(moved.new_tensor(len(moved))))

    def everyone(self) -> tuple[Tensor, Tensor]:
        """Return the sums and counts of all processes."""
        return sum_with_grad(self.sums).clone(), sum_with_grad(torch.bincount(self.labels, minlength=len(self.sums)))
