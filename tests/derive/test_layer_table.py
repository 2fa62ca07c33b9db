# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeshift.core.errors import BadValue
from edgeshift.derive import layer_costs
from edgeshift.derive.layer_table import Layer, layers_of, padding
from edgeshift.formats import open_onnx
from edgeshift.models import build, example, resolve
from edgeshift.train.channels import Prices
from edgeshift.train.macs import counted

WIDE = Layer((64, 16, 3, 3), (16, 8, 8), (("kernel_shape", (3, 3)), ("pads", (1, 1, 1, 1))), 1)


def test_sizes_end_at_the_layer_and_groups_are_cut_whole() -> None:
    assert WIDE.sizes(0) == (4, 8, 12, 16, 24, 32, 48, 64)
    assert WIDE.sizes(1) == (4, 8, 12, 16)
    grouped = Layer((24, 2, 3, 3), (8, 4, 4), (("kernel_shape", (3, 3)),), 4)  # 6 rows a group
    assert grouped.sizes(0) == (12, 24)
    assert grouped.sizes(1) == (2,)
    session = open_onnx(grouped.file(12, 2), 1)
    assert session.input_shape == (4, 4, 4)  # 2 groups of 2 columns


def test_the_layer_alone_is_as_wide_as_it_says() -> None:
    session = open_onnx(WIDE.file(24, 8), 1)
    assert session.run(torch.randn(2, 8, 8, 8).numpy()).shape == (2, 24, 8, 8)
    linear = open_onnx(Layer((10, 32), (32,), (), 1).file(10, 16), 1)
    assert linear.run(torch.randn(3, 16).numpy()).shape == (3, 10)


def test_padding_is_what_the_output_says() -> None:
    assert padding(8, 8, 3, 1, 1) == (1, 1)
    assert padding(8, 6, 3, 1, 1) == (0, 0)
    assert padding(8, 4, 3, 2, 1) == (
        0,
        1,
    )  # one column more than the kernel's last place reaches is never read
    assert padding(8, 8, 3, 1, 2) == (2, 2)
    assert padding(8, 4, 1, 2, 1) == (0, 0)


def test_every_layer_of_a_model_is_found() -> None:
    ref = resolve("mobilenetv2", classes=10, input_shape=(3, 32, 32))
    model = build(ref).eval()
    layers = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert list(layers_of(model, example(ref))) == [f"{n}.weight" for n in layers]


def test_the_table_is_one_that_methods_take(tmp_path: Path) -> None:
    ref = resolve("resnet8", classes=10, input_shape=(1, 8, 8))
    found = layer_costs(ref, tmp_path / "costs.json")
    assert json.loads((tmp_path / "costs.json").read_text()) == found
    for table in found["layers"].values():
        for axis in (table["cost"], list(zip(*table["cost"], strict=True))):
            assert all(list(line) == sorted(line) and line[0] > 0 for line in axis)
    model = build(ref).eval()
    prices = Prices.of(counted(model, example(ref)[:1], ()), str(tmp_path / "costs.json"))
    whole = sum(t["cost"][-1][-1] for t in found["layers"].values())
    assert prices.total({}) == pytest.approx(whole)


def test_threads_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="threads"):
        layer_costs(resolve("resnet8", classes=10, input_shape=(1, 8, 8)), tmp_path / "x.json", threads=0)
    assert not (tmp_path / "x.json").exists()
