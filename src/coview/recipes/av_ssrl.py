"""AV-SSRL (K. Vilouras, "Audio-Visual Self-Supervised Representation Learning in-the-wild"): every configuration.

Pretraining is meant for the 50,000 videos of `vggsound:50k`, with the loss's memories as long as that list; evaluation
for `ucf101` and `hmdb51`, fold 1. Where ours differs on purpose: Adam's decay spares biases and normalisation; mixed
precision is bfloat16 and the losses are float32; clips are drawn from a square window of the frame.
"""

from __future__ import annotations

from coview.data.augment import AugmentSettings
from coview.data.views import AudioView, VideoView
from coview.evaluation.fine_tune import FineTune
from coview.methods.supervised_av import SupervisedAVSettings
from coview.methods.vicreg import AVVICRegSettings, VICRegVideoSettings
from coview.methods.xid import XIDSettings
from coview.training.settings import OptimiserSettings, RunSettings, ScheduleSettings, TrainSettings

VIDEO = VideoView(frames=16, fps=16.0, size=224)
AUDIO = AudioView(seconds=2.0, sample_rate=16000, n_fft=512, hop=256, window=512, mels=128, normalise="statistics")
_CLIPS = 5
_BATCH = 32


def xid() -> RunSettings:
    """VGGSound-N1024: two memories, 1,024 negatives, RINCE with q from 0.001 to 0.4, momentum 0.5, 100 epochs."""
    method = XIDSettings(
        video=VIDEO, audio=AUDIO, temperature=0.07, negatives=1024, momentum=0.5, q=0.001, q_max=0.4, density=0.01
    )
    return _run("xid", method, TrainSettings(epochs=100, batch_size=_BATCH, sync_batchnorm=False), 1e-5)


def vicreg() -> RunSettings:
    """VGGSound-VICReg: expanders of 4,096, weights 25, 25, 1, synchronised normalisation, mixed precision."""
    method = AVVICRegSettings(video=VIDEO, audio=AUDIO)
    return _run("av-vicreg", method, TrainSettings(epochs=100, batch_size=_BATCH, precision="bf16"), 1e-6)


def vicreg_video() -> RunSettings:
    """VGGSound-VICReg-Video: two clips of one video, 2 to 8 s apart, through one encoder."""
    method = VICRegVideoSettings(video=VIDEO, later=(2.0, 8.0))
    return _run("vicreg-video", method, TrainSettings(epochs=100, batch_size=_BATCH, precision="bf16"), 1e-6)


def supervised() -> RunSettings:
    """VGGSound-Supervised: both encoders and one linear layer over 309 classes, 50 epochs.

    The released code stops on the test part; `coview evaluate supervised` has the stopping, on a validation part.
    """
    method = SupervisedAVSettings(video=VIDEO, audio=AUDIO)
    schedule = ScheduleSettings(kind="multistep", milestones=(0.2, 0.4, 0.6, 0.8), gamma=0.9)
    train = TrainSettings(epochs=50, batch_size=_BATCH, sync_batchnorm=False)
    return _run("supervised-av", method, train, 1e-5, schedule)


def ucf_linear() -> FineTune:
    """ucf/8at16-linear: a linear layer on frozen features, 50 epochs, one clip of each video, no colour jitter."""
    return _linear()


def hmdb_linear() -> FineTune:
    """hmdb51/8at16-linear: as for UCF-101."""
    return _linear()


def ucf_fine_tune() -> FineTune:
    """ucf/8at16-fold1: 5 epochs of the classifier alone, then 16 of everything, ten clips of each video an epoch."""
    return _fine_tune(epochs=16, milestones=(6, 10, 14), warm_up=5, clips=10)


def hmdb_fine_tune() -> FineTune:
    """hmdb51/8at16-fold1: 10 epochs, 25 clips, stronger colours; no warm-up, although its name promises one."""
    return _fine_tune(epochs=10, milestones=(3, 6, 8), warm_up=0, clips=25, colours=1.0)


def ucf_random() -> FineTune:
    """ucf/8at16-fold1-random: 100 epochs; for the control from random weights."""
    return _fine_tune(epochs=100, milestones=(30, 60, 80), warm_up=5, clips=10)


def hmdb_random() -> FineTune:
    """hmdb51/8at16-fold1-random: 100 epochs; for the control from random weights."""
    return _fine_tune(epochs=100, milestones=(30, 60, 80), warm_up=0, clips=25, colours=1.0)


def _run(
    name: str, method: object, train: TrainSettings, weight_decay: float, schedule: ScheduleSettings | None = None
) -> RunSettings:
    return RunSettings(
        method=name,
        method_settings=method,
        collection="",
        clips_per_recording=_CLIPS,
        augment=AugmentSettings(),
        train=train,
        optimiser=OptimiserSettings(kind="adam", lr=5e-4, weight_decay=weight_decay),
        schedule=schedule or ScheduleSettings(kind="multistep", gamma=0.9),
    )


def _linear() -> FineTune:
    share = (VIDEO.size / VIDEO.decode_size) ** 2  # a crop at the decoded scale, anywhere
    still = AugmentSettings(
        brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, crop_area=(share, share), crop_ratio=(1.0, 1.0)
    )
    return FineTune(
        epochs=50,
        warm_up_epochs=0,
        milestones=(0.4, 0.6, 0.8),
        batch_size=_BATCH,
        clips_per_recording=1,
        dropout=0.0,
        frozen=True,
        changes={"frames": 8, "size": 224},
        augment=still,
    )


def _fine_tune(*, epochs: int, milestones: tuple[int, ...], warm_up: int, clips: int, colours: float = 0.4) -> FineTune:
    return FineTune(
        epochs=epochs,
        warm_up_epochs=warm_up,
        milestones=tuple(milestone / epochs for milestone in milestones),
        batch_size=_BATCH,
        clips_per_recording=clips,
        changes={"frames": 8, "size": 224},
        augment=AugmentSettings(brightness=colours, contrast=colours, saturation=colours),
    )
