"""The page of what a pipeline found, its figures, and the verb that makes it."""

import json

import numpy as np
import pytest
from PIL import Image

import coview
from coview.cli.main import main
from coview.data.index import index_source
from coview.evaluation.discovered import figures_of, write_page
from coview.methods.pipeline import Cluster, Found, Member


def _member(name, score=1.0, mirrored=False):
    return Member(name, (4.0, 4.0, 24.0, 24.0), mirrored, score)


def test_coverage_and_purity():
    clusters = [Cluster(5.0, [_member("a"), _member("b"), _member("c")]), Cluster(2.0, [_member("a"), _member("d")])]
    labels = {"a": "dog", "b": "dog", "c": "cat", "d": "cat", "e": "dog"}
    coverage, purity = figures_of(Found(clusters, 8), labels, "x")
    assert (coverage.value, coverage.n) == (0.5, 8)
    assert purity.value == pytest.approx((2 / 3 + 1 / 2) / 2) and purity.n == 2
    # Two of five are cats: three drawn are alike in one of ten deals, two in four of ten.
    assert purity.chance == pytest.approx(((0.1 + 0.9 * 2 / 3) + (0.4 + 0.6 / 2)) / 2, abs=0.04)
    assert [figure.name for figure in figures_of(Found(clusters, 8), {}, "x")] == ["picture_coverage/x"]
    assert figures_of(Found([], 8), labels, "x")[0].value == 0.0


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(5):
        noise = rng.integers(0, 256, (96, 96, 3)).astype(np.uint8)
        noise[30:60, 30:60] = 255
        Image.fromarray(noise).save(folder / f"{'<b>' if number else 'a&'}{number}.png")
    return folder


def test_the_page_shows_patches_and_obeys_no_name(pictures, tmp_path):
    collection = index_source(str(pictures), tmp_path / "collection", workers=0)
    first, second = collection.ids[:2]
    found = Found([Cluster(3.0, [_member(first, 2.0), _member(second, 1.0, True)])], 5)
    path, results = write_page(found, collection, tmp_path, "x")
    page = path.read_text()
    assert page.count("data:image/jpeg;base64,") == 2 and "<b>" not in page and "2 patches, score 3" in page
    assert results[0].value == 0.4
    empty, _ = write_page(Found([], 5), collection, tmp_path, "x")
    assert "too few pictures of one thing" in empty.read_text()


def test_the_verb_from_pictures_to_a_page(pictures, tmp_path, capsys):
    index_source(str(pictures), tmp_path / "collection", workers=0)
    small = (
        "--method.size 96 --method.parts 2 --method.library 200 --method.rounds 1 --method.reach 2 --method.octave 1"
    )
    words = [
        "discover",
        "context-discovery",
        "--collection",
        str(tmp_path / "collection"),
        "-o",
        str(tmp_path / "found"),
    ]
    code = main([*words, "--tiny", "--workers", "0", "--json", *small.split()])
    said = json.loads(capsys.readouterr().out)
    assert code == 0 and said["counts"]["pictures"] == 5 and said["problems"] == []
    assert (tmp_path / "found" / "clusters.html").is_file() and (tmp_path / "found" / "clusters.json").is_file()
    kept = json.loads((tmp_path / "found" / "discovery.json").read_text())
    assert kept["settings"]["patch"] == 4 and kept["settings"]["parts"] == 2
    names = zip(small.split()[::2], small.split()[1::2], strict=True)
    settings = {name.removeprefix("--method."): int(value) for name, value in names}
    there = {"collection": tmp_path / "collection", "out": tmp_path / "found"}
    found = coview.discover("context-discovery", **there, tiny=True, settings=settings, workers=0)
    assert len(found.clusters) == said["counts"]["clusters"] and found.pictures == 5
    wrong = [*words[:-1], str(tmp_path / "other"), "--method.rounds", "0"]
    with pytest.raises(SystemExit) as ended:
        main([*wrong, "--workers", "0"])
    assert ended.value.code == 2 and "at least 1" in capsys.readouterr().err
