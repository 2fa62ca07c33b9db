# SPDX-License-Identifier: Apache-2.0
"""What the demo left must open, verify and answer one prediction, without torch."""

import sys
from pathlib import Path

import numpy as np

from edgeshift import Portfolio
from edgeshift.data import normalise, open_set
from edgeshift.formats import open_onnx


def main() -> None:
    portfolio = Portfolio.open(Path(sys.argv[1]))
    portfolio.verify()
    data = open_set("digits")
    test = data.split("test")
    pixels = normalise(test.images[:1], data.mean, data.std)
    for variant in portfolio.front():
        scores = open_onnx(portfolio.path_of(variant, "onnx")).run(pixels)
        says = data.classes[int(np.argmax(scores))]
        print(f"{variant.name}: says {says}, is {data.classes[int(test.labels[0])]}")
    if "torch" in sys.modules:
        raise SystemExit("torch must not be imported to answer a prediction, got an import")


main()
