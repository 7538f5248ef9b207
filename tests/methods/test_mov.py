"""MOV: what its card says must hold."""

import dataclasses

import pytest
import torch
import worlds

from coview import parallel
from coview.data.views import AudioView, Batch, FeaturesView
from coview.encoders.cross_attention import TwoWayFusion
from coview.errors import SettingsError, UsageError
from coview.methods.contract import Facts
from coview.methods.mov import MOV, MOVSettings
from coview.objectives.open_vocabulary import class_logits, harmonic_mean, mixed_probabilities
from coview.settings import from_dict, to_dict

TINY = MOVSettings.tiny()


def make(settings=TINY, seed=0, classes=4, **changes):
    torch.manual_seed(seed)
    return MOV(dataclasses.replace(settings, **changes), Facts(rows=40, classes=classes))


@torch.no_grad()
def without_attention(method):
    for layer in (*method.makers["fusion"].first, *method.makers["fusion"].second):
        for linear in (layer.attended, layer.narrow):
            linear.weight.zero_()
            linear.bias.zero_()
    return method.eval()


def test_published_sizes_and_plain_settings():
    with torch.device("meta"):
        method = MOV(MOVSettings(), Facts(rows=2, classes=3))
    layer = method.makers["fusion"].first[0]
    assert layer.heads == 512 // 64 and layer.wide.weight.shape == (2048, 512)
    assert method.encoders["audio"].weight.shape == (512, 768)
    assert not [*method.encoders["video"].parameters(), *method.encoders["text"].parameters()]
    assert from_dict(MOVSettings, to_dict(MOVSettings())) == MOVSettings()


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": 7},
        {"views": {"video": {"stream": "features", "dim": 8}}},
        {"temperature": 0.0},
        {"novel_share": 1.5},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(SettingsError):
        from_dict(MOVSettings, wrong)


def test_frames_and_texts_are_of_one_space_and_stay_as_they_are():
    scaled = dict(TINY.views) | {"video": FeaturesView(dim=16, steps=4, normalise="statistics")}
    longer = dict(TINY.views) | {"text": FeaturesView(dim=18)}
    for views, why in ((scaled, "stay as they are"), (longer, "of one length")):
        with pytest.raises(ValueError, match=why):
            dataclasses.replace(TINY, views=views)


def test_without_attention_classes_are_named_as_by_the_frozen_frames():
    method = without_attention(make())
    batch = method.example_batch(6, 0)
    found, texts = method.embed(batch), torch.randn(5, 16)
    torch.testing.assert_close(found["video_audio"], found["video"])
    novel, there = torch.tensor([False, True, False, True, True]), {"video_audio": torch.ones(6, dtype=torch.bool)}
    method.settings = dataclasses.replace(method.settings, novel_share=1.0, base_share=1.0)
    frozen = class_logits(found["video"], texts, 0.01).softmax(1)
    torch.testing.assert_close(method.class_scores(found, there, texts, novel)["video"], frozen)


def test_the_order_of_frames_and_what_fills_short_sequences_change_nothing():
    method = make().eval()
    batch = method.example_batch(3, 0)
    found = method.embed(batch)
    for name in ("video", "audio"):
        turned = dataclasses.replace(batch, views=batch.views | {name: batch.views[name].flip(1)})
        padded = torch.cat([batch.views[name], torch.zeros_like(batch.views[name])], 1)
        for other in (turned, dataclasses.replace(batch, views=batch.views | {name: padded})):
            torch.testing.assert_close(method.embed(other), found)


def test_what_lies_behind_a_sequence_s_length_is_not_seen():
    method = make().eval()
    batch = method.example_batch(3, 0)
    batch.length["audio"] = torch.tensor([3, 1, 2])
    found = method.embed(batch)
    batch.views["audio"] = torch.where(batch.mask("audio")[:, :, None], batch.views["audio"], 7.0)
    torch.testing.assert_close(method.embed(batch), found)


def test_classes_that_two_parts_of_a_batch_meet_are_both_known():
    method = make().train()
    batch = method.example_batch(4, 0)
    batch.label = torch.tensor([0, 1, 2, 3])
    for part in (slice(0, 2), slice(2, 4)):
        method(batch.select(part))
    method.after_step()
    assert method.known.all() and method.texts.any(1).all()


def test_a_candidate_more_changes_no_logit_of_others():
    x, texts = torch.randn(4, 8), torch.randn(5, 8)
    torch.testing.assert_close(class_logits(x, texts, 0.01)[:, :4], class_logits(x, texts[:4], 0.01))
    assert class_logits(x.bfloat16(), texts.bfloat16(), 0.01).dtype == torch.float32
    torch.testing.assert_close(class_logits(7 * x, 3 * texts, 0.01), class_logits(x, texts, 0.01))


def test_mixtures_and_the_harmonic_mean():
    frozen, one, other = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).unbind()
    half = mixed_probabilities(frozen, [one, other], torch.full((5,), 0.5))
    by_hand = 0.5 * frozen.softmax(1) + 0.25 * (one.softmax(1) + other.softmax(1))
    torch.testing.assert_close(half, by_hand)
    torch.testing.assert_close(mixed_probabilities(frozen, [one], torch.ones(5)), frozen.softmax(1))
    assert harmonic_mean(0.8, 0.4) == pytest.approx(0.5333, abs=1e-4) and harmonic_mean(0.0, 0.0) == 0


