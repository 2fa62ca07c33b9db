# SPDX-License-Identifier: Apache-2.0
"""A table of layer costs that counts size beside latency, for figures that ask for both.

    edgeshift costs vgg16_bn --out build/vgg16_bn_costs.json
    python -m bench.train.priced --model vgg16_bn --costs build/vgg16_bn_costs.json --out build/vgg16_bn_priced.json

A layer costs its share of the summed latency, and `--size` times its share of all parameters. Between two measured
sizes latency is interpolated at multiples of 16.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from edgeshift.core.files import write_json
from edgeshift.models import build, resolve

STEP = 16


def main() -> None:
    """Read, mix, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="vgg16_bn")
    parser.add_argument("--costs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=float, default=0.5, help="weight of the share of parameters")
    asked = parser.parse_args()
    table = json.loads(asked.costs.read_text())
    shapes = dict(build(resolve(asked.model, classes=10, input_shape=(3, 32, 32))).named_parameters())
    latency = sum(t["cost"][-1][-1] for t in table["layers"].values())
    parameters = sum(shapes[name].numel() for name in table["layers"])
    mixed = {}
    for name, layer in table["layers"].items():
        rows, columns = (
            np.array(sorted({*layer[axis], *range(STEP, layer[axis][-1], STEP)}))
            for axis in ("rows", "columns")
        )
        cost = np.array([np.interp(columns, layer["columns"], line) for line in layer["cost"]])
        cost = np.array([np.interp(rows, layer["rows"], line) for line in cost.T]).T
        each = shapes[name].numel() / (layer["rows"][-1] * layer["columns"][-1])
        whole = cost / latency + asked.size * each * np.outer(rows, columns) / parameters
        mixed[name] = {"rows": rows.tolist(), "columns": columns.tolist(), "cost": whole.tolist()}
    unit = f"share of latency plus {asked.size:g} times the share of parameters"
    write_json(asked.out, {**table, "unit": unit, "layers": mixed})


if __name__ == "__main__":
    main()
