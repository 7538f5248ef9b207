"""Gate R1 on real recordings: a spoken description finds its caption, and the caption the recording, in unseen items.

French descriptions of the stamps of tuxpaint-stamps-default, InfoNCE in the batch between sound and caption. Items of
the test fold share no caption, recording or picture with those of training; the gallery has one item per group. What
is said takes as long as its letters: so the figure that counts is dm10, the choice among the item and the nine test
items whose recordings are nearest to its own in length; ranking by length alone is printed beside it.

    python benchmarks/tuxpaint_words.py prepare FOLDER
    python benchmarks/tuxpaint_words.py run FOLDER --seeds 0 1 2

Prints one JSON object with a list `results` of measurements: both directions averaged, an item counted once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import torch
from spoken_digits import BANDS, spectrogram, vary
from torch import Tensor, nn
from torch.nn.functional import normalize

from coview.data.adapters import Options
from coview.data.adapters.tuxpaint import make
from coview.data.adapters.tuxpaint_clips import active_part
from coview.data.source import sample_keys
from coview.data.text import encode_text
from coview.data.views import AudioView, Batch, TextView
from coview.encoders.speech import SpeechAudio
from coview.evaluation.statistics import Measurement, bootstrap, over_seeds
from coview.files import read_tensors, write_tensors
from coview.media.decode import read_audio
from coview.media.probe import probe
from coview.methods.contract import Facts
from coview.methods.infonce import InfoNCE, InfoNCESettings
from coview.randomness import make_key, uniform

RATE, FRAMES, LANGUAGE = 16_000, 128, "fr"  # 128 frames of 20 ms: what is longer is cut
EPOCHS, BATCH, PEAK, DECAY, DROPOUT = 100, 128, 2e-3, 0.05, 0.2
TEXT = TextView(length=100)


def prepare(folder: Path) -> None:
    """Decode every description once: spectrograms, codes of the captions, groups, lengths, split."""
    made = make(folder, Options(folder=None, count=None, seed=0))
    wanted = {"description", "core", f"language-{LANGUAGE}"}
    items = [item for item in made.items if wanted <= set(item.flags)]
    images, codes, lengths, kept = [], [], [], []
    for item in items:
        path = made.root / item.path
        waveform = read_audio(path, 0.0, probe(path).duration, RATE)
        spoken = active_part(waveform, RATE)
        if spoken is None or not item.caption:
            continue
        images.append(spectrogram(waveform, FRAMES))
        codes.append(encode_text(item.caption, TEXT))
        lengths.append(len(spoken) / RATE)
        kept.append(item)
    number = {name: index for index, name in enumerate(sorted({str(item.group) for item in kept}))}
    group = torch.tensor([number[str(item.group)] for item in kept])
    test = torch.tensor([item.split == "test" for item in kept])
    data = {"images": torch.stack(images), "codes": torch.stack(codes), "lengths": torch.tensor(lengths)}
    write_tensors(data | {"group": group, "test": test}, folder / "words.safetensors")
    print(f"{len(kept)} descriptions, {int(test.sum())} of them in the test fold", file=sys.stderr)


def build(rows: int, seed: int) -> InfoNCE:
    """Return the networks: 0.6 million parameters together."""
    torch.manual_seed(seed)
    settings = dataclasses.replace(
        InfoNCESettings.tiny(),
        views=("audio", "text"),
        audio=AudioView(seconds=FRAMES / 50, mels=40, n_fft=512, window=400, hop=320),
        text=TEXT,
        audio_encoder="audio-speech",
        hidden=(),
        head_batchnorm=False,
        positives="label",
    )
    method = InfoNCE(settings, Facts(rows=rows))
    method.encoders["audio"] = SpeechAudio(BANDS, width=96)
    for name in method.projectors:
        method.projectors[name] = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(384, settings.embedding))
    return method


def train(method: InfoNCE, data: dict[str, Tensor], seed: int, shuffled: bool) -> float:
    """Train on all folds but the test fold; returns the mean loss of the last epoch."""
    rows = (~data["test"]).nonzero()[:, 0]
    # The control: every recording keeps one other's caption, and counts as of the caption's group.
    texts = rows[torch.argsort(uniform(make_key(seed, torch.arange(len(rows))), 9))] if shuffled else rows
    per_epoch = len(rows) // BATCH
    optimiser = torch.optim.AdamW(method.parameter_groups(DECAY), lr=PEAK)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK, total_steps=EPOCHS * per_epoch, pct_start=0.15)
    method.train()
    losses: list[float] = []
    for epoch in range(EPOCHS):
        order = torch.argsort(uniform(make_key(seed, epoch, torch.arange(len(rows))), 8))
        for step in range(per_epoch):
            place = order[step * BATCH : (step + 1) * BATCH]
            key = sample_keys(seed, epoch, step * BATCH + torch.arange(BATCH))
            views = {"audio": vary(data["images"][rows[place]], key), "text": data["codes"][texts[place]]}
            loss = method(Batch(views=views, row=place, key=key, label=data["group"][texts[place]])).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
    return sum(losses[-per_epoch:]) / per_epoch


@torch.no_grad()
def scores(method: InfoNCE, data: dict[str, Tensor], rows: Tensor) -> Tensor:
    """Return cosine scores (recordings, captions) of the gallery."""
    method.eval()
    z = {}
    for name, values in (("audio", data["images"][rows]), ("text", data["codes"][rows])):
        z[name] = normalize(method.projectors[name](method.encoders[name](values)), dim=1)
    return z["audio"] @ z["text"].T


def gallery(data: dict[str, Tensor]) -> Tensor:
    """Return the first test item of every group."""
    first: dict[int, int] = {}
    for row in data["test"].nonzero()[:, 0].tolist():
        first.setdefault(int(data["group"][row]), row)
    return torch.tensor(list(first.values()))


def figures(score: Tensor, lengths: Tensor, name: str, seed: int) -> list[Measurement]:
    """Return dm10, R@1, R@10 and the mean percentile; ties count against the target."""
    n = len(lengths)
    apart = (lengths[:, None] - lengths).abs()
    apart.fill_diagonal_(-1)
    near = apart.argsort(dim=1, stable=True)[:, :10]
    values: dict[str, list[Tensor]] = {}
    for way in (score, score.T):
        own = way.diagonal()[:, None]
        rank = (way >= own).sum(1)  # the target itself is 1
        values.setdefault("r1", []).append(rank <= 1)
        values.setdefault("r10", []).append(rank <= 10)
        values.setdefault("percentile", []).append(1 - (rank - 1) / (n - 1))
        values.setdefault("dm10", []).append((way.gather(1, near) >= own).sum(1) <= 1)
    chance = {"r1": 1 / n, "r10": 10 / n, "percentile": 0.5, "dm10": 0.1}
    made = []
    for kind, ways in values.items():
        each = torch.stack([way.double() for way in ways]).mean(0)
        low, high = bootstrap(each, seed)
        made.append(Measurement(f"r1_{kind}/{name}", float(each.mean()), low, high, chance[kind], n))
    return made


def length_alone(data: dict[str, Tensor], rows: Tensor) -> Tensor:
    """Return scores by length and nothing else: letters against seconds, fitted on the training items."""
    letters, seconds = (data["codes"] != 0).sum(1).double().log(), data["lengths"].double().log()
    fit = ~data["test"]
    x, y = letters[fit], seconds[fit]
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    expected = y.mean() + slope * (letters[rows] - x.mean())
    return -(seconds[rows][:, None] - expected).abs()


def run(folder: Path, seeds: list[int]) -> list[Measurement]:
    """Train and measure: pairs, shuffled pairs, untrained networks, length alone."""
    data = read_tensors(folder / "words.safetensors")
    rows = gallery(data)
    lengths = data["lengths"][rows]
    found: dict[str, list[Measurement]] = {}
    for seed in seeds:
        for name in ("infonce", "shuffled", "random"):
            begun, loss = time.process_time(), float("nan")
            method = build(int((~data["test"]).sum()), seed)
            if name != "random":
                loss = train(method, data, seed, shuffled=name == "shuffled")
            made = figures(scores(method, data, rows), lengths, name, seed)
            for figure in made:
                found.setdefault(figure.name, []).append(figure)
            text = " ".join(f"{figure.name} {figure.value:.3f}" for figure in made)
            print(f"seed {seed}: loss {loss:.2f} {text} ({time.process_time() - begun:.0f} CPU s)", file=sys.stderr)
    alone = figures(length_alone(data, rows), lengths, "length", 0)
    return [*(over_seeds(same) for same in found.values()), *alone]


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "run"))
    parser.add_argument("folder", type=Path, help="where the decoded descriptions are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.what == "prepare":
        prepare(arguments.folder)
        return
    print(json.dumps({"results": [figure.row() for figure in run(arguments.folder, arguments.seeds)]}, indent=2))


if __name__ == "__main__":
    main()
