"""The decisive experiment of every card that has one, with several seeds: the tables of docs/systems.md.

    python benchmarks/decisive.py                     # every experiment; three seeds, ten of the cheap toys
    python benchmarks/decisive.py swav stica --seeds 10
    python benchmarks/decisive.py --list

The experiments are the tests' own (tests/methods), so that a table and a test cannot come to differ. A row says in how
many seeds the figure passes what the card asks for, then the figure of every seed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / place) for place in ("", "methods", "evaluation")]

Figures = Iterator[tuple[str, float, bool]]  # what was measured, its value, whether it passes


@dataclass(frozen=True)
class Experiment:
    """One card's experiment: `run(seed)` yields its figures."""

    run: Callable[[int], Figures]
    seeds: int = 3


def contrastive(seed: int) -> Figures:
    """XID and VICReg on 64 made pairs, R@1 of the worse direction, chance .016."""
    from test_decisive import train

    for slug, changes, least in (("xid", {}, 0.8), ("av-vicreg", {}, 0.5), ("vicreg-video", {}, 0.5)):
        value = min(train(slug, seed, **changes)[:2])
        yield f"{slug}, R@1", value, value > least
    value = max(train("xid", seed, misaligned=True)[:2])
    yield "xid with wrong rows, R@1", value, value < 0.1


def avid(seed: int) -> Figures:
    """AVID across and within views: R@1, chance .016."""
    import test_decisive
    from test_decisive_avid import recall

    test_decisive.recall = recall
    for name, changes, passes in (
        ("cross", {}, lambda across, within: across > 0.8 and within > 0.8),
        ("self", {"cross": 0.0, "within": 1.0}, lambda across, within: across < 0.1 and within > 0.7),
    ):
        across, within, _ = test_decisive.train("avid", seed, **changes)
        yield f"avid {name}, other view", across, passes(across, within)
        yield f"avid {name}, same view", within, passes(across, within)


def l3(seed: int) -> Figures:
    """Which sound belongs to a picture: accuracy, and the same after training on shuffled sounds."""
    from test_l3 import train

    accuracy, probe = train(seed)
    yield "l3, accuracy", accuracy, accuracy > 0.8
    yield "l3, probe of the sound", probe, probe > 0.95
    broken, _ = train(seed, shuffled=True)
    yield "l3, shuffled sounds", broken, 0.4 < broken < 0.6


def swav(seed: int) -> Figures:
    """SwAV on scikit-learn's digits: whether the run works as the card asks, and its probe over random weights."""
    from test_swav import toy, working

    found = toy(seed, freeze=11)
    yield "swav, loss", found["loss"], working(found)
    yield "swav, prototypes used of 30", found["used"], found["used"] >= 24
    yield "swav, probe above random weights", found["probe"] - found["random"], found["probe"] > found["random"] + 0.05


def stica(seed: int) -> Figures:
    """STiCA's gain over contrast with sound alone, where half of the classes have the sound of any."""
    from test_stica import NONE, train

    alone, crops = train(seed, space=NONE, time=NONE, alpha=1.0), train(seed, time=NONE)
    yield "stica, probe with crops", crops, crops > alone + 0.05
    yield "stica, sound alone", alone, alone > train(seed, steps=0) + 0.2


def xdc(seed: int) -> Figures:
    """NMI of both views' clusters on halves of digits."""
    from test_xdc import toy

    for slug in ("xdc", "mdc", "cdc"):
        value = toy(slug, seed)["nmi"]
        yield f"{slug}, NMI", value, value >= 0.35
    single, broken = toy("sdc", seed)["nmi"], toy("xdc", seed, shuffled=True)["nmi"]
    yield "sdc, NMI", single, single < 0.3
    yield "xdc on shuffled pairs, NMI", broken, broken < 0.1


