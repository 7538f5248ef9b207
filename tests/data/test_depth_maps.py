"""Maps of depth that are odd: of another shape than their picture, not finite, too far, below 0."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from coview.data.tracks import read_depth
from coview.data.views import DepthView
from coview.errors import MediaError

VIEW = DepthView(size=16, margin=1.0, with_="image")
PICTURE = SimpleNamespace(width=80, height=60)


def load(folder, depth, view=VIEW):
    np.save(folder / "depth.npy", depth)
    return view.load(PICTURE, folder / "depth.npy", 0.0, 0.5)[0]


@pytest.mark.parametrize("size", [(60, 80), (30, 41), (119, 160), (1, 1)])
def test_a_map_at_another_scale_lies_over_its_picture(tmp_path, size):
    assert torch.equal(load(tmp_path, np.full(size, 2.0, np.float32)), torch.full((1, 1, 16, 16), 2.0))


@pytest.mark.parametrize("size", [(80, 60), (60, 60), (30, 80)])
def test_a_map_of_another_shape_is_refused(tmp_path, size):
    with pytest.raises(MediaError, match=r"depth\.npy: other-shape: a map of .* over a picture of 80 x 60 pixels"):
        load(tmp_path, np.full(size, 2.0))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 1e300])
def test_depth_that_is_no_number_of_metres_is_refused(tmp_path, value):
    depth = np.full((60, 80), 2.0)
    depth[5, 5] = value
    with pytest.raises(MediaError, match=r"NaN or infinity|expected metres"):
        load(tmp_path, depth)


@pytest.mark.parametrize("form", ["metres", "hha"])
def test_depth_below_0_is_unknown(tmp_path, form):
    depth = np.full((60, 80), 2.0)
    depth[:, :40] = -1
    view = DepthView(size=16, margin=1.0, with_="image", form=form)
    values = load(tmp_path, depth, view)
    assert read_depth(tmp_path / "depth.npy").min() == 0
    assert values.isfinite().all() and not values[..., :6].any()
    assert (values[0, ..., 10:] == (2 if form == "metres" else 0.5)).all()
