# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import pytest

from edgeshift.core.errors import BadValue
from edgeshift.derive.job import Job


def job(**options: Any) -> Job:
    """A job with these options."""
    return Job(model="resnet8", data="digits", out=Path("out"), **options)


def test_a_plain_job_is_good() -> None:
    assert job().check() == job()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"levels": (1.0, 0.0)}, r"levels must be shares above 0 and up to 1, got \(1.0, 0.0\)"),
        ({"levels": (1.5,)}, "levels must be shares above 0 and up to 1, got"),
        ({"levels": (float("nan"),)}, "levels must be shares above 0 and up to 1, got"),
        ({"levels": (0.5, 0.5)}, r"levels must be falling, such as 1,0.5,0.25, got \(0.5, 0.5\)"),
        ({"levels": (0.5, 1.0)}, "levels must be falling, such as 1,0.5,0.25, got"),
        ({"epochs": -1}, "epochs must be 0 or more, got -1"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"batch_sizes": ()}, r"batch_sizes must be whole numbers from 1, got \(\)"),
        ({"batch_sizes": (0,)}, "batch_sizes must be whole numbers from 1, got"),
        (
            {"weights": Path("net.pt")},
            "weights must be a .safetensors file; nothing else is opened, got 'net.pt'",
        ),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(BadValue, match=says):
        job(**options).check()
