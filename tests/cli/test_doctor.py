"""`coview doctor` tries things out, says what is absent, and fails where coview cannot work."""

import json

import pytest

from coview.cli import doctor
from coview.errors import MediaError


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(doctor, "_step", lambda: "a step")


def findings(capsys, code):
    assert doctor.main(["--json"]) == code
    said = json.loads(capsys.readouterr().out)
    return said["ok"], {check["name"]: check for check in said["checks"]}


def test_this_computer_is_well(quick, capsys, monkeypatch):
    monkeypatch.setitem(doctor.OPTIONAL, "no-such-package", ("hub", "nothing"))
    well, checks = findings(capsys, 0)
    assert well and checks["read picture and sound back"]["ok"] and checks["coview"]["ok"]
    assert checks["no-such-package"] == {
        "name": "no-such-package",
        "ok": None,
        "note": "optional: nothing; pip install 'coview[hub]'",
    }


def test_a_codec_that_does_not_work_is_named(quick, capsys, monkeypatch):
    def broken(path):
        raise MediaError(str(path), "no-encoder", "H.264 is not there")

    monkeypatch.setattr(doctor, "_write", broken)
    well, checks = findings(capsys, 1)
    assert not well and "H.264 is not there" in checks["write H.264 + AAC"]["note"]
    assert doctor.main([]) == 1
    assert "FAILED  write H.264 + AAC" in capsys.readouterr().out
