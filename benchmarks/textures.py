"""What sound textures cost: coview's batched statistics beside the same written as a loop over bands with SciPy.

    python benchmarks/textures.py                # 1,000 sounds of 3.75 s
    python benchmarks/textures.py --sounds 60

Both make the 502 statistics of the same noise; rounds alternate, and what counts is CPU time, so that other work on the
machine does not. The loop is the published recipe in float64: for each band an inverse transform, SciPy's Hilbert
transform, power and resampling; NumPy's correlation coefficient for each pair; an inverse transform for each band of
modulation. The largest difference of the two is printed.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import hilbert, resample

from coview.media.cochlea import cochlear_filters
from coview.media.textures import APART, modulation_filters, texture

RATE, SAMPLES, FRAMES = 20_000.0, 75_000, 1_500
BATCH = 20  # sounds of one round
Floats = NDArray[np.float64]


def looped(sound: Floats, filters: Floats, modulation: Floats) -> Floats:
    """Return the 502 statistics of a sound (75000,), band by band."""
    spectrum, epsilon = np.fft.rfft(sound), 2.0**-23
    bands = [np.abs(hilbert(np.fft.irfft(spectrum * one, SAMPLES))) ** 0.3 for one in filters]
    envelope = np.array([np.clip(resample(band, FRAMES), -1, 1) for band in bands])
    loudness = np.median(np.linalg.norm(envelope, axis=0))
    envelope = envelope / loudness
    mean, variance = envelope.mean(1), envelope.var(1)
    pairs = [(band, band + apart) for band in range(32) for apart in APART if band + apart < 32]
    correlation = [np.corrcoef(envelope[one], envelope[other])[0, 1] for one, other in pairs]
    power = [(np.fft.irfft(np.fft.rfft(band) * modulation, FRAMES) ** 2).mean(1) for band in envelope]
    rms = np.sqrt(np.array(power) / (epsilon + variance)[:, None])
    variation = np.sqrt(variance / (epsilon + mean**2))
    return np.concatenate([mean, variation, correlation, rms.ravel(), [loudness]])


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=int, default=1000, help=f"of each, in rounds of {BATCH}")
    wanted = parser.parse_args().sounds
    filters = cochlear_filters(SAMPLES, RATE).numpy()
    modulation = modulation_filters(FRAMES, 10, 1.0).numpy()
    generator = torch.Generator().manual_seed(0)
    texture(0.05 * torch.randn(1, SAMPLES, generator=generator), RATE)
    spent, largest, rounds = {"batched": 0.0, "loop": 0.0}, 0.0, max(1, wanted // BATCH)
    for number in range(rounds):
        sounds = 0.05 * torch.randn(BATCH, SAMPLES, generator=generator)
        made = {}
        for name in ("batched", "loop") if number % 2 else ("loop", "batched"):
            begun = time.process_time()
            if name == "batched":
                made[name] = torch.cat(list(texture(sounds, RATE).values()), 1).double().numpy()
            else:
                made[name] = np.array([looped(sound, filters, modulation) for sound in sounds.double().numpy()])
            spent[name] += time.process_time() - begun
        largest = max(largest, float(np.abs(made["batched"] - made["loop"]).max()))
    count = rounds * BATCH
    for name, seconds in spent.items():
        print(f"{name}: {1000 * seconds / count:.1f} ms of CPU for a sound of 3.75 s, {count} sounds")
    print(f"ratio {spent['loop'] / spent['batched']:.2f}, largest difference {largest:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
