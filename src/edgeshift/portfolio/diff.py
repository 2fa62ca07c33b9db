# SPDX-License-Identifier: Apache-2.0
"""What is different between two portfolios."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from edgeshift.core.values import Variant, to_json


@dataclass(frozen=True)
class Difference:
    """From one portfolio to another.

    Attributes:
        added: Variants that only the other has.
        removed: Variants that only this one has.
        changed: Id of a variant in both -> field -> (here, there), for fields that differ.
    """

    added: tuple[Variant, ...]
    removed: tuple[Variant, ...]
    changed: Mapping[str, Mapping[str, tuple[Any, Any]]]

    @property
    def same(self) -> bool:
        """Whether there is none."""
        return not (self.added or self.removed or self.changed)

    def lines(self) -> list[str]:
        """One line per difference, for a person."""
        said = [f"- {v.name} ({v.id})" for v in self.removed] + [f"+ {v.name} ({v.id})" for v in self.added]
        for identity, changes in self.changed.items():
            said += [f"~ {identity} {what}: {here!r} -> {there!r}" for what, (here, there) in changes.items()]
        return said


def diff(here: Sequence[Variant], there: Sequence[Variant]) -> Difference:
    """What must be added, removed and changed to get from `here` to `there`."""
    mine = {v.id: v for v in here}
    yours = {v.id: v for v in there}
    changed = {}
    for identity in mine.keys() & yours.keys():
        one, other = to_json(mine[identity]), to_json(yours[identity])
        names = [f.name for f in fields(Variant) if one[f.name] != other[f.name]]
        if names:
            changed[identity] = {name: (one[name], other[name]) for name in names}
    return Difference(
        added=tuple(v for v in there if v.id not in mine),
        removed=tuple(v for v in here if v.id not in yours),
        changed={identity: changed[identity] for identity in sorted(changed)},
    )
