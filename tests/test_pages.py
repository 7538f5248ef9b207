"""The commands that README and docs print: what a small folder can run is run as printed, all others are parsed."""

import re
import runpy
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import tyro
from PIL import Image

from coview.cli.main import main
from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.synthetic import NOISY_DIGITS, is_world
from coview.data.synthetic.digits import DigitsWorld
from coview.data.views import FeaturesView
from coview.methods import build, load_method
from coview.methods.contract import Facts
from coview.model import Model

ROOT = Path(__file__).parents[1]
_MADE = runpy.run_path(str(ROOT / "benchmarks" / "first_hour.py"))  # its folder has a worlds.py as tests have
film, photo = _MADE["film"], _MADE["photo"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NO_SHELL = {"python", "mermaid", "yaml"}


def code(page: Path) -> list[str]:
    """Return the lines of a page's blocks of code, continued ones joined, and README's inline code with options."""
    text = page.read_text(encoding="utf-8")
    blocks = [block for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S) if kind not in NO_SHELL]
    blocks += [re.sub(r"^    ", "", block, flags=re.M) for block in re.findall(r"(?:^    coview .*\n)+", text, re.M)]
    lines = re.sub(r"\s*\\?\n[ ]{2,}(?=\S)", " ", "\n".join(blocks)).splitlines()
    return lines + re.findall(r"`(coview [a-z][^`]* -[^`]*)`", text) * (page.name == "README.md")


def commands() -> list[tuple[str, list[str]]]:
    """Return (page, words after `coview`) of every command."""
    found = []
    for page in PAGES:
        for line in code(page):
            line = re.sub(r"^(python3 start\.py|torchrun .* -m) (?=coview)| > \S+$", "", line)
            words = shlex.split(line, comments=True)
            if words[:1] == ["coview"]:
                found.append((page.name, ["xid" if word == "barlow-av" else word for word in words[1:]]))
    return found


COMMANDS = commands()


def test_there_are_commands_to_try() -> None:
    assert len(COMMANDS) > 20 and {page for page, _ in COMMANDS} >= {"README.md", "av-ssrl.md", "correlation.md"}


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS])
def test_every_command_is_parsed_to_its_end(page: str, words: list[str], tmp_path, monkeypatch, capsys) -> None:
    whole = tyro.cli

    def parse(*args, **options):
        read = whole(*args, **options)
        if not options.get("return_unknown_args"):  # else a first look at a few options
            raise SystemExit("parsed")
        return read

    numbers = {name: FeaturesView(dim=64) for name in ("picture", "sound")}
    monkeypatch.setattr("coview.training.fusing.open_features", lambda name: SimpleNamespace(views=numbers))
    monkeypatch.setattr(tyro, "cli", parse)
    monkeypatch.chdir(tmp_path)
    for name in re.split(r"[=,@\s]", " ".join(words)):  # what is named is there
        if re.fullmatch(r"\w[\w./-]*", name) and not is_world(name) and name != NOISY_DIGITS:
            Path(name).mkdir(parents=True, exist_ok=True)
    shutil.rmtree("settings.yaml", ignore_errors=True)
    Path("settings.yaml").write_text("train: {epochs: 2}\n")
    with pytest.raises(SystemExit) as ended:
        assert main(words) == 0, capsys.readouterr().err
        raise SystemExit(0)
    assert ended.value.code in (0, "parsed"), capsys.readouterr().err


def make_films(folder: Path, count: int) -> None:
    for number in range(count):
        film(folder / f"{number}.mp4", number % 6, number)


def untrained(slug: str) -> Model:
    """Return a small model of a method, with the weights that it begins with."""
    method = build(slug, load_method(slug).Settings.tiny(), Facts(rows=16))
    return Model.of(method, Preprocess(method.views, AugmentSettings()), DigitsWorld("A", "train", 16))


