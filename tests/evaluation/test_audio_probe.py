import pytest
import torch
from measured import tiny_model

from coview.data.synthetic.digits import DigitsWorld
from coview.errors import UsageError
from coview.evaluation.audio_probe import DCASE, ESC50, AudioProbe, audio_probe, decide
from coview.evaluation.bench import Bench


def test_the_published_numbers() -> None:
    assert (ESC50.C, ESC50.train_clips, ESC50.test_clips) == (10.0, 10, 10)
    assert (DCASE.C, DCASE.train_clips, DCASE.test_clips) == (1.0, 60, 60)


def test_decisions_are_averaged_over_clips_and_an_unseen_class_never_wins() -> None:
    labels = torch.arange(60) % 3
    clips = torch.eye(3, 5)[labels][:, None] + 0.1 * torch.randn(60, 2, 5, generator=torch.Generator().manual_seed(0))
    decision = decide(clips, labels, clips, 4, 1.0, 0)
    assert decision.shape == (60, 4)
    assert torch.equal(decision.argmax(1), labels)
    assert (decision[:, 3] == -torch.inf).all()
    single = [decide(clips, labels, clips[:, [w]], 4, 1.0, 0) for w in (0, 1)]
    torch.testing.assert_close(decision[:, :3], (single[0] + single[1])[:, :3] / 2)
    two = decide(clips[labels < 2], labels[labels < 2], clips[labels < 2], 4, 1.0, 0)
    assert torch.equal(two.argmax(1), labels[labels < 2])


def test_every_stage_is_reported_and_one_is_chosen_on_training_recordings() -> None:
    how = AudioProbe(stages=("conv3:mean", "conv4:mean"), train_clips=2, test_clips=1)
    results = []
    for turned in (0, 1):
        train, test = DigitsWorld("A", "train", 50), DigitsWorld("A", "test", 20)
        test.labels = (test.labels + turned) % 10
        with Bench(tiny_model(), train, test, name="x") as bench:
            audio_probe(bench, how)
        results.append(bench.result)
    names = [m.name for m in results[0].results if "top5" not in m.name]
    assert names == ["audio_svm@conv3/x", "audio_svm@conv4/x", "audio_svm/x"]
    chosen = [result.choices["audio_svm"]["chosen_stage"] for result in results]
    assert chosen[0] == chosen[1]  # whatever the test labels are
    by_name = {m.name: m for m in results[0].results}
    assert by_name["audio_svm/x"].value == by_name[f"audio_svm@{chosen[0]}/x"].value


def test_training_clips_are_random_augmented_and_repeat() -> None:
    from coview.evaluation.audio_probe import _random_clips
    from coview.evaluation.stages import stages_of

    train, how = DigitsWorld("A", "train", 12), AudioProbe(train_clips=2)
    model = tiny_model()
    bench = Bench(model, train, DigitsWorld("A", "test", 12), name="x")
    asked = {"audio": stages_of(model, "audio", ("conv4",))}
    one, two = (_random_clips(bench, train, how, asked) for _ in "ab")
    (name,) = one.clips
    assert torch.equal(one.clips[name], two.clips[name])
    assert not torch.allclose(one.clips[name][:, 0], one.clips[name][:, 1])  # another cut, another look


def test_a_model_without_sound() -> None:
    train, test = DigitsWorld("A", "train", 50), DigitsWorld("A", "test", 20)
    with pytest.raises(UsageError, match="no view 'speech'"), Bench(tiny_model(), train, test, name="x") as bench:
        audio_probe(bench, AudioProbe(view="speech"))
