"""Check what the demo promises: true pairs teach, shuffled pairs do not, and the intervals are apart."""

import json
import subprocess
import sys
from pathlib import Path

PACES = 200  # the demo's time on two cores, in units of WORK: a slower processor is slower at both
WORK = """
import time, torch
from torch.nn import Conv2d, ReLU, Sequential
torch.set_num_threads(1)
net = Sequential(Conv2d(3, 16, 5, 2, 2), ReLU(), Conv2d(16, 32, 3, 2, 1), ReLU(), Conv2d(32, 64, 3, 1, 1))
pictures = torch.ones(256, 3, 32, 32).contiguous(memory_format=torch.channels_last)
net(pictures).sum().backward()
begun = time.perf_counter()
for _ in range(60):
    net(pictures).sum().backward()
print(time.perf_counter() - begun)
"""


def main() -> int:
    """Read the demo's JSON result and return 0 when every promise is kept."""
    demo = json.loads(Path(sys.argv[1]).read_text())
    rows = {row["name"]: row for row in demo["results"]}
    failures = []

    def expect(claim: str, holds: bool) -> None:
        print(f"{'kept  ' if holds else 'BROKEN'} {claim}")
        if not holds:
            failures.append(claim)

    for measure, least, most in (("video_probe", 0.50, 0.35), ("class_p1_v2a", 0.30, 0.20)):
        pairs, shuffled = rows[f"{measure}/xid"], rows[f"{measure}/shuffled"]
        expect(f"{measure} of true pairs {pairs['value']:.3f} >= {least}", pairs["value"] >= least)
        expect(f"{measure} of shuffled pairs {shuffled['value']:.3f} <= {most}", shuffled["value"] <= most)
        apart = pairs["low"] > shuffled["high"]
        expect(f"{measure}: intervals apart ({pairs['low']:.3f} > {shuffled['high']:.3f})", apart)
    figures = ("video_probe", "audio_knn", "class_p1_v2a")
    names = {f"{figure}/{model}" for figure in figures for model in ("xid", "shuffled", "random")}
    names |= {f"{view}_probe/{row}" for view in ("video", "audio") for row in ("statistics", "supervised-av")}
    names |= {"search_p1_a2v/xid", "search_p1_v2a/xid"}
    expect(f"{len(names)} rows are printed{''.join(f', not {name}' for name in names - set(rows))}", names <= set(rows))
    expect(f"{demo['clips_written']} clips written, at least 300", demo["clips_written"] >= 300)
    answered = demo["searches"] and all(len(answer["hits"]) == 5 for answer in demo["searches"])
    expect(f"{len(demo['searches'])} searches were answered by five each", bool(answered))
    paces = demo["seconds"] / pace()
    expect(f"{demo['seconds']:.0f} s are {paces:.0f} times a fixed piece of work, at most {PACES}", paces <= PACES)
    expect(f"under 4 GB ({demo['peak_memory_gb']:.2f} GB)", demo["peak_memory_gb"] < 4)
    report = Path(demo["report"])
    expect(f"the report shows something: {report}", report.is_file() and report.stat().st_size > 10_000)
    pictures, sounds = (report.parents[1] / "world" / "train" / f"{view}.npy" for view in ("video", "audio"))
    twice = pictures.stat().st_size > 2 * 5000 * 3 * 4 * 32 * 32 and sounds.stat().st_size < 5000 * 16000 * 2 + 1000
    expect("two phases of the picture are stored, the sound once", twice)
    return 1 if failures else 0


def pace() -> float:
    """Return the seconds that this computer takes for WORK, twice at once as the demo's runs are."""
    both = [subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return max(float(one.communicate()[0]) for one in both)


if __name__ == "__main__":
    sys.exit(main())
