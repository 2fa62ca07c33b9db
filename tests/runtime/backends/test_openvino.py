# SPDX-License-Identifier: Apache-2.0
"""OpenVINO, which is optional."""

import sys

import pytest

from edgeshift.core.errors import BadValue, NotInstalled
from edgeshift.runtime.backends.openvino import Openvino
from tests.portfolio.made import onnx_bytes


def test_it_computes_in_float32() -> None:
    pytest.importorskip("openvino")
    model = Openvino().open(onnx_bytes(), 1)
    kind = model._compiled.get_property("INFERENCE_PRECISION_HINT")  # type: ignore[attr-defined]
    assert kind.to_string() in ("f32", "float32")


def test_precisions_are_f32_and_bf16() -> None:
    with pytest.raises(BadValue, match="precision must be 'f32' or 'bf16', got 'f16'"):
        Openvino("f16")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        NotInstalled, match=r"openvino must be installed for this, .* 'edgeshift\[openvino\]'"
    ):
        Openvino().open(onnx_bytes(), 1)
