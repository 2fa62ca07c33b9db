# SPDX-License-Identifier: Apache-2.0
"""How the words of a command line become values."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from edgeshift.core.errors import BadValue


def pairs(option: str, words: Sequence[str] | None) -> dict[str, Any]:
    """`["n=2", "name=x"]` -> `{"n": 2, "name": "x"}`; values are JSON where they parse, else text.

    Numbers between commas are a list too: `"ratios=0.8,0.5"` -> `{"ratios": [0.8, 0.5]}`.

    Raises:
        BadValue: If a word has no `=`, or a key comes twice.
    """
    found: dict[str, Any] = {}
    for word in words or ():
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise BadValue(option, word, "key=value")
        if key in found:
            raise BadValue(option, key, "given once per key")
        found[key] = value
        for text in (value, f"[{value}]") if "," in value else (value,):
            with suppress(ValueError):
                found[key] = json.loads(text)
                break
    return found


def levels(text: str) -> tuple[float, ...]:
    """`"1,0.5,0.25"` -> `(1.0, 0.5, 0.25)`; empty text means the settings' own.

    Raises:
        BadValue: If a part is not a number.
    """
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise BadValue("--levels", text, "numbers such as 1,0.5,0.25") from error


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """`"1,32"` -> `(1, 32)`.

    Raises:
        BadValue: If a part is not a whole number.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise BadValue(option, text, "whole numbers such as 1,32") from error
