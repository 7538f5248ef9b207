"""What computes nothing imports neither torch nor torchvision; a card says of a method what the method says itself."""

import json
import subprocess
import sys

import pytest

from coview.cli import methods, options, static
from coview.cli.main import main
from coview.errors import UsageError
from coview.methods import METHODS, PIPELINES
from coview.methods.cards import FOLDER, card_of
from coview.methods.describe import as_text, describe

LIGHT = """
--help
--version
methods
methods xid
methods xdi
methods --json
pretrain --help
pretrain xid --help
pretrain xdi -o OUT
pretrain xid --colection digits-av -o OUT
pretrain xid --collection /none -o OUT
pretrain xid --collection digits-av -o OUT --method.video.sise 8
index /none -o OUT
index --hlep
prepare /none -o OUT
stats /none -o OUT
stats digits-av --method xdi -o OUT
evaluate --help
evaluate knn --help
evaluate knn --model /none --collection digits-av
evaluate kn --model /none
evaluate study --study /none --answers /none
embed --model /none --collection digits-av -o OUT
search --model /none --collection digits-av --text dog
search --help
explain --model /none --collection digits-av
serve --help
serve --collection /none
discover --help
discover context-discovery --help
discover context-discovery --collection /none -o OUT
discover context-discovery --collection /none -o OUT --method.pach 8
methods context-discovery
compare xdi --data digits-av -o OUT
compare xid --data /none -o OUT
evolve elo --collection /none -o OUT
paint --model /none --input /none -o OUT
paint --help
fuse --help
fuse dcca --help
fuse cca /none.npy /none.npy -o OUT
import av-ssrl /none -o OUT
export /none --onnx OUT
doctor --help
demo --help
completion --help
completion bash
completion -- search --
completion -- pretrain xid --method.
"""
PLAY = """
import io, sys, contextlib
from coview.cli.main import main
import coview
for line in sys.stdin.read().strip().splitlines():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = main(line.split())
        except SystemExit as end:
            code = end.code
    heavy = [name for name in ("torch", "torchvision", "sklearn", "matplotlib") if name in sys.modules]
    print(f"{code} {heavy} {line}")
    assert not heavy, line
"""


def test_nothing_that_does_not_compute_imports_torch(tmp_path) -> None:
    done = subprocess.run([sys.executable, "-c", PLAY], input=LIGHT, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]
    codes = {line.split("[] ")[1]: int(line.split()[0]) for line in done.stdout.splitlines()}
    right = {"methods", "methods xid", "methods context-discovery", "methods --json", "--version"}
    right |= {line for line in LIGHT.splitlines() if line.startswith("completion ")}
    assert codes == {line: 0 if line in right or "--help" in line else 2 for line in LIGHT.strip().splitlines()}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", [*METHODS, *PIPELINES])
def test_a_card_is_true(method: str) -> None:
    wanted = as_text(describe(method))
    assert (FOLDER / f"{method}.json").read_text(encoding="utf-8") == wanted, "run python -m coview.methods.describe"


def test_no_card_is_left_of_a_method_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {*METHODS, *PIPELINES}


def test_a_method_without_a_card_is_described_from_its_class(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    kept = card_of("dcca")
    monkeypatch.setattr("coview.methods.cards.FOLDER", tmp_path)
    assert card_of("dcca") == kept


@pytest.mark.parametrize("columns", [80, 120])
def test_methods_are_a_line_each(columns: int) -> None:
    lines = methods.listing(columns).splitlines()
    assert max(map(len, lines)) <= columns and lines[0] == "Start here:"
    assert all(sum(line.split()[:1] == [slug] for line in lines) == 1 for slug in METHODS)


def test_all_about_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "xid"]) == 0
    said = capsys.readouterr()
    assert "arXiv 2201.04309" in said.out
    assert said.out.endswith("Use: coview pretrain xid --collection my-collection -o my-run\n")
    assert said.err == "Next: coview pretrain xid --help\n"
    assert main(["methods", "xid", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["coupling"] == "bank"
    assert main(["methods", "xdi"]) == 2
    assert "did you mean 'xid'" in capsys.readouterr().err


def test_a_card_has_the_published_recipe() -> None:
    for method in ("xid", "swav", "cca"):
        known, card = options.recommended(method), static.published(method)
        names = ("optimiser", "schedule", "augment", "train", "clips_per_recording")
        assert all(getattr(known, name) == getattr(card, name) for name in names)


def test_wrong_words_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "xid", "--collection", "digits-av", "-o", "run", "--train.stepps", "5"]) == 2
    assert "there is no option --train.stepps; did you mean --train.steps?" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--sise"):
        static.check_words("coview x", ["--sise=4"], ["size"])
    static.check_words(
        "coview x", ["--no-tiny", "--a.no-b", "--big_size", "3", "-o", "--", "--c.d"], ["tiny", "a.b", "big_size"], "c."
    )