def clusters(seed: int) -> Figures:
    """DeepCluster-v2 and SeLaVi on digits: NMI with the digit, probe above random weights."""
    from test_decisive_clusters import deepcluster, halves_of_digits

    deep, halves = deepcluster(seed), halves_of_digits(seed)
    yield "deepcluster-v2, NMI", deep["nmi"], deep["nmi"] > 0.35
    yield "deepcluster-v2, probe above random", deep["probe"] - deep["random"], deep["probe"] > deep["random"] + 0.05
    yield "selavi, agreement of the views", halves["agree"], halves["agree"] > 0.35
    broken = halves_of_digits(seed, shuffled=True)["agree"]
    yield "selavi on wrong pairs, agreement", broken, broken < 0.15


def denoising(seed: int) -> Figures:
    """Points of a circle: radius that comes out for .5 and 1.5, with noise and without."""
    from test_denoising_autoencoder import radii

    for noise in (0.3, 0.0):
        for start, radius in zip((0.5, 1.5), radii(noise, seed), strict=True):
            away = abs(radius - 1)
            yield f"noise {noise:g}, radius {start:g} becomes", radius, away < 0.15 if noise else away > 0.25


def relative_position(seed: int) -> Figures:
    """What noise and rings tell of the place of a patch: balanced accuracy, chance .125."""
    from test_relative_patches import accuracy, rings

    leak: dict[str, Any] = {"colour": "keep", "wider": 0.01}
    chance = 0.025  # two and a half points either way
    for what, changes, passes in (
        ("noise, red 1 % wider, all colours", leak, lambda found: found > 0.7),
        ("the same, colours dropped", leak | {"colour": "drop"}, lambda found: abs(found - 1 / 8) < chance),
        ("the same, projected", leak | {"colour": "project"}, None),
        ("red and blue 1 % wider, projected", leak | {"colour": "project", "planes": (0, 2)}, None),
        ("noise, no lens, all colours", {"colour": "keep"}, lambda found: abs(found - 1 / 8) < chance),
        ("smooth noise, no gap", {"colour": "keep", "grain": 7, "gap": 0, "jitter": 0}, lambda found: found > 0.2),
        ("smooth noise, gap 8", {"colour": "keep", "grain": 7, "gap": 8}, lambda found: abs(found - 1 / 8) < chance),
        (
            "rings, every shortcut closed",
            {"draw": rings, "gap": 6, "jitter": 2, "shrink": 0.33},
            lambda found: found > 0.5,
        ),
    ):
        value = accuracy(seed, **changes)
        yield what, value, passes is None or passes(value)


def split_brain(seed: int) -> Figures:
    """Textures and hues: a probe of both halves, of each, and of an autoencoder; chance 1/6, of textures alone 1/3."""
    from test_split_brain import autoencoder, experiment

    found = experiment(seed)
    for name, value in found.items():
        yield f"split-brain, probe of {name}", value, found["joint"] > max(found["lightness"], found["colour"])
    for name, shared in (("crosswise", 0.5), ("mixed", 1 / 3)):
        value = experiment(seed, shared=shared)["joint"]
        yield f"one network for both, {name}, probe", value, value < found["joint"]
    value = autoencoder(seed)
    yield "autoencoder of Lab, probe", value, value < found["joint"]
    value = experiment(seed, coloured=False)["colour"]
    yield "class of lightness alone, probe of colour", value, value < 0.42


def colorization(seed: int) -> Figures:
    """Squares that are red or cyan: red's share of the classes, chroma of every form, margin over grey."""
    from test_colorization import experiment

    found = experiment(seed)
    classes, weighted, regression = found["classes"], found["weighted"], found["regression"]
    yield "colorization, share of red", classes["red"], abs(classes["red"] - 0.6) < 0.03
    yield "chroma of classes", classes["chroma"], classes["chroma"] > regression["chroma"] + 10
    yield "chroma of regression", regression["chroma"], classes["chroma"] > regression["chroma"] + 10
    gain = weighted["margin"] - classes["margin"]
    yield "margin over grey gained by weights", gain, gain > 0
    yield "chroma of the background, weighted", weighted["background"], weighted["background"] < 5


