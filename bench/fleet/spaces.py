# SPDX-License-Identifier: Apache-2.0
"""Networks drawn from the portfolio's families and from two search spaces, as short lists of layers.

Widths are what shrinking leaves: any whole number, not a multiple of anything. Batch norm is folded.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Family -> how many networks the fleet draws.
DRAWN = {
    "resnet": 70,
    "vgg": 50,
    "mobilenetv1": 40,
    "mobilenetv2": 50,
    "squeezenet": 30,
    "nasbench201": 70,
    "fbnet": 50,
}


@dataclass(frozen=True)
class Layer:
    """One layer: "conv", "act", "maxpool", "avgpool", "gap", "fc", "add" or "concat".

    Attributes:
        op: What it does.
        inputs: Places of the layers it reads; -1 = the image.
        out: Output channels of "conv" and "fc".
        kernel: Side of the window.
        stride: Of the window.
        groups: Of "conv".
        act: "", "relu", "relu6" or "hswish", applied to the result.
    """

    op: str
    inputs: tuple[int, ...]
    out: int = 0
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    act: str = ""


@dataclass(frozen=True)
class Design:
    """A network of the fleet.

    Attributes:
        name: Family and number.
        family: Where it was drawn.
        input_shape: `(channels, height, width)`.
        layers: In order; the last one is the output.
    """

    name: str
    family: str
    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]

    def shapes(self) -> list[tuple[int, int, int]]:
        """`(channels, height, width)` after each layer."""
        found: list[tuple[int, int, int]] = []
        for layer in self.layers:
            c, h, w = found[layer.inputs[0]] if layer.inputs[0] >= 0 else self.input_shape
            if layer.op in ("conv", "maxpool", "avgpool"):
                h, w = math.ceil(h / layer.stride), math.ceil(w / layer.stride)
            if layer.op in ("gap", "fc"):
                h = w = 1
            if layer.op == "concat":
                c = sum(found[i][0] for i in layer.inputs)
            found.append((layer.out or c, h, w))
        return found


class Draw:
    """A list of layers that grows, and the source of its random choices."""

    def __init__(self, seed: int) -> None:
        self.layers: list[Layer] = []
        self.random = np.random.default_rng(seed)

    def add(self, op: str, *inputs: int, **options: int | str) -> int:
        """One more layer; its place."""
        self.layers.append(Layer(op, inputs, **options))  # type: ignore[arg-type]  # names are Layer's fields
        return len(self.layers) - 1

    def one_of(self, *choices: int) -> int:
        """One of some numbers."""
        return int(self.random.choice(choices))

    def width(self, full: int, least: float = 0.25) -> int:
        """A share of a width, from 4 channels."""
        return max(4, round(full * float(self.random.uniform(least, 1))))

    def classifier(self, at: int, classes: int = 10) -> None:
        """Average over places, then one linear layer."""
        self.add("fc", self.add("gap", at), out=classes)


def resnet(draw: Draw) -> None:
    """CIFAR ResNet with 1 to 4 blocks a stage."""
    blocks, base = draw.one_of(1, 2, 3, 4), draw.one_of(16, 24, 32)
    now = draw.width(base, 0.4)
    at = draw.add("conv", -1, out=now, kernel=3, act="relu")
    for stage in range(3):
        out = draw.width(base << stage, 0.4)
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            mid = draw.add("conv", at, out=draw.width(base << stage), kernel=3, stride=stride, act="relu")
            left = draw.add("conv", mid, out=out, kernel=3)
            right = at if (stride, now) == (1, out) else draw.add("conv", at, out=out, stride=stride)
            at, now = draw.add("add", left, right, act="relu"), out
    draw.classifier(at)


def vgg(draw: Draw) -> None:
    """VGG with 1 or 2 convolutions a stage."""
    base, at = draw.one_of(16, 32, 48), -1
    for stage in range(draw.one_of(3, 4)):
        for _ in range(draw.one_of(1, 2)):
            at = draw.add("conv", at, out=draw.width(min(base << stage, 256)), kernel=3, act="relu")
        at = draw.add("maxpool", at, kernel=2, stride=2)
    if draw.one_of(0, 1):
        at = draw.add("fc", at, out=draw.width(256), act="relu")
        draw.add("fc", at, out=10)
    else:
        draw.classifier(at)


def mobilenetv1(draw: Draw) -> None:
    """Depthwise and 1x1 convolutions in turn."""
    base = draw.one_of(16, 24, 32)
    now = draw.width(base, 0.4)
    at = draw.add("conv", -1, out=now, kernel=3, stride=draw.one_of(1, 2), act="relu")
    for step in range(draw.one_of(5, 8, 11)):
        stride = 2 if step in (1, 3, 5) else 1
        at = draw.add("conv", at, out=now, kernel=3, stride=stride, groups=now, act="relu")
        now = draw.width(min(base * 2 ** (1 + step // 2), 256))
        at = draw.add("conv", at, out=now, act="relu")
    draw.classifier(at)


def inverted(draw: Draw, at: int, now: int, out: int, middle: int, kernel: int, stride: int, act: str) -> int:
    """An inverted residual block."""
    start = at
    if middle != now:
        at = draw.add("conv", at, out=middle, act=act)
    at = draw.add("conv", at, out=middle, kernel=kernel, stride=stride, groups=middle, act=act)
    at = draw.add("conv", at, out=out)
    return draw.add("add", at, start) if (stride, now) == (1, out) else at


def mobilenetv2(draw: Draw) -> None:
    """Inverted residuals with widths of their own."""
    base, act = draw.one_of(8, 16, 24), ("relu6", "hswish")[draw.one_of(0, 1)]
    now = draw.width(base, 0.5)
    at = draw.add("conv", -1, out=now, kernel=3, stride=draw.one_of(1, 2), act=act)
    for stage in range(4):
        out = draw.width(base * (1, 2, 3, 5)[stage], 0.4)
        for block in range(draw.one_of(1, 2, 3)):
            stride = 2 if stage in (1, 2) and not block else 1
            middle = now if (stage, block) == (0, 0) else draw.width(now * draw.one_of(3, 6), 0.4)
            at, now = inverted(draw, at, now, out, middle, 3, stride, act), out
    draw.classifier(draw.add("conv", at, out=draw.width(8 * base), act=act))


def squeezenet(draw: Draw) -> None:
    """Fire blocks: squeeze, then 1x1 and 3x3 side by side."""
    base = draw.one_of(16, 32)
    at = draw.add("conv", -1, out=draw.width(2 * base), kernel=3, stride=draw.one_of(1, 2), act="relu")
    for step in range(draw.one_of(3, 5, 7)):
        if step in (0, 2, 4):
            at = draw.add("maxpool", at, kernel=3, stride=2)
        thin = draw.add("conv", at, out=draw.width(base * (1 + step // 2) // 2), act="relu")
        wide = base * (1 + step // 2) * 2
        small = draw.add("conv", thin, out=draw.width(wide), act="relu")
        large = draw.add("conv", thin, out=draw.width(wide), kernel=3, act="relu")
        at = draw.add("concat", small, large)
    draw.add("gap", draw.add("conv", at, out=10))


def nasbench201(draw: Draw) -> None:
    """Dong and Yang, ICLR 2020 (https://arxiv.org/abs/2001.00326): one cell, 1 to 3 copies a stage."""
    while not (edges := live_edges(draw)):
        pass
    width, copies = draw.one_of(8, 16, 24, 32), draw.one_of(1, 2, 3)
    at = draw.add("conv", -1, out=width, kernel=3)
    for stage in range(3):
        if stage:
            at = reduction(draw, at, width << stage)
        for _ in range(copies):
            at = cell(draw, at, width << stage, edges)
    draw.classifier(draw.add("act", at, act="relu"))


# From node, to node -> what stands between them.
Edges = dict[tuple[int, int], str]


def live_edges(draw: Draw) -> Edges:
    """A random cell without the edges that do not reach the output; empty if none does."""
    kinds = ("none", "skip", "conv1", "conv3", "avgpool")
    drawn = {(i, j): kinds[draw.one_of(*range(5))] for j in range(1, 4) for i in range(j)}
    edges = {edge: kind for edge, kind in drawn.items() if kind != "none"}
    filled, needed = {0}, {3}
    for j in range(1, 4):
        filled |= {j for i in filled if (i, j) in edges}
    for j in (3, 2, 1):
        needed |= {i for i in range(j) if j in needed and (i, j) in edges}
    return {(i, j): kind for (i, j), kind in edges.items() if i in filled & needed and j in filled & needed}


def cell(draw: Draw, at: int, width: int, edges: Edges) -> int:
    """The four nodes of a cell; every node is the sum of what reaches it."""
    values, rectified = {0: at}, dict[int, int]()
    for j in range(1, 4):
        terms = []
        for i in range(j):
            kind = edges.get((i, j))
            if kind in ("conv1", "conv3"):
                if i not in rectified:
                    rectified[i] = draw.add("act", values[i], act="relu")
                terms.append(draw.add("conv", rectified[i], out=width, kernel=3 if kind == "conv3" else 1))
            elif kind == "avgpool":
                terms.append(draw.add("avgpool", values[i], kernel=3))
            elif kind == "skip":
                terms.append(values[i])
        while len(terms) > 1:
            terms = [draw.add("add", terms[0], terms[1]), *terms[2:]]
        if terms:
            values[j] = terms[0]
    return values[3]


def reduction(draw: Draw, at: int, out: int) -> int:
    """The residual block between two stages."""
    left = draw.add("conv", draw.add("act", at, act="relu"), out=out, kernel=3, stride=2)
    left = draw.add("conv", draw.add("act", left, act="relu"), out=out, kernel=3)
    right = draw.add("conv", draw.add("avgpool", at, kernel=2, stride=2), out=out)
    return draw.add("add", left, right)


def fbnet(draw: Draw) -> None:
    """Wu et al., CVPR 2019 (https://arxiv.org/abs/1812.03443), for small images: nine choices a block."""
    now = 16
    at = draw.add("conv", -1, out=now, kernel=3, stride=draw.one_of(1, 2), act="relu")
    for out, blocks, stride in ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 3, 2), (112, 2, 1)):
        for block in range(blocks):
            choice = draw.one_of(*range(9))
            first = stride if not block else 1
            if choice == 8 and (first, now) == (1, out):
                continue
            kernel, expansion, groups = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2),
                                         (5, 3, 1), (5, 6, 1))[choice % 8]  # fmt: skip
            middle, start = now * expansion, at
            at = draw.add("conv", at, out=middle, groups=groups, act="relu")
            at = draw.add("conv", at, out=middle, kernel=kernel, stride=first, groups=middle, act="relu")
            at = draw.add("conv", at, out=out, groups=groups)
            at, now = draw.add("add", at, start) if (first, now) == (1, out) else at, out
    draw.classifier(draw.add("conv", at, out=192, act="relu"))


SPACES: dict[str, Callable[[Draw], None]] = {
    "resnet": resnet,
    "vgg": vgg,
    "mobilenetv1": mobilenetv1,
    "mobilenetv2": mobilenetv2,
    "squeezenet": squeezenet,
    "nasbench201": nasbench201,
    "fbnet": fbnet,
}


def draw_one(family: str, number: int) -> Design:
    """The network of that number in a family; equal numbers, equal network."""
    draw = Draw(1000 * list(SPACES).index(family) + number)
    SPACES[family](draw)
    return Design(f"{family}-{number}", family, (3, 32, 32), tuple(draw.layers))


def draw_all() -> list[Design]:
    """All networks of the fleet, the families mixed so that any first part holds all of them."""
    found = [draw_one(family, number) for family, many in DRAWN.items() for number in range(many)]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[i] for i in order]
