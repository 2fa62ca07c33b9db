# SPDX-License-Identifier: Apache-2.0
"""What a plug-in says of itself."""

from dataclasses import dataclass

from edgeshift.core.errors import BadValue

NEEDS = ("weights", "gradients", "training", "calibration", "measurements", "nothing")


@dataclass(frozen=True)
class Card:
    """Name, purpose and source of one plug-in.

    Attributes:
        name: File name without `.py`; also the command-line name.
        says: One line, at most 100 characters: what the user gets.
        paper: Authors, venue and year, or "house rule" where nobody published it.
        link: Address of the paper, empty for house rules.
        needs: The most expensive thing it must be given, one of `NEEDS`.
    """

    name: str
    says: str
    paper: str
    link: str = ""
    needs: str = "nothing"

    def __post_init__(self) -> None:
        if self.needs not in NEEDS:
            raise BadValue("needs", self.needs, f"one of {', '.join(NEEDS)}")
        if not 0 < len(self.says) <= 100:
            raise BadValue("says", self.says, "1 to 100 characters")
