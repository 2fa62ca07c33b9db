# SPDX-License-Identifier: Apache-2.0
"""Top-1 accuracy, and batch-norm statistics measured anew."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from edgeshift.core.errors import NotFinite
from edgeshift.data import Split
from edgeshift.train.batches import Batches
from edgeshift.train.exact import repeatable

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def batches_of(
    split: Split,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    channels_last: bool = False,
    device: str = "cpu",
) -> Batches:
    """The split's images as torch batches, on a device."""
    images, labels = torch.from_numpy(split.images).to(device), torch.from_numpy(split.labels).to(device)
    means, stds = (torch.tensor(v, dtype=torch.float64) for v in (tuple(mean), tuple(std)))
    return Batches(images, labels, means, stds, channels_last=channels_last)


def evaluate(
    model: nn.Module,
    split: Split,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 256,
    threads: int | None = None,
) -> float:
    """Share of the images whose highest output is their label, 0..1.

    Args:
        model: Gives `(N, classes)`; its training mode is as before afterwards.
        split: Images and labels.
        mean: Per input channel, on the 0..1 scale.
        std: Per input channel, on the 0..1 scale.
        batch_size: Images per forward pass.
        threads: Of torch while it runs; None = as it is.

    Raises:
        NotFinite: If an output is NaN or infinite.
    """
    with repeatable(threads or torch.get_num_threads()):
        return top1(model, batches_of(split, mean, std), batch_size)


def top1(
    model: nn.Module, batches: Batches, batch_size: int, forward: Callable[[Tensor], Tensor] | None = None
) -> float:
    """See `evaluate`; threads are the caller's, and `forward` may stand for the model's own."""
    training, right = model.training, 0
    model.eval()
    with torch.inference_mode():
        for images, labels in batches.plain(batch_size):
            outputs = (forward or model)(images)
            if not outputs.isfinite().all():
                raise NotFinite("outputs of the model must be finite, got NaN or infinity in evaluation")
            right += int((outputs.argmax(1) == labels).sum())
    model.train(training)
    return right / len(batches.images)


def recalibrate_(model: nn.Module, drawn: Iterable[tuple[Tensor, Tensor]], count: int) -> None:
    """Measure the running mean and variance of every batch norm anew, in place.

    Args:
        model: Norm layers without running statistics are left alone.
        drawn: Batches of the training split, augmented as in training: its weights know no other statistics, and on
            whole images a trained ResNet-20 lost 3 points.
        count: Batches to average over, equally; at least 1.
    """
    norms = [m for m in model.modules() if isinstance(m, NORMS) and m.track_running_stats]
    momenta, training = [m.momentum for m in norms], model.training
    model.eval()  # dropout stays off
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    with torch.no_grad():
        for _, (images, _) in zip(range(count), drawn, strict=False):
            model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(training)
