"""A source of numbers and a model of two small networks with batch normalisation, for tests of measuring."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coview.data.views import AudioView, Batch, FeaturesView, VideoView
from coview.methods.contract import About, Facts, Method, Step
from coview.methods.reading import Space
from coview.model import Model


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
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def windows(self, count: int) -> int:
        return min(count, self.available)

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        start = torch.full((len(row),), 2.0 * window, dtype=torch.float64)
        read = torch.tensor([index not in self.unreadable for index in row.tolist()])
        present = {"video": read, "audio": self.has_audio[row] & read}
        cut = {"video": self.video[row, window], "audio": self.audio[row, window]}
        views = {name: torch.where(present[name][:, None], values, 0.0) for name, values in cut.items()}
        starts = {"video": start, "audio": start}
        batch = Batch(views=views, row=row, key=row, start=starts, present=present, label=self.labels[row])
        batch.replaced = [(index, self.unreadable[index]) for index in row.tolist() if index in self.unreadable]
        return batch


class _Settings:
    """The two views of numbers."""

    def specs(self) -> Mapping[str, Any]:
        return {"video": FeaturesView(dim=6), "audio": FeaturesView(dim=5)}

    @classmethod
    def tiny(cls) -> "_Settings":
        return cls()


class _Small(Method):
    """Two linear layers with batch normalisation, and heads; it is never trained."""

    about = About(slug="small", title="Small", paper="none", family="test", state="working")
    Settings = _Settings
    coupling = "none"

    def __init__(self, settings: _Settings, facts: Facts) -> None:
        super().__init__(settings, facts)
        for name, view in self.views.items():
            self.encoders[name] = nn.Sequential(nn.Linear(view.dim, 16), nn.BatchNorm1d(16))
        for name in self.views:
            self.projectors[name] = nn.Linear(16, 8)

    def forward(self, batch: Batch) -> Step:
        raise NotImplementedError


class _Unchanged(nn.Module):
    """Preprocessing that does nothing: numbers are model views."""

    statistics: Mapping[str, Any] = {}

    def forward(self, batch: Batch, train: bool) -> Batch:
        return batch


class SmallModel(Model):
    """A model of numbers; `leak` makes it change while it is measured."""

    def __init__(self, seed: int = 0, leak: bool = False) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            method = _Small(_Settings(), Facts(rows=2))
        super().__init__(method, _Unchanged(), {})  # type: ignore[arg-type]
        self.leak = leak
        method.eval()

    def preprocess_for(self, views: list[str]) -> Any:
        return self.preprocess

    def encode(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        if self.leak:
            self.method.train()
            with torch.no_grad():
                return self.method.embed(batch, space)
        return super().encode(batch, space)


class PassThrough(SmallModel):
    """Both views projected onto the part that they share."""

    def encode(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        return {name: view[:, :3] for name, view in batch.views.items()}
