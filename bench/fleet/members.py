# SPDX-License-Identifier: Apache-2.0
"""The members of the fleet: what each one is, and how a network is opened on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench.fleet.onnx_file import onnx_bytes
from bench.fleet.spaces import Design

# One call on one batch.
Call = Callable[[], object]


@dataclass(frozen=True)
class Member:
    """One device of the fleet.

    Attributes:
        name: Runtime, what is special, threads and batch size.
        runtime: Package that runs it: onnxruntime, openvino, torch, ncnn or MNN.
        threads: Intra-op threads.
        batch_size: Inputs per call.
        precision: "fp32" or "int8".
        isa: Instruction set it is held to; "" = what the machine has.
        options: What the opener of the runtime takes.
        busy: A neighbour streams memory on the other core meanwhile.
    """

    name: str
    runtime: str
    threads: int = 1
    batch_size: int = 1
    precision: str = "fp32"
    isa: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    busy: bool = False

    def environment(self) -> dict[str, str]:
        """Variables that must be set before the runtime loads."""
        found = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        if self.isa:
            found |= {"ONEDNN_MAX_CPU_ISA": self.isa, "DNNL_MAX_CPU_ISA": self.isa}
        if self.isa == "SSE41":
            found |= {"ATEN_CPU_CAPABILITY": "default"}
        return found


def members() -> dict[str, Member]:
    """All members by name."""
    ort, vino = "onnxruntime", "openvino"
    off, basic = {"level": "DISABLE_ALL"}, {"level": "ENABLE_BASIC"}
    found = [
        Member("ort-t1-b1", ort),
        Member("ort-t2-b1", ort, threads=2),
        Member("ort-t1-b8", ort, batch_size=8),
        Member("ort-t2-b8", ort, threads=2, batch_size=8),
        Member("ort-off-t1-b1", ort, options=off),
        Member("ort-basic-t1-b1", ort, options=basic),
        Member("ort-int8-t1-b1", ort, precision="int8"),
        Member("ort-int8-t1-b8", ort, batch_size=8, precision="int8"),
        Member("ort-busy-t1-b1", ort, busy=True),
        Member("openvino-t1-b1", vino),
        Member("openvino-t2-b1", vino, threads=2),
        Member("openvino-t1-b8", vino, batch_size=8),
        Member("openvino-int8-t1-b1", vino, precision="int8"),
        Member("openvino-int8-avx-t1-b1", vino, precision="int8", isa="AVX"),
        Member("torch-t1-b1", "torch"),
        Member("torch-sse41-t1-b1", "torch", isa="SSE41"),
        Member("torch-native-t1-b1", "torch", options={"onednn": False}),
        Member("ncnn-t1-b1", "ncnn"),
        Member("ncnn-t2-b1", "ncnn", threads=2),
        Member("ncnn-direct-t1-b1", "ncnn", options={"winograd": False, "sgemm": False}),
        Member("ncnn-unpacked-t1-b1", "ncnn", options={"packing": False}),
        Member("mnn-t1-b1", "MNN"),
        Member("mnn-t1-b8", "MNN", batch_size=8),
    ]
    # Two threads wait for two quiet cores, which takes longest: last.
    return {member.name: member for member in sorted(found, key=lambda member: member.threads)}


def open_on(member: Member, design: Design, folder: Path) -> Call:
    """A network, opened on a member.

    Args:
        member: The device.
        design: The network.
        folder: For files that the runtime must read.
    """
    generator = np.random.default_rng(0)
    image = generator.standard_normal((member.batch_size, *design.input_shape), np.float32)
    return OPENERS[member.runtime](member, design, image, folder)


def runtime_version(member: Member) -> str:
    """Name and version of a member's runtime."""
    return f"{member.runtime} {version(member.runtime)}"


def _onnxruntime(member: Member, design: Design, image: Any, folder: Path) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = member.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    level = member.options.get("level", "ENABLE_ALL")
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = onnx_bytes(design, int8=member.precision == "int8")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": image})


def _openvino(member: Member, design: Design, image: Any, folder: Path) -> Call:
    import openvino

    core = openvino.Core()
    model = core.read_model(onnx_bytes(design, member.batch_size, int8=member.precision == "int8"))
    wishes = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": member.threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(model, "CPU", wishes).create_infer_request()
    request.set_input_tensor(openvino.Tensor(image))
    return request.infer


def _torch(member: Member, design: Design, image: Any, folder: Path) -> Call:
    import torch

    from bench.fleet.torch_eager import Eager

    torch.set_num_threads(member.threads)
    torch.backends.mkldnn.enabled = member.options.get("onednn", True)
    eager, x = Eager(design), torch.from_numpy(image)

    def call() -> object:
        with torch.inference_mode():
            return eager(x)

    return call


def _ncnn(member: Member, design: Design, image: Any, folder: Path) -> Call:
    ncnn = import_module("ncnn")
    from bench.fleet.ncnn_file import ncnn_files

    net = ncnn.Net()
    net.opt.num_threads = member.threads
    net.opt.use_winograd_convolution = member.options.get("winograd", True)
    net.opt.use_sgemm_convolution = member.options.get("sgemm", True)
    net.opt.use_packing_layout = member.options.get("packing", True)
    param, weights, last = ncnn_files(design, folder)
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise RuntimeError(f"ncnn must open {design.name}, got an error code")
    given = ncnn.Mat(image[0])

    def call() -> object:
        run = net.create_extractor()
        run.input("x", given)
        code, out = run.extract(last)
        assert code == 0 and out.w == 10
        return out

    return call


def _mnn(member: Member, design: Design, image: Any, folder: Path) -> Call:
    MNN = import_module("MNN")  # the package's name

    file = mnn_file(design, member.batch_size, folder)
    net = MNN.Interpreter(str(file))
    session = net.createSession({"backend": "CPU", "numThread": member.threads, "precision": "high"})
    given = net.getSessionInput(session)
    data = MNN.Tensor(image.shape, MNN.Halide_Type_Float, image, MNN.Tensor_DimensionType_Caffe)
    output = net.getSessionOutput(session)
    host = MNN.Tensor(output.getShape(), MNN.Halide_Type_Float, np.zeros(output.getShape(), np.float32),
                      MNN.Tensor_DimensionType_Caffe)  # fmt: skip

    def call() -> object:
        given.copyFrom(data)
        net.runSession(session)
        output.copyToHostTensor(host)
        return host

    return call


def mnn_file(design: Design, batch_size: int, folder: Path) -> Path:
    """The network converted by MNN's own tool, once."""
    file = folder / f"{design.name}-b{batch_size}.mnn"
    if not file.exists():
        source = file.with_suffix(".onnx")
        source.write_bytes(onnx_bytes(design, batch_size))
        # The part of `mnnconvert` below its command line, which would start a process and count the call.
        words = ["-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(file), "--bizCode", "edgeshift"]
        import_module("_tools").mnnconvert(["mnnconvert", *words])
        source.unlink()
    return file


OPENERS: dict[str, Callable[[Member, Design, Any, Path], Call]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": _torch,
    "ncnn": _ncnn,
    "MNN": _mnn,
}
