"""Decisive experiments of the systems that learn from time, motion, words, ambient sound, and from stored features.

`decisive.py` runs them; each yields what it measured, its value, and whether it passes what the card asks.
"""

from __future__ import annotations

from collections.abc import Iterator

Figures = Iterator[tuple[str, float, bool]]


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
    from test_decisive_mov import experiment

    found, broken = experiment(seed), experiment(seed, shuffled=True)
    for what, value in found.items():
        yield f"mov, {what}", value, value > 0.85 if what.startswith("novel, mixed") else True
    value = broken["novel, mixed, separate"]
    yield "mov on shuffled sounds, novel, mixed, separate", value, value < 0.7


def vilbert(seed: int) -> Figures:
    """Coloured shapes and captions of two of them: does a caption belong, and a masked colour with and without."""
    from test_decisive_vilbert import experiment

    found = experiment(seed)
    for what, least in (("alignment", 0.95), ("masked colour with the picture", 0.9)):
        yield f"vilbert, {what}", found[what], found[what] > least
    value = found["masked colour with another's"]
    yield "vilbert, masked colour with another's picture", value, value < 0.3


def elo(seed: int) -> Figures:
    """Two tasks, one of which tells of classes with Zipf's frequencies: what 40 short runs without labels find."""
    from test_decisive_elo import experiment

    found = experiment(seed)
    passes = {"ratio": found["ratio"] > 3, "kNN": found["kNN"] >= found["kNN, equal"] + 0.05}
    for what, value in found.items():
        yield f"elo, {what}", value, passes.get(what, True)


def uavm(seed: int) -> Figures:
    """Two linear views of ten kinds, one in a step: accuracy of each, and P@1 of the kind by the other; chance .1."""
    from test_decisive_uavm import toy

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