def larsson_colorization(seed: int) -> Figures:
    """Discs whose hue follows from their texture: error of hue in turns, chroma, and two controls that go wrong."""
    from test_larsson_colorization import SPECKLE, evenly_weighted, experiment, hue_as_a_number

    found = experiment(seed)
    least = {"chroma of discs": found["chroma of discs"] > 0.3}
    for what, value in found.items():
        yield f"larsson-colorization, {what}", value, least.get(what, value < 1 / 32)
    share = "background's share of the loss"
    weighted = experiment(seed, speckle=SPECKLE)[share]
    yield f"larsson-colorization, speckled, {share}", weighted, weighted < 0.25
    with evenly_weighted():
        value = experiment(seed, speckle=SPECKLE)[share]
    yield f"the same, every place's hue weighs as much, {share}", value, value > 0.5
    with hue_as_a_number():
        value = experiment(seed)["hue error of red"]
    yield "hue regressed as a number, hue error of red", value, value > 1 / 3


def context_discovery(seed: int) -> Figures:
    """Discs whose bar lies at one place in half of the canvases: pairs of members told apart, and mean scores."""
    from test_context_discovery import member_scores, separation

    for name, fixed in (("half at one place", 10), ("all anywhere", 0)):
        with tempfile.TemporaryDirectory() as folder:
            scores = member_scores(Path(folder), seed, fixed)
        first, second = float(scores[:10].mean()), float(scores[10:].mean())
        told = separation(scores)
        yield f"context-discovery, bars {name}, told apart", told, told > 0.9 if fixed else 0.2 < told < 0.8
        yield f"context-discovery, bars {name}, mean of the first ten", first, first > 100 if fixed else first < 100
        yield f"context-discovery, bars {name}, mean of the others", second, second < 100
        yield f"context-discovery, bars {name}, least of the first ten", float(scores[:10].min()), True


def context_encoder(seed: int) -> Figures:
    """Stripes: error left in the middle of the hole, of the mean colour's. Black or white holes: distance from grey."""
    from test_context_encoder import boldness, left_over

    for middle, steps in (("channelwise", 200), ("dense", 200), ("local", 100)):
        hole, inner = left_over(seed, middle=middle, steps=steps)
        yield f"stripes, {middle}, whole hole", hole, hole < 0.5
        yield f"stripes, {middle}, its middle", inner, abs(inner - 1) < 0.1 if middle == "local" else inner < 0.4
    grey, side = boldness(seed, adversary=0.0), boldness(seed, adversary=0.9, critic=16, critic_rate=0.5)
    yield "black or white, error alone", grey, grey < 0.3
    yield "black or white, with a critic", side, side > 0.5


def weak_captions(seed: int) -> Figures:
    """Rare words drawn as often as common ones: accuracy by kind of thing, and overall, of 60 kinds by Zipf's law."""
    import pytest
    from test_weak_captions import toy

    with pytest.MonkeyPatch.context() as patch:
        kinds, whole = toy(seed, patch, sampling="picture", objective="multi-class")
        full, _ = toy(seed, patch, objective="multi-class")
        sampled, overall = toy(seed, patch)
    yield "weak-captions, pictures drawn evenly, mean over kinds", kinds, True
    yield "weak-captions, words first, all words in the softmax", full, full > 2 * kinds
    yield "weak-captions, words first, the batch's words in it", sampled, sampled > 2 * kinds
    yield "weak-captions, pictures drawn evenly, overall", whole, True
    yield "weak-captions, words first, overall", overall, overall < whole


def video_triplet(seed: int) -> Figures:
    """Glyphs that move over noise: how often a track finds its own end among 50, and how far other ends lie beyond."""
    from test_video_triplet import experiment

    for form in ("paper", "released"):
        for what, value in experiment(seed, form=form).items():
            yield f"video-triplet, {form}: {what}", value, "new" in what or value > (0.3 if what == "apart" else 0.9)
    yield "video-triplet, untrained: own", (value := experiment(seed, steps=0)["own"]), value < 0.5
    yield "video-triplet, wrong ends: own", (value := experiment(seed, shuffled=True)["own"]), value < 0.5


