"""A source and a method made for these tests alone: the loop has never heard of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coview import methods
from coview.data.augment import AugmentSettings
from coview.data.views import Batch, VideoView
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import example
from coview.parallel import gather, mean_over_world
from coview.randomness import integers
from coview.training.settings import OptimiserSettings, RunSettings, ScheduleSettings, TrainSettings

VIEW = VideoView(frames=1, size=8, margin=1.0)


class TinySource:
    """Coloured squares: both views of a recording have its colour, with noise from the key."""

    name = "tiny"
    views = {"left": VIEW, "right": VIEW}
    classes = ["dark", "light"]

    def __init__(self, rows: int = 40) -> None:
        self.ids = [f"square-{index}" for index in range(rows)]
        self.labels = torch.arange(rows) % 2
        self.fingerprint = f"tiny-{rows}"

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, row: Tensor, key: Tensor) -> Batch:
        shape = (3, 1, VIEW.decode_size, VIEW.decode_size)
        colour = (60 + 90 * (row % 2))[:, None, None, None, None]
        views = {name: (colour + integers(key, i, 60, *shape)).to(torch.uint8) for i, name in enumerate(self.views)}
        start = {name: torch.zeros(len(row), dtype=torch.float64) for name in views}
        return Batch(views=views, row=row, key=key, start=start, label=self.labels[row])

    def windows(self, count: int) -> int:
        return 1

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        return self.read(row, row)


@dataclass(frozen=True, kw_only=True)
class TinySettings:
    width: int = 6
    dropout: float = 0.3
    poison: int = -1  # recording whose presence makes the loss NaN
    least: int = 1  # samples that a part of a batch must hold

    @classmethod
    def tiny(cls) -> TinySettings:
        return cls()


class TinyMethod(Method):
    """Pull the two views together, push the mean away from zero; a per-sample loss, a slow copy, dropout."""

    about = About(slug="tiny", title="Tiny", paper="none", family="test", state="working")
    Settings = TinySettings
    coupling: Coupling = "none"
    calls: list[str] = []

    def __init__(self, settings: TinySettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.settings, self.facts = settings, facts
        self.views = dict(TinySource.views)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(192, settings.width), nn.Dropout(settings.dropout))
        encoder.dim = settings.width  # type: ignore[assignment]
        self.encoders = nn.ModuleDict({"left": encoder, "right": encoder})
        self.projectors = nn.ModuleDict({name: nn.Linear(settings.width, 4) for name in self.views})
        self.least_batch = settings.least
        self.register_buffer("slow", torch.zeros(4))
        self.register_buffer("seen", torch.zeros(facts.rows, dtype=torch.int64))
        self._rows: list[Tensor] = []

    def forward(self, batch: Batch) -> Step:
        if (batch := self.usable(batch)) is None:
            return self.idle()
        z = {name: self.projectors[name](self.encoders[name](batch.views[name])) for name in self.views}
        losses = (z["left"] - z["right"]).square().sum(1) + (1 - z["left"].mean(1)).square()
        losses = torch.where(batch.row == self.settings.poison, torch.nan, losses)
        self._rows.append(batch.row)
        loss = mean_over_world(losses)  # a process may hold none of the samples
        return Step(loss, {"pull": loss.detach()}, {name: v.detach() for name, v in z.items()})

    def fit_targets(self, samples) -> None:
        self.calls.append(f"fit {sum(len(batch) for batch in samples)}")

    def refresh(self, epoch, embed) -> None:
        self.calls.append(f"refresh {epoch}")

    def after_step(self) -> None:
        self.slow.lerp_(self.projectors["left"].bias.detach(), 0.1)
        for rows in self._rows:
            self.seen[gather(rows)] += 1
        self._rows.clear()

    def negatives(self, global_batch: int) -> int | None:
        return None

    def example_batch(self, size: int, seed: int) -> Batch:
        return example(self.views, size, seed, self.facts.rows, self.facts.classes)


def register() -> None:
    """Let the name "tiny" be found, as an installed package's entry point would."""
    methods.METHODS["tiny"] = f"{__name__}:TinyMethod"


def settings(dropout: float = 0.3, poison: int = -1, seed: int = 3, **train) -> RunSettings:
    usual = {"epochs": 3, "batch_size": 8, "checkpoint_every": 4, "watch_every": 3, "device": "cpu", "workers": 0}
    return RunSettings(
        method="tiny",
        method_settings=TinySettings(dropout=dropout, poison=poison),
        collection="tiny",
        seed=seed,
        augment=AugmentSettings(),
        train=TrainSettings(**(usual | train)),
        optimiser=OptimiserSettings(lr=0.01),
        schedule=ScheduleSettings(kind="cosine", warm_up=0.2),
    )


def changed(run: RunSettings, **train) -> RunSettings:
    return dataclasses.replace(run, train=dataclasses.replace(run.train, **train))
