# SPDX-License-Identifier: Apache-2.0
"""From a name to a model reference. Imports no torch."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.registry import ROOT, Shelf
from edgeshift.core.values import ModelRef
from edgeshift.models.own import find_factory
from edgeshift.models.published import pretrained

ZOO = Shelf("architecture", "models/zoo")
# What the zoo's papers train on; used when the caller names no data set.
CIFAR_CLASSES = 10
CIFAR_SHAPE = (3, 32, 32)


def read_presets(path: Path) -> dict[str, dict[str, Any]]:
    """The `presets` literal of an architecture file, without running the file.

    Raises:
        BadValue: If the file holds none.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.AnnAssign) and node.value and getattr(node.target, "id", "") == "presets":
            found: dict[str, dict[str, Any]] = ast.literal_eval(node.value)
            return found
    raise BadValue("architecture file", path.name, "one with `presets`")


def presets() -> dict[str, tuple[str, dict[str, Any]]]:
    """Public name -> architecture and its options, for the whole zoo."""
    found = {}
    for architecture in ZOO.names():
        for name, options in read_presets(ROOT / ZOO.folder / f"{architecture}.py").items():
            found[name] = (architecture, options)
    return found


def recipe_of(name: str) -> tuple[str, dict[str, Any]]:
    """Architecture and options behind a zoo name, a pretrained name or an architecture's own name.

    Raises:
        UnknownName: If nothing is called that.
    """
    known = presets()
    if name in known:
        return known[name]
    networks = pretrained()
    if name in networks:
        return networks[name].architecture, dict(networks[name].options)
    if name in ZOO.names():
        return name, {}
    raise UnknownName("model", name, [*known, *networks, *ZOO.names()])


def resolve(
    name: str,
    *,
    classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    options: Mapping[str, Any] | None = None,
) -> ModelRef:
    """A checked reference to a model.

    Args:
        name: Zoo name ("resnet20"), pretrained name ("cifar10_resnet20") or "package.module:factory".
        classes: Number of classes; by default the pretrained network's, or 10 for a zoo name.
        input_shape: `(channels, height, width)`; by default the pretrained network's, or CIFAR's for a zoo
            name.
        options: Fields of the architecture, or keyword arguments of the factory, other than its defaults.

    Raises:
        UnknownName: If nothing is called that; the text offers the nearest name.
        BadValue: If an option does not exist, or the pretrained network has another number of classes.
    """
    given = dict(options or {})
    if ":" in name:
        find_factory(name)
        if classes is None or input_shape is None:
            raise BadValue(
                f"classes and input_shape of {name}", (classes, input_shape), "given with your own model"
            )
        return ModelRef(name, classes, tuple(input_shape), given).check()
    architecture, chosen = recipe_of(name)
    if given:
        ZOO.make(architecture, **{**chosen, **given})
    network = pretrained().get(name)
    if network is None:
        shape = tuple(input_shape) if input_shape is not None else CIFAR_SHAPE
        classes = CIFAR_CLASSES if classes is None else classes
        return ModelRef(name, classes, shape, {**chosen, **given}).check()
    if classes not in (None, network.classes):
        raise BadValue(f"classes of {name}", classes, str(network.classes))
    shape = tuple(input_shape) if input_shape is not None else network.input_shape
    if shape[0] != network.input_shape[0]:
        raise BadValue(f"channels of {name}", shape[0], str(network.input_shape[0]))
    ref = ModelRef(name, network.classes, shape, {**chosen, **given}, network.mean, network.std)
    return ref.check()
