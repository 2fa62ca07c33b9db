# SPDX-License-Identifier: Apache-2.0
"""Dead channels put into a network on purpose, so that it is known what a shrink must find.

A network's file lists its `SITES`: where channels are written and who reads them. Names are relative to the
site's place, one `*` stands for one step of a module's name, a trailing `?` for a module that may be missing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadValue, NoEffect
from edgeshift.core.seeds import seed_for

KINDS = ("zero", "constant", "unread")
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


@dataclass(frozen=True)
class Part:
    """Where one tensor of a site holds its units.

    Unit `u` of `n` owns the indices `start + r * n * block + u * block + b` for `r < repeat`, `b < block`.

    Attributes:
        module: Name relative to the site's place; a container stands for all it holds.
        parameter: Name of a parameter or buffer of that module; None is weight and bias.
        axis: Axis of the units; None is the module's output axis where written, input axis where read.
        start: First index.
        repeat: Copies of the whole range, such as 3 in a fused query-key-value.
        block: Indices in a row per unit; None divides the axis evenly.
        shift: A value that is added or multiplied after the weights; stays alive in kind `constant`.
    """

    module: str
    parameter: str | None = None
    axis: int | None = None
    start: int = 0
    repeat: int = 1
    block: int | None = None
    shift: bool = False


@dataclass(frozen=True)
class Site:
    """Channels that a shrink can remove where they are dead.

    Attributes:
        at: Pattern of module names; the site exists at each that has all its parts.
        writes: Modules or parts that make the channels, first the one that counts them.
        reads: Modules or parts that take them; may be empty if `kinds` has no `unread`.
        kinds: What may be planted here and is then removable.
        units: Attribute path of the number of units if they are not channels, such as `heads`.
        even: Attribute path of a number of groups that must lose equally many units.
    """

    at: str
    writes: tuple[str | Part, ...]
    reads: tuple[str | Part, ...] = ()
    kinds: tuple[str, ...] = KINDS
    units: str | None = None
    even: str | None = None

    def __post_init__(self) -> None:
        if not set(self.kinds) <= set(KINDS) or not self.kinds:
            raise BadValue("kinds of a site", self.kinds, f"some of {KINDS}")
        if "unread" in self.kinds and not self.reads:
            raise BadValue("reads of a site with kind 'unread'", self.reads, "at least one module")


@dataclass(frozen=True)
class Strip:
    """One tensor of a place, by its full name; see `Part`."""

    tensor: str
    axis: int
    start: int
    repeat: int
    block: int
    groups: int = 1

    def index(self, channels: Sequence[int], units: int) -> Tensor:
        """`(n,)`, int64: the indices along the axis that `channels` own; only for `groups == 1`."""
        firsts = torch.tensor(channels, dtype=torch.int64) * self.block + self.start
        copies = torch.arange(self.repeat) * units * self.block
        return (copies[:, None, None] + firsts[None, :, None] + torch.arange(self.block)).flatten()


@dataclass(frozen=True)
class Place:
    """A site at one module of one model."""

    name: str
    site: Site
    units: int
    groups: int
    weights: tuple[Strip, ...]
    shifts: tuple[Strip, ...]
    reads: tuple[Strip, ...]
    padded: bool


@dataclass(frozen=True)
class Planted:
    """What was planted at one place: the ground truth.

    Attributes:
        place: Where, and which tensors.
        channels: Kind -> units made dead that way, ascending.
        removable: How many of them go at least. A non-zero constant that meets zero padding (or a transposed
            convolution) cannot be folded into a bias, so such constants end merged into one that stays.
    """

    place: Place
    channels: dict[str, tuple[int, ...]]
    removable: int

    @property
    def count(self) -> int:
        """Units planted."""
        return sum(map(len, self.channels.values()))


def places(model: nn.Module, sites: Iterable[Site]) -> tuple[Place, ...]:
    """Every place in `model` where one of `sites` exists."""
    modules = dict(model.named_modules())
    found = []
    for site in sites:
        for name in modules:
            if _matches(name, site.at):
                place = _place(model, modules, name, site)
                if place is not None:
                    found.append(place)
    return tuple(found)


def plant_(
    model: nn.Module, sites: Iterable[Site], share: float, seed: int = 0, kinds: Sequence[str] = KINDS
) -> tuple[Planted, ...]:
    """Make a share of the channels dead at every place, in place.

    Kind `zero`: all that writes the channel is zero, also bias and norm. `constant`: the weights are zero,
    bias and norm stay alive. `unread`: the readers' weights for it are zero. The chosen channels of a place
    are dealt to its kinds in turn. At least one unit (per group) stays.

    Args:
        model: Any network with those sites.
        sites: As listed in the network's file.
        share: Dead units / all units of a place, above 0 and below 1.
        seed: Chooses the channels.
        kinds: Which kinds to plant; places that allow none of them are left alone.

    Returns:
        One record for each place that got something.

    Raises:
        BadValue: If `share` or a kind is out of range.
        NoEffect: If nothing could be planted.
    """
    if not 0 < share < 1:
        raise BadValue("share", share, "above 0 and below 1")
    for kind in kinds:
        if kind not in KINDS:
            raise BadValue("kind", kind, f"one of {', '.join(KINDS)}")
    planted = []
    for place in places(model, sites):
        allowed = [kind for kind in kinds if kind in place.site.kinds]
        chosen = _choose(place, share, seed) if allowed else []
        if not chosen:
            continue
        dealt = {kind: tuple(sorted(chosen[i :: len(allowed)])) for i, kind in enumerate(allowed)}
        for kind, channels in dealt.items():
            _kill_(model, place, kind, channels)
        stays = 1 if place.padded and dealt.get("constant") else 0
        planted.append(Planted(place, dealt, len(chosen) - stays))
    if not planted:
        raise NoEffect(f"share must be large enough to plant a channel somewhere, got {share}")
    return tuple(planted)


def _choose(place: Place, share: float, seed: int) -> list[int]:
    size = place.units // place.groups
    each = min(round(share * size), size - 1)
    generator = torch.Generator().manual_seed(seed_for(seed, "plant", place.name, place.site.writes))
    chosen: list[int] = []
    for group in range(place.groups):
        drawn = torch.randperm(size, generator=generator)[:each].tolist()
        chosen += [group * size + unit for unit in drawn]
    return chosen


def _kill_(model: nn.Module, place: Place, kind: str, channels: Sequence[int]) -> None:
    strips = {"zero": place.weights + place.shifts, "constant": place.weights, "unread": place.reads}[kind]
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    with torch.no_grad():
        for strip in strips:
            tensor = tensors[strip.tensor]
            if strip.groups == 1:
                tensor.index_fill_(strip.axis, strip.index(channels, place.units), 0)
            else:  # a grouped convolution's input axis counts within its group
                grouped = tensor.view(strip.groups, -1, *tensor.shape[1:])
                unit = torch.tensor(channels, dtype=torch.int64)
                grouped[unit // tensor.shape[1], :, unit % tensor.shape[1]] = 0


def _matches(name: str, pattern: str) -> bool:
    steps, wanted = name.split("."), pattern.split(".")
    return len(steps) == len(wanted) and all(map(fnmatchcase, steps, wanted))


def _place(model: nn.Module, modules: dict[str, nn.Module], root: str, site: Site) -> Place | None:
    written = [_hits(modules, root, part) for part in site.writes]
    read = [_hits(modules, root, part) for part in site.reads]
    if None in written or None in read:
        return None
    writers = [hit for hits in written for hit in hits or ()]
    readers = [hits[0] for hits in read if hits]
    if not writers:
        return None
    part, _, module = writers[0]
    if site.units is not None:
        units = _attribute(modules[root], site.units)
    else:
        units = (_axis_length(module, part, _axis(module, part, reading=False)) - part.start) // part.repeat
    weights: list[Strip] = []
    shifts: list[Strip] = []
    for part, name, module in writers:
        for leaf, shift in _leaves(module, part):
            strip = _strip(name, module, part, leaf, units, reading=False)
            (shifts if shift else weights).append(strip)
    reads = []
    for part, name, module in readers:
        for leaf, shift in _leaves(module, part):
            if not shift or part.axis == 0:
                reads.append(_strip(name, module, part, leaf, units, reading=True))
    groups = 1 if site.even is None else _attribute(modules[root], site.even)
    padded = any(_pads(module) for _, _, module in readers)
    return Place(root, site, units, groups, tuple(weights), tuple(shifts), tuple(reads), padded)


def _hits(
    modules: dict[str, nn.Module], root: str, wanted: str | Part
) -> list[tuple[Part, str, nn.Module]] | None:
    """The modules with parameters that a part stands for; None if it must be there and is not."""
    part = wanted if isinstance(wanted, Part) else Part(wanted)
    pattern = ".".join(filter(None, [root, part.module.removesuffix("?")]))
    names = [pattern] if pattern in modules else [name for name in modules if _matches(name, pattern)]
    if part.parameter is not None:
        hits = [(part, name, modules[name]) for name in names if part.parameter in _tensors(modules[name])]
    else:
        hits = [
            (part, inner, module)
            for name in names
            for inner, module in modules[name].named_modules(prefix=name)
            if "weight" in _tensors(module)
        ]
    return hits if hits or part.module.endswith("?") else None


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of the module; those of its parametrisations count as its own."""
    own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    deep = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return own | {name: tensor for name, tensor in deep.items() if name.startswith("parametrizations.")}


