"""The decisive experiment of detection and segmentation: four starts of one small network, on made shapes.

The pretext is colorization, lightness in and colour out: the hue of a shape goes with its kind. Supervised is the same
encoder taught the kinds. Both learn from close-ups of single shapes; then every start is frozen under new heads, which
learn from 160 scenes of one to three shapes. Permuted is the supervised start whose heads learn from the truth of other
pictures. What came out of three seeds stands in docs/protocols.md.
"""

import dataclasses

import pytest
import torch
from torch import nn

from coview.data.augment import AugmentSettings
from coview.data.dataset_source import DatasetSource
from coview.data.preprocess import Preprocess
from coview.data.scenes import Permuted
from coview.data.synthetic.shapes import ShapesWorld
from coview.data.views import Batch
from coview.evaluation.controls import calibrate
from coview.evaluation.detection import Detection, detect
from coview.evaluation.segmentation import Segmentation, segment
from coview.methods import build
from coview.methods.colorization import ColorizationSettings
from coview.methods.contract import Facts
from coview.methods.recipe import OptimiserSettings, ScheduleSettings
from coview.model import Model

SIZE, CLOSE = 64, 32  # pixels of scenes, and of close-ups
TRAIN, TEST, PRETRAIN = 160, 60, 1200
STEPS = {"supervised": 600, "pretext": 400, "random": 0}  # of 32 close-ups
FIGURES = ("detection_map-area", "segmentation_miu")
SCHEDULE = ScheduleSettings(kind="cosine", warm_up=0.1)


def adam(rate):
    return OptimiserSettings(kind="adam", lr=rate, weight_decay=0.0, clip_gradient=10.0)


def start(kind, seed, world):
    """Return a model whose encoder of lightness is random, or has learnt colours, or kinds, from close-ups."""
    settings = dataclasses.replace(ColorizationSettings.tiny(), form="regression", doublings=0, stride=8)
    torch.manual_seed(1000 + seed)
    method, head = build("colorization", settings, Facts(rows=PRETRAIN)), nn.Linear(128, len(world.classes))
    preprocess = Preprocess(method.views, AugmentSettings())
    optimiser = torch.optim.Adam([*method.parameters(), *head.parameters()], 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=STEPS[kind] + 1)
    method.train()
    for _ in range(STEPS[kind]):
        rows = torch.randint(PRETRAIN, (32,))
        views = {"lightness": world.pictures[rows][:, :, None]}
        batch = preprocess(Batch(views=views, row=rows, key=rows), train=False)
        if kind == "supervised":
            features = method.encoders["lightness"](batch.views["lightness"])
            loss = nn.functional.cross_entropy(head(features), world.labels[rows])
        else:
            loss = method(batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    about = {"collection": {"name": "shapes", "fingerprint": world.fingerprint, "rows": PRETRAIN}, "classes": []}
    model = Model(method.eval(), preprocess, about)
    if kind == "random":
        source = DatasetSource([{"lightness": p[:, None]} for p in world.pictures[:512]], method.views)
        calibrate(model, source, seed=seed)
    return model


def experiment(seed, folder):
    """Return start -> figure -> measurement, the best start first."""
    train, test = ShapesWorld("train", TRAIN, seed, size=SIZE), ShapesWorld("test", TEST, seed, size=SIZE)
    close = ShapesWorld("train", PRETRAIN, seed + 50, most=1, size=CLOSE, radius=(0.28, 0.46))
    same = {"view": "lightness", "frozen": True, "seed": seed, "schedule": SCHEDULE}
    detection = Detection(
        **same, optimiser=adam(2e-3), steps=100, batch_size=4, short=(SIZE,), test_short=SIZE, long=SIZE, width=64,
        cells=4, regions=32, definitions=("area",),
    )  # fmt: skip
    segmentation = Segmentation(**same, optimiser=adam(2e-3), steps=150, batch_size=8, width=64, kernel=3, dropout=0.0)
    found, models = {}, {kind: start(kind, seed, close) for kind in STEPS}
    for kind in (*STEPS, "permuted"):
        model = models["supervised" if kind == "permuted" else kind]
        part = Permuted(train, seed) if kind == "permuted" else train
        results = detect(model, part, test, folder / f"{kind}-detection", detection, name=kind).results
        results += segment(model, part, test, folder / f"{kind}-segmentation", segmentation, name=kind).results
        found[kind] = {figure.name.partition("/")[0]: figure for figure in results}
    return found


@pytest.mark.slow
def test_what_was_learnt_before_helps_with_boxes_and_masks(tmp_path):
    found = experiment(1, tmp_path)
    for figure in FIGURES:
        supervised, pretext, random, permuted = (measured[figure].value for measured in found.values())
        assert min(supervised, pretext) > random > permuted, figure
    boxes, masks = ({start: measured[figure] for start, measured in found.items()} for figure in FIGURES)
    assert boxes["supervised"].value > boxes["pretext"].value  # of masks the two are alike
    assert boxes["random"].low > boxes["permuted"].high
    assert masks["permuted"].value < masks["permuted"].chance + 0.02
