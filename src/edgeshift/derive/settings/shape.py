# SPDX-License-Identifier: Apache-2.0
"""What settings look like: a frozen dataclass whose fields are training options, and levels."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Protocol

from edgeshift.core.card import Card
from edgeshift.core.registry import Shelf

NOUN = "settings"
SHELF = Shelf(NOUN, "derive/settings")
# For data sets that have no settings of their own.
FALLBACK = "any_images"
# Ends the name of settings that start from trained weights.
TRAINED = "_trained"


class Settings(Protocol):
    """Training options as fields, named as in `edgeshift.train.Training`, and three of the build's own.

    Attributes:
        card: Name, purpose and source.
        method: Training method used if none is asked for.
        method_options: Its options, used if neither a method nor an option is asked for.
        levels: Kept shares of the maskable weights, falling, each in (0, 1].
    """

    card: ClassVar[Card]
    method: str
    method_options: Mapping[str, Any]
    levels: tuple[float, ...]


def train_options(settings: Any) -> Mapping[str, Any]:
    """The fields of settings that are training options."""
    own = ("method", "method_options", "levels")
    return {field.name: getattr(settings, field.name) for field in fields(settings) if field.name not in own}


def settings_for(data: str, *, asked: str = "", trained: bool = False) -> Any:
    """The settings asked for, else the data set's own, else the fallback.

    Args:
        data: Name of the data set.
        asked: Name of settings; empty = none asked for.
        trained: Whether the build starts from trained weights.

    Raises:
        UnknownName: If settings are asked for that do not exist.
    """
    ending = TRAINED if trained else ""
    own = data + ending
    return SHELF.make(asked or (own if own in SHELF.names() else FALLBACK + ending))
