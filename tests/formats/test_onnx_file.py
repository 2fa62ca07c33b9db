# SPDX-License-Identifier: Apache-2.0
"""torch models as ONNX files."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeshift.core.errors import BadValue, NotExact, Untraceable
from edgeshift.formats import Template, export_onnx, make_template, open_onnx

EXAMPLE = torch.zeros(2, 3, 8, 8)


class Net(nn.Module):
    """What the zoo is made of: batch norm, a residual sum, a depthwise layer, pooling, view, linear."""

    def __init__(self, width: int = 8, inner: int = 6, *, bias: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=bias)
        self.bn = nn.BatchNorm2d(width)
        self.body = nn.Sequential(
            nn.Conv2d(width, inner, 1), nn.ReLU6(), nn.Conv2d(inner, width, 1, bias=False)
        )
        self.deep = nn.Conv2d(width, width, 3, 2, 1, groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(width * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn(self.stem(x)))
        x = self.pool(self.norm(self.deep(x + self.body(x))))
        return self.fc(x.view(x.size(0), -1))


class Reshaped(nn.Module):
    """Holds its own width as a constant, so that a template cannot fit another width."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.conv = nn.Conv2d(3, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).reshape(-1, 2, self.width // 2, 64)
        return (
            x.transpose(1, 2).reshape(x.size(0), -1, 64).mean((1, 2), keepdim=True).flatten(1)
            + x.sum((1, 2, 3))[:, None]
        )


