"""What every test shares: one thread, so that results do not depend on the number of cores."""

import os

import pytest
import torch

torch.set_num_threads(1)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker more than cores: tests of dying and stalling processes wait more than they compute."""
    return min(4, (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 1)
