"""A source of numbers and a model of two small networks with batch normalisation, for tests of measuring."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from coview.data.views import AudioView, Batch, VideoView


class NumberSource:
    """Recordings of 6 "pixels" and 5 "samples" that show their class; some lack sound, some have no label."""

    def __init__(self, rows: int, seed: int = 0, windows: int = 2, noise: float = 0.3, labelled: bool = True) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.name, self.fingerprint = f"numbers-{seed}", f"{rows}-{seed}-{windows}"
        self.views = {"video": VideoView(), "audio": AudioView()}
        self.ids = [f"r{row:03d}" for row in range(rows)]
        self.classes = ["a", "b", "c"] if labelled else []
        classes = torch.arange(rows) % 3
        self.labels = torch.where(torch.arange(rows) % 17 == 16, -1, classes) if labelled else torch.full((rows,), -1)
        self.available = windows
        own = torch.randn(rows, 1, 3, generator=generator) * 0.5 + torch.eye(3)[classes][:, None]
        shape = (rows, windows)
        self.video = torch.cat([own.expand(-1, windows, -1), torch.randn(*shape, 3, generator=generator)], 2)
        self.audio = torch.cat([own.expand(-1, windows, -1), torch.randn(*shape, 2, generator=generator)], 2)
        self.video += noise * torch.randn(*shape, 6, generator=generator)
        self.audio += noise * torch.randn(*shape, 5, generator=generator)
        self.has_audio = torch.arange(rows) % 11 != 10

    def __len__(self) -> int:
        return len(self.ids)

    def windows(self, count: int) -> int:
        return min(count, self.available)

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        start = torch.full((len(row),), 2.0 * window, dtype=torch.float64)
        views = {"video": self.video[row, window], "audio": self.audio[row, window] * self.has_audio[row][:, None]}
        present = {"video": torch.ones(len(row), dtype=torch.bool), "audio": self.has_audio[row]}
        starts = {"video": start, "audio": start}
        return Batch(views=views, row=row, key=row, start=starts, present=present, label=self.labels[row])


class SmallModel:
    """Looks like `coview.model.Model` to the protocols."""

    def __init__(self, seed: int = 0, leak: bool = False) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            shapes = {"video": 6, "audio": 5}
            encoders = {name: nn.Sequential(nn.Linear(n, 16), nn.BatchNorm1d(16)) for name, n in shapes.items()}
            heads = {name: nn.Linear(16, 8) for name in shapes}
        self.method = SimpleNamespace(encoders=nn.ModuleDict(encoders), projectors=nn.ModuleDict(heads))
        self.method.parameters = self.method.encoders.parameters
        self.method.about = SimpleNamespace(slug="small")
        self.preprocess = nn.Identity()
        self.leak = leak
        self.method.encoders.eval()

    def distinct_views(self) -> list[str]:
        return list(self.method.encoders)

    @torch.no_grad()
    def encode(self, batch: Batch, space: str) -> dict[str, Tensor]:
        if self.leak:
            self.method.encoders.train()
        features = {name: self.method.encoders[name](view) for name, view in batch.views.items()}
        if space == "backbone":
            return features
        return {name: self.method.projectors[name](value) for name, value in features.items()}


class PassThrough(SmallModel):
    """Both views projected onto the part that they share."""

    def encode(self, batch: Batch, space: str) -> dict[str, Tensor]:
        return {name: view[:, :3] for name, view in batch.views.items()}
