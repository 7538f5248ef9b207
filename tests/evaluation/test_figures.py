"""Figures as SVG: marks of the axes, colours that shapes tell apart too, names that are escaped."""

import re

import pytest
import torch

from coview.evaluation.figures import COLOURS, GREY, bars, curves, number, scatter, ticks
from coview.evaluation.spectrogram import COLUMNS, MELS, bands, colours, drawn
from coview.evaluation.statistics import Measurement


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 936, [200, 400, 600, 800]),
        (0, 0.003, [0, 0.001, 0.002, 0.003]),
        (-3, 3, [-2, 0, 2]),
        (7, 7, [7]),
    ],
)
def test_marks_are_round_and_inside(low, high, marks):
    assert ticks(low, high, 4) == pytest.approx(marks)


def test_marks_are_short():
    assert [number(value) for value in (0, 0.0005, 2500.0, 2e-7, 3e6)] == ["0", "0.0005", "2500", "2e-7", "3e+06"]


def test_classes_differ_in_colour_and_shape_and_rare_ones_are_grey():
    labels = torch.arange(14).repeat_interleave(torch.tensor([3] * 12 + [1, 1]))
    svg = scatter(torch.randn(len(labels), 2), labels, [f"<{k}>" for k in range(14)], "sound")
    in_legend = re.findall(r"<g [^>]*>(<(?:circle|polygon)[^>]*>)", svg)  # all at the same place
    assert len(in_legend) == len(set(in_legend)) == 13
    assert set(re.findall(r'fill="(#[^"]*)"', svg)) == {*COLOURS, GREY}
    assert "&lt;0&gt;" in svg and "<0>" not in svg
    assert "2 rarer classes" in svg


def test_without_labels_marks_are_grey_and_there_is_no_legend():
    svg = scatter(torch.randn(5, 2), torch.full((5,), -1), [], "sound")
    assert svg.count("<circle") == 5 and set(re.findall(r'fill="(#[^"]*)"', svg)) == {GREY}
    assert "<text" not in svg


def test_lines_differ_in_colour_and_dashes():
    svg = curves({name: ([1, 2, 3], [0.1, 0.2, float("nan")]) for name in "abcdefghij"}, "loss", ("chance", 0.5))
    drawn_lines = re.findall(r"<polyline[^>]*/>", svg)
    assert len({re.sub(r'points="[^"]*"', "", line) for line in drawn_lines}) == len(drawn_lines) == 8
    assert "nan" not in svg and "chance" in svg


def test_bars_stay_inside_and_know_the_model_from_its_controls():
    found = [
        Measurement(f"video_probe/{name}", value, None, None, 0.1, 9) for name, value in (("xid", 1.2), ("random", 0.2))
    ]
    [(words, what, (own, control))] = bars({"video_probe": found})
    assert (words, what) == ("a linear classifier on the picture is right", "video_probe")
    assert (own.own, own.value, control.own, control.value, own.low) == (True, 100, False, 20, None)


def test_a_spectrogram_shows_a_tone_where_its_axis_says():
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)
    picture = colours(tone, 16000)
    assert picture.shape == (MELS, COLUMNS, 3)
    svg = drawn(tone, 16000)
    assert re.findall(r">([\d,]+)</text>", svg) == ["250", "1,000", "2,000", "4,000", "8,000"]
    assert "0.2 s" in svg and "mel" in svg
    loudest = MELS - 1 - int(picture.astype(int).sum((1, 2)).argmax())
    height = float(re.search(r'y="([\d.]+)" text-anchor="end">1,000<', svg)[1]) - 4
    assert loudest / MELS == pytest.approx((132 - height) / 110, abs=1.5 / MELS)


def test_what_a_method_was_given_is_marked_by_bands():
    svg = bands(torch.zeros(40, 80, dtype=torch.uint8).numpy(), 1.0)
    assert re.findall(r">(\d+)</text>", svg) == ["0", "10", "20", "30"]
