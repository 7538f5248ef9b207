"""What a command says: names are shown and never obeyed, problems are counted and end with 3."""

import json
import math

import pytest

from coview.cli.output import Output, as_json, cells, in_words, measurement_table
from coview.errors import MediaError, shown

HOSTILE = {
    "clear\x1b[2Jed.mp4": r"clear\x1b[2Jed.mp4",
    "title\x1b]0;owned\x07.wav": r"title\x1b]0;owned\x07.wav",
    "c1\x9b2J.wav": r"c1\x9b2J.wav",
    "latin\udce9.mp4": r"latin\xe9.mp4",  # a byte that is no UTF-8, as os.fsdecode gives it
    "half\ud83d.wav": r"half\ud83d.wav",
    "line\nbreak\r.mp4": r"line\x0abreak\x0d.mp4",
    "gnp\u202e4pm.exe": r"gnp\u202e4pm.exe",
    "del\x7f.mp4": r"del\x7f.mp4",
}
PLAIN = ["[bold]x[/bold].mp4", "[/red].mp4", "Ünïcödé 日本 🐕.mp4", ":dog:.wav", "עברית.wav", "हिन्दी\u200d.wav"]


@pytest.mark.parametrize(("name", "seen"), [*HOSTILE.items(), *((name, name) for name in PLAIN)])
def test_a_name_is_shown_everywhere_and_obeyed_nowhere(name, seen, capsys):
    assert shown(name) == seen
    assert str(MediaError(name, "truncated", "it ends early")).startswith(f"{seen}: truncated")
    out = Output()
    out.say(name)
    out.result({"page": name, "results": [{"name": name, "value": 0.5, "n": 1, "seeds": 1}]})
    assert out.finish({}, [(name, "truncated")]) == 3
    talk, result = capsys.readouterr().err, None
    lines = seen.replace(r"\x0a", "\n")  # a line that is said may have ends of lines; a name in it may not
    assert lines in talk and f"  {seen}: truncated" in talk
    out.result({"results": [{"name": name, "value": 0.5, "n": 1, "seeds": 1}]})
    result = capsys.readouterr().out
    assert seen in result
    assert not set("\x1b\x9b\x7f\r\x07\u202e") & set(talk + result)


@pytest.mark.parametrize("name", [*HOSTILE, *PLAIN])
def test_json_keeps_a_name_to_the_letter_and_steers_no_terminal(name):
    text = as_json({"id": name})
    assert json.loads(text)["id"] == name
    text.encode()  # halves of surrogate pairs cannot be written
    assert shown(text, lines=True) == text


def test_json_has_null_for_what_is_no_number():
    assert json.loads(as_json({"a": [math.nan, 1.0], "b": {"c": (math.inf, -math.inf, "x", None, 2)}})) == {
        "a": [None, 1.0],
        "b": {"c": [None, None, "x", None, 2]},
    }


def test_people_read_words():
    counts = {"recordings": 3, "hours": 0.12345, "world": "digits", "clips": {"train": 2, "test": 1}, "none": None}
    assert in_words(counts) == "3 recordings, 0.1235 hours, world digits, clips (2 train, 1 test)"
    assert in_words(["a", True, []]) == "a, yes" and in_words(None) == in_words([]) == in_words({}) == ""


def test_nothing_is_not_said_and_the_next_command_can_be_copied(capsys):
    out = Output()
    out.result({"still": None, "leaks": [], "steps": 0})
    out.next("coview", "search", "--query", "my film.mp4")
    Output(json=True).next("coview", "methods")
    said = capsys.readouterr()
    assert said.out == "steps: 0\n" and said.err == "Next: coview search --query 'my film.mp4'\n"


def test_finish_counts_names_the_first_and_gives_json_all(capsys):
    problems = [(f"clip-{number}", "truncated") for number in range(12)]
    assert Output().finish({"made": 3}, problems) == 3
    said = capsys.readouterr()
    assert said.out == "made: 3\n"
    assert said.err.splitlines()[0] == "12 problems in the data:"
    assert "clip-9: truncated" in said.err and "clip-10" not in said.err and "and 2 more" in said.err
    assert Output(json=True).finish({"made": 3}, problems) == 3
    listed = json.loads(capsys.readouterr().out)
    assert listed["made"] == 3 and listed["problems"][11] == {"recording": "clip-11", "reason": "truncated"}
    assert len(listed["problems"]) == 12


def test_finish_without_problems_is_0_and_quiet_processes_agree(capsys):
    assert Output(json=True).finish({"made": 3}, []) == 0
    assert json.loads(capsys.readouterr().out) == {"made": 3, "problems": []}
    assert Output(quiet=True).finish({"made": 3}, [("a", "gone")]) == 3
    assert capsys.readouterr() == ("", "")


def test_a_bar_shows_names_as_they_are(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Output().steps() as show:
        show("reading [/x] \x1b[2J", 1, 2)
    said = capsys.readouterr().err
    assert r"reading [/x] \x1b[2J" in said and "\x1b[2J" not in said


def test_a_bar_that_begins_anew_is_not_at_its_end(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    out, drawn = Output(), []
    monkeypatch.setattr(out, "progress", lambda: drawn.append(bars := Output.progress(out)) or bars)
    with out.steps() as show:
        for done in (0, 2, 1):
            show("testing", done, 2)
    [task] = drawn[0].tasks
    assert (task.completed, task.finished) == (1, False)


def test_cells_are_text_and_no_markup():
    assert [cell.plain for cell in cells("[b]", 3, "\x1b")] == ["[b]", "3", r"\x1b"]
    assert measurement_table([{"name": "[/b]", "value": 1.0, "n": 2, "seeds": 1}]).row_count == 1
