"""The tabulator key: verbs, methods, options and choices, in the functions that a shell calls."""

import shutil
import subprocess
import sys

import pytest

from coview.cli.completion import SCRIPTS, fitting
from coview.cli.main import VERBS, main


@pytest.mark.parametrize(
    ("words", "some"),
    [
        ([""], {*VERBS}),
        (["pre"], {"prepare", "pretrain"}),
        (["pretrain", "xi"], {"xid"}),
        (["discover", ""], {"context-discovery"}),
        (["evaluate", "k"], {"knn"}),
        (["completion", ""], {*SCRIPTS}),
        (["fuse", "clu"], {"cluster-cca"}),
        (["pretrain", "xid", "--train.loggers", ""], {"tensorboard", "wandb", "mlflow"}),
        (["search", "--fr"], {"--from"}),
        (["search", "--device", ""], {"auto", "cpu", "cuda"}),
        (["evaluate", "knn", "--mo"], {"--model"}),
        (["pretrain", "xid", "--method.audio.la"], {"--method.audio.layout"}),
        (["pretrain", "xid", "--method.audio.layout", "m"], {"mel"}),
    ],
)
def test_what_fits(words, some):
    assert some <= set(fitting(words))
    assert all(word.startswith(words[-1]) for word in fitting(words))


@pytest.mark.parametrize(
    "words",
    [["search", "--model", ""], ["index", ""], ["no-verb", ""], ["search", "--query", "a"], ["export", "--onnx", ""]],
)
def test_where_a_file_is_wanted_the_shell_offers_its_own(words):
    assert fitting(words) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes(tmp_path):
    (tmp_path / "my-videos").mkdir()
    script = f"""
coview() {{ "{sys.executable}" -m coview "$@"; }}
{SCRIPTS["bash"]}
compopt() {{ echo "for $current: $*"; }}
COMP_WORDS=(coview evaluate retr); COMP_CWORD=2; _coview; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(coview index my); COMP_CWORD=2; _coview; echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["retrieval", "for my: -o filenames", "my-videos"]


def test_other_shells_are_named(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "bash, zsh, fish" in capsys.readouterr().err
    assert main(["completion", "fish"]) == 0
    assert "complete -c coview" in capsys.readouterr().out