class Hidden(nn.Module):
    """What its training script put on this disk must not be in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 64, 2)

    def forward(self, x: Tensor) -> Tensor:
        private_name_of_a_value = x.flatten(1)
        return self.fc(private_name_of_a_value)


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    source = torch.Generator().manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data.normal_(1 if "var" in name else 0, 0.1 if "var" in name else 0.5, generator=source)
    return model.eval()


@pytest.fixture(scope="module")
def template() -> Template:
    return make_template(seeded(Net()), EXAMPLE)


@pytest.fixture(scope="module")
def hidden() -> bytes:
    return export_onnx(seeded(Hidden()), EXAMPLE).data


def test_the_file_answers_as_torch_does(template: Template) -> None:
    model = seeded(Net())
    made = export_onnx(model, EXAMPLE, template=template)
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    answer = open_onnx(made.data).run(x.numpy())
    right = model(x).detach().numpy()
    assert np.abs(answer - right).max() <= 1e-5 * np.abs(right).max()
    assert 0 <= made.max_error <= 1e-5


def test_names_batch_and_opset_are_the_house_s(template: Template) -> None:
    made = onnx.load_from_string(export_onnx(seeded(Net()), EXAMPLE, template=template).data)
    onnx.checker.check_model(made, full_check=True)
    assert [v.name for v in (*made.graph.input, *made.graph.output)] == ["input", "output"]
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert made.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [(o.domain, o.version) for o in made.opset_import] == [("", 18)]


def test_batch_norm_after_a_convolution_is_folded(template: Template) -> None:
    made = onnx.load_from_string(export_onnx(seeded(Net()), EXAMPLE, template=template).data)
    assert [n.op_type for n in made.graph.node] == [
        "Conv",
        "Relu",
        "Conv",
        "Clip",
        "Conv",
        "Add",
        "Conv",
        "MaxPool",
        "Flatten",
        "Gemm",
    ]


def test_a_narrower_model_fits_the_template(template: Template) -> None:
    made = export_onnx(seeded(Net(5, 2), 1), EXAMPLE, template=template)
    assert (made.way, made.because) == ("template", "")


def test_template_and_full_export_give_the_same_bytes(template: Template) -> None:
    model = seeded(Net(5, 2), 1)
    assert export_onnx(model, EXAMPLE, template=template).data == export_onnx(model, EXAMPLE).data


def test_a_bias_that_came_new_fits_the_template(template: Template) -> None:
    made = export_onnx(seeded(Net(5, 2, bias=True), 1), EXAMPLE, template=template)
    assert (made.way, made.because) == ("template", "")


def test_filling_does_not_change_the_template(template: Template) -> None:
    before = template.graph.SerializeToString(deterministic=True)
    export_onnx(seeded(Net(5, 2, bias=True), 1), EXAMPLE, template=template)
    assert template.graph.SerializeToString(deterministic=True) == before


def test_a_model_is_not_changed(template: Template) -> None:
    model = seeded(Net())
    before = {n: t.clone() for n, t in model.state_dict().items()}
    export_onnx(model, EXAMPLE, template=template)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_a_tensor_without_a_place_means_a_full_export_that_says_why(template: Template) -> None:
    model = seeded(Net())
    model.fc = seeded(nn.Sequential(nn.Linear(32, 6), nn.Linear(6, 5)))
    made = export_onnx(model, EXAMPLE, template=template)
    assert (made.way, made.because) == ("full", "tensor fc.bias, which the graph reads, is gone")


def test_a_constant_that_does_not_fit_means_a_full_export_that_says_why() -> None:
    template = make_template(seeded(Reshaped(8)), EXAMPLE)
    made = export_onnx(seeded(Reshaped(6)), EXAMPLE, template=template)
    assert made.way == "full"
    assert made.because != ""
    assert made.max_error <= 1e-5


def test_another_process_makes_the_same_file_and_says_nothing(hidden: bytes, tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch; torch.set_num_threads(1);"
        "from test_onnx_file import *; sys.stdout.buffer.write(export_onnx(seeded(Hidden()), EXAMPLE).data)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "3"}
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, check=True, env=environment, cwd=tmp_path)
    assert (done.stdout, done.stderr) == (hidden, b"")


@pytest.mark.parametrize(
    "word", [b"private_name", b"test_onnx_file", b"Hidden", b".py", b"stack_trace", b"pytorch", b"aten"]
)
def test_the_file_tells_nothing_about_who_made_it(word: bytes, hidden: bytes) -> None:
    assert word not in hidden


def test_the_file_is_written_whole(template: Template, tmp_path: Path) -> None:
    made = export_onnx(seeded(Net()), EXAMPLE, tmp_path / "m.onnx", template)
    assert (tmp_path / "m.onnx").read_bytes() == made.data
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_wrong_template_means_a_full_export_that_says_why(template: Template) -> None:
    graph = onnx.ModelProto()
    graph.CopyFrom(template.graph)
    next(node for node in graph.graph.node if node.op_type == "Relu").op_type = "Neg"
    made = export_onnx(seeded(Net()), EXAMPLE, template=replace(template, graph=graph))
    assert made.way == "full"
    assert made.because.startswith("relative error of the ONNX file must be at most 1e-05, got ")


def test_a_wrong_answer_is_never_written(tmp_path: Path) -> None:
    class Drifting(nn.Module):
        """Counts its calls, which no file can."""

        def forward(self, x: Tensor) -> Tensor:
            calls.append(1)
            return x.flatten(1) * len(calls)

    calls: list[int] = []
    with pytest.raises(NotExact, match="relative error of the ONNX file must be at most 1e-05, got 0"):
        export_onnx(Drifting().eval(), EXAMPLE, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_is_used_twice_is_not_folded_away() -> None:
    class Odd(nn.Module):
        """A layer and a norm used twice, a value read before its norm, and two layers with one weight."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1, bias=False)
            self.bn = nn.BatchNorm2d(3)
            self.read = nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)
            self.one = nn.Linear(8, 8)
            self.two = nn.Linear(8, 8)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            x = self.read(self.bn(self.conv(self.bn(self.conv(x)))))
            return self.two(torch.relu(self.one(x + self.norm(x)))).flatten(1)

    assert export_onnx(seeded(Odd()), EXAMPLE).max_error <= 1e-5


def test_a_model_in_training_is_refused() -> None:
    with pytest.raises(BadValue, match="model must be in eval mode, got 'training mode'"):
        export_onnx(Net().train(), EXAMPLE)


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(BadValue, match=r"example must be float32 with a batch of at least 2, got"):
        export_onnx(seeded(Net()), EXAMPLE[:1])


def test_another_dtype_is_refused() -> None:
    with pytest.raises(BadValue, match=r"dtype of stem.weight must be torch.float32, got 'torch.bfloat16'"):
        export_onnx(seeded(Net()).bfloat16(), EXAMPLE)


def test_a_model_that_cannot_be_traced_is_named() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(Untraceable, match="model Branches must be one that torch can export, got: "):
        export_onnx(Branches().eval(), EXAMPLE)


def test_two_outputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x + 1, x - 1

    with pytest.raises(BadValue, match=r"inputs and outputs of the model must be one of each, got \(1, 2\)"):
        export_onnx(Two().eval(), EXAMPLE)
