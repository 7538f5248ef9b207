"""The exit code and the message of every verb, used wrongly and rightly: the table of docs/reliability.md."""

import shlex
from pathlib import Path

import pytest

from coview.cli import main as cli

PAGE = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
# What is called -> exit code, and what is said.
TABLE = {
    "nothing": (2, "unknown verb 'nothing'"),
    "index /none -o OUT": (2, "/none: there is no such folder or manifest"),
    "index digit-av -o OUT": (2, "did you mean 'digits-av'"),
    "index FILES -o OUT": (3, "1 file could not be read"),
    "prepare /none -o OUT": (2, "/none is not a collection"),
    "prepare /none --tracks -o OUT": (2, "/none is not a collection"),
    "prepare --remove nothing": (2, "holds no films as 'nothing'"),
    "stats /none -o OUT": (2, "/none: neither a folder that exists nor a world"),
    "pretrain nothing --collection digits-av": (2, "the first word names the method"),
    "pretrain xid --collection /none -o OUT": (2, "/none: neither a folder that exists nor a world"),
    "evaluate nothing": (2, "the first word names the protocol"),
    "evaluate knn --collection digits-av": (2, "pass --model"),
    "evaluate knn --model /none --collection digits-av": (2, "/none: expected a run with a model"),
    "evaluate analysis --task ensemble --model /none --collection digits-av": (
        2,
        "--with names a second model for each --model",
    ),
    "evaluate study --study /none --answers /none": (2, "/none: there is no such file"),
    "embed --model /none -o OUT": (2, "pass either --collection or the names of files"),
    "embed --model /none --collection digits-av -o OUT": (2, "/none: expected a run with a model"),
    "embed --collection digits-av -o OUT": (2, "pass either --model or --encoder"),
    "embed --encoder resnet-18 --collection digits-av -o OUT": (2, "expected torchvision:NAME, timm:NAME or hf:FOLDER"),
    "search --model /none --collection digits-av --text dog": (2, "/none: expected a run with a model"),
    "label --model /none --collection digits-av --classes dog": (2, "expected two names at least"),
    "label --model /none --collection digits-av --classes dog,rain": (2, "/none: expected a run with a model"),
    "serve --collection /none": (2, "/none is not a collection"),
    "serve --model /none --collection /none": (2, "/none: expected a run with a model"),
    "audit --model /none --collection digits-av": (2, "/none: expected a run with a model"),
    "explain --model /none --collection digits-av": (2, "/none: expected a run with a model"),
    "paint --model /none --input FILES -o OUT": (2, "/none: expected a run with a model"),
    "discover nothing --collection /none -o OUT": (2, "the first word names the pipeline"),
    "discover context-discovery --collection /none -o OUT": (2, "/none: there is no such file"),
    "pretrain context-discovery --collection /none -o OUT": (2, "coview discover context-discovery"),
    "fuse cca a=/none b=/none -o OUT": (2, "/none"),
    "compare nothing --data digits-av -o OUT": (2, "unknown method 'nothing'"),
    "evolve nothing --collection digits-av -o OUT": (2, "unknown method 'nothing'"),
    "import av-ssrl /none -o OUT": (2, "/none"),
    "export /none": (2, "say what to export to"),
    "export /none --onnx OUT": (2, "/none: expected a run with a model"),
    "demo -o FILES": (2, "is not empty"),
    "methods --json": (0, ""),
    "completion tcsh": (2, "there is no completion for 'tcsh'"),
    "doctor --nothing": (2, "--nothing"),
}


@pytest.mark.parametrize("call", TABLE)
def test_code_and_message(call, tmp_path, capsys):
    files = tmp_path / "files"
    files.mkdir()
    (files / "broken.mp4").write_bytes(b"no film at all")
    words = shlex.split(call.replace("OUT", str(tmp_path / "out")).replace("FILES", str(files)))
    try:
        code = cli.main(words)
    except SystemExit as left:  # the parser's own refusals
        code = left.code
    expected, said = TABLE[call]
    talk = capsys.readouterr().err
    assert (code, "Traceback" in talk, "did not expect" in talk) == (expected, False, False), talk
    assert said in talk
    assert f"| `{call}` | {expected} |" in PAGE


def test_every_verb_is_in_the_table():
    assert {call.split()[0] for call in TABLE} >= set(cli.VERBS)
