# SPDX-License-Identifier: Apache-2.0
"""How often a variant is right."""

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadData, BadValue, NotFinite
from edgeshift.measure.latency import Answers


def accuracy(
    session: Answers, images: NDArray[np.float32], labels: NDArray[np.int64], batch_size: int = 256
) -> float:
    """Top-1 accuracy of the file that is shipped, not of the torch model it came from.

    Args:
        session: Opened model with outputs `(batch, classes)`.
        images: `(N, *input_shape)`, float32, normalised as in training.
        labels: `(N,)`, class numbers.
        batch_size: Inputs per call; changes speed only.

    Returns:
        Share of the first-ranked classes that equal the label, 0..1.

    Raises:
        BadData: If there is no image, or not one label for each.
        BadValue: If the images are not float32, or the batch size is below 1.
        NotFinite: If an answer is NaN or infinite.
    """
    if len(images) == 0 or labels.shape != (len(images),):
        raise BadData(
            f"split must have one label per image and at least one image, got {images.shape}, {labels.shape}"
        )
    if images.dtype != np.float32:
        raise BadValue("dtype of the images", str(images.dtype), "float32, normalised")
    if batch_size < 1:
        raise BadValue("batch_size", batch_size, "at least 1")
    right = 0
    for start in range(0, len(images), batch_size):
        answer = session.run(images[start : start + batch_size])
        if not np.isfinite(answer).all():
            raise NotFinite(f"answers must be finite, got NaN or infinity in the batch at {start}")
        right += int((answer.argmax(1) == labels[start : start + batch_size]).sum())
    return right / len(images)
