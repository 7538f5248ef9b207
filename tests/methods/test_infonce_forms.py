"""The sweep of all methods, over the forms of InfoNCE between many views."""

import pytest
import torch
from test_sweep import (  # noqa: F401
    device,
    draw,
    learn,
    make,
    test_a_batch_without_any_complete_sample_teaches_nothing,
    test_a_step_changes_what_has_a_gradient_and_nothing_frozen,
    test_declarations,
    test_evaluation_leaves_no_trace,
    test_every_world_size_is_one_process_on_the_joined_batch,
    test_forward_and_backward_are_finite,
    test_saved_and_loaded_gives_the_same_outputs,
    test_stopped_and_resumed_gives_the_same_losses_to_the_bit,
    without,
)

from coview.data.views import FeaturesView

SAID = {"said": FeaturesView(dim=12, steps=5), "seen": FeaturesView(dim=9), "read": FeaturesView(dim=7, steps=3)}
HUB = {
    "views": ("audio", "image", "video", "text"),
    "hub": "image",
    "weights": {"image-audio": 2.0},
    "temperatures": {"audio-image": 0.05, "image-video": 0.2},
}
FORMS = {
    "three views": {"views": ("video", "audio", "text"), "queue": 6},
    "hub": HUB,
    "sigmoid": {"form": "sigmoid", "positives": "label"},
    "sigmoid between many": {"form": "sigmoid", "queue": 6, "views": ("video", "video_later", "audio")},
    "sequences": {"views": tuple(SAID), "others": SAID, "pooling": "attention"},
    "tokens": {"views": tuple(SAID), "others": SAID, "pooling": "global"},
    "places": {"views": ("image", "audio"), "pooling": "attention"},
}
QUICK = ("sequences",)  # stored vectors: a second for all of it


@pytest.fixture(params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FORMS])
def case(request):
    return "infonce", FORMS[request.param]


def test_what_stands_in_absent_rows_influences_nothing(case):
    batch = draw(make(case))
    found = [learn(make(case), without(batch, fill)) for fill in (0.0, torch.nan)]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    assert all(gradient.isfinite().all() for gradient in found[1][2].values())


def test_samples_that_lack_what_is_needed_are_left_out(case):
    batch = without(draw(make(case)))
    needed = torch.ones(len(batch), dtype=torch.bool)
    for name in make(case).needs(batch):
        needed &= batch.present[name]
    kept = learn(make(case), batch.select(needed))
    torch.testing.assert_close(learn(make(case), batch), kept, rtol=0, atol=0)
