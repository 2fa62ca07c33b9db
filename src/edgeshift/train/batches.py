# SPDX-License-Identifier: Apache-2.0
"""From uint8 images to shuffled, augmented, normalised batches."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgeshift.core.seeds import seed_for


class Batches:
    """The images of one split, ready to be drawn from.

    Every epoch's order and augmentation follow from `(seed, level, epoch)` alone, so an epoch can be
    drawn again after a crash.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, mean: Tensor, std: Tensor, *, channels_last: bool
    ) -> None:
        """Hold the images.

        Args:
            images: `(N, C, H, W)`, uint8; they and all batches stay on their device.
            labels: `(N,)`, int64.
            mean: `(C,)`, on the 0..1 scale.
            std: `(C,)`, on the 0..1 scale.
            channels_last: Memory order of the batches.
        """
        self.images, self.labels = images, labels
        # (x / 255 - mean) / std as one multiply and one add.
        self.scale = (1 / (255 * std)).float().reshape(1, -1, 1, 1).to(images.device)
        self.shift = (-mean / std).float().reshape(1, -1, 1, 1).to(images.device)
        self.format = torch.channels_last if channels_last else torch.contiguous_format

    def steps(self, batch_size: int) -> int:
        """Batches per epoch."""
        return -(-len(self.images) // batch_size)

    def normalised(self, images: Tensor) -> Tensor:
        """`(N, C, H, W)` uint8 -> float32, normalised, in the memory order."""
        return images.to(torch.float32, memory_format=self.format).mul_(self.scale).add_(self.shift)

    def epoch(
        self, batch_size: int, augment: str, seed: int, level: int, epoch: int, *, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, in an order of that epoch's own.

        Args:
            batch_size: At most that many images per batch; batches differ by one image at most.
            augment: One of `options.AUGMENTS`.
            seed: Of the run.
            level: Index of the level.
            epoch: From 0.
            start: Batches to leave out at the beginning.

        Yields:
            Images `(n, C, H, W)` float32 and labels `(n,)` int64.
        """
        for step, index in self._order(batch_size, seed, level, epoch, start):
            generator = torch.Generator().manual_seed(seed_for(seed, "augment", level, epoch, step))
            yield self.normalised(augmented(self.images[index], augment, generator)), self.labels[index]

    def taught(
        self,
        batch_size: int,
        augment: str,
        seed: int,
        level: int,
        epoch: int,
        *,
        targets: Sequence[Tensor],
        start: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Every image once, in an order of that epoch's own, in one of the views that a teacher saw.

        Args:
            batch_size: As in `epoch`, and so the next four.
            augment: One of `options.AUGMENTS`.
            seed: Of the run.
            level: Index of the level.
            epoch: From 0; takes the views in turn.
            targets: The teacher's outputs per view, each `(N, classes)`, images in order.
            start: Batches to leave out at the beginning.

        Yields:
            Images `(n, C, H, W)` float32, labels `(n,)` int64 and targets `(n, classes)`.
        """
        view = epoch % len(targets)
        drawn = self.view(augment, seed, view)
        for _, index in self._order(batch_size, seed, level, epoch, start):
            images = self.normalised(moved(self.images[index], drawn[:, index]))
            yield images, self.labels[index], targets[view][index]

    def viewed(self, batch_size: int, augment: str, seed: int, view: int) -> Iterator[Tensor]:
        """One view of every image, in order; `(n, C, H, W)` float32 each."""
        drawn = self.view(augment, seed, view)
        for start in range(0, len(self.images), batch_size):
            part = slice(start, start + batch_size)
            yield self.normalised(moved(self.images[part], drawn[:, part]))

    def view(self, augment: str, seed: int, view: int) -> Tensor:
        """How every image is shifted and mirrored in a view; `(3, N)`, see `draw`."""
        generator = torch.Generator().manual_seed(seed_for(seed, "view", view))
        return placed(draw(self.images.shape, augment, generator), self.images.device)

    def _order(
        self, batch_size: int, seed: int, level: int, epoch: int, start: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Number of a batch of that epoch, and indices of its images."""
        generator = torch.Generator().manual_seed(seed_for(seed, "order", level, epoch))
        order = placed(torch.randperm(len(self.images), generator=generator), self.images.device)
        for step, index in enumerate(order.tensor_split(self.steps(batch_size))):
            if step >= start:
                yield step, index

    def plain(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, in order, not augmented; see `epoch`."""
        for start in range(0, len(self.images), batch_size):
            part = slice(start, start + batch_size)
            yield self.normalised(self.images[part]), self.labels[part]


def augmented(images: Tensor, augment: str, generator: torch.Generator) -> Tensor:
    """Images shifted and mirrored at random.

    Args:
        images: `(n, C, H, W)`, uint8.
        augment: "none", "crop": shifted by up to an eighth of the side (at least 1 pixel), black comes
            in; "crop_flip": half of them also mirrored left to right.
        generator: Where chance comes from; on the CPU, so that it is the same wherever the images are.

    Returns:
        The same shape and dtype.
    """
    if augment == "none":
        return images
    # One copy for all that is drawn, and nobody waits for it.
    return moved(images, placed(draw(images.shape, augment, generator), images.device))


def draw(shape: torch.Size, augment: str, generator: torch.Generator) -> Tensor:
    """Where in their padded selves images of shape `(n, C, H, W)` begin, and which are mirrored; see `augmented`.

    Returns:
        Rows down, columns right, mirrored or not: `(3, n)` int64 on the CPU.
    """
    n, _, height, width = shape
    rows, columns = margins(height, width)
    drawn = torch.tensor([[rows], [columns], [0]]).repeat(1, n)
    if augment != "none":
        drawn[0] = torch.randint(0, 2 * rows + 1, (n,), generator=generator)
        drawn[1] = torch.randint(0, 2 * columns + 1, (n,), generator=generator)
    if augment == "crop_flip":
        drawn[2] = torch.rand(n, generator=generator) < 0.5
    return drawn


def moved(images: Tensor, drawn: Tensor) -> Tensor:
    """Images `(n, C, H, W)` shifted and mirrored as `draw` says."""
    n, _, height, width = images.shape
    rows, columns = margins(height, width)
    padded = functional.pad(images, (columns, columns, rows, rows))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    down, right, mirror = drawn
    out = windows[torch.arange(n, device=images.device), :, down, right]
    return torch.where(mirror.bool().reshape(n, 1, 1, 1), out.flip(3), out)


def margins(height: int, width: int) -> tuple[int, int]:
    """Rows and columns that an image is shifted by at most."""
    return max(1, height // 8), max(1, width // 8)


def placed(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; a GPU is not waited for, and does not wait."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)
