"""How what a method has learnt is read: its embeddings, the groups and scores it makes itself, the pictures it makes.

Probes, retrieval, search, naming, painting and export read a method through this alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from coview.data.views import Batch, ViewSpec
from coview.errors import UsageError

Space = Literal["backbone", "projected"]
Paints = Literal["colour", "holes", "noise"]


class Reading(nn.Module):
    """The half of a method that reads; every hook has an answer that fits most methods.

    Attributes:
        views: view name -> specification of what it learns from.
        encoders: view name -> backbone with `.dim`; views may share one.
        projectors: view name -> head with `.dim`, into the space where views are compared; may be empty.
        makers: networks that make a view, or a part of one, from features, and what else is kept with a model. May be
            empty.
        paints: what it makes of pictures (`sketch`): colour for grey ones, what is in holes, or pictures without noise;
            None: nothing.
    """

    paints: ClassVar[Paints | None] = None
    views: Mapping[str, ViewSpec]
    encoders: nn.ModuleDict
    projectors: nn.ModuleDict
    makers: nn.ModuleDict

    def embed(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """Return view -> embeddings (B, D) of the model views in `batch` that have a network; absent rows are zero.

        Probes, retrieval, search and export read a method through this alone. A network that reads several views at
        once overrides it: every name in the result is then a view, or what the method calls views taken together.

        Args:
            batch: B samples of model views, some or all that the method knows.
            space: "backbone" for the encoder's features, "projected" for the space where views are compared.
        """
        embedded = {}
        for name, value in batch.views.items():
            if name not in self.encoders:
                continue
            there = None if batch.has_all(name) else batch.present[name]
            features: Tensor = self.encoders[name](value if there is None else value[there])
            if space == "projected" and name in self.projectors:
                features = self.projectors[name](features)
            if there is not None:
                whole = features.new_zeros(len(batch), *features.shape[1:])
                whole[there] = features
                features = whole
            embedded[name] = features
        return embedded

    def made_of(self, name: str) -> tuple[str, ...]:
        """Return the views that an embedding is made of: the one that it is called after, else all."""
        return (name,) if name in self.views else tuple(self.views)

    def class_scores(
        self, embedded: Mapping[str, Tensor], there: Mapping[str, Tensor], texts: Tensor, novel: Tensor
    ) -> dict[str, Tensor]:
        """Return view -> scores (N, C) of classes by the vectors of their names, for recordings that have the view.

        They are what the method itself makes of several embeddings; empty where cosines are all there is.

        Args:
            embedded, there: projected embeddings (N, D) by name, and which recordings have each (N,).
            texts: (C, D), of the candidates.
            novel: bool (C,), which of them were not learnt from.
        """
        return {}

    def kept_back(self) -> Sequence[str]:
        """Return the names of classes that it was told not to learn from, where it learns from labels."""
        return ()

    def comparable(self, one: str, other: str) -> bool:
        """Return whether two embeddings lie in one space, where their cosine means something."""
        return True

    def sureness(self, view: str) -> tuple[float, float | None] | None:
        """Return (scale, bias) as learnt: scale * cosine + bias is the log-odds that a view and a text belong together.

        Without a bias, scale * cosine are logits among several texts. None: no such scale was learnt.
        """
        return None

    def groups(self, batch: Batch) -> dict[str, Tensor]:
        """Return view -> scores (B, K) of the groups that the method itself puts recordings into, the same K for all.

        The highest says which group a view of a recording falls into, and how surely. Empty where it has no groups.
        `coview explain` shows them; all rows of `batch` may be taken as present.
        """
        return {}

    def canvas(self) -> str:
        """Return the view as which `sketch` is shown pictures: one of pictures.

        Raises:
            UsageError: with these settings it makes no pictures.
        """
        raise UsageError(f"{type(self).__name__} makes no pictures")

    def sketch(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """Return what the networks make of pictures, at their own resolution; `coview.painting` brings it to full size.

        Args:
            x: (B, C, H, W), model views of `canvas`; where `paints` is "colour", of any size.
            holes: bool (B, 1, H, W), what is missing; where `paints` is "holes".

        Returns:
            For "colour", maps (B, K, h, w) that `render` reads, whose places divide the picture evenly; else views
            as x is one.

        Raises:
            UsageError: of such pictures nothing can be made.
        """
        raise NotImplementedError(f"{type(self).__name__} declares that it paints {self.paints}, and has no `sketch`")

    def render(self, grey: Tensor, sketch: Tensor) -> Tensor:
        """Return pictures, sRGB, of grey ones, both (B, 3, H, W), and a sketch brought to their size; for "colour".

        The lightness of what is returned does not count: whoever paints keeps that of the grey picture.
        """
        raise NotImplementedError(f"{type(self).__name__} declares that it paints {self.paints}, and has no `render`")
