"""cca-zoo's DCCA on the views that `noisy_digits.py` has saved; run by it in an interpreter that has cca-zoo.

The peer trains with Lightning, which comes with it; coview itself neither needs nor imports it.

python noisy_digits_peer.py FOLDER SEED EPOCHS BATCH RATE HIDDEN...
"""

import sys
import time
from itertools import pairwise
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from cca_zoo.deep import DCCA, MultiviewDataset
from cca_zoo.linear import CCA
from torch import nn
from torch.utils.data import DataLoader

folder, seed, epochs, batch, rate, *hidden = sys.argv[1:]
torch.set_num_threads(1)
torch.manual_seed(int(seed))
views = np.load(Path(folder) / "views.npz")
names = ("rotated", "noisy")
loaded = {part: [views[f"{part}.{name}"] for name in names] for part in ("train", "validation", "test")}


def network(wide):
    """Return the same network as ours: linear layers with ReLU between."""
    layers = []
    for inner, outer in pairwise((wide, *map(int, hidden), 10)):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class CosineDCCA(DCCA):
    """The peer's method with the schedule of ours."""

    def configure_optimizers(self):
        """Return Adam with warm-up over a twentieth of the run and a cosine after it."""
        steps = int(epochs) * (len(loaded["train"][0]) // int(batch))
        optimiser = torch.optim.Adam(self.parameters(), lr=float(rate), weight_decay=1e-5)
        warm = torch.optim.lr_scheduler.LinearLR(optimiser, 1e-3, total_iters=steps // 20)
        rest = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps - steps // 20)
        schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [warm, rest], [steps // 20])
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


began = time.process_time()
model = CosineDCCA(n_components=10, encoders=[network(view.shape[1]) for view in loaded["train"]])
quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False}
trainer = pl.Trainer(max_epochs=int(epochs), accelerator="cpu", **quiet)
data = MultiviewDataset(loaded["train"])
trainer.fit(model, DataLoader(data, batch_size=int(batch), shuffle=True, drop_last=True))
model.eval()
with torch.no_grad():
    outputs = {part: [z.numpy() for z in model([torch.from_numpy(v) for v in pair])] for part, pair in loaded.items()}
linear = CCA(n_components=10).fit(outputs["train"])
variates = {f"{p}.{n}": z for p, zs in outputs.items() for n, z in zip(names, linear.transform(zs), strict=True)}
np.savez(Path(folder) / "variates.npz", cpu_seconds=time.process_time() - began, **variates)