def steady_features(seed: int) -> Figures:
    """A spot on a circle: per cent of other pictures nearer to 2 z_m - z_l than the true next; few labels."""
    from test_steady_features import few_labels, flipped, toy

    alone, both = toy(seed, steady=0.0), toy(seed)
    yield "steady-features, slow alone, rank in %", alone, alone > 1.8
    yield "slow and steady", both, both < 1.6
    with flipped():
        wrong = toy(seed)
    yield "with one difference the wrong way round", wrong, wrong > both
    untrained = toy(seed, steps=0)
    yield "untrained", untrained, untrained > both
    labels = few_labels(seed, weight=1e-9)
    yield "8 labels of four classes alone, accuracy", labels, True
    for what, steady in (("slow", 0.0), ("slow and steady", 1.0)):
        value = few_labels(seed, weight=0.3, steady=steady)
        yield f"8 labels and {what}", value, value > labels


def physical_prediction(seed: int) -> Figures:
    """Pushes: dB of two predicted pictures with actions, without them, and of the last picture that was shown."""
    from test_physical_prediction import dream

    told, copied = dream(seed)
    untold, _ = dream(seed, uses=())
    yield "physical-prediction with actions, dB", told, told > untold
    yield "physical-prediction without actions, dB", untold, untold > copied
    yield "copy of the last picture, dB", copied, copied < untold


def cloven(seed: int) -> Figures:
    """Two views that confuse different classes: accuracy of k-means, and with one view replaced by zeros."""
    from test_cloven import experiment

    found, released = experiment(seed), experiment(seed, instance_weight=0.0)
    yield "cloven, fused", found["fused"], found["fused"] >= 0.95
    yield "the better view alone", found["alone"], found["alone"] < 0.85
    yield "raw views beside each other", found["raw"], True
    yield "without instances (as released), fused", released["fused"], True
    lost = {what: values[which] - values[f"{which}, a view zeroed"] for what, values, which in (
        ("fused", found, "fused"), ("raw views", found, "raw"), ("fused, as released", released, "fused")
    )}  # fmt: skip
    for what, value in lost.items():
        yield f"lost with a view zeroed, {what}", value, value < lost["raw views"] or what == "raw views"


def mov(seed: int) -> Figures:
    """Sound tells apart pairs of classes that frames confuse, also of classes that were never learnt from."""
    from test_mov import experiment

    found, broken = experiment(seed), experiment(seed, shuffled=True)
    for what, value in found.items():
        yield f"mov, {what}", value, value > 0.85 if what.startswith("novel, mixed") else True
    value = broken["novel, mixed, separate"]
    yield "mov on shuffled sounds, novel, mixed, separate", value, value < 0.7


def ambient_sound(seed: int) -> Figures:
    """Four kinds of sound with four kinds of picture, every fifth pair wrong: clusters, answers and probe."""
    from test_ambient_sound import experiment

    found, broken = experiment(seed), experiment(seed, shuffled=True)
    least = {"purity": 0.95, "clusters left": 3, "sound of new pairs": 0.7, "kind of new pictures": 0.9, "probe": 0.95}
    for what, value in found.items():
        yield f"ambient-sound, {what}", value, value > least.get(what, 0)
    yield "ambient-sound, one median: clusters left", experiment(seed, epochs=0, median="global")["clusters left"], True
    for what in ("sound of new pairs", "kind of new pictures", "probe"):
        yield f"ambient-sound on shuffled sounds, {what}", broken[what], broken[what] < found[what] - 0.15


def uavm(seed: int) -> Figures:
    """Two linear views of ten kinds, one in a step: accuracy of each, and P@1 of the kind by the other; chance .1."""
    from test_uavm import toy

    for what, changes in (("one transformer", {}), ("separate", {"shared_depth": 0})):
        accuracy, worse, better = toy(seed, **changes)
        yield f"uavm, {what}: accuracy of the worse view", (least := min(accuracy.values())), least > 0.95
        yield f"uavm, {what}: P@1 by the other view, worse way", worse, worse < 0.3 if changes else worse > 0.6
        yield f"uavm, {what}: P@1 by the other view, better way", better, better < 0.3 if changes else better > 0.6


