# SPDX-License-Identifier: Apache-2.0
"""A small network of linear layers in numpy: what a surrogate is fitted with and an optimiser answers with."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadValue

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Net:
    """Linear layers with a rectifier between them.

    Attributes:
        weights: Per layer `(in, out)`, float32.
        biases: Per layer `(out,)`.
    """

    weights: tuple[Weights, ...]
    biases: tuple[Weights, ...]

    def __call__(self, x: Weights) -> Weights:
        """`(n, out)` for `(n, in)`."""
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = x @ weight
            x += bias
            np.maximum(x, 0, out=x)
        return np.asarray(x @ self.weights[-1] + self.biases[-1])

    def check(self) -> "Net":
        """Self, or BadValue."""
        ends = [w.shape[1] for w in self.weights[:-1]]
        if not self.weights or ends != [w.shape[0] for w in self.weights[1:]]:
            raise BadValue(
                "layers", [w.shape for w in self.weights], "matrices that fit each other, at least one"
            )
        if [b.shape for b in self.biases] != [(w.shape[1],) for w in self.weights]:
            raise BadValue("biases", [b.shape for b in self.biases], "one number for each output")
        return self


def fresh(sizes: tuple[int, ...], rng: np.random.Generator) -> Net:
    """A network with He's initial weights and no bias (https://arxiv.org/abs/1502.01852)."""
    weights = tuple(
        (rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32) for a, b in pairwise(sizes)
    )
    return Net(weights, tuple(np.zeros(b, np.float32) for b in sizes[1:]))


@dataclass(frozen=True)
class Fitting:
    """How a network is fitted.

    Attributes:
        epochs: Passes over the rows.
        batch: Rows per step.
        rate: Of Adam (https://arxiv.org/abs/1412.6980), falling to 0 as a cosine.
        decay: Of the weights, per step and unit of rate.
    """

    epochs: int = 150
    batch: int = 64
    rate: float = 3e-3
    decay: float = 1e-4


def fit(net: Net, x: Weights, y: Weights, fitting: Fitting, rng: np.random.Generator) -> Net:
    """The network after least squares on rows `x (n, in)`, `y (n, out)`."""
    layers = [np.array(p) for p in (*net.weights, *net.biases)]
    depth = len(net.weights)
    first, second = [np.zeros_like(p) for p in layers], [np.zeros_like(p) for p in layers]
    total = fitting.epochs * -(-len(x) // fitting.batch)
    step = 0
    for _ in range(fitting.epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), fitting.batch):
            rows = order[start : start + fitting.batch]
            gradients = _gradients(layers, depth, x[rows], y[rows])
            step += 1
            rate = fitting.rate * 0.5 * (1 + np.cos(np.pi * step / total))
            scale = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            for k, gradient in enumerate(gradients):
                first[k] += 0.1 * (gradient - first[k])
                second[k] += 0.001 * (gradient * gradient - second[k])
                if k < depth:
                    layers[k] -= rate * fitting.decay * layers[k]
                layers[k] -= rate * scale * first[k] / (np.sqrt(second[k]) + 1e-8)
    return Net(tuple(layers[:depth]), tuple(layers[depth:]))


def _gradients(layers: list[Weights], depth: int, x: Weights, y: Weights) -> list[Weights]:
    held = [x]
    for k in range(depth - 1):
        held.append(np.maximum(held[-1] @ layers[k] + layers[depth + k], 0))
    back: Weights = 2 * (held[-1] @ layers[depth - 1] + layers[-1] - y) / np.float32(y.size)
    by_weight: list[Weights] = []
    by_bias: list[Weights] = []
    for k in reversed(range(depth)):
        by_weight.append(held[k].T @ back)
        by_bias.append(back.sum(0))
        if k:
            back = (back @ layers[k].T) * (held[k] > 0)
    return [*reversed(by_weight), *reversed(by_bias)]
