# SPDX-License-Identifier: Apache-2.0
"""What a request gets back."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Answer:
    """The outputs of one variant, with its name on them.

    Attributes:
        outputs: Output name -> array; the first axis is the batch.
        variant: Name of the variant that gave it.
        variant_id: Its id.
        generation: Of the portfolio it was opened from; 0 = a portfolio that was never published.
        queue_ms: From arrival until it was taken from the queue.
        compute_ms: From then to the answer, a second try included.
    """

    outputs: dict[str, NDArray[Any]]
    variant: str
    variant_id: str
    generation: int
    queue_ms: float
    compute_ms: float
