# SPDX-License-Identifier: Apache-2.0
"""The most bytes in use in ONNX Runtime's arena, planned as it plans: layouts, reuse, one block, powers of two."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edgeshift.predict.network import Network, Node

# Float channels that lie together where convolutions are vectorised: 16 on AVX-512, 8 on other x86
# (onnxruntime/core/mlas: MlasNchwcGetBlockSize).
BLOCK = 16
# A convolution runs in blocks only if its input channels, or its depthwise ones, are a multiple of this.
STEP = 4
# Every piece of the arena is a multiple of this; its first region has FIRST bytes and the next ones double.
ALIGN, FIRST = 256, 1 << 20
# Bytes that a convolution outside of blocks unrolls its input into at a time (mlas/lib/convolve.cpp, one thread).
SEGMENT = 1 << 16
ACTIVATIONS = ("Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid")
# They give their input another shape and move nothing.
VIEWS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
# Passes of the optimiser, later ones order their operators last: as written, fused activation, blocks, layout changes
# back, fused addition.
WRITTEN, ACTIVATED, BLOCKED, BACK, ADDED = range(5)

Shape = tuple[int, ...]


@dataclass
class Step:
    """One operator of the optimised graph.

    Attributes:
        inputs: Places of the steps it reads; -1 = the network's own input.
        shape: Of its output, padded channels included; only equal shapes share a buffer.
        size: Bytes of one number.
        rank: The larger, the earlier it runs among the inputs of one operator.
        inside: Inputs whose buffer it may overwrite, the preferred one first.
        unrolled: Bytes it needs while it runs.
        view: Whether its output is its input.
        open_to: What may still be fused into it: "Relu" and the like, "Add".
    """

    inputs: list[int]
    shape: Shape
    size: int
    rank: tuple[int, int]
    inside: list[int] = field(default_factory=list)
    unrolled: int = 0
    view: bool = False
    open_to: set[str] = field(default_factory=set)


def up(value: int, to: int) -> int:
    """The next multiple."""
    return -(-value // to) * to


class Optimised:
    """The operators that ONNX Runtime runs: layouts chosen, activations and additions fused, layout changes added."""

    def __init__(self, network: Network, block: int) -> None:
        self.network, self.block, self.nodes = network, block, _once(network.nodes)
        self.steps: list[Step] = []
        # (operator, whether in blocks) -> step that makes its output in that layout.
        self.made: dict[tuple[int, bool], int] = {}
        # Operators whose output comes in blocks, not by a change of layout.
        self.blocked: set[int] = set()
        read = {i for node in network.nodes for i in node.inputs}
        self.leaves = [i for i in range(len(self.nodes)) if i not in read]
        alive = _depth_first(self.leaves, [n.inputs for n in self.nodes], [(0, 0)] * len(self.nodes))
        self.readers = [0] * len(self.nodes)
        for place in alive:
            for i in self.nodes[place].inputs:
                if i >= 0:
                    self.readers[i] += 1
        for place in self._passes():
            self._add(place, self.nodes[place])
        self.outputs = [self._value(i, blocked=False) for i in self.leaves]

    def order(self) -> list[int]:
        """Steps as they run: what an output needs, depth first, the input with the largest rank before others."""
        return _depth_first(
            self.outputs, [step.inputs for step in self.steps], [step.rank for step in self.steps]
        )

    def _passes(self) -> list[int]:
        """Operators in the order in which the optimiser comes to them: as it would run them before it changes any."""
        ranks = [
            (ACTIVATED if self._follows_convolution(n) else WRITTEN, i) for i, n in enumerate(self.nodes)
        ]
        return _depth_first(self.leaves, [node.inputs for node in self.nodes], ranks)

    def _follows_convolution(self, node: Node) -> bool:
        i = node.inputs[0] if node.inputs else -1
        return node.op in ACTIVATIONS and i >= 0 and self.nodes[i].op == "Conv" and self.readers[i] == 1

    def _add(self, place: int, node: Node) -> None:
        if node.op == "Conv" and len(node.shape) == 4:
            self._convolve(place, node)
        elif node.kind in ("pool", "global_pool") and self._whole_blocks(node.shape):
            self._new(place, [self._value(node.inputs[0], blocked=True)], BLOCKED, blocked=True)
        elif node.op == "HardSwish":
            self._hard_swish(place, node)
        elif node.kind == "activation" and len(node.inputs) == 1 and node.inputs[0] >= 0:
            self._activate(place, node)
        elif node.op in ("Add", "Mul") and len(node.inputs) == 2:
            self._combine(place, node)
        elif node.op == "Concat" and all(
            i in self.blocked and self._whole_blocks(self._shape(i)) for i in node.inputs
        ):
            self._new(place, [self.made[i, True] for i in node.inputs], WRITTEN, blocked=True)
        else:
            given = [self._value(i, blocked=False) for i in node.inputs]
            self._new(place, given, WRITTEN, blocked=False).view = node.op in VIEWS and bool(given)

    def _convolve(self, place: int, node: Node) -> None:
        inner, groups, out = node.in_channels, node.groups, node.out_channels
        few = groups == 1 and inner < self.block
        if groups == 1:
            blocked = few or inner % STEP == 0
        elif groups == inner == out:
            blocked = out % STEP == 0
        else:
            blocked = inner // groups % self.block == 0 and out // groups % self.block == 0
        blocked = blocked and node.bits == 32
        given = [self._value(node.inputs[0], blocked=blocked and not few)]
        step = self._new(place, given, BLOCKED if blocked else WRITTEN, blocked=blocked)
        step.open_to = {"Add", *ACTIVATIONS}
        if not blocked:
            step.unrolled = _unrolled(node)

    def _activate(self, place: int, node: Node) -> None:
        before = node.inputs[0]
        blocked = before in self.blocked
        source = self._value(before, blocked=blocked)
        step = self.steps[source]
        if node.op in step.open_to and self.readers[before] == 1:
            # An addition fused before stays; none can follow.
            step.open_to = set()
            if not blocked and step.rank[0] == WRITTEN:
                step.rank = (ACTIVATED, place)
            self._fused(place, source, blocked=blocked)
        else:
            self._new(place, [source], WRITTEN, blocked=blocked).inside = [source]

    def _hard_swish(self, place: int, node: Node) -> None:
        """Fused into a convolution in blocks, else two operators: a hard sigmoid, and the product with the input."""
        before = node.inputs[0]
        if (
            before in self.blocked
            and self.steps[self.made[before, True]].open_to
            and self.readers[before] == 1
        ):
            self.steps[self.made[before, True]].open_to = set()
            self._fused(place, self.made[before, True], blocked=True)
            return
        source = self._value(before, blocked=False)
        gate = len(self.steps)
        self._new(place, [source], WRITTEN, blocked=False)
        self._new(place, [source, gate], WRITTEN, blocked=False)

    def _combine(self, place: int, node: Node) -> None:
        blocked = all(i in self.blocked for i in node.inputs)
        blocked = blocked and self._shape(node.inputs[0]) == self._shape(node.inputs[1])
        for i, other in (node.inputs, node.inputs[::-1]):
            source = self.made.get((i, blocked))
            if source is None or self.readers[i] != 1 or node.op not in self.steps[source].open_to:
                continue
            step, more = self.steps[source], self._value(other, blocked=blocked)
            step.inputs.append(more)
            step.inside, step.open_to = [more], step.open_to - {"Add"}
            if not blocked:
                step.rank = (ADDED, place)
            self._fused(place, source, blocked=blocked)
            return
        given = [self._value(i, blocked=blocked) for i in node.inputs]
        self._new(place, given, WRITTEN, blocked=blocked)

    def _fused(self, place: int, step: int, *, blocked: bool) -> None:
        self.made[place, blocked] = step
        if blocked:
            self.blocked.add(place)

    def _new(self, place: int, inputs: list[int], stage: int, *, blocked: bool) -> Step:
        node = self.nodes[place]
        size = max(1, node.bytes_written // max(1, math.prod(node.shape)))
        rank = (stage, len(self.steps) if stage == BLOCKED else place)
        self._fused(place, len(self.steps), blocked=blocked)
        self.steps.append(Step(inputs, self._layout(node.shape, blocked=blocked), size, rank))
        return self.steps[-1]

    def _value(self, place: int, *, blocked: bool) -> int:
        """The step that makes an operator's output in a layout; a change of layout is added where none does."""
        if place < 0 and not blocked:
            return -1
        if (place, blocked) not in self.made:
            source = self.made.get((place, not blocked), -1)
            shape = self._layout(self._shape(place), blocked=blocked)
            rank = (BLOCKED if blocked else BACK, len(self.steps))
            self.made[place, blocked] = len(self.steps)
            self.steps.append(Step([source], shape, 4, rank))
        return self.made[place, blocked]

    def _shape(self, place: int) -> Shape:
        return self.network.input_shape if place < 0 else self.nodes[place].shape

    def _layout(self, shape: Shape, *, blocked: bool) -> Shape:
        return (shape[0], up(shape[1], self.block), *shape[2:]) if blocked else shape

    def _whole_blocks(self, shape: Shape) -> bool:
        return len(shape) == 4 and shape[1] % self.block == 0


