# SPDX-License-Identifier: Apache-2.0
"""A job with every choice made: gaps filled from the settings, what is read fingerprinted."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, TypeVar

import torch

from edgeshift.core.errors import BadValue
from edgeshift.core.files import sha256_file
from edgeshift.core.recipe import Recipe
from edgeshift.core.values import SPLITS, ModelRef, to_json
from edgeshift.data import DataSet
from edgeshift.derive.job import Job
from edgeshift.derive.settings.shape import settings_for, train_options
from edgeshift.models import pretrained
from edgeshift.train import METHODS, Training

Made = TypeVar("Made")


@dataclass(frozen=True)
class Choices:
    """What a build runs with.

    Attributes:
        method: Plug-in of `train/methods`, with its options.
        levels: Kept shares of the maskable weights, falling.
        training: Options of the training loop.
        recipe: Everything that could change a variant; equal recipes leave equal variants.
    """

    method: Any
    levels: tuple[float, ...]
    training: Training
    recipe: Recipe


def choose(job: Job, ref: ModelRef, data: DataSet) -> Choices:
    """Every choice of a job.

    Raises:
        UnknownName: If the method or settings do not exist.
        BadValue: If an option does not exist or is out of range.
    """
    settings = settings_for(job.data, asked=job.settings, trained=starts_trained(job))
    name = job.method or settings.method
    own = {} if job.method else settings.method_options
    method = checked(
        partial(METHODS.make, name), METHODS.find(name), job.method_options or own, job.method_options
    )
    options = {**train_options(settings), **known_options(Training, job.train_options)}
    options.update({} if job.epochs is None else {"epochs": job.epochs})
    options.update(seed=job.seed, threads=job.threads or options.get("threads") or torch.get_num_threads())
    training = checked(lambda **given: Training(**given).check(), Training, options, job.train_options)
    levels = job.levels or settings.levels
    method.check(levels)
    said = {
        "model": to_json(ref),
        "data": {which: data.split(which).sha256() for which in SPLITS},
        "weights": sha256_file(job.weights) if job.weights else "",
        "method": {"name": name, **asdict(method)},
        "levels": list(levels),
        "training": asdict(training),
        "shrink": {"multiple": job.multiple},
        "torch": torch.__version__,
    }
    return Choices(method, levels, training, Recipe("build", 1, flat(said)))


def checked(
    make: Callable[..., Made], kind: type[Any], options: Mapping[str, Any], asked: Mapping[str, Any]
) -> Made:
    """What `make` makes of the options; lists become tuples, as frozen dataclasses hold them.

    Raises:
        BadValue: If one is of a wrong type; says which types those that the user asked for have in `kind`.
    """
    try:
        return make(**{n: tuple(v) if isinstance(v, list) else v for n, v in options.items()})
    except TypeError as error:
        types = {f.name: str(f.type).removeprefix("<class '").removesuffix("'>") for f in fields(kind)}
        wanted = ", ".join(f"{name}: {types[name]}" for name in asked if name in types)
        raise BadValue("options", dict(asked), f"of the right types ({wanted})") from error


def known_options(kind: type[Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The options, if the dataclass has fields of those names.

    Raises:
        BadValue: Naming the first that it lacks.
    """
    names = [f.name for f in fields(kind)]
    for name in asked:
        if name not in names:
            raise BadValue("training option", name, f"one of {', '.join(names)}")
    return dict(asked)


def flat(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` -> `{"a.b": 1}`, tuples as lists: names that a message can point at."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            found.update(flat(inner, f"{above}{name}."))
        else:
            found[above + name] = list(inner) if isinstance(inner, tuple) else inner
    return found


def starts_trained(job: Job) -> bool:
    """Whether the build starts from weights that somebody trained."""
    return job.weights is not None or job.model in pretrained()
