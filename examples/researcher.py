"""A method and an encoder of your own, trained and measured beside ours: python examples/researcher.py [STEPS]

Alignment and uniformity (Wang & Isola, ICML 2020; arXiv 2005.10242) between the picture and the sound of a recording.
200 steps take half a minute on a laptop, and only show the way.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

import coview
from coview.data.views import Batch
from coview.encoders import Encoder, build_for, mlp
from coview.methods.contract import About, Facts, Method, Step
from coview.methods.parts.batch import detached, unit
from coview.methods.parts.towers import TINY, PairSettings
from coview.parallel import gather_with_grad


class Strips(Encoder):
    """A spectrogram (B, 1, bands, time) to 128 features: convolutions over time, all bands at once."""

    stages = ("strips",)
    dim = 128

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(bands, 128, 5, stride=2), nn.BatchNorm1d(128), nn.ReLU(), nn.Conv1d(128, 128, 5), nn.ReLU()
        )

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return (B, 128, time)."""
        return {"strips": self.layers(x.squeeze(1))}

    def pool(self, maps: Tensor) -> Tensor:
        """Return the mean over time."""
        return maps.mean(2)


@dataclass(frozen=True, kw_only=True)
class AlignUniformSettings(PairSettings):
    """Views, the encoder of pictures, and the weight of uniformity."""

    uniformity: float = 0.5  # weight of the second term

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for small computers."""
        return cls(**TINY)


class AlignUniform(Method):
    """Two encoders and two heads on the unit sphere."""

    about = About(
        slug="align-uniform",
        title="Alignment and uniformity across video and audio",
        paper="Wang & Isola, ICML 2020; arXiv 2005.10242",
        family="instance",
        state="an example",
    )
    Settings = AlignUniformSettings
    coupling = "negatives"
    least_batch = 2

    def __init__(self, settings: AlignUniformSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        video = build_for(self.views["video"], settings.video_encoder)
        self.encoders = nn.ModuleDict({"video": video, "audio": Strips(self.views["audio"].bands)})
        self.projectors = nn.ModuleDict({name: mlp((net.dim, 256, 64)) for name, net in self.encoders.items()})

    def learn(self, batch: Batch) -> Step:
        """Return the loss over the samples of all processes."""
        z = {name: unit(self.projectors[name](self.encoders[name](batch.views[name]))) for name in self.views}
        x, y = gather_with_grad(z["video"]), gather_with_grad(z["audio"])
        aligned = (x - y).square().sum(1).mean()
        spread = sum(torch.pdist(side).square().mul(-2).exp().mean().log() for side in (x, y)) / 2
        return Step(aligned + self.settings.uniformity * spread, {"aligned": aligned.detach()}, detached(z))


def main() -> None:
    """Train and measure both."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    work = Path(tempfile.mkdtemp(prefix="coview-example-"))
    test = None
    for method in (AlignUniform, "infonce"):
        changes = {"train.steps": steps, "train.batch_size": 64, "optimiser.lr": 1e-3}
        name = method if isinstance(method, str) else method.about.slug
        model = coview.pretrain(method, "digits-av:A", work / name, tiny=True, settings=changes)
        test = test or coview.open("digits-av:A", model, split="test")
        figures = {figure.name: figure for figure in coview.evaluate("retrieval", model, (None, test)).results}
        found = figures[f"class_p1_v2a/{name}"]
        print(f"{found.name} {found.value:.3f}, chance {found.chance:.3f}, n {found.n}")
    print(f"runs: {work}")


if __name__ == "__main__":  # reading processes import this file again
    main()