@pytest.fixture
def small_folder(tmp_path, monkeypatch) -> Path:
    """A folder as README supposes it: five films in my-videos, and the files it asks with."""
    make_films(tmp_path / "my-videos", 5)
    for number, name in enumerate(("dog.mp4", "rain.mp4")):
        film(tmp_path / name, number, 10 + number)
    film(tmp_path / "bark.wav", 0, 12, picture=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_readme_runs_as_printed(small_folder: Path, capsys) -> None:
    # Others below; what is left needs hours (demo, compare), things that move (prepare --tracks), photographs of some
    # size (discover) or weights (embed, and what takes features), or goes on until it is stopped (serve): parsed above.
    verbs = ["index", "pretrain", "evaluate", "search", "prepare", "audit", "explain"]
    readme = dict.fromkeys(tuple(words) for page, words in COMMANDS if page == "README.md" and "--tracks" not in words)
    others = {"features", "my-labels.csv"}  # what embed and label make
    own = [list(words) for words in readme if words[0] in verbs and not others & set(words)]
    assert [words[0] for words in own] == verbs
    for words in own:
        assert main(words) == 0, (words, capsys.readouterr().err)
        assert "Next: coview " in capsys.readouterr().err, words


@pytest.mark.slow
def test_readmes_python_runs_as_printed(small_folder: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert block is not None
    names: dict[str, object] = {"waveform": torch.randn(48000)}
    exec(block[1], names)
    assert names["hits"] and names["features"].shape == (1, 128)


@pytest.mark.slow
def test_the_correlation_page_runs_as_printed(small_folder: Path, capsys) -> None:
    make_films(small_folder / "my-videos", 32)
    assert main(["index", "my-videos", "-o", "my-collection"]) == 0
    for run, method in (("run-a", ["swav"]), ("run-b", ["denoising-autoencoder", "--method.view", "audio"])):
        options = ["--tiny", "--collection", "my-collection", "-o", run, "--train.epochs", "2"]
        assert main(["pretrain", *method, *options]) == 0, capsys.readouterr().err
    for page, words in COMMANDS:
        if page == "correlation.md" and "speech-fr-fr-0.parquet" not in words:
            words = ["0.mp4" if word == "ID" else word for word in words]
            assert main(words) == 0, (words, capsys.readouterr().err)
    shutil.rmtree("fused")
    for name in "ab":
        shutil.copytree(name, name.upper())
    [words] = [words for page, words in COMMANDS if page == "README.md" and words[0] == "fuse"]
    assert main(words) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_pictures_are_painted_as_printed(tmp_path, monkeypatch, capsys) -> None:
    # Models as they are before learning: what is tried is the command, not the picture.
    monkeypatch.chdir(tmp_path)
    for folder in ("photographs", "old-photographs", "grainy"):
        for number in range(20 if folder == "photographs" else 2):
            photo(Path(folder) / f"{number}.jpg", number % 6, number)
    for name, size in (("torn.jpg", (64, 64)), ("street.jpg", (320, 240))):
        Image.effect_noise(size, 60).convert("RGB").save(name)
    Image.new("L", (64, 64), 0).save("tear.png")
    with Image.open("tear.png") as mask:
        mask.paste(255, (20, 20, 34, 34))
        mask.save("tear.png")
    painters = {"filled": "context-encoder", "clean": "denoising-autoencoder"}
    tried = [words for page, words in COMMANDS if page in ("README.md", "paint.md") and words[0] == "paint"]
    assert len(tried) == 6
    for words in tried:
        out = words[words.index("-o") + 1]
        for model in ("my-run", "run-a", "run-b"):
            shutil.rmtree(model, ignore_errors=True)
            untrained(painters.get(out, "colorization")).save(Path(model))
        assert main(words) == 0, (words, capsys.readouterr().err)
        shutil.rmtree(out)


@pytest.mark.parametrize("words", [["pretrain", "xid", "--help"], ["completion", "bash"]], ids=" ".join)
def test_what_says_something_says_it(words, capsys) -> None:
    assert words in [words for _, words in COMMANDS]
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(words))
    assert ended.value.code == 0 and "coview" in capsys.readouterr().out
