"""The study of two alternatives: balanced designs, and pages and files that do not give the answer away."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from coview.cli.main import main
from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.errors import UsageError
from coview.evaluation.study import write_study
from coview.evaluation.study_design import Plan, plan, shuffled, trials
from coview.methods import METHODS, build, load_method
from coview.methods.cards import card_of
from coview.methods.contract import Facts
from coview.model import Model
from coview.objectives.colour import srgb_to_lab
from coview.painting.painter import Painter, as_tensor

COLOURING = [slug for slug in METHODS if card_of(slug).paints == "colour"]


def painter(slug, seed=0):
    torch.manual_seed(seed)
    method = build(slug, load_method(slug).Settings.tiny(), Facts(rows=16))
    about = {"collection": {"name": "made", "fingerprint": "", "rows": 16}, "classes": []}
    return Painter(Model(method, Preprocess(method.views, AugmentSettings()), about))


def photographs(folder, count):
    folder.mkdir()
    for index in range(count):
        values = np.random.default_rng(index).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(values).resize((96, 72), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def test_the_largest_plan_that_fits():
    assert plan(1000, 1) == Plan(practice=10, test=40, catch=4, identity=2)
    assert plan(1000, 3).test == 39
    assert plan(8, 1) == Plan(practice=2, test=4, catch=1, identity=1)
    for pictures in range(10, 80):
        for models in (1, 2, 3, 4):
            found = plan(pictures, models)
            assert found.pictures <= pictures and found.test % models == 0
    with pytest.raises(UsageError, match="3 models needs at least 10 pictures with colour, and there are 9"):
        plan(9, 3)
    with pytest.raises(UsageError, match="too few for 41 models"):
        plan(1000, 41)


@pytest.mark.parametrize("models", [1, 2, 3, 4])
def test_designs_are_balanced_and_a_latin_square(models):
    planned, seen = plan(60, models), Counter()
    for participant in range(2 * models):
        own = trials(planned, models, 5, participant)
        assert own == trials(planned, models, 5, participant)
        assert Counter(trial.kind for trial in own) == Counter(vars(planned))
        assert len({trial.picture for trial in own}) == len(own) == planned.pictures
        assert all(trial.kind == "practice" for trial in own[: planned.practice])
        test = [trial for trial in own if trial.kind == "test"]
        assert set(Counter(trial.model for trial in test).values()) == {planned.test // models}
        for model in range(models):
            left = [trial.fake_left for trial in test if trial.model == model]
            assert abs(2 * sum(left) - len(left)) <= 1
        seen.update((trial.picture, trial.model) for trial in test)
        rest = own[planned.practice :]
        quarters = [4 * place // len(rest) for place, trial in enumerate(rest) if trial.kind == "catch"]
        assert len(quarters) == planned.catch and all(abs(q - k) <= 1 for k, q in enumerate(quarters))
    assert set(seen.values()) == {2} and len(seen) == planned.test * models
    assert trials(planned, models, 5, 0) != trials(planned, models, 6, 0)
    assert sorted(shuffled(9, 1)) == list(range(9))


def test_pages_and_files_do_not_say_which_is_made(tmp_path):
    painters = [painter(slug) for slug in COLOURING[:2]]
    folder = photographs(tmp_path / "in", 9)
    Image.new("L", (50, 50), 90).save(folder / "grey.png")
    (folder / "broken.png").write_bytes(b"no")
    out = tmp_path / "out"
    written, problems = write_study(painters, ["a", "b"], folder, out, 2, seed=1)
    assert written.plan == Plan(practice=2, test=4, catch=1, identity=1)
    assert {name.rpartition("/")[2] for name, _ in problems} <= {"grey.png", "broken.png"}
    files = list((out / "images").iterdir())
    assert len({file.stat().st_size for file in files}) == 1, "sizes say nothing"
    assert len(files) == 2 * 2 + 4 * 3 + 2 + 1
    key = json.loads(written.key.read_text())
    for page in written.pages:
        text = page.read_text()
        pairs = json.loads(re.search(r"PAIRS = (\[.*?\]), KEPT", text)[1])
        own = key["participants"][page.stem]
        assert len(pairs) == len(own) == 8
        shown = Counter()
        for pair, trial in zip(pairs, own, strict=True):
            assert ("fake" in pair) is (trial["kind"] == "practice")
            assert (pair["left"] == pair["right"]) is (trial["kind"] == "identity")
            shown.update({pair["left"], pair["right"]})
            both = [lightness(out / "images" / pair[side]) for side in ("left", "right")]
            assert (both[0] - both[1]).abs().mean() < 0.2, "one lightness"
        assert set(shown.values()) == {1}
        assert not any(word in text for word in (*COLOURING, "grey.png", "models"))
    first = [json.loads(re.search(r"PAIRS = (\[.*?\]), KEPT", page.read_text())[1]) for page in written.pages]
    assert first[0] != first[1]


def lightness(path):
    return srgb_to_lab(as_tensor(np.array(Image.open(path))).double() / 255)[0, 0]


def test_the_verb_writes_a_study(tmp_path, capsys):
    painter(COLOURING[0]).model.save(tmp_path / "model")
    words = ["paint", "--model", str(tmp_path / "model"), "--device", "cpu", "--json"]
    words += ["--input", str(photographs(tmp_path / "in", 8))]
    assert main([*words, "--study", "3", "-o", str(tmp_path / "out")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["pages"]) == 3 and result["pairs"]["test"] == 4
    assert [model["name"] for model in json.loads((tmp_path / "out" / "key.json").read_text())["models"]] == ["model"]
    assert main([*words, "--study", "0", "-o", str(tmp_path / "other")]) == 2
    assert "at least 1" in capsys.readouterr().err
    assert main([*words, "--study", "1", "--box", "1", "1", "2", "2", "-o", str(tmp_path / "other")]) == 2
    twice = [*words[:3], str(tmp_path / "model"), *words[3:]]
    assert main([*twice, "-o", str(tmp_path / "other")]) == 2
    assert "compared by --study" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_what_colours_nothing_and_what_is_in_the_way(tmp_path):
    folder = photographs(tmp_path / "in", 3)
    other = next(slug for slug in METHODS if card_of(slug).paints not in ("", "colour"))
    with pytest.raises(UsageError, match="models that make colour"):
        write_study([painter(other)], ["a"], folder, tmp_path / "out", 1)
    with pytest.raises(UsageError, match="is not an empty folder"):
        write_study([painter(COLOURING[0])], ["a"], folder, folder, 1)
    with pytest.raises(UsageError, match="at least 8 pictures with colour, and there are 3"):
        write_study([painter(COLOURING[0])], ["a"], folder, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()