def test_gradients_are_those_of_differences():
    generator = torch.Generator().manual_seed(0)
    x, texts = (torch.randn(3, 4, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, t: class_logits(x, t, 0.5), (x, texts))
    torch.manual_seed(0)
    fusion = TwoWayFusion(4, 2, 2).double()
    y = torch.randn(3, 2, 4, dtype=torch.float64, generator=generator).requires_grad_()
    there = torch.tensor([[True, True], [True, False], [False, False]])
    whole = torch.ones(3, 1, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda x, y: fusion(x[:, None], y, whole, there), (x, y))


def test_without_a_second_stream_the_frozen_frames_speak():
    method = make().eval()
    batch = method.example_batch(4, 0)
    whole = method.embed(batch)
    batch.views["audio"] = batch.views["audio"].clone()
    batch.views["audio"][1] = torch.nan
    batch.present["audio"] = torch.tensor([True, False, True, True])
    found, texts = method.embed(batch), torch.randn(5, 16)
    for name in ("video_audio", "audio_video"):
        assert not found[name][1].any()
        torch.testing.assert_close(found[name][[0, 2, 3]], whole[name][[0, 2, 3]])
    there = {"video_audio": batch.present["audio"]}
    scores = method.class_scores(found, there, texts, torch.zeros(5, dtype=torch.bool))["video"]
    torch.testing.assert_close(scores[1], class_logits(found["video"], texts, 0.01).softmax(1)[1])
    assert method.made_of("video_audio") == ("video", "audio") and method.made_of("text") == ("text",)


def test_prompts_are_scaled_then_averaged():
    views = dict(TINY.views) | {"text": FeaturesView(dim=16, steps=3)}
    method = make(views=views)
    prompts = torch.randn(2, 3, 16)
    prompts[1, 2] = 0  # one prompt fewer
    expected = torch.nn.functional.normalize(prompts, dim=2)
    expected = torch.stack([expected[0].mean(0), expected[1, :2].mean(0)])
    torch.testing.assert_close(method.encoders["text"](prompts), expected)


def test_a_second_stream_may_be_a_raw_view_whose_encoder_learns():
    views = dict(TINY.views) | {"audio": AudioView(seconds=1.0, mels=40, n_fft=512, window=400, hop=200)}
    method = make(views=views, audio_encoder="audio-tiny")
    method(method.example_batch(4, 0)).loss.backward()
    assert all(weight.grad is not None for weight in method.encoders["audio"].parameters())
    assert method.embed(method.example_batch(2, 0))["audio_video"].shape == (2, 16)


class Named:
    """A source of four classes with their texts, of which `study` reads no more than the texts."""

    name, classes = "named", ["cat", "dog", "owl", "rain"]
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, -1])
    said = torch.randn(9, 16, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.labels)

    def narrowed(self, views):
        assert set(views) == {"text"}
        return self

    def read_window(self, row, window, count):
        return Batch(views={"text": self.said[row]}, row=row, key=row, label=self.labels[row])


def test_novel_classes_are_known_by_name_and_never_learnt_from():
    method, source = make(novel=("owl",)), Named()
    assert method.study(source) == "3 classes are learnt from, 1 are kept back"
    assert method.known.tolist() == [True, True, False, True] and method.kept_back() == ("owl",)
    mean = torch.nn.functional.normalize(source.said[[1, 5]], dim=1).mean(0)
    torch.testing.assert_close(method.texts[1], torch.nn.functional.normalize(mean, dim=0))
    before = method.texts.clone()
    batch = method.example_batch(8, 0)
    batch.label = torch.tensor([2, 2, 0, 1, 2, 3, 0, 2])
    others = batch.select(batch.label != 2)
    torch.testing.assert_close(method(batch).loss, method(others).loss)
    method.after_step()
    torch.testing.assert_close(method.texts, before, rtol=0, atol=0)
    assert method(batch.select(batch.label == 2)).idle
    with pytest.raises(UsageError, match="no class 'cats'; did you mean 'cat'"):
        make(novel=("cats",)).study(source)
    with pytest.raises(UsageError, match="1 are left"):
        make(novel=("owl", "cat", "rain")).study(source)


def a_process_without_sound():
    method = make().double()
    batch = method.example_batch(8, 0)
    batch.views = {name: view.double() for name, view in batch.views.items()}
    batch = batch.select(slice(parallel.rank() * 4, parallel.rank() * 4 + 4))
    if parallel.rank() == 1:
        batch.present["audio"] = torch.zeros(4, dtype=torch.bool)
    step = method(batch)
    step.loss.backward()
    return step.idle, all(weight.grad is not None for weight in method.parameters())


def test_a_process_whose_samples_all_lack_sound_does_not_stop_the_others():
    assert worlds.run(2, a_process_without_sound) == [(False, True)] * 2
