# SPDX-License-Identifier: Apache-2.0
"""torch-simplify 1.1.4, as its users call it; it imports three classes of torchvision only to recognise them.

    pip install --no-deps --target build/bench/torch-simplify torch-simplify==1.1.4

Empty classes stand in for torchvision's, which does not import on a CPU build of torch from another index;
no network here is one of them.
"""

import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from edgeshift.core.errors import NotInstalled
from edgeshift.graph.surgery import copy_module

PLACE = Path(__file__).parents[2] / "build/bench/torch-simplify"


def simplified(model: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A copy with batch norm fused, constants propagated and zero filters removed, by its default call.

    Args:
        model: Not changed.
        input_shape: `(channels, height, width)`.

    Raises:
        NotInstalled: If the package is not at `PLACE`.
    """
    return _package().simplify(copy_module(model).eval(), torch.zeros(1, *input_shape)).eval()


@cache
def _package() -> Any:
    if not PLACE.is_dir():
        raise NotInstalled("torch-simplify==1.1.4 (see bench/shrink/torch_simplify.py)", "bench")
    stand_ins = {}
    for name, classes in (
        ("torchvision", ()),
        ("torchvision.models", ("MobileNetV3", "ShuffleNetV2")),
        ("torchvision.models.densenet", ("_DenseLayer",)),
    ):
        stand_ins[name] = ModuleType(name)
        vars(stand_ins[name]).update({kind: type(kind, (nn.Module,), {}) for kind in classes})
    sys.modules.update(stand_ins)
    sys.path.append(str(PLACE))
    try:
        import simplify
    finally:
        sys.path.remove(str(PLACE))
        for name in stand_ins:  # torch's exporter asks whether there is a torchvision
            del sys.modules[name]
    return simplify
