"""Checkpoints: what goes in comes out to the bit, whole or not at all."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from coview.errors import CoviewError, UsageError
from coview.training import checkpoint
from coview.training.checkpoint import Checkpoint


def stepped(step: int = 1) -> Checkpoint:
    torch.manual_seed(step)
    layer = nn.Linear(3, 2)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    layer(torch.randn(5, 3)).sum().backward()
    optimiser.step()
    state = {**layer.state_dict(), "again": layer.weight.data, "empty": torch.empty(0), "count": torch.tensor(3)}
    return Checkpoint(step=step, model=state, optimiser=optimiser.state_dict(), facts={"world_size": 1})


def test_everything_comes_back_to_the_bit(tmp_path):
    made = stepped()
    found = checkpoint.load(checkpoint.save(made, tmp_path, keep=2))
    assert found.step == 1 and found.facts == {"world_size": 1} and set(found.model) == set(made.model)
    assert all(torch.equal(found.model[name], value) for name, value in made.model.items())
    layer = nn.Linear(3, 2)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.5)
    optimiser.load_state_dict(found.optimiser)
    theirs, ours = made.optimiser, optimiser.state_dict()
    assert ours["param_groups"][0]["lr"] == 0.1
    for index, entry in theirs["state"].items():
        assert all(torch.equal(ours["state"][index][name], value) for name, value in entry.items())


def test_the_newest_are_kept_and_pointed_at(tmp_path):
    for step in (1, 2, 30):
        checkpoint.save(stepped(step), tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "step-00000002", "step-00000030"]
    assert checkpoint.last(tmp_path) == tmp_path / "step-00000030"


def test_killed_between_the_renames(tmp_path):
    checkpoint.save(stepped(1), tmp_path, keep=2)
    (tmp_path / ".step-00000002.partial").mkdir()
    assert checkpoint.last(tmp_path) == tmp_path / "step-00000001"
    (tmp_path / "last").unlink()
    assert checkpoint.last(tmp_path) == tmp_path / "step-00000001"
    assert checkpoint.last(tmp_path / "nowhere") is None


def test_damage_is_named(tmp_path):
    path = checkpoint.save(stepped(), tmp_path, keep=1)
    (path / "optimiser.safetensors").write_bytes(b"\x00" * 10)
    with pytest.raises(UsageError, match="not a readable checkpoint"):
        checkpoint.load(path)


def test_the_one_before_is_offered_by_name(tmp_path):
    for step in (1, 2):
        path = checkpoint.save(stepped(step), tmp_path, keep=2)
    with (path / "model.safetensors").open("r+b") as stream:  # one byte of a weight: no format would notice
        stream.seek(-1, 2)
        stream.write(b"\x07")
    with pytest.raises(UsageError, match=r"model.safetensors is not what was written.*continue from step-00000001"):
        checkpoint.load(path)
    with pytest.raises(UsageError, match="no earlier one"):
        checkpoint.load(tmp_path / "step-00000000")


def test_checkpoints_without_digests_are_read(tmp_path):
    path = checkpoint.save(stepped(), tmp_path, keep=1)
    state = json.loads((path / "state.json").read_text())
    assert set(state.pop("sha256")) == {"model.safetensors", "optimiser.safetensors"}
    (path / "state.json").write_text(json.dumps(state))
    assert checkpoint.load(path).step == 1


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1},
        {"step": "7"},
        {"step": 2**80},
        {"optimiser_groups": {}},
        {"optimiser_state": [1]},
        {"optimiser_state": {"x.y": 1}},
        {"sha256": {"model.safetensors": 5}},
        {"problems": {"read": "many", "replaced": []}},
        {"harvest": {"steps": 1}},
        {"collection": []},
    ],
)
def test_a_state_of_another_form_is_one_sentence(tmp_path, change):
    path = checkpoint.save(stepped(), tmp_path, keep=1)
    state = json.loads((path / "state.json").read_text()) | change
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(UsageError, match="not a readable checkpoint"):
        checkpoint.load(path)


def test_a_pointer_leads_nowhere_else(tmp_path):
    path = checkpoint.save(stepped(), tmp_path / "run", keep=1)
    checkpoint.save(stepped(5), tmp_path / "other", keep=1)
    (tmp_path / "run" / "last").write_text("../other/step-00000005")
    assert checkpoint.last(tmp_path / "run") == path


def test_no_room(tmp_path, monkeypatch):
    checkpoint.save(stepped(1), tmp_path, keep=1)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    with pytest.raises(CoviewError, match="Earlier checkpoints are intact"):
        checkpoint.save(stepped(2), tmp_path, keep=1)
    assert checkpoint.load(checkpoint.last(tmp_path)).step == 1
    assert not list(tmp_path.glob(".*"))
