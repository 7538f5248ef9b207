"""What k-means walks over: rows in blocks, the nearest centroids of a block, and exact sums of clusters."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.objectives.precision import in_float32
from coview.parallel import gather, rank, row_counts, sum_with_grad

# Numbers of a block of rows, which are looked at together: on a CPU they and their scores stay in a core's cache.
BLOCK = {"cpu": 1 << 18, "elsewhere": 1 << 23}
EXACT_ROWS = 512  # rows that float64 sums without loss, of numbers of `DIGITS` bits
DIGITS = 44
CENTRE_ROWS = 4096  # rows whose mean is taken for the common offset


class Rows:
    """This process's rows of features, read in blocks: on one device, joined, scaled as asked, less `offset` (D,)."""

    def __init__(
        self, parts: list[Tensor], index: Tensor | None, unit: bool, spherical: bool, device: torch.device
    ) -> None:
        self.parts, self.index = parts, None if index is None else index.cpu()
        self.unit, self.spherical, self.device = unit, spherical, device
        self.offset = torch.zeros(sum(part.shape[1] for part in parts), dtype=torch.float64, device=device)
        self.block = max(1, BLOCK.get(device.type, BLOCK["elsewhere"]) // max(1, len(self.offset)))

    def __len__(self) -> int:
        return self.parts[0].shape[0] if self.index is None else self.index.shape[0]

    def take(self, place: slice | Tensor) -> Tensor:
        """Return rows (n, D), float64, by their position among this process's."""
        read = [part.to(torch.float64) for part in self._read(place)]
        read = [normalize(part, dim=1) for part in read] if self.unit else read
        joined = torch.cat(read, 1) if len(read) > 1 else read[0]
        return (normalize(joined, dim=1) if self.spherical else joined) - self.offset

    def near(self, place: slice | Tensor) -> Tensor:
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
        for first in range(0, len(self), self.block):
            yield slice(first, min(first + self.block, len(self)))

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
        self.products = centroids.T.mul(-2).contiguous()
        self.largest = float(self.sizes.max().sqrt())

    @in_float32
    def scores(self, x: Tensor) -> Tensor:
        """Return squared distances less the rows' own squares (n, K)."""
        return torch.addmm(self.sizes, x, self.products)

    def error(self, length: Tensor) -> Tensor:
        """Return a bound (n,) of the errors of two scores together, of a row of `length` (n,)."""
        # Rounded inputs, D products and as many sums, each of half a unit.
        size = torch.finfo(length.dtype).eps * (self.centroids.shape[1] + 4)
        return size * self.largest * (2 * length + self.largest)

    def one(self, x: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the nearest (n,), its score, and whether rounding could have chosen it."""
        scores = self.scores(x)
        best, index = scores.min(1)
        others = scores.scatter_(1, index[:, None], torch.inf).amin(1)
        return index, best, (others - best > self.error(length)).logical_not()  # what overflows is no number

    def own(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the scores (n,) of the centroids of `labels` (n,)."""
        return self.sizes[labels] - 2 * (x * self.centroids[labels]).sum(1)

    def first(self, x: Tensor) -> Tensor:
        """Return the first (n,) of those that are nearest up to rounding, which no kernel or shape can change."""
        scores, error = self.scores(x), self.error(torch.linalg.vector_norm(x, dim=1))
        return (scores <= scores.amin(1, keepdim=True) + error[:, None]).int().argmax(1)


class Labels:
    """The nearest centroid of each row, of equally near ones the first, while centroids move.

    A row whose centroid has not moved is compared with those that have (Kaukoranta, Franti & Nevalainen, IEEE Trans.
    Image Processing 2000).
    """

    def __init__(self, rows: Rows) -> None:
        self.rows, self.centroids = rows, torch.zeros(0)
        self.labels = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        self.length = torch.zeros(len(rows), dtype=torch.float32, device=rows.device)
        self.score = torch.zeros_like(self.length)  # of the own centroid

    def follow(self, centroids: Tensor) -> Tensor:
        """Return the labels, int64 (N_r,), for centred centroids (K, D), float64."""
        rows, before = self.rows, self.centroids
        self.labels, self.centroids = self.labels.clone(), centroids
        doubtful = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        # Half precision behind products of float32 must be off; elsewhere than on a CPU it may be on.
        if rows.device.type == "cpu" and torch.get_float32_matmul_precision() == "highest":
            if not len(before):
                for place in rows.places():
                    self.length[place] = torch.linalg.vector_norm(rows.near(place), dim=1)
            else:
                moves = (centroids != before).any(1)
                if not bool(moves.any()):
                    return self.labels
                doubtful = self._passed(centroids, moves)
            self._look(Nearest(centroids.float()), doubtful)
        exact, narrow = Nearest(centroids), Nearest(centroids.float())
        for some in torch.split(doubtful.nonzero().flatten(), rows.block):
            x = rows.take(some)
            self.labels[some] = exact.first(x)
            self.score[some] = narrow.own(x.float(), self.labels[some])
        return self.labels

    def _passed(self, centroids: Tensor, moves: Tensor) -> Tensor:
        """Return bool (N_r,): the own centroid has moved, or one that has may be as near."""
        error, moved = Nearest(centroids.float()).error, Nearest(centroids[moves].float())
        doubtful = moves[self.labels]
        for some in torch.split(doubtful.logical_not().nonzero().flatten(), self.rows.block):
            ahead = moved.scores(self.rows.near(some)).amin(1) - self.score[some]
            doubtful[some] = (ahead > error(self.length[some])).logical_not()
        return doubtful

    def _look(self, nearest: Nearest, doubtful: Tensor) -> None:
        """Look for the nearest of all centroids where it is doubtful, and mark where it still is."""
        for some in torch.split(doubtful.nonzero().flatten(), self.rows.block):
            found = nearest.one(self.rows.near(some), self.length[some])
            self.labels[some], self.score[some], doubtful[some] = found


class Sums:
    """The sums (K, D) of clusters in fixed point and counts (K,), int64: exact, so that changes alone are added."""

    def __init__(self, rows: Rows, clusters: int, scale: float) -> None:
        self.rows, self.scale = rows, scale
        self.sums = torch.zeros(clusters, len(rows.offset), dtype=torch.int64, device=rows.device)
        self.labels = torch.full((len(rows),), -1, dtype=torch.int64, device=rows.device)  # first, all rows are new

    def follow(self, labels: Tensor) -> bool:
        """Move rows to the clusters of `labels` (N_r,); return whether any row of any process moved."""
        moved = (labels != self.labels).nonzero().flatten()
        for some in torch.split(moved, EXACT_ROWS):
            values = self.rows.take(some).mul_(self.scale).round_()
            changes = [(labels[some], 1), *[(self.labels[some], -1)] * bool((self.labels[some] >= 0).any())]
            for label, sign in changes:
                own, place = label.unique(return_inverse=True)  # type: ignore[no-untyped-call]
                part = values.new_zeros(len(own), values.shape[1]).index_add_(0, place, values)
                self.sums[own] += sign * part.long()
        self.labels = labels
        return bool(sum_with_grad(moved.new_tensor(len(moved))))

    def everyone(self) -> tuple[Tensor, Tensor]:
        """Return the sums and counts of all processes."""
        return sum_with_grad(self.sums).clone(), sum_with_grad(torch.bincount(self.labels, minlength=len(self.sums)))
