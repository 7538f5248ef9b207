"""CMA: AVID continued with positives that agree in sight and in sound.

P. Morgado, N. Vasconcelos, I. Misra, "Audio-Visual Instance Discrimination with Cross-Modal Agreement", CVPR 2021
(arXiv 2004.12943), section 4. On the networks, memories and normaliser z of `avid`, with P_y the recordings that agree
with recording y (`coview.objectives.agreement`) and NCE the loss of `avid`, whose negatives are here drawn from all
rows but y and P_y:

    instance          NCE(v, A[y])   and  NCE(a, V[y])       K negatives        (xInst)
    within_instance   NCE(v, V[y])   and  NCE(a, A[y])       K negatives        (wInst)
    cross_positives   NCE(v, A[P_y]) and  NCE(a, V[P_y])     K negatives        (xPos)
    within_positives  NCE(v, V[P_y]) and  NCE(a, A[P_y])     the first K_w      (wPos)

    loss = sum of coefficient x mean of the term's two directions / sum of the coefficients

Start it from a trained AVID (`--init-from`): before the first step the memories take the embeddings of the whole
collection, unless they came with the weights; then the positives are mined, and again every `mine_every` epochs, from
the memories. Recordings that lack a view keep a random row there.

The released code leaves only P_y out of the negatives, so a recording can be its own negative (`as_released`); its
within-modal instance term computes cross-modal scores, which is not reproduced.

Published recipe (Kinetics-400): that of `avid`, 20 epochs, positives mined every 5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from coview.data.views import Batch
from coview.methods.avid import AVID, NEGATIVES, AVIDSettings, Term
from coview.methods.contract import About, Facts
from coview.methods.parts.batch import unit
from coview.methods.parts.memories import need_rows
from coview.objectives.agreement import Criterion, mine_positives, outside
from coview.randomness import integers, make_key


@dataclass(frozen=True, kw_only=True)
class CMASettings(AVIDSettings):
    """Settings of CMA beside those of AVID, whose weights `cross` and `within` are those of the instance terms."""

    criterion: Criterion = "consensus"  # which similarities mined recordings must have in common
    positives: int = 32  # mined recordings per recording; 0: AVID
    mine_every: int = 5  # epochs; 0: only once
    cross_positives: float = 0.0  # weight of mined positives against the other view's memory
    within_positives: float = 1.0  # weight of mined positives against the own view's memory
    within_negatives: int = 64  # K_w, the first of the negatives that all terms share
    as_released: bool = False  # a recording may be drawn as its own negative

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.cross_positives, self.within_positives) < 0:
            raise ValueError("cross_positives and within_positives are weights and cannot be below 0")
        if self.positives < 0 or self.mine_every < 0 or not 1 <= self.within_negatives <= self.negatives:
            raise ValueError("cma needs positives >= 0, mine_every >= 0 and 1 <= within_negatives <= negatives")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: AVID's, with few positives."""
        return replace(super().tiny(), positives=8)


class CMA(AVID):
    """AVID's networks, memories and z, and the table of positives, which every process mines a share of.

    State under another number of processes: replicate. `positives` is int32 (rows, positives), -1 until it is mined: by
    `refresh`, or by the first step that finds none.
    """

    about = About(
        slug="cma",
        title="CMA: AVID with positives by cross-modal agreement",
        paper="Morgado, Vasconcelos & Misra, CVPR 2021; arXiv 2004.12943",
        family="instance",
        state="verified: mined tables, losses, normaliser and gradients equal values of the official code",
    )
    Settings = CMASettings
    settings: CMASettings
    published = replace(AVID.published, epochs=20)
    positives: Tensor

    @classmethod
    def fitted(cls, settings: CMASettings, rows: int) -> CMASettings:
        """See `Method.fitted`; every recording keeps one that is no positive of it."""
        return replace(settings, positives=min(settings.positives, max(rows - 2, 0)))

    def __init__(self, settings: CMASettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        least = settings.positives + 2  # so that each has a negative
        need_rows(facts, least, f"cma with {settings.positives} positives needs at least {least} recordings")
        rows = facts.rows if facts.training else 0
        self.register_buffer("positives", torch.full((rows, settings.positives), -1, dtype=torch.int32))

    def terms(self, batch: Batch) -> list[Term]:
        """Return the four terms; the instance terms come first, so that z is AVID's."""
        settings, own = self.settings, batch.row[:, None]
        positive = self._table()[batch.row].long()
        left_out = positive if settings.as_released else torch.cat([positive, own], 1).sort(1).values
        key = make_key(batch.key, NEGATIVES)
        drawn = outside(integers(key, 0, self.facts.rows - left_out.shape[1], settings.negatives), left_out)
        terms = [Term("inst-", settings.cross, True, own, drawn), Term("inst-", settings.within, False, own, drawn)]
        if settings.positives:
            near = drawn[:, : settings.within_negatives]
            terms.append(Term("pos-", settings.cross_positives, True, positive, drawn))
            terms.append(Term("pos-", settings.within_positives, False, positive, near))
        return terms

    def refresh(self, epoch: int, embed: Any) -> None:
        """Mine the positives, before the first epoch and then every `mine_every`.

        Without a normaliser the memories are those of a fresh method: they take the embeddings of the whole collection.
        """
        if epoch == 0 and self.z < 0:
            features = embed("projected")
            whole = torch.stack([features.present[name] for name in self.views]).all(0).to(self.z.device)
            for name in self.views:
                memory = self.bank(name).memory
                memory[whole] = unit(features.values[name].to(memory))[whole]
        if epoch == 0 or (self.settings.mine_every and epoch % self.settings.mine_every == 0):
            self.positives.copy_(self._mine())

    def _table(self) -> Tensor:
        if self.positives.numel() == 0 or self.positives[0, 0] >= 0:
            return self.positives
        mined = self._mine()
        if self.training:
            self.positives.copy_(mined)
        return mined

    def _mine(self) -> Tensor:
        video, audio = (self.bank(name).memory for name in ("video", "audio"))
        return mine_positives(video, audio, self.settings.positives, self.settings.criterion)
