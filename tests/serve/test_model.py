# SPDX-License-Identifier: Apache-2.0
"""Names of models and variants in addresses."""

import numpy as np
import pytest

from edgeshift.core.errors import BadValue, Refused
from edgeshift.runtime.state import Ladder, Profile
from edgeshift.serve.limits import Limits
from edgeshift.serve.model import Model, served_name
from edgeshift.serve.ports import Port

LADDER = Ladder((Profile("i1", "small", 0.8, 1, 2), Profile("i2", "large", 0.9, 3, 4)))
MODEL = Model("m", LADDER, (), (), 0)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("resnet20", "resnet20"),
        ("my.package:factory", "factory"),
        ("a/b c", "a-b-c"),
        ("x" * 80, "x" * 64),
        ("..", "model"),
        ("ü", "model"),
    ],
)
def test_a_name_can_stand_in_an_address(name: str, want: str) -> None:
    assert served_name(name) == want


@pytest.mark.parametrize(("floor", "active", "want"), [(0, "small", "small"), (0.85, "small", "large")])
def test_the_active_variant_answers_if_it_is_accurate_enough(floor: float, active: str, want: str) -> None:
    assert MODEL.at_least(floor, active) == want


def test_versions_are_names_and_ids() -> None:
    assert [MODEL.version(word) for word in ("small", "i1", "i2")] == ["small", "small", "large"]
    with pytest.raises(Refused, match="got unknown_version"):
        MODEL.version("1")


def test_a_type_that_http_has_not_is_refused() -> None:
    with pytest.raises(BadValue, match=r"type of x must be one of BOOL, .*, got 'complex64'"):
        Port.of("x", np.complex64, (1,))


def test_the_wire_is_little_endian_whatever_the_machine() -> None:
    assert Port.of("x", "float32", (1,)).wire.newbyteorder("=") == np.dtype("<f4")


@pytest.mark.parametrize("field", ["body_bytes", "read_s", "connections"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_limits_are_above_0_and_finite(field: str, value: float) -> None:
    with pytest.raises(BadValue, match=f"{field} must be above 0 and finite"):
        Limits(**{field: value}).check()  # type: ignore[arg-type]
