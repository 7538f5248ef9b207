"""CAV-MAE: the official network's values, and what its parts promise."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from coview.data.source import sample_keys
from coview.data.views import AudioView, Batch, ImageView
from coview.encoders.patches import PatchEncoder, plane_places
from coview.encoders.sequence_transformer import Block
from coview.errors import SettingsError
from coview.methods import build
from coview.methods.cav_mae import CAVMAESettings
from coview.methods.contract import Facts
from coview.settings import from_dict

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "golden" / "cav-mae.npz").items()
}
SOUND = AudioView(seconds=0.32, n_fft=512, window=400, hop=160, mels=128)
SMALL = CAVMAESettings(
    image=ImageView(size=32), audio=SOUND, width=16, heads=2, own_depth=1, decoder_width=8, decoder_heads=2,
    decoder_depth=1,
)  # fmt: skip
PLACES = {  # the reference's names of what we have
    "patch_embed_a.proj": "encoders.audio.patches",
    "patch_embed_v.proj": "encoders.image.patches",
    "decoder_modality_a": "decoder.kinds.audio",
    "decoder_modality_v": "decoder.kinds.image",
    "modality_a": "encoders.audio.kind",
    "modality_v": "encoders.image.kind",
    "blocks_a": "encoders.audio.own",
    "blocks_v": "encoders.image.own",
    "norm_a.": "encoders.audio.tail.1.",
    "norm_v.": "encoders.image.tail.1.",
    "blocks_u": "joint",
    "norm.": "joint.1.",
    "decoder_embed": "decoder.enter",
    "mask_token": "decoder.missing",
    "decoder_blocks": "decoder.blocks",
    "decoder_norm": "decoder.blocks.1",
    "decoder_pred_a": "decoder.leave.audio",
    "decoder_pred_v": "decoder.leave.image",
}


def make(seed=0, training=True, **changes):
    torch.manual_seed(seed)
    return build("cav-mae", dataclasses.replace(SMALL, **changes), Facts(rows=64, training=training))


def ours(name):
    """Return our name of the reference's parameter."""
    start = max((start for start in PLACES if name.startswith(start)), key=len)
    name = name.replace(start, PLACES[start], 1).replace("attn.", "").replace("mlp.", "")
    for end, view in (("_a", "audio"), ("_v", "image")):
        if name.startswith("joint.0.norm") and name.split(".")[2].endswith(end):
            return name.replace("joint.0", f"encoders.{view}.tail.0").replace(end, "", 1)
    return name


def official():
    """Build the official network: its weights reach every parameter of ours."""
    method = make().double()
    known, left = dict(method.named_parameters(remove_duplicate=False)), {id(p) for p in method.parameters()}
    with torch.no_grad():
        for key in (key for key in GOLDEN if key.startswith("w.")):
            parameter = known[ours(key.removeprefix("w."))]
            parameter.copy_(GOLDEN[key].double().reshape(parameter.shape))
            left.discard(id(parameter))
    assert not left
    return method


def golden_batch():
    views = {"image": GOLDEN["image"].double(), "audio": GOLDEN["audio"].double().transpose(1, 2)[:, None]}
    row = torch.arange(len(views["image"]))
    return Batch(views=views, row=row, key=row)


