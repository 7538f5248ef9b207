"""Regression over time: known agreements, folds by recording, tables of labels, and what gross errors do."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made_sequences import WIDTHS, write_sequences
from measuring import NumberSource, SmallModel
from sklearn.linear_model import Ridge

from coview.cli.main import main
from coview.correlation.cca import CCA
from coview.correlation.robust import RobustCCA
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.regression import regression
from coview.evaluation.ridge import agreement, chosen_ridge, folds_of, intervals, ridge_paths, sums_by_group
from coview.evaluation.statistics import Measurement
from coview.evaluation.time_labels import read_time_labels
from coview.evaluation.verdict import at_chance


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ridge_is_that_of_scikit_learn_on_standardised_columns() -> None:
    x, y, z = drawn(40, 6) * 3 + 1, drawn(40, 2, seed=1), drawn(9, 6, seed=2)
    x[:, 4] = 7.0  # constant where it is fitted: whatever it is elsewhere is not used
    centre, scale = x.mean(0), x.std(0, correction=0).clamp(min=1e-12)
    kept = [0, 1, 2, 3, 5]
    found = ridge_paths(x, y, z, (0.1,))[0]
    model = Ridge(alpha=0.1 * len(x)).fit(((x - centre) / scale)[:, kept], y)
    assert np.allclose(found, model.predict(((z - centre) / scale)[:, kept]), atol=1e-10)


def test_agreement_is_that_of_the_formulas() -> None:
    truth, groups = drawn(50), torch.arange(50) // 5
    predicted = 0.5 * truth + 0.3 + 0.2 * drawn(50, seed=1)
    found = {name: float(v) for name, v in agreement(sums_by_group(predicted, truth, groups).sum(0)).items()}
    assert found["pearson"] == pytest.approx(float(torch.corrcoef(torch.stack([predicted, truth]))[0, 1]))
    covariance = float(((predicted - predicted.mean()) * (truth - truth.mean())).mean())
    spread = float(predicted.var(correction=0) + truth.var(correction=0) + (predicted.mean() - truth.mean()) ** 2)
    assert found["ccc"] == pytest.approx(2 * covariance / spread)
    assert found["rmse"] == pytest.approx(float((predicted - truth).square().mean().sqrt()))
    same = agreement(sums_by_group(truth, truth, groups).sum(0))
    assert [float(same[name]) for name in ("pearson", "ccc", "rmse")] == pytest.approx([1, 1, 0], abs=1e-7)
    level = agreement(sums_by_group(torch.ones_like(truth), truth, groups).sum(0))
    assert float(level["pearson"]) == 0 and abs(float(level["ccc"])) < 1e-12  # a constant agrees with nothing


def test_agreement_of_constants_is_none_and_of_large_numbers_exact() -> None:
    groups = torch.arange(60) // 10
    level = torch.full((60,), 0.1, dtype=torch.float64)
    sums = sums_by_group(level, level, groups)
    assert all(float(agreement(sums.sum(0))[name]) == 0 for name in ("pearson", "ccc"))
    assert intervals(sums, 0)["ccc"] == (0, 0)
    truth, said = drawn(60), drawn(60) + drawn(60, seed=1)
    near, far = (agreement(sums_by_group(said + by, truth + by, groups).sum(0)) for by in (0.0, 1e8))
    assert [float(far[name]) for name in far] == pytest.approx([float(near[name]) for name in far], abs=1e-6)


def test_intervals_hold_the_value_and_need_two_recordings() -> None:
    truth = drawn(60)
    sums = sums_by_group(truth + drawn(60, seed=1), truth, torch.arange(60) // 6)
    for name, (low, high) in intervals(sums, 0).items():  # type: ignore[misc]
        assert low < float(agreement(sums.sum(0))[name]) < high
    assert set(intervals(sums[:1], 0).values()) == {None}


def test_recordings_are_never_divided_between_folds() -> None:
    groups = torch.arange(60) // 4
    folds = folds_of(groups, 3)
    assert all(len(torch.unique(folds[groups == each])) == 1 for each in torch.unique(groups))
    assert torch.bincount(folds).tolist() == [12] * 5 and folds_of(torch.arange(3), 0).tolist() != [0, 0, 0]


def test_the_penalty_sees_recordings_not_moments() -> None:
    """Features that tell recordings apart predict other moments of theirs, and nothing of a new recording."""
    groups = torch.arange(200) // 20
    level = drawn(10)[groups][:, None]
    x = drawn(10, 8, seed=3)[groups] + 0.1 * drawn(200, 8, seed=1)
    strong = chosen_ridge(x, level, groups, x, 0)[1][0]
    weak = chosen_ridge(x, level, torch.arange(200), x, 0)[1][0]
    assert strong > weak


def test_labels_lie_on_lines_between_rows_and_nowhere_else(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("id,time,valence,arousal\nb,2,4,0\nb,1,2,0\n7,0,1,1\n7,1,3,1\n")
    labels = read_time_labels(table)
    assert labels.targets == ["valence", "arousal"] and labels.recording == {"b": "b", "7": "7"}
    assert np.allclose(labels.at("b", [1.25, 3.0])[:, 0], [2.5, np.nan], equal_nan=True)
    assert np.isnan(labels.at("none", [0.0])).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,valence\n", "0 rows"),
        ("name,valence\na,1\n", "name, valence"),
        ("id,time\na,1\n", "1 rows of id, time"),
        ("id,valence\na,warm\n", "no numbers"),
        ("id,valence\na,\nb,1\n", "missing or not finite"),
        ("id,time,valence\na,1,2\na,1,3\n", "two rows for one moment"),
        ("id,a/b\na,1\n", "the name of a target"),
        ("id,time,recording,valence\na,1,x,2\na,2,y,3\n", "belongs to two recordings"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(UsageError, match=said) as raised:
        read_time_labels(table)
    assert str(table) in str(raised.value)


def bench_of(train: NumberSource | None, test: NumberSource, labels: Path) -> Bench:
    with Bench(SmallModel(), train, test, name="mine", windows=2) as bench:
        regression(bench, read_time_labels(labels))
    return bench


def write_labels(path: Path, source: NumberSource) -> Path:
    """Write the first number of the sound, which both networks see, at the windows' middles."""
    rows = [
        f"{each},{2.0 * window + 0.5 * second},{float(source.video[row, window, 0] + source.audio[row, window, 0]):.5f}"
        for row, each in enumerate(source.ids)
        for window in range(2)
        for second in (0, 3.5)
    ]
    path.write_text("\n".join(["id,time,level", *rows]) + "\n")
    return path


