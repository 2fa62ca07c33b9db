# SPDX-License-Identifier: Apache-2.0
"""By brute force: which channels of a random network do nothing? Shares no code with `edgeshift.graph`.

A channel is dead if it never matters what its producers say. That is tried, not derived: every channel that is
not constant is overwritten with large random numbers, and what still never changes is constant whatever the
others do (repeated until nothing more falls, an induction over the network); then each set of channels that only
go together is overwritten, and no output may move. Chance can only make a live channel look dead if a change
stays below 1e-12 of an output over all draws; the networks have no weights that small.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tests.graph.random_networks import ChannelsLast, Gate, Mix, Pick, RandomNetwork, Step

PRODUCERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MIXERS = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
SAMPLES = 12
NOISE = 5.0
SAME = 1e-12
LEVEL = 1e-12
ROUNDS = 3

Unit = tuple[str, int]


@dataclass
class Classes:
    """Channels that can only go together, found by walking the steps of the network.

    Attributes:
        parent: Union-find over labels.
        units: Label of every (layer, channel).
        reasons: Label -> why it may have to stay although dead.
        rows: The channel labels of every tensor some layer reads or makes: one of each must stay.
    """

    parent: list[int] = field(default_factory=list)
    units: dict[Unit, int] = field(default_factory=dict)
    reasons: dict[int, set[str]] = field(default_factory=dict)
    rows: list[list[int]] = field(default_factory=list)

    def fresh(self, count: int) -> list[int]:
        start = len(self.parent)
        self.parent.extend(range(start, start + count))
        return list(range(start, start + count))

    def root(self, label: int) -> int:
        while self.parent[label] != label:
            label = self.parent[label]
        return label

    def tie(self, a: Iterable[int], b: Iterable[int]) -> None:
        for x, y in zip(a, b, strict=True):
            self.parent[self.root(x)] = self.root(y)

    def hold(self, labels: Iterable[int], reason: str) -> None:
        for label in labels:
            self.reasons.setdefault(label, set()).add(reason)

    def why(self, label: int) -> set[str]:
        """Every reason of the class."""
        root = self.root(label)
        return {r for member, found in self.reasons.items() if self.root(member) == root for r in found}

    def of_layer(self, name: str, width: int) -> list[int]:
        """Labels of a producer's channels; the same at every run of it."""
        if (name, 0) not in self.units:
            for i, label in enumerate(self.fresh(width)):
                self.units[name, i] = label
        return [self.units[name, i] for i in range(width)]


def width_of(layer: nn.Module) -> int:
    """Output channels of a producer."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def producers(model: nn.Module) -> dict[str, nn.Module]:
    """Every layer that makes channels, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, PRODUCERS)}


def is_level(values: Tensor) -> Tensor:
    """`(channels,)`, bool: all numbers of a row are the same, up to the order of sums."""
    top, bottom = values.amax(1), values.amin(1)
    return top - bottom <= LEVEL * top.abs().clamp_min(bottom.abs()).clamp_min(1.0)


