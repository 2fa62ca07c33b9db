# SPDX-License-Identifier: Apache-2.0
import inspect

import pytest

from edgeshift.core import errors
from edgeshift.core.errors import BadValue, EdgeShiftError, NotExact, NotInstalled, UnknownName

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, EdgeShiftError)]


def test_bad_value_says_what_want_and_got() -> None:
    assert str(BadValue("power", -1, "above 0")) == "power must be above 0, got -1"


def test_unknown_name_offers_the_near_match() -> None:
    error = UnknownName("method", "wnda", ["wanda", "taylor"])
    assert str(error) == "no method named 'wnda'; did you mean 'wanda'?"


def test_unknown_name_without_a_near_match_lists_the_known() -> None:
    assert (
        str(UnknownName("method", "zzz", ["wanda", "taylor"]))
        == "no method named 'zzz'; known: taylor, wanda"
    )


def test_unknown_name_among_none_says_so() -> None:
    assert str(UnknownName("method", "zzz", [])) == "no method named 'zzz'; known: none"


def test_not_installed_names_the_extra() -> None:
    assert "pip install 'edgeshift[derive]'" in str(NotInstalled("torch", "derive"))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_every_error_but_the_root_is_also_a_builtin_one(cls: type[EdgeShiftError]) -> None:
    builtin = (ValueError, LookupError, OSError, ImportError, ArithmeticError, RuntimeError, MemoryError)
    assert cls is EdgeShiftError or issubclass(cls, builtin)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_only_a_broken_promise_is_our_fault(cls: type[EdgeShiftError]) -> None:
    assert cls.exit_code == (1 if cls is NotExact else 2)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_the_table_at_the_top_names_every_error(cls: type[EdgeShiftError]) -> None:
    assert cls.__name__ in (errors.__doc__ or "")