def test_losses_and_gradients_golden(monkeypatch):
    def drawn(key, stream, patches, share):
        noise = GOLDEN["noise_a" if patches == 16 else "noise_v"]
        seen = noise.argsort(1)[:, : patches // 4]
        hidden = torch.ones(len(key), patches, dtype=torch.bool).scatter(1, seen, False)
        assert torch.equal(hidden, GOLDEN["mask_a" if patches == 16 else "mask_v"] == 1)
        return seen, hidden

    monkeypatch.setattr("coview.methods.cav_mae.seen_and_hidden", drawn)
    method = official()
    step = method(golden_batch())
    step.loss.backward()
    for found, key in (
        (step.loss.detach(), "loss"),
        (step.parts["error/audio"], "loss_a"),
        (step.parts["error/image"], "loss_v"),
        (0.01 * step.parts["infonce"], "loss_c"),
    ):
        torch.testing.assert_close(found, GOLDEN[key], rtol=1e-9, atol=1e-12)
    known = dict(method.named_parameters(remove_duplicate=False))
    for key in (key for key in GOLDEN if key.startswith("grad.")):
        found = known[ours(key.removeprefix("grad."))].grad
        torch.testing.assert_close(found, GOLDEN[key].reshape(found.shape), rtol=0, atol=1e-10)


def test_embeddings_golden_of_one_view_at_a_time():
    method, batch = official().eval(), golden_batch()
    for name, key in (("audio", "feat_a"), ("image", "feat_v")):
        single = Batch(views={name: batch.views[name]}, row=batch.row, key=batch.key)
        for space in ("backbone", "projected"):
            found = method.embed(single, space)
            assert set(found) == {name}
            torch.testing.assert_close(found[name], GOLDEN[key], rtol=0, atol=1e-10)


def test_places_golden():
    torch.testing.assert_close(plane_places(16, 8, 2), GOLDEN["pos_a"], rtol=0, atol=1e-7)
    torch.testing.assert_close(plane_places(8, 2, 2), GOLDEN["pos_dec_v"], rtol=0, atol=1e-7)


def test_hidden_patches_are_not_looked_at():
    """What is hidden reaches the loss as a target alone: the embeddings and what is made do not change with it."""
    method = make()
    batch = method.example_batch(4, 0)
    before = method(batch)
    from coview.methods.cav_mae import _HIDDEN, seen_and_hidden

    for name, value in batch.views.items():
        rows, columns = method.encoders[name].grid
        hidden = seen_and_hidden(batch.key, _HIDDEN[name], rows * columns, 0.75)[1]
        plane = hidden.view(-1, 1, rows, columns).repeat_interleave(16, 2).repeat_interleave(16, 3)
        batch.views[name] = torch.where(plane, value + 5 * torch.randn_like(value), value)
    after = method(batch)
    torch.testing.assert_close(after.embeddings, before.embeddings, rtol=0, atol=0)
    torch.testing.assert_close(after.parts["infonce"], before.parts["infonce"], rtol=0, atol=0)
    assert after.parts["error/image"] != before.parts["error/image"]


def test_other_epochs_hide_other_patches():
    method = make()
    batch = method.example_batch(4, 0)
    again = dataclasses.replace(batch, key=sample_keys(0, 1, torch.arange(4)))
    assert torch.equal(method(batch).loss, method(batch).loss)
    assert method(batch).loss != method(again).loss


def test_shared_blocks_share_all_but_their_normalisations():
    method = make(shared_depth=2)
    image, audio = (method.encoders[name].tail for name in ("image", "audio"))
    for number in range(2):
        for part in ("qkv", "proj", "fc1", "fc2"):
            assert getattr(image[number], part) is getattr(audio[number], part) is getattr(method.joint[number], part)
        norms = [network[number].norm1 for network in (image, audio, method.joint)]
        assert len({id(norm) for norm in norms}) == 3
    kept = make(training=False, shared_depth=2)
    assert not hasattr(kept, "decoder") and not hasattr(kept, "joint")
    assert kept.encoders["image"].tail[0].qkv is kept.encoders["audio"].tail[0].qkv


def test_a_weight_of_zero_leaves_no_parameter_without_a_gradient():
    for changes in ({"contrast": 0.0}, {"reconstruction": 0.0}):
        method = make(**changes)
        method(method.example_batch(4, 0)).loss.backward()
        assert all(parameter.grad is not None for parameter in method.parameters())


def test_maps_of_the_encoder_lie_where_the_patches_are():
    torch.manual_seed(0)
    encoder = PatchEncoder((1, 8, 12), 4, 16, 2, 2, [Block(16, 2, bias=True)]).double()
    maps = encoder.feature_maps(torch.randn(3, 1, 8, 12, dtype=torch.float64))
    assert {name: tuple(value.shape) for name, value in maps.items()} == dict.fromkeys(encoder.stages, (3, 16, 2, 3))
    x = torch.zeros(1, 1, 8, 12, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 4:, 8:] = 1.0
    moved = (encoder.feature_maps(changed)["patches"] - encoder.feature_maps(x)["patches"]).abs().sum(1)[0] > 0
    assert moved.nonzero().tolist() == [[1, 2]]
    assert encoder(x[:0]).shape == (0, 16)


def test_published_shapes():
    with torch.device("meta"):
        method = build("cav-mae", CAVMAESettings(), Facts(rows=2))
    assert {name: encoder.grid for name, encoder in method.encoders.items()} == {"image": (14, 14), "audio": (8, 64)}
    assert sum(p.numel() for p in method.parameters()) == pytest.approx(190e6, rel=0.001)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden": 1.0},
        {"patch": 15},
        {"heads": 5},
        {"contrast": 0.0, "reconstruction": 0.0},
        {"image": {"size": 16}},
        {"audio": {"layout": "waveform"}},
        {"audio": {"seconds": 10.0, "hop": 160, "window": 400}},
        {"temperature": 0.0},
        {"shared_depth": 0},
        {"patch": 1},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(SettingsError):
        from_dict(CAVMAESettings, wrong)
