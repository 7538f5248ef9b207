"""Protocol zero-shot: the name of a recording's class, among all names, is the nearest text. Nothing is fitted."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.scores import filled, score


def zero_shot(bench: Bench) -> None:
    """Add "<view>_zero_shot/<name>" for every view beside the text: cosines in the space where they are compared.

    Names that say nothing to the model, as no word of its dictionary is in them, are left out and named.

    Raises:
        UsageError: the model has not learnt from captions, or the test part has no classes.
    """
    classes = bench.test.classes
    if not classes:
        raise UsageError(f"{bench.test.name} has no classes whose names could be told apart")
    model = bench.model
    texts = normalize(model.embed_texts([name.replace("_", " ") for name in classes]), dim=1)
    told = texts.norm(dim=1) > 0
    silent = [name for name, known in zip(classes, told.tolist(), strict=True) if not known]
    features = bench.features("test", "projected")
    for view in model.distinct_views():
        if model.views[view].spell("") is not None or features.clips[view].shape[2] != texts.shape[1]:
            continue
        what = f"{view}_zero_shot"
        if silent:
            bench.result.lacks(
                what, [f"{len(silent)} names of classes say nothing to the model: {', '.join(silent[:5])}"]
            )
        used = features.present[view] & (features.labels >= 0)
        used &= told[features.labels.clamp(min=0)]
        if not bool(used.any()):
            bench.result.lacks(what, ["no test recording has this view and a class whose name the model knows"])
            continue
        scores = normalize(filled(features, view)[used], dim=2) @ texts.T
        scores[:, :, ~told] = -torch.inf
        bench.result.choices[what] = {"space": "projected", "classes": int(told.sum()), "left_out": int((~used).sum())}
        bench.result.results += score(what, bench.name, scores, features.labels[used], int(told.sum()), bench.seed)
