# SPDX-License-Identifier: Apache-2.0
"""Models from the user's own code."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeshift import models
from edgeshift.core.errors import BadValue, UnknownName
from edgeshift.core.values import ModelRef

CODE = """
from torch import nn

def net(num_classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.Linear(width, num_classes))

def fixed():
    return nn.Linear(12, 3)

def number():
    return 5

def broken(num_classes):
    raise RuntimeError("no such disk\\nmore lines")

class Net(nn.Module):
    def __init__(self, num_classes=9):
        super().__init__()
        self.fc = nn.Linear(2, num_classes)

answer = 42
"""
counter = iter(range(1000))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module in the working folder, another one for each test."""
    monkeypatch.chdir(tmp_path)
    name = f"mynets{next(counter)}"
    (tmp_path / f"{name}.py").write_text(CODE)
    return name


def resolve(name: str, **options: object) -> ModelRef:
    return models.resolve(name, classes=3, input_shape=(3, 2, 2), options=options)


def test_a_factory_in_the_working_folder_is_called(module: str) -> None:
    model = models.build(resolve(f"{module}:net", width=6))
    assert [p.shape for p in model.parameters()] == [(6, 12), (6,), (3, 6), (3,)]


def test_num_classes_is_passed_only_where_it_is_taken(module: str) -> None:
    assert models.build(resolve(f"{module}:fixed")).out_features == 3


def test_an_option_named_num_classes_wins(module: str) -> None:
    assert models.build(resolve(f"{module}:Net", num_classes=5)).fc.out_features == 5


def test_a_class_is_a_factory(module: str) -> None:
    assert models.build(resolve(f"{module}:Net")).fc.out_features == 3


def test_a_package_is_searched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mypackage" / "deep").mkdir(parents=True)
    (tmp_path / "mypackage" / "__init__.py").write_text("")
    (tmp_path / "mypackage" / "deep" / "__init__.py").write_text(CODE)
    assert models.build(resolve("mypackage.deep:fixed")).out_features == 3


def test_an_installed_module_is_found() -> None:
    ref = models.resolve(
        "torch.nn:Linear", classes=2, input_shape=(4,), options={"in_features": 4, "out_features": 2}
    )
    assert isinstance(models.build(ref), nn.Linear)


def test_the_search_path_is_left_as_it_was(module: str) -> None:
    before = list(sys.path)
    models.build(resolve(f"{module}:net"))
    assert sys.path == before


def test_equal_seeds_give_equal_weights(module: str) -> None:
    ref = resolve(f"{module}:net")
    first, second, other = (models.build(ref, seed=s)[1].weight for s in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_missing_module_gets_the_nearest_file(module: str) -> None:
    with pytest.raises(UnknownName, match=f"no module named 'mynest'; did you mean '{module}'"):
        resolve("mynest:net")


def test_a_missing_module_inside_a_package_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName, match=r"no module named 'torch\.nn\.nothing'"):
        resolve("torch.nn.nothing:net")


def test_a_missing_factory_gets_the_nearest_name(module: str) -> None:
    with pytest.raises(UnknownName, match=f"no factory in {module} named 'nett'; did you mean 'net'"):
        resolve(f"{module}:nett")


def test_a_thing_that_cannot_be_called_is_refused(module: str) -> None:
    with pytest.raises(BadValue, match=f"{module}:answer must be a function or class .*, got 42"):
        resolve(f"{module}:answer")


def test_a_module_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lame.py").write_text("def (\n")
    with pytest.raises(
        BadValue, match=r"module lame must be importable, got 'SyntaxError: .*lame.py, line 1"
    ):
        resolve("lame:net")


def test_what_a_module_itself_misses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "needy.py").write_text("import nowhere_at_all\n")
    with pytest.raises(BadValue, match=r"module needy must be importable, got .*nowhere_at_all"):
        resolve("needy:net")


def test_a_factory_that_raises_is_one_line(module: str) -> None:
    ref = resolve(f"{module}:broken")
    with pytest.raises(
        BadValue, match=r":broken\(num_classes=3\) must be a model, got 'RuntimeError: no such disk'"
    ):
        models.build(ref)


def test_an_option_the_factory_lacks_is_one_line(module: str) -> None:
    with pytest.raises(BadValue, match=r"must be a model, got .TypeError: net\(\) got an unexpected keyword"):
        models.build(resolve(f"{module}:net", depth=3))


def test_a_factory_must_return_a_module(module: str) -> None:
    with pytest.raises(
        BadValue, match=r":number must be a factory that returns a torch.nn.Module, got 'int'"
    ):
        models.build(resolve(f"{module}:number"))


@pytest.mark.parametrize("name", [":net", "mynets:"])
def test_half_a_name_is_refused(name: str) -> None:
    with pytest.raises(BadValue, match=f"model must be a zoo name or 'package.module:factory', got '{name}'"):
        resolve(name)


def test_classes_and_shape_must_come_along(module: str) -> None:
    with pytest.raises(
        BadValue, match=r"classes and input_shape of .*:net must be given .*, got \(None, None\)"
    ):
        models.resolve(f"{module}:net")