def ccl(seed: int) -> Figures:
    """Blobs in the plane under a teacher who is wrong of one in five: accuracy of the student, 4,000 new points."""
    from test_ccl import Plain, toy

    alone, taught = toy(seed, taught=False), toy(seed)
    yield "ccl, labels alone", alone, True
    yield "ccl", taught, taught > alone + 0.03
    for what, changes in (
        ("S(v, t) without a composition", {"kind": Plain}),
        ("heads that do not learn", {"wiped": True}),
    ):
        value = toy(seed, **changes)
        yield f"ccl, {what}", value, value < taught
    yield "labels alone, five times as long", toy(seed, taught=False, steps=1000), True


def image_transfer(seed: int) -> Figures:
    """Boxes and masks of made shapes from four starts of one small network: mAP (area) and mIU, each above the next."""
    from test_shapes_transfer import FIGURES, experiment

    with tempfile.TemporaryDirectory() as folder:
        found = experiment(seed, Path(folder))
    for figure in FIGURES:
        values = [measured[figure].value for measured in found.values()]
        for place, (start, value) in enumerate(zip(found, values, strict=True)):
            yield f"{figure}, {start}", value, place == 0 or value < values[place - 1]


EXPERIMENTS: dict[str, Experiment] = {
    "contrastive": Experiment(contrastive),
    "avid": Experiment(avid),
    "l3": Experiment(l3),
    "swav": Experiment(swav, seeds=10),
    "stica": Experiment(stica, seeds=10),
    "xdc": Experiment(xdc),
    "clusters": Experiment(clusters),
    "denoising-autoencoder": Experiment(denoising),
    "context-encoder": Experiment(context_encoder),
    "relative-position": Experiment(relative_position),
    "split-brain": Experiment(split_brain),
    "colorization": Experiment(colorization),
    "larsson-colorization": Experiment(larsson_colorization),
    "context-discovery": Experiment(context_discovery),
    "image-transfer": Experiment(image_transfer),
    "weak-captions": Experiment(weak_captions),
    "video-triplet": Experiment(video_triplet),
    "steady-features": Experiment(steady_features),
    "physical-prediction": Experiment(physical_prediction),
    "ambient-sound": Experiment(ambient_sound),
    "ccl": Experiment(ccl, seeds=5),
    "uavm": Experiment(uavm),
    "cloven": Experiment(cloven),
    "mov": Experiment(mov),
}


def table(name: str, seeds: int) -> str:
    """Run an experiment and return its rows as Markdown."""
    found: dict[str, list[tuple[float, bool]]] = {}
    for seed in range(seeds):
        for what, value, passes in EXPERIMENTS[name].run(seed):
            found.setdefault(what, []).append((value, passes))
        print(f"{name}, seed {seed} done", file=sys.stderr, flush=True)
    return "\n".join(
        f"| {what} | {sum(passes for _, passes in values)} of {len(values)} | "
        f"{' '.join(f'{value:.3g}' for value, _ in values)} |"
        for what, values in found.items()
    )


def main() -> int:
    """Run what was asked; returns the exit code."""
    parser: Any = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which experiments; none: all")
    parser.add_argument("--seeds", type=int, help="instead of each experiment's own number")
    parser.add_argument("--list", action="store_true", help="list the experiments")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{name}: {one.run.__doc__}" for name, one in EXPERIMENTS.items()))
        return 0
    if unknown := sorted(set(arguments.names) - set(EXPERIMENTS)):
        parser.error(f"no experiment {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}")
    print("| measured | passes | seeds 0, 1, ... |\n|---|---|---|")
    for name in arguments.names or EXPERIMENTS:
        print(table(name, arguments.seeds or EXPERIMENTS[name].seeds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