class Walk:
    """Labels of every tensor of a random network, and why dead ones may have to stay."""

    def __init__(self, model: RandomNetwork, shapes: list[tuple[int, ...]], inputs: int) -> None:
        self.model = model
        self.shapes = shapes
        self.classes = Classes()
        self.tensors: list[list[int]] = []
        self.padded: list[tuple[int, str]] = []  # (tensor, reader): constants need a carrier
        runs = [s.module for s in model.steps if s.module >= 0]
        self.shared = {m for m in runs if runs.count(m) > 1}
        for shape in shapes[:inputs]:
            labels = self.classes.fresh(shape[1])
            self.classes.hold(labels, "input")
            self.tensors.append(labels)
        for step in model.steps:
            made = self._layer(step) if step.module >= 0 else self._operator(step)
            self.tensors.extend(made)
        for number in model.returns:
            self.classes.hold(self.tensors[number], "output")
        self.classes.rows.extend(self.tensors)

    def _layer(self, step: Step) -> list[list[int]]:
        layer, x, classes = self.model.layers[step.module], self.tensors[step.takes[0]], self.classes
        name = f"layers.{step.module}"
        if isinstance(layer, ChannelsLast):
            layer, name = layer.layer, f"{name}.layer"
        if isinstance(layer, PRODUCERS):
            return [self._producer(name, layer, x, step)]
        if isinstance(layer, Gate):
            classes.rows.append(classes.of_layer(f"{name}.down", width_of(layer.down)))
            classes.tie(classes.of_layer(f"{name}.up", len(x)), x)
        elif isinstance(layer, MIXERS):
            classes.hold(x, "norm over channels")
        elif isinstance(layer, Pick):
            return [[x[i] for i in layer.order.tolist()]]
        elif isinstance(layer, Mix):
            self.padded.append((step.takes[0], name))  # it cannot be given a bias
            return [classes.fresh(len(layer.weight))]
        return [x]

    def _producer(self, name: str, layer: nn.Module, x: list[int], step: Step) -> list[int]:
        classes = self.classes
        labels = classes.of_layer(name, width_of(layer))
        if step.module in self.shared:
            classes.hold(x, "read by a layer that runs twice")
        if isinstance(layer, nn.Linear):
            return labels
        if layer.groups > 1:
            reason = "transposed groups" if isinstance(layer, TRANSPOSED) else "groups"
            if layer.groups == len(x) == len(labels):
                classes.tie(labels, x)
            else:
                classes.hold([*x, *labels], reason)
        spreads = isinstance(layer, TRANSPOSED) and max(layer.kernel_size) > 1
        if spreads or (max(layer.padding) > 0 and layer.padding_mode == "zeros"):
            self.padded.append((step.takes[0], name))
        return labels

    def _operator(self, step: Step) -> list[list[int]]:
        classes, kind = self.classes, step.kind
        taken = [self.tensors[i] for i in step.takes]
        x = taken[0]
        if kind in ("add", "sub", "mul", "maximum"):
            classes.tie(x, taken[1])
            return [x]
        if kind == "cat":
            return [[label for labels in taken for label in labels]]
        if kind in ("chunk", "split"):
            parts, size = (
                (step.options[0], len(x) // step.options[0]) if kind == "chunk" else (0, step.options[0])
            )
            classes.hold(x, "equal parts" if parts else "cut at spelled-out places")
            return [x[i : i + size] for i in range(0, len(x), size)]
        if kind == "slice":
            classes.hold(x, "cut at spelled-out places")
            return [x[step.options[0] : step.options[1]]]
        if kind == "flip":
            classes.hold(x, "flipped")
            return [x[::-1]]
        if kind == "select":
            classes.hold(x, "cut at spelled-out places")
            return [[x[i] for i in step.options[0]]]
        if kind == "repeat":
            return [x * step.options[0]]
        if kind in ("interleave", "windows"):
            if kind == "windows" and step.options[0]:
                classes.hold(x, "padded space")
            times = step.options[0] if kind == "interleave" else 2
            return [[label for label in x for _ in range(times)]]
        if kind == "shuffle":
            groups = step.options[0]
            if groups > 1:
                classes.hold(x, "equal parts")
            return [[x[i + j * (len(x) // groups)] for i in range(len(x) // groups) for j in range(groups)]]
        if kind == "option_a":
            low, high = classes.fresh(step.options[0]), classes.fresh(step.options[1])
            classes.hold([*low, *high], "padded channels")
            return [[*low, *x, *high]]
        if kind in ("softmax", "cumsum", "over_channels"):
            classes.hold(x, f"{kind} over channels")
            made = classes.fresh(1) if kind == "over_channels" else x
            classes.hold(made, f"{kind} over channels")
            return [made]
        if kind == "flatten":
            positions = self.shapes[len(self.tensors)][1] // len(x)
            return [[label for label in x for _ in range(positions)]]
        if kind == "pad_space" and step.options[1] is not None:
            classes.hold(x, "padded space")
        return [x]


@dataclass(frozen=True)
class Answer:
    """What brute force found.

    Attributes:
        dead: Layer -> how many of its channels do nothing.
        excused: Layer -> how many of those may have to stay, with the reasons.
    """

    dead: dict[str, int]
    excused: dict[str, list[str]]


class Oracle:
    """Runs a network with some channels overwritten."""

    def __init__(self, model: RandomNetwork, example: tuple[Tensor, ...]) -> None:
        self.model = copy.deepcopy(model).double().eval()
        self.layers = producers(self.model)
        generator = torch.Generator().manual_seed(3)
        self.inputs = tuple(
            torch.randn(SAMPLES, *x.shape[1:], generator=generator, dtype=torch.float64) * 2 for x in example
        )
        self.walk = Walk(self.model, [tuple(v.shape) for v in self._values()], len(self.inputs))
        self.noisy: dict[str, Tensor] = {
            n: torch.zeros(width_of(m), dtype=torch.bool) for n, m in self.layers.items()
        }
        self.seen: dict[str, list[Tensor]] = {}
        self.generator = torch.Generator()
        for name, layer in self.layers.items():
            layer.register_forward_hook(self._hook(name))

    def _values(self) -> list[Tensor]:
        """Every tensor the network makes."""
        made = list(self.inputs)
        with torch.no_grad():
            for step in self.model.steps:
                taken = [made[i] for i in step.takes]
                if step.module >= 0:
                    made.append(self.model.layers[step.module](*taken))
                else:
                    result = getattr(self.model, step.kind)(*taken, *step.options)
                    made.extend(result if isinstance(result, tuple) else (result,))
        return made

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        def overwrite(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            axis = output.dim() - 1 if isinstance(layer, nn.Linear) else 1
            self.seen.setdefault(name, []).append(output.movedim(axis, 0).flatten(1))
            if not self.noisy[name].any():
                return output
            noise = torch.randn(output.shape, generator=self.generator, dtype=output.dtype) * NOISE
            shape = [-1 if d == axis else 1 for d in range(output.dim())]
            return torch.where(self.noisy[name].reshape(shape), noise, output)

        return overwrite

    def run(self, noisy: dict[str, Tensor], seed: int) -> list[Tensor]:
        """Every tensor with these channels overwritten."""
        self.noisy = noisy
        self.seen = {}
        self.generator.manual_seed(seed)
        return self._values()

    def constants(self) -> dict[str, Tensor]:
        """Layer -> `(channels,)`, bool: constant whatever all that is not constant does."""
        fixed = {n: torch.ones(width_of(m), dtype=torch.bool) for n, m in self.layers.items()}
        seed = 0
        while True:
            before = {n: f.clone() for n, f in fixed.items()}
            for _ in range(ROUNDS):
                seed += 1
                self.run({n: ~f for n, f in fixed.items()}, seed)
                for name, runs in self.seen.items():
                    for values in runs:
                        fixed[name] &= is_level(values)
            if all(torch.equal(before[n], fixed[n]) for n in fixed):
                return fixed

    def answer(self) -> Answer:
        """Dead channels, layer by layer."""
        fixed = self.constants()
        members: dict[int, list[Unit]] = {}
        for unit, label in self.walk.classes.units.items():
            members.setdefault(self.walk.classes.root(label), []).append(unit)
        dead = {root for root, units in members.items() if self._never_matters(units, fixed)}
        carried = self._carried(fixed)
        answer = Answer(dict.fromkeys(self.layers, 0), {n: [] for n in self.layers})
        lonely = {
            next(iter(roots))
            for roots in ({self.walk.classes.root(x) for x in row} for row in self.walk.classes.rows)
            if roots <= dead
        }
        for root in dead:
            reasons = self.walk.classes.why(root) | ({"carrier"} if root in carried else set())
            reasons |= {"last one"} if root in lonely else set()
            for name, _ in members[root]:
                answer.dead[name] += 1
                if reasons:
                    answer.excused[name].append(sorted(reasons)[0])
        return answer

    def _never_matters(self, units: list[Unit], fixed: dict[str, Tensor]) -> bool:
        """Whether no output moves if the class's channels that are not constant say anything at all."""
        if any(self.walk.classes.why(self.walk.classes.units[u]) & {"input", "output"} for u in units[:1]):
            return False
        others = {n: torch.zeros_like(f) for n, f in fixed.items()}
        loud = {n: f.clone() for n, f in others.items()}
        for name, channel in units:
            loud[name][channel] = not fixed[name][channel]
        if not any(bool(f.any()) for f in loud.values()):
            return True
        for seed in range(ROUNDS):
            plain, moved = self.run(others, seed), self.run(loud, seed + 100)
            for number in self.model.returns:
                scale = plain[number].abs().max().clamp_min(1.0)
                if float((plain[number] - moved[number]).abs().max() / scale) > SAME:
                    return False
        return True

    def _carried(self, fixed: dict[str, Tensor]) -> set[int]:
        """Classes that are a constant other than zero where zeros are padded."""
        values = self.run({n: ~f for n, f in fixed.items()}, 1)
        found: set[int] = set()
        for number, _ in self.walk.padded:
            flat = values[number].movedim(1, 0).flatten(1)
            same = is_level(flat) & (flat[:, 0] != 0)
            labels = self.walk.tensors[number]
            found |= {self.walk.classes.root(labels[i]) for i in same.nonzero()[:, 0].tolist()}
        return found


@dataclass(frozen=True)
class Share:
    """What was removed of what could be, in channels.

    Attributes:
        dead: Channels that do nothing.
        removed: Channels that went.
        excused: Why dead ones may stay -> how many did.
        missed: Layer -> dead channels that stay without a reason.
        beyond: Layer -> channels that went although brute force saw them matter.
    """

    dead: int
    removed: int
    excused: dict[str, int]
    missed: dict[str, int]
    beyond: dict[str, int]


def share(model: RandomNetwork, small: nn.Module, example: tuple[Tensor, ...]) -> Share:
    """Compare a shrunk network with what brute force says of the original."""
    answer = Oracle(model, example).answer()
    after = {n: width_of(m) for n, m in producers(small).items()}
    gone = {n: width_of(m) - after[n] for n, m in producers(model).items()}
    excused: dict[str, int] = {}
    missed: dict[str, int] = {}
    for name, dead in answer.dead.items():
        left = max(0, dead - gone[name])
        for reason in answer.excused[name][:left]:
            excused[reason] = excused.get(reason, 0) + 1
        if left > len(answer.excused[name]):
            missed[name] = left - len(answer.excused[name])
    beyond = {n: gone[n] - answer.dead[n] for n in gone if gone[n] > answer.dead[n]}
    return Share(sum(answer.dead.values()), sum(gone.values()), excused, missed, beyond)
