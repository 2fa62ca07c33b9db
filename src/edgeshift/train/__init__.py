# SPDX-License-Identifier: Apache-2.0
"""The only training loop, and the methods that need labels and gradients.

The names below load on first use: what only lists methods must not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeshift.core.registry import Shelf

if TYPE_CHECKING:
    from edgeshift.train.accuracy import evaluate as evaluate
    from edgeshift.train.loop import run_levels as run_levels
    from edgeshift.train.options import Training as Training
    from edgeshift.train.task import Level as Level
    from edgeshift.train.task import Task as Task

METHODS = Shelf("method", "train/methods")
_DOOR = {"Level": "task", "Task": "task", "Training": "options", "evaluate": "accuracy", "run_levels": "loop"}
__all__ = ["METHODS", "Level", "Task", "Training", "evaluate", "run_levels"]


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module 'edgeshift.train' has no attribute {name!r}")
    return getattr(import_module(f"edgeshift.train.{_DOOR[name]}"), name)