def _leaves(module: nn.Module, part: Part) -> list[tuple[str, bool]]:
    """Names of the tensors a part means, each with whether it is a shift."""
    if part.parameter is not None:
        return [(part.parameter, part.shift)]
    linear = isinstance(module, (nn.Linear, nn.Embedding, nn.EmbeddingBag, *_CONVOLUTIONS))
    leaves = [("weight", part.shift or not linear)]
    return [*leaves, ("bias", True)] if "bias" in _tensors(module) and part.axis in (None, 0) else leaves


def _axis(module: nn.Module, part: Part, *, reading: bool) -> int:
    if part.axis is not None:
        return part.axis
    return int(reading != isinstance(module, _TRANSPOSED))


def _axis_length(module: nn.Module, part: Part, axis: int) -> int:
    return _tensors(module)[part.parameter or "weight"].shape[axis]


def _strip(name: str, module: nn.Module, part: Part, leaf: str, units: int, *, reading: bool) -> Strip:
    tensor = _tensors(module)[leaf]
    axis = 0 if tensor.dim() == 1 else _axis(module, part, reading=reading)
    grouped = reading and isinstance(module, _CONVOLUTIONS) and part.axis is None
    groups = int(module.groups) if grouped else 1  # type: ignore[arg-type]  # a convolution's own int
    room = tensor.shape[axis] * groups - part.start
    block = room // (units * part.repeat) if part.block is None else part.block
    if block < 1 or units * part.repeat * block > room:
        raise BadValue(f"units of the site at {name}.{leaf}", units, f"at most {room} indices long")
    return Strip(f"{name}.{leaf}" if name else leaf, axis, part.start, part.repeat, block, groups)


def _pads(module: nn.Module) -> bool:
    if isinstance(module, _TRANSPOSED):
        return max(module.kernel_size) > 1
    if not isinstance(module, _CONVOLUTIONS):
        return False
    if isinstance(module.padding, str):
        return module.padding == "same" and max(module.kernel_size) > 1
    return max(module.padding) > 0


def _attribute(module: nn.Module, path: str) -> int:
    owner, _, leaf = path.rpartition(".")
    return int(getattr(module.get_submodule(owner), leaf))