def _once(nodes: Sequence[Node]) -> list[Node]:
    """The operators, readers of equal ones without stored numbers all reading the first."""
    first: dict[tuple[object, ...], int] = {}
    same: list[int] = []
    found = []
    for place, node in enumerate(nodes):
        inputs = tuple(same[i] if i >= 0 else i for i in node.inputs)
        found.append(replace(node, inputs=inputs))
        key = (node.op, inputs, node.shape, node.kernel, node.stride, place if node.parameters else -1)
        same.append(first.setdefault(key, place))
    return found


def _depth_first(
    last: Sequence[int], inputs: Sequence[Sequence[int]], ranks: Sequence[tuple[int, int]]
) -> list[int]:
    """What the last ones need and they, every one after its inputs; of those the one with the largest rank first."""
    stack = [(i, False) for i in last]
    seen: set[int] = set()
    found: list[int] = []
    while stack:
        at, done = stack.pop()
        if done:
            found.append(at)
        elif at not in seen:
            seen.add(at)
            stack.append((at, True))
            stack += [(i, False) for i in sorted({i for i in inputs[at] if i >= 0}, key=lambda i: ranks[i])]
    return found


def _unrolled(node: Node) -> int:
    """Bytes of the matrix that a convolution multiplies, all at once if it has more filters than places."""
    taps, places = node.kernel[0] * node.kernel[1], node.shape[2] * node.shape[3]
    if taps == 1 and node.stride == 1:
        return 0
    if node.out_channels // node.groups > places:
        return 4 * places * taps * (node.in_channels // node.groups)
    return SEGMENT


@dataclass(frozen=True)
class Buffers:
    """Which outputs get memory of their own, and from when to when.

    Attributes:
        owner: Step -> step whose buffer its output lies in.
        freed: Place in the order -> owners whose buffer nobody needs any more after it.
    """

    owner: dict[int, int]
    freed: dict[int, list[int]]


def share(steps: Sequence[Step], order: Sequence[int], outputs: Sequence[int]) -> Buffers:
    """Overwrite an input that is read for the last time, else take a free buffer of the same shape, else a new one."""
    reads = dict.fromkeys(order, 0)
    for step in order:
        for i in steps[step].inputs:
            if i >= 0:
                reads[i] += 1
    for step in outputs:
        reads[step] += 1
    owner: dict[int, int] = {}
    waiting: dict[int, int] = {}
    last: dict[int, int] = {}
    free: list[int] = []
    for at, step in enumerate(order):
        own = _reused(steps, step, owner, waiting, free, fixed=step in outputs)
        owner[step] = own
        waiting[own] = waiting.get(own, 0) + reads[step]
        for i in steps[step].inputs:
            if i >= 0:
                waiting[owner[i]] -= 1
                if waiting[owner[i]] == 0:
                    free.insert(0, owner[i])
                    last[owner[i]] = at
    freed: dict[int, list[int]] = {}
    for own, at in last.items():
        if waiting[own] == 0:
            freed.setdefault(at, []).append(own)
    return Buffers(owner, freed)


def _reused(
    steps: Sequence[Step],
    step: int,
    owner: dict[int, int],
    waiting: dict[int, int],
    free: list[int],
    *,
    fixed: bool,
) -> int:
    here = steps[step]
    if here.view and here.inputs[0] >= 0:
        return owner[here.inputs[0]]
    if fixed:
        return step
    for i in here.inside:
        if i >= 0 and waiting[owner[i]] == 1 and steps[i].shape == here.shape:
            return owner[i]
    for own in free:
        if steps[own].shape == here.shape:
            free.remove(own)
            return own
    return step


class Pattern:
    """One block for all buffers of a run: each takes the tightest gap that is open when it is first needed."""

    def __init__(self) -> None:
        self.size = 0
        self._held: list[tuple[int, int, int]] = []

    def take(self, key: int, size: int) -> None:
        """Place a buffer."""
        gaps, end = [], 0
        for start, length, _ in self._held:
            if start - end >= size:
                gaps.append((start - end, end))
            end = max(end, start + length)
        start = min(gaps)[1] if gaps else end
        self._held.append((start, size, key))
        self._held.sort()
        self.size = max(self.size, start + size)

    def free(self, key: int) -> None:
        """Open its gap."""
        self._held = [held for held in self._held if held[2] != key]


class Arena:
    """Regions that double in size, cut into pieces; a piece less than twice too large is given whole."""

    def __init__(self) -> None:
        self.in_use = self.peak = 0
        self._next, self._regions = FIRST, 0
        self._free: list[tuple[int, int, int]] = []
        self._used: dict[int, tuple[int, int, int]] = {}

    def take(self, key: int, size: int) -> None:
        """Give the smallest free piece that is large enough; pieces are `(bytes, region, start)`."""
        size = up(max(size, 1), ALIGN)
        fitting = [piece for piece in self._free if piece[0] >= size]
        piece = min(fitting) if fitting else self._grow(size)
        self._free.remove(piece)
        length, region, start = piece
        if length >= 2 * size:
            self._free.append((length - size, region, start + size))
            length = size
        self._used[key] = (length, region, start)
        self.in_use += length
        self.peak = max(self.peak, self.in_use)

    def free(self, key: int) -> None:
        """Take a piece back and join it with its free neighbours."""
        length, region, start = self._used.pop(key)
        self.in_use -= length
        for piece in list(self._free):
            if piece[1] == region and piece[2] + piece[0] == start:
                self._free.remove(piece)
                start, length = piece[2], length + piece[0]
            elif piece[1] == region and start + length == piece[2]:
                self._free.remove(piece)
                length += piece[0]
        self._free.append((length, region, start))

    def _grow(self, size: int) -> tuple[int, int, int]:
        grown = size > self._next
        while size > self._next:
            self._next *= 2
        piece = (self._next, self._regions, 0)
        self._regions += 1
        if not grown:
            self._next *= 2
        self._free.append(piece)
        return piece


def arena_bytes(network: Network, batch_size: int = 1, block: int = BLOCK) -> int:
    """Most bytes in use in the arena of ONNX Runtime on one x86 thread, after runs of one shape.

    The first run takes every buffer by itself; the ones after it take one block that holds them all, beside which only
    outputs and unrolled inputs are taken. Weights count where they are packed for products.

    Args:
        network: Its float32 graph.
        batch_size: Of the run; the graph's own sizes are scaled to it.
        block: Channels that lie together.
    """
    optimised = Optimised(network, block)
    steps, order = optimised.steps, optimised.order()
    buffers = share(steps, order, optimised.outputs)
    kept = {buffers.owner[step] for step in optimised.outputs}
    whole = max(1, network.input_shape[0] if network.input_shape else 1)

    def size(step: int) -> int:
        return up(math.prod(steps[step].shape) * steps[step].size * batch_size // whole, ALIGN)

    arena, pattern = Arena(), Pattern()
    for again in (False, True):
        if again and pattern.size:
            arena.take(-1, pattern.size)
        for at, step in enumerate(order):
            if buffers.owner[step] == step and (step in kept or not again):
                arena.take(step, size(step))
                if step not in kept:
                    pattern.take(step, size(step))
            if steps[step].unrolled:
                arena.take(-2, steps[step].unrolled)
                arena.free(-2)
            for own in buffers.freed.get(at, ()):
                if own not in kept and not again:
                    arena.free(own)
                    pattern.free(own)
        for own in kept:
            arena.free(own)
    return arena.peak + _packed(network)


def _packed(network: Network) -> int:
    """Bytes of the weights of matrix products, in columns of 16."""
    found = 0
    for node in network.nodes:
        if node.op == "Gemm" and node.shape:
            out = node.shape[-1]
            found += 4 * up(out, 16) * (node.macs // max(1, math.prod(node.shape)))
    return found
