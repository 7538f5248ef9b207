import json
import subprocess
import sys
import time

import interrupts
import pyarrow.parquet as pq
import pytest

from coview.cli import index as verb
from coview.cli.main import main
from coview.errors import MediaError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four files, two of them bad, and a note; probed by a stand-in, so that this is about the command alone."""
    from coview.data import probing
    from coview.media.probe import AudioStream, Probe

    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.wav", "b.wav", "bad.wav", "worse.wav", "note.txt"):
        (folder / name).write_text(name)

    def probe(path):
        if path.name in ("bad.wav", "worse.wav"):
            raise MediaError(str(path), "truncated" if path.name == "bad.wav" else "empty", "a reason for people")
        sound = AudioStream(sample_rate=8000, channels=1, start=0, duration=2, codec="pcm", peak=0.5, silent=False)
        return Probe(duration=2, video=None, audio=sound, content="", flags=("no-video",))

    monkeypatch.setattr(probing, "probe", probe)
    return folder


def test_bad_files_give_exit_code_3_and_are_listed(folder, tmp_path, capsys):
    assert main(["index", str(folder), "-o", str(tmp_path / "c"), "--workers", "0", "--json"]) == 3
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["counts"]["recordings"] == 2 and result["counts"]["quarantined"] == 2
    assert result["reasons"] == {"empty": 1, "truncated": 1} and result["ignored"] == {".txt": 1}
    assert result["flags"] == {"no-video": 2}
    assert [(row["path"], row["reason"]) for row in result["quarantine"]] == [
        ("bad.wav", "truncated"),
        ("worse.wav", "empty"),
    ]
    talk = " ".join(printed.err.split())
    assert "2 files could not be read (1 empty, 1 truncated)" in talk and "bad.wav: truncated: a reason" in talk
    assert pq.read_table(tmp_path / "c" / "recordings.parquet").num_rows == 2


def test_good_files_give_exit_code_0_and_wrong_use_2(folder, tmp_path, capsys):
    (folder / "bad.wav").unlink()
    (folder / "worse.wav").unlink()
    arguments = ["index", str(folder), "--out", str(tmp_path / "c"), "--workers", "0"]
    assert main(arguments) == 0
    assert "recordings" in capsys.readouterr().out
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert main(["index", "digit-av", "-o", str(tmp_path / "d")]) == 2
    assert "did you mean 'digits-av'" in capsys.readouterr().err


def test_help_has_examples_and_imports_no_torch():
    code = (
        "import sys\ntry:\n    from coview.cli.main import main; main(['index', '--help'])\n"
        "except SystemExit: pass\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "coview index my-videos/ -o my-collection" in done.stdout and done.stdout.endswith("False\n")
    assert verb.main


@pytest.mark.slow
def test_an_interrupt_leaves_what_was_probed(tmp_path):
    """Twenty long files; stopped after some of them, the second call probes only the others."""
    import wave

    import numpy as np

    folder = tmp_path / "in"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(-3000, 3000, 4_000_000, dtype=np.int16).tobytes()
    for number in range(20):
        with wave.open(str(folder / f"{number:02d}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(noise)
    command = [sys.executable, "-m", "coview", "index", str(folder), "-o", str(tmp_path / "c"), "--workers", "1"]
    side = tmp_path / "c.partial" / "probed.jsonl"
    process = interrupts.start(command)
    while not side.exists() or side.read_text().count("\n") < 2:
        time.sleep(0.02)
        assert process.poll() is None
    _, talk = interrupts.stop(process)
    assert process.returncode == 130 and "goes on from here" in talk and "Traceback" not in talk
    known = side.read_text().count("\n")
    assert 2 <= known < 20 and not (tmp_path / "c").exists()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert pq.read_table(tmp_path / "c" / "recordings.parquet").num_rows == 20
