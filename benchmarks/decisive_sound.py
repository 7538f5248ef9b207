"""Decisive experiments of the systems that set sight beside sound, and of those that group what they see and hear.

`decisive.py` runs them; each yields what it measured, its value, and whether it passes what the card asks.
"""

from __future__ import annotations

from collections.abc import Iterator

Figures = Iterator[tuple[str, float, bool]]


def contrastive(seed: int) -> Figures:
    """XID and VICReg on 64 made pairs, R@1 of the worse direction, chance .016."""
    from test_decisive import train

    for slug, changes, least in (("xid", {}, 0.8), ("av-vicreg", {}, 0.5), ("vicreg-video", {}, 0.5)):
        value = min(train(slug, seed, **changes)[:2])
        yield f"{slug}, R@1", value, value > least
    value = max(train("xid", seed, misaligned=True)[:2])
    yield "xid with wrong rows, R@1", value, value < 0.1


def many_views(seed: int) -> Figures:
    """InfoNCE and SigLIP with a hub: R@1 among 200, of views that were compared and of two that never were."""
    from test_decisive_many_views import figures

    yield from figures(seed)


def cav_mae(seed: int) -> Figures:
    """CAV-MAE on 64 made pairs and on shuffled ones: R@1 of the worse direction, chance .016, and hidden patches."""
    from test_decisive_cav_mae import toy

    found, picture, sound = toy(seed)
    yield "cav-mae, R@1", found, found > 0.1
    yield "cav-mae, error of hidden patches of the picture", picture, picture < 0.7
    yield "cav-mae, error of hidden patches of the sound", sound, sound < 0.95
    broken, picture, _ = toy(seed, shuffled=True)
    yield "cav-mae on shuffled pairs, R@1", broken, broken < 0.06
    yield "cav-mae on shuffled pairs, error of hidden patches of the picture", picture, picture < 0.7


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
