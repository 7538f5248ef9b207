"""Every method can be started: its settings go round, its recipe is whole, pretrain explains it and plans it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from coview.cli.fuse import fusing
from coview.cli.main import main
from coview.cli.options import read_run
from coview.data.collection import Collection
from coview.methods import available, load_method
from coview.settings import from_dict, to_dict
from coview.training.settings import recommended, run_from_dict, run_to_dict

METHODS = sorted(available())


@pytest.mark.parametrize("method", METHODS)
def test_settings_go_round_and_the_recipe_is_whole(method: str) -> None:
    kind = load_method(method).Settings
    for settings in (kind(), kind.tiny()):
        assert from_dict(kind, json.loads(json.dumps(to_dict(settings)))) == settings
        assert settings.specs()
    for tiny in (False, True):
        run = recommended(method, tiny=tiny)
        assert run_from_dict(run_to_dict(run)) == run
        asked = read_run("pretrain", method, ["-o", "r", "--collection", "c", *["--tiny"] * tiny], "")
        assert asked.settings.optimiser == run.optimiser and asked.settings.method_settings == run.method_settings
        assert asked.origins["optimiser.lr"] == f"{'tiny ' * tiny}recipe of {method}"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_help_is_given(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", method, "--help"])
    assert ended.value.code == 0 and "--optimiser.lr" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_dry_run_on_a_collection_that_has_its_views(method: str, films: Path, features: str, capsys) -> None:
    """The smallest settings, on films with sound and captions, or on features where these are the views."""
    views = load_method(method).Settings.tiny().specs()
    kinds = {spec.stream for spec in views.values()}
    if kinds == {"features"} and method not in fusing():  # features of its own names and lengths
        where = stored({name: (160, *spec.shape) for name, spec in views.items()}, films.parent / method)
        words = ["pretrain", method, "--collection", where, "--tiny"]
    elif kinds == {"features"}:
        words = ["fuse", method, *features.split(",")]
    else:
        computed = {name: spec.shape for name, spec in views.items() if spec.stream == "features"}
        beside = f"+{known(films, computed)}" if computed else ""
        words = ["pretrain", method, "--collection", f"{films}{beside}", "--split", "None", "--tiny"]
    words += [
        "-o",
        str(films.parent / "run"),
        "--train.batch-size",
        "128" if kinds == {"features"} else "24",
        "--train.device",
        "cpu",
        "--dry-run",
        "--json",
    ]
    code = main(words)
    said = capsys.readouterr()
    assert code == 0, said.err
    assert json.loads(said.out)["settings"]["method"]["name"] == method


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from coview.media.encode import write_clip
    from coview.randomness import make_key, normal

    folder = tmp_path_factory.mktemp("films")
    lines = []
    for index in range(24):
        frames = torch.full((3, 48, 32, 32), 10 * index, dtype=torch.uint8)
        write_clip(folder / f"{index}.mp4", frames, 16.0, 0.1 * normal(make_key(index), 0, 48_000), 16_000)
        np.save(folder / f"{index}.npy", np.full((48, 2), index, dtype=np.float32))
        tables = {"track:actions": f"{index}.npy", "track:states": f"{index}.npy"}
        tables["track:last"] = f"{index}.mp4"
        lines.append({"path": f"{index}.mp4", "caption": f"film {index % 3}", "label": "ab"[index % 2], **tables})
    (folder / "films.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    assert main(["index", str(folder / "films.jsonl"), "-o", str(folder / "films"), "--workers", "0"]) == 0
    return folder / "films"


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    return stored({"left": (160, 12), "right": (160, 9)}, tmp_path_factory.mktemp("features"))


def stored(shapes: Mapping[str, tuple[int, ...]], folder: Path) -> str:
    """Write random features of four classes; returns what names them."""
    import torch

    from coview.files import write_tensors

    folder.mkdir(exist_ok=True)
    for name, shape in shapes.items():
        write_tensors({name: torch.randn(shape), "label": torch.arange(shape[0]) % 4}, folder / f"{name}.safetensors")
    return ",".join(f"{name}={folder}/{name}.safetensors" for name in shapes)


def known(films: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """Write random features of the films, by their ids; returns the table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = Collection.open(films).ids
    columns = {name: np.random.default_rng(0).random((len(ids), *shape)).tolist() for name, shape in shapes.items()}
    pq.write_table(pa.table({"id": ids, **columns}), films.parent / "known.parquet")
    return films.parent / "known.parquet"