def test_views_alone_and_joined_beside_permuted_labels(tmp_path: Path) -> None:
    train, test = NumberSource(80, seed=1), NumberSource(60, seed=2)
    bench = bench_of(train, test, write_labels(tmp_path / "labels.csv", test))
    assert any("have moments in both parts" in why for _, why in bench.result.problems)  # they are called alike
    test.ids = [f"t{each}" for each in test.ids]
    labels = write_labels(tmp_path / "labels.csv", train)
    rows = write_labels(tmp_path / "more.csv", test).read_text().partition("\n")[2]
    labels.write_text(labels.read_text() + rows)
    bench = bench_of(train, test, labels)
    found = {m.name: m for m in bench.result.results}
    assert found["joined_level_ccc/mine"].value > max(found[f"{v}_level_ccc/mine"].value for v in ("video", "audio"))
    for view in ("video", "audio", "joined"):
        mine, dealt = found[f"{view}_level_pearson/mine"], found[f"{view}_level_pearson/permuted"]
        assert mine.low is not None and dealt.high is not None and mine.low > max(0.3, dealt.high)
        assert found[f"{view}_level_rmse/mine"].value < (found[f"{view}_level_rmse/mine"].chance or 0)
    assert found["audio_level_ccc/mine"].n == 55  # recordings; some have no sound
    assert bench.result.choices["audio_level"]["moments"] == 110


