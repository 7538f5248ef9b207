"""What to say of a loss that is not finite: which processes, which recordings."""

from __future__ import annotations

import math

import torch

from coview.data.views import Batch
from coview.methods.contract import Step
from coview.parallel import gather, rank, world_size


def unwell(step: Step, batch: Batch) -> str:
    """Say, on every process alike, which ranks' losses are not finite and which recordings (rows) were in them.

    Rows whose view or embedding is not finite are named; all rows of the rank where neither tells.
    """
    losses = gather(step.loss.detach().float().reshape(1)).tolist()
    bad = torch.zeros(len(batch), dtype=torch.bool, device=batch.row.device)
    for tensor in batch.views.values():
        if tensor.is_floating_point():
            bad |= ~torch.isfinite(tensor.flatten(1)).all(1)
    where = "whose input is not finite"
    inputs_well = not bool(gather(bad.to(torch.uint8)).any())
    if inputs_well:
        where = "of the batch"
        for tensor in step.embeddings.values():
            if tensor.shape[0] == len(batch):
                bad |= ~torch.isfinite(tensor.flatten(1)).all(1)
    # A loss can overflow although every sample is well; then all of the rank's samples are named.
    if inputs_well and not bool(bad.any()) and not math.isfinite(losses[rank()]):
        bad[:] = True
    owner = gather(torch.full_like(batch.row, rank())[bad]).tolist()
    rows = gather(batch.row[bad]).tolist()
    named = []
    for number in range(world_size()):
        if number in owner or not math.isfinite(losses[number]):
            own = [row for row, whose in zip(rows, owner, strict=True) if whose == number]
            named.append(f"rank {number}: loss {losses[number]}, rows {own} {where}")
    return "; ".join(named)
