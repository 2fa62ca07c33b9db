# SPDX-License-Identifier: Apache-2.0
"""How far outputs are from labels and from a teacher."""

from torch import Tensor
from torch.nn import functional


def distance(outputs: Tensor, target: Tensor) -> Tensor:
    """Kullback-Leibler divergence of `outputs` from `target`, both logits `(n, classes)`; mean over images."""
    return functional.kl_div(
        functional.log_softmax(outputs, 1),
        functional.log_softmax(target, 1),
        log_target=True,
        reduction="batchmean",
    )


def mixed(
    outputs: Tensor,
    labels: Tensor,
    target: Tensor | None,
    *,
    smoothing: float,
    share: float,
    temperature: float,
) -> Tensor:
    """Cross-entropy, mixed with the distance to a teacher (Hinton et al. 2015, arXiv 1503.02531).

    Args:
        outputs: Logits `(n, classes)`.
        labels: `(n,)`, int64.
        target: The teacher's logits, float32; None = no teacher.
        smoothing: Share of the label spread over all classes.
        share: Of the teacher.
        temperature: Softens both.
    """
    outputs = outputs.float()
    loss = functional.cross_entropy(outputs, labels, label_smoothing=smoothing)
    if target is None:
        return loss
    # Soft targets give gradients of 1 / temperature ** 2.
    return (1 - share) * loss + share * temperature**2 * distance(outputs / temperature, target / temperature)
