"""One linear support vector machine for each label, as on VOC2007, and the same learnt from few positives.

Goyal, Mahajan, Gupta & Misra, "Scaling and benchmarking self-supervised visual representation learning", ICCV 2019
(arXiv 1905.01235), section 6.1 and supplement: features of length 1, liblinear's squared hinge with positives counted
twice, the cost of each label chosen by three-fold average precision on the training part.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-5  # added to the length that features are divided by
COSTS = tuple(10.0**power for power in range(-7, 3)) + tuple(0.5**power for power in range(4, 20))


def of_unit_length(features: Tensor) -> Tensor:
    """Return features (N, D) divided by their length + 1e-5: what is zero stays zero."""
    return features / (torch.linalg.vector_norm(features, dim=-1, keepdim=True) + EPSILON)
