"""A source without files, whose samples say where they come from."""

from __future__ import annotations

import hashlib

import torch

from coview.data.views import AudioView, Batch, VideoView
from coview.randomness import uniform

VIEWS = {
    "video": VideoView(frames=4, fps=16, size=16, margin=1.0),
    "audio": AudioView(seconds=1.0, sample_rate=8000, mels=16),
}


class Numbers:
    """A source whose samples say where they come from; rows in `bad` are replaced by their successor."""

    def __init__(self, rows=40, bad=()):
        self.name, self.views, self.classes = "numbers", VIEWS, ["even", "odd"]
        self.ids = [f"n{i:03d}" for i in range(rows)]
        self.labels = torch.arange(rows) % 2
        self.fingerprint = hashlib.sha256(str(rows).encode()).hexdigest()[:16]
        self.bad = set(bad)

    def __len__(self):
        return len(self.ids)

    def read(self, row, key):
        replaced = [(r, "damaged") for r in row.tolist() if r in self.bad]
        row = torch.tensor([(r + 1) % len(self) if r in self.bad else r for r in row.tolist()])
        return self._make(row, key, replaced)

    def windows(self, count):
        return count

    def read_window(self, row, window, count):
        return self._make(row, torch.full_like(row, window), [])

    def _make(self, row, key, replaced):
        video = (row % 256).to(torch.uint8)[:, None, None, None, None].expand(-1, 3, 4, 16, 16).contiguous()
        audio = (row[:, None] / 100 + 0.3 * uniform(key, 0, 8000)).clamp(-1, 1)
        start = {"video": row.double(), "audio": row.double() + 0.5}
        return Batch(
            views={"video": video, "audio": audio}, row=row, key=key, start=start, label=self.labels[row],
            replaced=replaced,
        )  # fmt: skip
