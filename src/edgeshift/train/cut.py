# SPDX-License-Identifier: Apache-2.0
"""Where masks come from: a criterion and a pattern, applied to a model. Methods share it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadValue
from edgeshift.core.values import ChannelGroup, Masks
from edgeshift.sparsity import CRITERIA, PATTERNS
from edgeshift.sparsity.criteria.shape import Criterion
from edgeshift.sparsity.patterns.shape import GONE, Pattern

MASKABLE = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)


def maskable(model: nn.Module) -> tuple[str, ...]:
    """Names of the weights of every convolution and linear layer, in the model's order, shared ones once."""
    parameters = {id(p): name for name, p in model.named_parameters()}
    found = (parameters.get(id(m.weight)) for m in model.modules() if isinstance(m, MASKABLE))
    return tuple(dict.fromkeys(name for name in found if name is not None))


def scorer(name: str) -> Criterion:
    """The criterion that scores columns under soft masks by weight and gradient; signed where it can be."""
    found: Criterion = CRITERIA.make(name, **({"signed": True} if name == "taylor" else {}))
    if found.card.needs not in ("weights", "gradients", "nothing"):
        raise BadValue("criterion", name, "one that needs weights or gradients")
    return found


@dataclass(frozen=True)
class Cut:
    """What removes weights at once.

    Attributes:
        criterion: Name of a criterion that needs weights only.
        pattern: Name of a pattern.
        exclude: Globs over parameter names that stay whole, such as "fc.*". A channel group with such a
            parameter stays whole.
        criterion_options: Options of the criterion.
        pattern_options: Options of the pattern.
    """

    criterion: str
    pattern: str
    exclude: tuple[str, ...] = ()
    criterion_options: Mapping[str, Any] = field(default_factory=dict)
    pattern_options: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> "Cut":
        """Self, or the error of the first part that cannot be made."""
        found: Criterion = CRITERIA.make(self.criterion, **self.criterion_options)
        if found.card.needs not in ("weights", "nothing"):
            raise BadValue("criterion", self.criterion, "one that needs weights only")
        PATTERNS.make(self.pattern, **self.pattern_options)
        return self

    def masks(
        self,
        model: nn.Module,
        keep: float,
        groups: tuple[ChannelGroup, ...],
        within: Masks | None = None,
        stats: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Masks that keep a fraction of the model.

        Args:
            model: Not changed.
            keep: Kept fraction, 0..1, of what the pattern counts.
            groups: Channel groups of the model.
            within: What these masks remove stays removed.
            stats: Parameter name -> what the criterion needs beside the weight.

        Returns:
            Parameter name -> bool tensor on the CPU, for every parameter that the pattern covers.

        Raises:
            BadValue: If a glob of `exclude` matches nothing, or `keep` cannot be reached.
            NotFinite: If a weight is NaN or infinite.
        """
        parameters = dict(model.named_parameters())
        self._must_match(parameters)
        weights = [name for name in maskable(model) if not self._excluded(name)]
        free = self.free(groups)
        pattern: Pattern = PATTERNS.make(self.pattern, **self.pattern_options)
        names = pattern.covers(weights, free)
        if keep == 1 and within is None:
            return {n: torch.ones(parameters[n].shape, dtype=torch.bool) for n in names}
        criterion: Criterion = CRITERIA.make(self.criterion, **self.criterion_options)
        given = stats or {}
        scores = {n: criterion.score(parameters[n].detach().cpu(), given.get(n)) for n in names}
        if within is not None:
            for name, score in scores.items():
                score.masked_fill_(~torch.from_numpy(within.tensors[name]), GONE)
        return pattern.masks(scores, keep, free)

    def free(self, groups: tuple[ChannelGroup, ...]) -> tuple[ChannelGroup, ...]:
        """The groups without an excluded parameter."""
        return tuple(group for group in groups if not any(self._excluded(name) for name in group.rows))

    def _excluded(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self.exclude)

    def _must_match(self, names: Iterable[str]) -> None:
        known = list(names)
        for glob in self.exclude:
            if not any(fnmatchcase(name, glob) for name in known):
                raise BadValue("exclude", glob, f"a glob that matches a parameter such as {known[0]}")


class Cuts(Protocol):
    """A method with the options of a cut; see `Cut`."""

    @property
    def criterion(self) -> str: ...
    @property
    def pattern(self) -> str: ...
    @property
    def exclude(self) -> tuple[str, ...]: ...
    @property
    def criterion_options(self) -> Mapping[str, Any]: ...
    @property
    def pattern_options(self) -> Mapping[str, Any]: ...


def cut_of(method: Cuts) -> Cut:
    """The cut that a method's options describe."""
    return Cut(
        criterion=method.criterion,
        pattern=method.pattern,
        exclude=tuple(method.exclude),
        criterion_options=method.criterion_options,
        pattern_options=method.pattern_options,
    )
