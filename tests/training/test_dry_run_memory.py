"""The dry run's memory against what a short run on the CPU really takes, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not reset peaks"),
]

# Settled first, by a smaller run: what libraries import and allocate once. The estimate comes last: its own memory is
# not counted.
SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from coview.data.views import Batch
from coview.methods import build, load_method
from coview.methods.contract import Facts
from coview.randomness import integers, uniform
from coview.training.dry_run import describe
from coview.training.loop import train
from coview.training.settings import RunSettings, TrainSettings

class Source:
    name, classes, ids, fingerprint = "made-up", ["a", "b"], [f"r{i}" for i in range(64)], "made-up"
    labels = torch.arange(64) % 2
    def __init__(self, views): self.views = views
    def __len__(self): return 64
    def windows(self, count): return 1
    def read(self, row, key):
        video, audio = self.views["video"], self.views["audio"]
        views = {"video": integers(key, 0, 256, *video.raw_shape).to(torch.uint8),
                 "audio": uniform(key, 1, *audio.raw_shape)}
        return Batch(views=views, row=row, key=key, label=self.labels[row],
                     start={name: torch.zeros(len(row), dtype=torch.float64) for name in views})

def held(word):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(word))

def asked(own, batch):
    training = TrainSettings(steps=2, batch_size=batch, device="cpu", workers=0)
    settings = RunSettings(method=slug, method_settings=own, collection="made-up", train=training)
    return settings, Source(build(slug, own, Facts(rows=64, classes=2)).views)

slug, size, batch, out = sys.argv[1:]
kind = load_method(slug).Settings
settings, source = asked(kind.tiny() if size == "tiny" else kind(), int(batch))
first, of = asked(kind.tiny(), 4)
train(first, Path(out) / "first", source=of, quiet=True)
Path("/proc/self/clear_refs").write_text("5")
before = held("VmRSS")
train(settings, Path(out) / "run", source=source, quiet=True)
peak = held("VmHWM") - before
print(json.dumps({"peak": peak, "estimate": describe(settings, source)["memory_megabytes"]["together, per process"]}))
"""


@pytest.mark.parametrize(
    ("slug", "size", "batch", "least", "most"),
    [
        # Small networks: allocator and spectrograms weigh as much as the networks.
        ("xid", "tiny", 64, 0.9, 3.5),
        ("av-vicreg", "tiny", 64, 0.9, 3.5),
        ("xid", "published", 8, 0.8, 1.6),
    ],
)
def test_the_estimate_is_near_the_measured_peak(slug, size, batch, least, most, tmp_path):
    words = [sys.executable, "-c", SCRIPT, slug, size, str(batch), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    found = json.loads(done.stdout)
    assert least < found["peak"] / found["estimate"] < most, found