def test_one_part_is_measured_in_folds_of_recordings(tmp_path: Path) -> None:
    source = NumberSource(60, seed=2)
    bench = bench_of(None, source, write_labels(tmp_path / "labels.csv", source))
    assert len(bench.result.choices["video_level"]["penalties"]) == 5
    assert {m.name: m for m in bench.result.results}["joined_level_ccc/mine"].value > 0.5


def test_few_recordings_are_said(tmp_path: Path) -> None:
    source = NumberSource(2, seed=2)
    bench = bench_of(None, source, write_labels(tmp_path / "labels.csv", source))
    assert not bench.result.results and "at least 3 are needed" in bench.result.problems[0][1]
    other = NumberSource(4)
    other.ids = ["w", "x", "y", "z"]
    with pytest.raises(UsageError, match="no recording is in the table of labels"):
        bench_of(None, other, tmp_path / "labels.csv")


def test_a_smaller_error_is_the_better_one() -> None:
    assert not at_chance(Measurement("video_valence_rmse/mine", 0.5, 0.4, 0.6, 0.9, 20))
    assert at_chance(Measurement("video_valence_rmse/mine", 0.8, 0.7, 0.9, 0.9, 20))


def test_the_verb_measures_fused_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, labels = write_sequences(tmp_path / "features", 0, gross=0.0, recordings=9)
    fused = str(tmp_path / "fused")
    assert main(["fuse", "cca", *name.split(","), "-o", fused, "--method.components", "3"]) == 0
    capsys.readouterr()
    place = ["evaluate", "regression", "--model", fused, "--collection", name, "--device", "cpu", "--json"]
    assert main([*place, "--labels", str(labels), "--spaces", "backbone", "projected"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["results"]}
    assert rows["joined_valence_ccc@projected/cca"]["value"] > 0.9 and rows["joined_valence_rmse/cca"]["n"] == 3
    assert main(place) == 2 and "pass --labels" in capsys.readouterr().err


@pytest.mark.slow
def test_gross_errors_are_cleaned_before_they_are_fused_or_spoil_everything(tmp_path: Path) -> None:
    """5 % of the cells are wrong by 20 to 40: robust maps alone help little where new rows are wrong as well."""
    name, labels = write_sequences(tmp_path, 1)
    tables = {view: pq.read_table(part.partition("=")[2]) for view, part in zip(WIDTHS, name.split(","), strict=True)}
    views = [np.stack(table.column(view).to_pylist()).astype(float) for view, table in tables.items()]
    train = np.array(tables["picture"].column("split").to_pylist()) == "train"
    known = read_time_labels(labels)
    ids = tables["picture"].column("id").to_pylist()
    truth = torch.from_numpy(np.concatenate([known.at(each, [0.0]) for each in ids]))
    groups = torch.tensor([int(known.recording[each][1:]) for each in ids])

    def ccc(x: np.ndarray) -> float:
        y, z = torch.from_numpy(x[train]), torch.from_numpy(x[~train])
        said = chosen_ridge(y, truth[train], groups[train], z, 0)[0][:, 0]
        return float(agreement(sums_by_group(said, truth[~train, 0], groups[~train]).sum(0))["ccc"])

    fitted = [view[train] for view in views]
    plain, robust = CCA(3, ridge=1e-3).fit(fitted), RobustCCA(3).fit(fitted)
    found = {
        "joined": ccc(np.concatenate(views, 1)),
        "cca": ccc(np.concatenate(plain.transform(views), 1)),
        "robust-cca": ccc(np.concatenate(robust.transform(views), 1)),
        "cleaned, robust-cca": ccc(np.concatenate(robust.transform(robust.clean(views)), 1)),
    }
    assert found["robust-cca"] > found["cca"] + 0.05, found
    assert found["cleaned, robust-cca"] > 0.95 > 0.5 > found["joined"], found
