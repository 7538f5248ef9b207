"""Detections matched with objects as VOC does it, and intersection over union of masks."""

import pytest
import torch

from coview.data.scenes import Objects
from coview.errors import UsageError
from coview.evaluation.average_precision import DEFINITIONS
from coview.evaluation.detection_scores import Found, match, mean_average_precision
from coview.evaluation.segmentation_scores import confusion, intersection_over_union, mean_iu
from coview.evaluation.statistics import wilson


def objects(*rows):
    boxes, classes, difficult = zip(*rows, strict=True) if rows else ((), (), ())
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Objects(boxes, torch.tensor(classes, dtype=torch.int64), torch.tensor(difficult, dtype=torch.bool))


def found(*rows):
    boxes, scores, classes = zip(*rows, strict=True) if rows else ((), (), ())
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Found(boxes, torch.tensor(scores, dtype=torch.float32), torch.tensor(classes, dtype=torch.int64))


A, B = (0, 0, 10, 10), (20, 20, 40, 40)


def test_an_object_is_found_once_and_difficult_ones_do_not_count():
    truth = objects((A, 0, False), (B, 0, True))
    seen = found((A, 0.9, 0), (A, 0.8, 0), (B, 0.7, 0), ((0, 0, 10, 20.1), 0.6, 0), ((50, 50, 60, 60), 0.5, 0))
    (picture, good, bad), (none, *_) = match([seen], [truth], 2).ranked
    assert good.tolist() == [1, 0, 0, 0, 0] and bad.tolist() == [0, 1, 0, 1, 1]  # a half of the overlap is enough
    assert picture.tolist() == [0] * 5 and not len(none)
    half = match([found(((0, 0, 10, 20), 1.0, 0))], [truth], 2)
    assert half.ranked[0][1].tolist() == [1]
    assert half.positives.tolist() == [[1, 0]]


def test_the_best_overlap_decides_before_it_is_known_whether_it_is_taken():
    truth = objects(((0, 0, 10, 10), 0, False), ((4, 0, 14, 10), 0, False))
    seen = found(((0, 0, 10, 10), 0.9, 0), ((1, 0, 11, 10), 0.8, 0))
    assert match([seen], [truth], 1).ranked[0][1].tolist() == [1, 0]  # it overlaps the other by .54, but this one more


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_mean_average_precision_of_all_found_and_of_nothing(definition):
    truth = [objects((A, 0, False)), objects((B, 1, False)), objects()]
    perfect = [found((A, 1.0, 0)), found((B, 1.0, 1)), found()]
    figure = mean_average_precision("detection", "x", perfect, truth, 3, definition, 0)
    assert figure.name == f"detection_map-{definition}/x" and figure.n == 3
    assert (figure.value, figure.chance) == (1, 0) and (figure.low, figure.high) == wilson(2, 2)  # of two objects
    nothing = mean_average_precision("detection", "x", [found()] * 3, truth, 3, definition, 0)
    assert nothing.value == 0
    again = match(perfect, truth, 3).average_precision(definition, torch.tensor([[1, 0, 5], [0, 0, 1]]))
    assert again[0, 0] == 1 and again[:, 1:].isnan().all() and again[1].isnan().all()


def test_what_cannot_be_matched_is_an_error():
    truth = [objects((A, 0, True))]
    with pytest.raises(UsageError, match="no test picture has an object that counts"):
        mean_average_precision("detection", "x", [found()], truth, 1, "area", 0)
    with pytest.raises(UsageError, match="of 2 pictures cannot be matched with the truth of 1"):
        match([found()] * 2, truth, 1)
    with pytest.raises(UsageError, match="not finite"):
        match([found((A, torch.nan, 0))], truth, 1)


def test_intersection_over_union():
    truth = torch.tensor([[0, 0, 1, 255], [0, 1, 1, 2]])
    table = confusion(truth.clamp(max=2), truth, 3)
    assert intersection_over_union(table).tolist() == [1, 1, 1] and table.sum() == 7
    two = torch.tensor([[0, 0, 0, 1]])
    empty = confusion(torch.zeros_like(two), two, 2)
    assert intersection_over_union(empty).tolist() == [0.75, 0]
    figure = mean_iu("segmentation", "x", empty[None], 0)
    assert figure.value == 0.75 / 2 == figure.chance  # half of the background's
    tables = torch.stack([confusion(said, two, 2) for said in (two, torch.zeros_like(two))])
    figure = mean_iu("segmentation", "x", tables, 0)
    assert figure.value == pytest.approx((6 / 7 + 1 / 2) / 2) and figure.low < figure.value < figure.high
    unseen = intersection_over_union(confusion(two, two, 3))
    assert unseen[2].isnan() and unseen.nanmean() == 1


def test_masks_that_do_not_fit_are_errors():
    truth = torch.tensor([[0, 3]])
    with pytest.raises(UsageError, match="none of 0 to 2"):
        confusion(torch.zeros_like(truth), truth, 3)
    with pytest.raises(UsageError, match="a class for every pixel"):
        confusion(torch.zeros(1, 3), truth, 3)
    with pytest.raises(UsageError, match="no pixel"):
        mean_iu("segmentation", "x", torch.zeros(2, 2, 2, dtype=torch.int64), 0)
