# SPDX-License-Identifier: Apache-2.0
"""Models from the user's own code, by "package.module:factory"."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeshift.core.errors import BadValue, UnknownName


@contextmanager
def here_first() -> Iterator[None]:
    """The working folder is searched for modules, as `python -m` does; gone afterwards."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def one_line(error: BaseException) -> str:
    """Class and first line of an error."""
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])


def nearby_modules() -> list[str]:
    """Modules and packages of the working folder."""
    here = Path.cwd()
    packages = [f.parent.name for f in here.glob("*/__init__.py")]
    return packages + [f.stem for f in here.glob("*.py") if f.stem.isidentifier()]


def find_factory(name: str) -> Callable[..., Any]:
    """The callable behind "package.module:factory"; its module is imported.

    Raises:
        UnknownName: If there is no such module, or it holds nothing of that name.
        BadValue: If the module cannot be imported or the thing cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise BadValue("model", name, "a zoo name or 'package.module:factory'")
    try:
        with here_first():
            module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UnknownName("module", module_name, nearby_modules()) from error
        raise BadValue(f"module {module_name}", one_line(error), "importable") from error
    except Exception as error:  # whatever the user's module does while it is imported
        raise BadValue(f"module {module_name}", one_line(error), "importable") from error
    if not hasattr(module, attribute):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UnknownName(f"factory in {module_name}", attribute, known)
    factory: Callable[..., Any] = getattr(module, attribute)
    if not callable(factory):
        raise BadValue(name, factory, "a function or class that returns a model")
    return factory


def arguments(factory: Callable[..., Any], classes: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, and `num_classes` where the factory takes it and the options lack it."""
    chosen = dict(options)
    try:
        takes = inspect.signature(factory).parameters
    except ValueError:  # a callable of C code has no signature to read
        return chosen
    if "num_classes" in takes:
        chosen.setdefault("num_classes", classes)
    return chosen


def call_factory(name: str, classes: int, options: Mapping[str, Any]) -> Any:
    """What the user's factory returns.

    Raises:
        UnknownName: See `find_factory`.
        BadValue: If the factory raises.
    """
    factory = find_factory(name)
    chosen = arguments(factory, classes, options)
    try:
        with here_first():
            return factory(**chosen)
    except Exception as error:  # whatever the user's code does
        call = ", ".join(f"{k}={v!r}" for k, v in chosen.items())
        raise BadValue(f"{name}({call})", one_line(error), "a model") from error
