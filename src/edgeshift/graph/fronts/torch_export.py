# SPDX-License-Identifier: Apache-2.0
"""From a PyTorch model to the channel graph, through torch.export."""

import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeshift.core.errors import Untraceable
from edgeshift.graph.channels import ChannelGraph, Node, Value

PACKAGE = str(Path(__file__).resolve().parents[2])
# A literal tensor larger than this is left unknown rather than computed.
LITERAL_LIMIT = 1 << 22

UNARY = {
    "abs": "abs", "alias": "identity", "clone": "identity", "contiguous": "identity", "cos": "cos", "detach": "identity",
    "detach_": "identity", "erf": "erf", "exp": "exp", "hardsigmoid": "hardsigmoid", "hardsigmoid_": "hardsigmoid",
    "hardswish": "hardswish", "hardswish_": "hardswish", "lift_fresh_copy": "identity", "log": "log",
    "log_sigmoid": "logsigmoid", "mish": "mish", "mish_": "mish", "neg": "neg", "reciprocal": "reciprocal",
    "relu": "relu", "relu_": "relu", "rsqrt": "rsqrt", "sigmoid": "sigmoid", "sigmoid_": "sigmoid", "silu": "silu",
    "silu_": "silu", "sin": "sin", "sqrt": "sqrt", "square": "square", "tanh": "tanh", "tanh_": "tanh",
}  # fmt: skip
BINARY = {
    "add": "add", "add_": "add", "sub": "sub", "sub_": "sub", "mul": "mul", "mul_": "mul", "div": "div", "div_": "div",
    "maximum": "max", "minimum": "min", "pow": "pow",
}  # fmt: skip
# Entry by entry, but a constant may land on the other side of a jump: channels pass, constants are not followed.
UNKNOWN_ELEMENTWISE = {
    "where", "masked_fill", "masked_fill_", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not",
    "bitwise_and", "bitwise_or", "bitwise_not", "round", "floor", "ceil", "sign", "rsub", "atan2", "fmod", "remainder",
    "floor_divide", "sgn", "trunc", "isnan", "isinf", "log1p", "expm1", "softshrink", "hardshrink", "threshold",
}  # fmt: skip


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; every module's own mode comes back afterwards."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def user_line(error: BaseException) -> str:
    """The innermost "file.py:12" of user code that an error passed through."""
    found, trail = "", error.__traceback__
    while trail is not None:
        file = trail.tb_frame.f_code.co_filename
        if "/torch/" not in file and not file.startswith((PACKAGE, "<")):
            found = f"{Path(file).name}:{trail.tb_lineno}"
        trail = trail.tb_next
    return found


def trace(model: nn.Module, example: tuple[Any, ...]) -> ChannelGraph:
    """The channel graph of a model in evaluation mode.

    Args:
        model: Any model torch.export can trace. Not changed.
        example: Its positional arguments.

    Raises:
        Untraceable: If it cannot; the text names the module and the line.
    """
    try:
        with evaluating(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, example, strict=False)
    except Exception as error:  # torch.export raises whatever the user's code or its own tracer meets
        raise Untraceable(_where(model, error)) from error
    return _Front(model, program).graph


def _where(model: nn.Module, error: BaseException) -> str:
    """One line: which module and which line of the user's code could not be traced, and why."""
    names = {id(m): n or type(m).__name__ for n, m in model.named_modules()}
    module, line = type(model).__name__, "unknown line"
    trail = error.__traceback__
    while trail is not None:
        frame = trail.tb_frame
        file = frame.f_code.co_filename
        owner = names.get(id(frame.f_locals.get("self")))
        if owner is not None:
            module = owner
        if "site-packages/torch/" not in file and not file.startswith((PACKAGE, "<")) and owner is not None:
            line = f"{Path(file).name}:{trail.tb_lineno}"
        trail = trail.tb_next
    text = str(error).strip().splitlines()
    why = text[0][:160] if text else type(error).__name__
    return f"model must be traceable by torch.export, got {type(error).__name__} in module {module} at {line}: {why}"


def _line(node: torch.fx.Node) -> str:
    """The innermost "file.py:12" of user code in a node's stack trace."""
    lines = [x.strip() for x in str(node.meta.get("stack_trace", "")).splitlines() if x.strip().startswith("File ")]
    for text in reversed(lines):
        if "/torch/" in text:
            continue
        file, _, rest = text[6:].partition('", line ')
        return f"{Path(file).name}:{rest.split(',')[0]}"
    return ""


class _Number(int):
    """The number of a value, as against a number in the user's code."""


class _Front:
    """Walks the exported graph once; one method per family of ATen operators."""

    def __init__(self, model: nn.Module, program: torch.export.ExportedProgram) -> None:
        self.model = model
        self.graph = ChannelGraph()
        self.number: dict[str, _Number] = {}
        self.pieces: dict[str, list[Callable[[], _Number]]] = {}
        self.node: torch.fx.Node
        self.tensors = {
            **dict(model.named_parameters(remove_duplicate=False)),
            **dict(model.named_buffers(remove_duplicate=False)),
        }
        self.first = {id(t): n for n, t in reversed(self.tensors.items())}  # a shared tensor has several names
        self.params: dict[str, _Number] = {}
        for node in program.graph.nodes:
            self.node = node
            if node.op == "placeholder":
                self._placeholder(node, program)
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                flat = [a for a in node.args[0] if isinstance(a, torch.fx.Node)]
                self.graph.outputs = [self._of(a) for a in flat]

    def _placeholder(self, node: torch.fx.Node, program: torch.export.ExportedProgram) -> None:
        signature = program.graph_signature
        name = signature.inputs_to_parameters.get(node.name) or signature.inputs_to_buffers.get(node.name)
        literal = signature.inputs_to_lifted_tensor_constants.get(node.name)
        if name is not None or literal is not None:
            tensor = self.tensors[name] if name in self.tensors else program.constants[literal or name]
            name = self.first.get(id(tensor), name)
            if name in self.params:
                self.number[node.name] = self.params[name]
                return
            data = as_numpy(tensor)
            trained = isinstance(tensor, nn.Parameter)
            value = Value(data.shape, name or literal or "", name or "", trained, data)
            self.number[node.name] = _Number(self.graph.add_value(value))
            if name is not None:
                self.params[name] = self.number[node.name]
            return
        given = node.meta.get("val")
        shape = tuple(int(s) for s in given.shape) if isinstance(given, torch.Tensor) else ()
        self.number[node.name] = _Number(self.graph.add_value(Value(shape, node.name)))
        if isinstance(given, torch.Tensor):
            self.graph.inputs.append(self.number[node.name])

    def _of(self, argument: Any) -> "_Number":
        """Value number of an argument; a plain number becomes a literal."""
        if isinstance(argument, _Number):
            return argument
        if isinstance(argument, torch.fx.Node):
            return self.number[argument.name]
        return _Number(self.graph.add_value(Value((), "literal", data=np.asarray(float(argument)))))

    def _shape(self, argument: Any) -> tuple[int, ...]:
        """Shape of an fx node, or of the value of that number."""
        return self.graph.values[argument if isinstance(argument, int) else self._of(argument)].shape

    def _emit(self, kind: str, inputs: list[Any], shape: tuple[int, ...] | None = None, **attributes: Any) -> "_Number":
        """Add a node; without a shape its output is this fx node's own."""
        numbers = tuple(None if i is None else self._of(i) for i in inputs)
        if shape is None:
            value = self.node.meta["val"]
            shape = tuple(int(s) for s in value.shape)
        out = _Number(self.graph.add_value(Value(shape, self.node.name)))
        stack = self.node.meta.get("nn_module_stack") or {}
        module = list(stack.values())[-1][0] if stack else ""
        self.graph.nodes.append(
            Node(kind, numbers, (out,), attributes, str(self.node.target), module, _line(self.node))
        )
        return out

    def _call(self, node: torch.fx.Node) -> None:
        if node.target is operator.getitem:
            source, index = node.args
            if not node.users:  # such as the final state that most recurrent networks throw away
                return
            if source.name in self.pieces:
                self.number[node.name] = self.pieces[source.name][index]()
            return
        name = getattr(node.target, "_schema", None)
        op = str(name.name).removeprefix("aten::") if name is not None else str(node.target)
        value = node.meta.get("val")
        if op.startswith(("_assert", "sym_constrain")):  # checks of the tracer, not of the model
            return
        handler = getattr(self, f"_op_{op}", None)
        if handler is not None:
            result = handler(*node.args, **node.kwargs)
            if result is not None:
                self.number[node.name] = result
                return
        elif op in UNARY:
            self.number[node.name] = self._emit("elementwise", [node.args[0]], fn=UNARY[op])
            return
        elif op in BINARY and node.kwargs.get("alpha", 1) == 1 and not node.kwargs.get("rounding_mode"):
            self.number[node.name] = self._emit("elementwise", [self._of(a) for a in node.args[:2]], fn=BINARY[op])
            return
        elif op in UNKNOWN_ELEMENTWISE or op in BINARY:
            inputs = [a for a in node.args if isinstance(a, torch.fx.Node)]
            if inputs:
                self.number[node.name] = self._emit("elementwise", list(inputs))
                return
        elif not any(isinstance(a, torch.fx.Node) for a in node.all_input_nodes) and isinstance(value, torch.Tensor):
            self.number[node.name] = self._literal(node)
            return
        if node.name not in self.pieces:
            self._opaque(node)

    def _literal(self, node: torch.fx.Node) -> "_Number":
        """A tensor made of nothing but numbers, such as `torch.zeros(3)`."""
        shape = tuple(int(s) for s in node.meta["val"].shape)
        data = None
        if int(np.prod(shape, dtype=np.int64)) <= LITERAL_LIMIT and "rand" not in str(node.target):
            data = as_numpy(node.target(*node.args, **node.kwargs))  # type: ignore[operator]  # an OpOverload
        return _Number(self.graph.add_value(Value(shape, node.name, data=data)))

    def _opaque(self, node: torch.fx.Node) -> None:
        """An operator without a rule: inputs and outputs keep their channels."""
        inputs = [self.number[a.name] for a in node.all_input_nodes if a.name in self.number]
        values = node.meta.get("val")
        many = values if isinstance(values, tuple | list) else [values]
        stack = node.meta.get("nn_module_stack") or {}
        module = list(stack.values())[-1][0] if stack else ""
        outs = []
        for value in many:
            shape = tuple(int(s) for s in value.shape) if isinstance(value, torch.Tensor) else ()
            outs.append(_Number(self.graph.add_value(Value(shape, node.name))))
        self.graph.nodes.append(
            Node("opaque", tuple(inputs), tuple(outs), {}, str(node.target), module, _line(node))
        )
        if isinstance(values, tuple | list):
            self.pieces[node.name] = [lambda number=number: number for number in outs]
        else:
            self.number[node.name] = outs[0]

    # Convolutions and linear layers.

    def _can_bias(self, weight: Any, bias: Any) -> bool:
        """Whether the layer has a bias of its own, or is a module that can be given one."""
        if bias is not None:
            value = self.graph.values[self._of(bias)]
            return bool(value.param)
        owner, _, leaf = self.graph.values[self._of(weight)].param.rpartition(".")
        if leaf != "weight":
            return False
        module = self.model.get_submodule(owner)
        stack = self.node.meta.get("nn_module_stack") or {}
        inner = list(stack.values())[-1][0] if stack else ""  # others may take its weight, but not its bias
        return inner == owner and isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and module.bias is None

    def _conv(self, x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int, rank: int) -> "_Number":
        kernel = self._shape(w)[2:]
        padded = any(k > 1 for k in kernel) if isinstance(padding, str) and padding == "same" else False
        if not isinstance(padding, str):
            padded = any(int(p) > 0 for p in padding)
        return self._emit(
            "conv", [x, w, bias], groups=groups, transposed=False, padded=padded, rank=rank,
            can_bias=self._can_bias(w, bias),
        )  # fmt: skip

    def _op_conv1d(self, x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):  # type: ignore[no-untyped-def]
        return self._conv(x, w, bias, stride, _many(padding), dilation, groups, 1)

    def _op_conv2d(self, x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):  # type: ignore[no-untyped-def]
        return self._conv(x, w, bias, stride, _many(padding), dilation, groups, 2)

    def _op_conv3d(self, x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):  # type: ignore[no-untyped-def]
        return self._conv(x, w, bias, stride, _many(padding), dilation, groups, 3)

    def _transposed(
        self, rank: int, x: Any, w: Any, bias: Any, stride: Any, padding: Any, out_padding: Any, groups: int
    ) -> "_Number":
        # Overlapping, spread or clipped kernels reach positions unequally: a constant input is no constant output.
        kernel = self._shape(w)[2:]
        whole = all(k == 1 for k in kernel) and all(s == 1 for s in _many(stride))
        even = whole and not any(_many(padding)) and not any(_many(out_padding))
        return self._emit(
            "conv", [x, w, bias], groups=groups, transposed=True, padded=not even, rank=rank,
            can_bias=self._can_bias(w, bias),
        )  # fmt: skip

    def _op_conv_transpose1d(self, x, w, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):  # type: ignore[no-untyped-def]
        return self._transposed(1, x, w, bias, stride, padding, output_padding, groups)

    def _op_conv_transpose2d(self, x, w, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):  # type: ignore[no-untyped-def]
        return self._transposed(2, x, w, bias, stride, padding, output_padding, groups)

    def _op_conv_transpose3d(self, x, w, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):  # type: ignore[no-untyped-def]
        return self._transposed(3, x, w, bias, stride, padding, output_padding, groups)

    def _op_linear(self, x, w, bias=None):  # type: ignore[no-untyped-def]
        return self._emit("linear", [x, w, bias], can_bias=self._can_bias(w, bias))

    # Normalisation.

    def _op_batch_norm(self, x, weight, bias, mean, var, training, momentum, eps, cudnn):  # type: ignore[no-untyped-def]
        if training or mean is None:
            return None
        return self._emit("affine", [x, weight, bias, mean, var], eps=eps)

    def _op_layer_norm(self, x, shape, weight=None, bias=None, eps=1e-5, cudnn=True):  # type: ignore[no-untyped-def]
        rank = len(self._shape(x))
        return self._emit("mix_norm", [x, weight, bias], axes=tuple(range(rank - len(shape), rank)))

    def _op_rms_norm(self, x, shape, weight=None, eps=None):  # type: ignore[no-untyped-def]
        rank = len(self._shape(x))
        return self._emit("mix_norm", [x, weight], axes=tuple(range(rank - len(shape), rank)))

    def _op_group_norm(self, x, groups, weight=None, bias=None, eps=1e-5, cudnn=True):  # type: ignore[no-untyped-def]
        return self._emit("group_norm", [x, weight, bias], groups=groups)

    def _op_instance_norm(self, x, weight, bias, mean, var, use_input_stats, momentum, eps, cudnn):  # type: ignore[no-untyped-def]
        if not use_input_stats:
            return self._emit("affine", [x, weight, bias, mean, var], eps=eps)
        return self._emit("instance_norm", [x, weight, bias])

    # Entry by entry.

    def _op_dropout(self, x, p, train):  # type: ignore[no-untyped-def]
        return None if train else self._emit("elementwise", [x], fn="identity")

    _op_feature_dropout = _op_dropout
    _op_alpha_dropout = _op_dropout

    def _op_to(self, x, *args, **kwargs):  # type: ignore[no-untyped-def]
        before, after = x.meta["val"].dtype, self.node.meta["val"].dtype
        if not after.is_floating_point:
            return self._emit("elementwise", [x], fn=None)
        coarser = before.is_floating_point and torch.finfo(after).eps > torch.finfo(before).eps
        return self._emit("elementwise", [x], fn="narrow" if coarser else "identity")

    _op__to_copy = _op_to

    def _op_gelu(self, x, approximate="none"):  # type: ignore[no-untyped-def]
        return self._emit("elementwise", [x], fn="gelu", options={"approximate": approximate})

    def _op_leaky_relu(self, x, slope=0.01):  # type: ignore[no-untyped-def]
        return self._emit("elementwise", [x], fn="leaky_relu", options={"slope": slope})

    _op_leaky_relu_ = _op_leaky_relu

    def _op_elu(self, x, alpha=1.0, scale=1.0, input_scale=1.0):  # type: ignore[no-untyped-def]
        options = {"alpha": alpha, "scale": scale, "input_scale": input_scale}
        return self._emit("elementwise", [x], fn="elu", options=options)

    _op_elu_ = _op_elu

    def _op_celu(self, x, alpha=1.0):  # type: ignore[no-untyped-def]
        return self._op_elu(x, alpha, 1.0, 1 / alpha)

    def _op_selu(self, x):  # type: ignore[no-untyped-def]
        # The two constants of Klambauer et al., NeurIPS 2017 (arXiv 1706.02515), as torch writes them.
        return self._op_elu(x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946)

    _op_celu_, _op_selu_ = _op_celu, _op_selu

    def _op_softplus(self, x, beta=1.0, threshold=20.0):  # type: ignore[no-untyped-def]
        return self._emit("elementwise", [x], fn="softplus", options={"beta": beta, "threshold": threshold})

    def _op_clamp(self, x, min=None, max=None):  # type: ignore[no-untyped-def]
        if isinstance(min, torch.fx.Node) or isinstance(max, torch.fx.Node):
            return None
        return self._emit("elementwise", [x], fn="clip", options={"low": min, "high": max})

    _op_clamp_ = _op_clamp
    _op_hardtanh = _op_clamp
    _op_hardtanh_ = _op_clamp

    def _op_clamp_min(self, x, min):  # type: ignore[no-untyped-def]
        return self._op_clamp(x, min, None)

    def _op_relu6(self, x):  # type: ignore[no-untyped-def]
        return self._op_clamp(x, 0, 6)

    _op_relu6_ = _op_relu6

    def _op_prelu(self, x, weight):  # type: ignore[no-untyped-def]
        if len(self._shape(x)) < 2:
            return None
        return self._emit("prelu", [x, weight], fn="prelu")

    # Moving entries.

    def _reshape(self, x, *args):  # type: ignore[no-untyped-def]
        return self._emit("reshape", [x])

    _op_flatten = _op_squeeze = _op_unsqueeze = _op_squeeze_ = _op_unsqueeze_ = _op_view_as = _reshape

    def _op_view(self, x, sizes):  # type: ignore[no-untyped-def]
        return self._emit("reshape", [x], spelled=tuple(d for d, n in enumerate(sizes) if n != -1))

    _op_reshape = _op__unsafe_view = _op_view

    def _op_unflatten(self, x, dim, sizes):  # type: ignore[no-untyped-def]
        dim %= len(self._shape(x))
        return self._emit("reshape", [x], spelled=tuple(d + dim for d, n in enumerate(sizes) if n != -1))

    def _op_permute(self, x, order):  # type: ignore[no-untyped-def]
        rank = len(self._shape(x))
        return self._emit("permute", [x], order=tuple(d % rank for d in order))

    def _op_transpose(self, x, a, b):  # type: ignore[no-untyped-def]
        rank = len(self._shape(x))
        order = list(range(rank))
        order[a % rank], order[b % rank] = b % rank, a % rank
        return self._emit("permute", [x], order=tuple(order))

    def _op_movedim(self, x, source, destination):  # type: ignore[no-untyped-def]
        rank = len(self._shape(x))
        moves = sorted((to % rank, at % rank) for at, to in zip(_many(source), _many(destination), strict=True))
        order = [d for d in range(rank) if d not in {at for _, at in moves}]
        for to, at in moves:
            order.insert(to, at)
        return self._emit("permute", [x], order=tuple(order))

    _op_moveaxis, _op_swapaxes, _op_swapdims = _op_movedim, _op_transpose, _op_transpose

    def _op_t(self, x):  # type: ignore[no-untyped-def]
        return self._emit("permute", [x], order=tuple(range(len(self._shape(x))))[::-1])

    _op_numpy_T = _op_t

    def _take(
        self, x: Any, axis: int, index: Any, part: tuple[int, int] | None = None, *, spelled: bool = False
    ) -> "_Number":
        shape = self._shape(x)
        axis %= len(shape)
        size = (*shape[:axis], len(index), *shape[axis + 1 :])
        picked = tuple(int(i) for i in index)
        return self._emit("take", [x], size, axis=axis, index=picked, part=part, spelled=(axis,) if spelled else ())

    def _op_slice(self, x, dim=0, start=None, end=None, step=1):  # type: ignore[no-untyped-def]
        size = self._shape(x)[dim]
        picked = range(size)[slice(start, end, step)]
        if len(picked) and step == 1 and size % len(picked) == 0 and picked[0] % len(picked) == 0:
            return self._take(x, dim, picked, (picked[0] // len(picked), size // len(picked)), spelled=True)
        return self._take(x, dim, picked)

    def _op_select(self, x, dim, index):  # type: ignore[no-untyped-def]
        size = self._shape(x)[dim]
        return self._emit("reshape", [self._take(x, dim, [index % size])])

    def _op_flip(self, x, dims):  # type: ignore[no-untyped-def]
        out = self._of(x)
        for dim in dims:
            out = self._take(out, dim, range(self.graph.shape(out)[dim])[::-1])
        return out

    def _op_roll(self, x, shifts, dims=()):  # type: ignore[no-untyped-def]
        if not dims:
            return None
        out = self._of(x)
        for shift, dim in zip(shifts, dims, strict=True):
            size = self.graph.shape(out)[dim]
            out = self._take(out, dim, [(i - shift) % size for i in range(size)])
        return out

    def _parts(self, x: Any, dim: int, sizes: list[int], *, adaptive: bool) -> None:
        """Pieces of a split; equal pieces shrink together. Sizes of a `split` may stand in the user's code."""
        number, name = self._of(x), self.node.name
        starts = np.cumsum([0, *sizes])
        even = len(set(sizes)) == 1
        self.pieces[name] = [
            lambda i=i: self._take(
                number,
                dim,
                range(int(starts[i]), int(starts[i + 1])),
                (i, len(sizes)) if even else None,
                spelled=not adaptive,
            )
            for i in range(len(sizes))
        ]

    def _op_chunk(self, x, chunks, dim=0):  # type: ignore[no-untyped-def]
        self._parts(x, dim, [int(v.shape[dim]) for v in self.node.meta["val"]], adaptive=True)

    def _op_split(self, x, size, dim=0):  # type: ignore[no-untyped-def]
        self._parts(x, dim, [int(v.shape[dim]) for v in self.node.meta["val"]], adaptive=False)

    _op_split_with_sizes = _op_split

    def _op_unbind(self, x, dim=0):  # type: ignore[no-untyped-def]
        number, shape = self._of(x), self._shape(x)
        dim %= len(shape)
        rest = tuple(n for d, n in enumerate(shape) if d != dim)
        self.pieces[self.node.name] = [
            lambda i=i: self._emit("reshape", [self._take(number, dim, [i])], rest) for i in range(shape[dim])
        ]

    def _op_cat(self, tensors, dim=0):  # type: ignore[no-untyped-def]
        return self._emit("cat", list(tensors), axis=dim % len(self._shape(tensors[0])))

    _op_concat = _op_cat

    def _op_stack(self, tensors, dim=0):  # type: ignore[no-untyped-def]
        shape = self._shape(tensors[0])
        dim %= len(shape) + 1
        wide = (*shape[:dim], 1, *shape[dim:])
        return self._emit("cat", [self._emit("reshape", [t], wide) for t in tensors], axis=dim)

    def _op_pad(self, x, widths, mode="constant", value=None):  # type: ignore[no-untyped-def]
        rank = len(self._shape(x))
        before, after = [0] * rank, [0] * rank
        for i in range(len(widths) // 2):
            before[rank - 1 - i], after[rank - 1 - i] = int(widths[2 * i]), int(widths[2 * i + 1])
        filler = float(value or 0.0) if mode == "constant" else None
        # Axis 1 may hold channels, and what is added there may come from an attribute of the module.
        spelled = (1,) if rank > 2 and before[1] + after[1] > 0 and filler is not None else ()
        return self._emit("pad", [x], before=tuple(before), after=tuple(after), value=filler, spelled=spelled)

    def _op_constant_pad_nd(self, x, widths, value=0):  # type: ignore[no-untyped-def]
        return self._op_pad(x, widths, "constant", value)

    def _op_expand(self, x, sizes, implicit=False):  # type: ignore[no-untyped-def]
        return self._emit("expand", [x])

    _op_expand_as = _op_expand

    # Over space, and reductions.

    def _pool(self, x: Any, rank: int, keeps: str = "any") -> "_Number":
        return self._emit("pool", [x], rank=rank, keeps=keeps)

    def _op_max_pool1d(self, x, *args, **kwargs):  # type: ignore[no-untyped-def]
        return self._pool(x, 1)

    def _op_max_pool2d(self, x, *args, **kwargs):  # type: ignore[no-untyped-def]
        return self._pool(x, 2)

    def _op_max_pool3d(self, x, *args, **kwargs):  # type: ignore[no-untyped-def]
        return self._pool(x, 3)

    def _avg(self, rank, x, kernel, stride=(), padding=0, ceil=False, count_pad=True, divisor=None):  # type: ignore[no-untyped-def]
        plain = divisor is None and (not any(_many(padding)) or not count_pad) and not ceil
        return self._pool(x, rank, "any" if plain else "zero")

    def _op_avg_pool1d(self, *args):  # type: ignore[no-untyped-def]
        return self._avg(1, *args)

    def _op_avg_pool2d(self, *args):  # type: ignore[no-untyped-def]
        return self._avg(2, *args)

    def _op_avg_pool3d(self, *args):  # type: ignore[no-untyped-def]
        return self._avg(3, *args)

    def _op_adaptive_avg_pool1d(self, x, size):  # type: ignore[no-untyped-def]
        return self._pool(x, 1)

    def _op_adaptive_avg_pool2d(self, x, size):  # type: ignore[no-untyped-def]
        return self._pool(x, 2)

    def _op_adaptive_avg_pool3d(self, x, size):  # type: ignore[no-untyped-def]
        return self._pool(x, 3)

    def _upsample(self, x, *args, **kwargs):  # type: ignore[no-untyped-def]
        return self._pool(x, len(self._shape(x)) - 2)

    _op_upsample_nearest1d = _op_upsample_nearest2d = _op_upsample_nearest3d = _upsample
    _op_upsample_linear1d = _op_upsample_bilinear2d = _op_upsample_trilinear3d = _upsample
    _op_upsample_bicubic2d = _op__upsample_bilinear2d_aa = _upsample

    def _reduce(self, fn: str, x: Any, axes: Any, keepdim: bool) -> "_Number":
        rank = len(self._shape(x))
        picked = tuple(range(rank)) if not axes and axes != 0 else tuple(a % rank for a in _many(axes))
        return self._emit("reduce", [x], fn=fn, axes=picked, keepdim=keepdim)

    def _op_mean(self, x, dim=None, keepdim=False, dtype=None):  # type: ignore[no-untyped-def]
        return self._reduce("mean", x, dim, keepdim)

    def _op_sum(self, x, dim=None, keepdim=False, dtype=None):  # type: ignore[no-untyped-def]
        return self._reduce("sum", x, dim, keepdim)

    def _op_var(self, x, dim=None, unbiased=True, keepdim=False, correction=None):  # type: ignore[no-untyped-def]
        return self._reduce("other", x, None if isinstance(dim, bool) else dim, keepdim)

    _op_std = _op_var

    def _op_linalg_vector_norm(self, x, ord=2, dim=None, keepdim=False, dtype=None):  # type: ignore[no-untyped-def]
        return self._reduce("other", x, dim, keepdim)

    _op_norm = _op_linalg_vector_norm

    def _only_first(self) -> bool:
        """Whether nobody uses more than the first of several outputs."""
        return all(user.target is operator.getitem and (user.args[1] == 0 or not user.users) for user in self.node.users)

    def _extreme(self, name, x, dim, keepdim):  # type: ignore[no-untyped-def]
        if isinstance(dim, torch.fx.Node):
            return self._emit("elementwise", [x, dim], fn=name)
        if dim is None:
            return self._reduce(name, x, None, False)
        if self._only_first():
            self.pieces[self.node.name] = [lambda: self._reduce(name, x, dim, keepdim)] * 2
        return None

    def _op_max(self, x, dim=None, keepdim=False):  # type: ignore[no-untyped-def]
        return self._extreme("max", x, dim, keepdim)

    def _op_min(self, x, dim=None, keepdim=False):  # type: ignore[no-untyped-def]
        return self._extreme("min", x, dim, keepdim)

    def _op_adaptive_max_pool2d(self, x, size):  # type: ignore[no-untyped-def]
        if self._only_first():
            self.pieces[self.node.name] = [lambda: self._pool(x, 2)] * 2

    def _op_adaptive_max_pool1d(self, x, size):  # type: ignore[no-untyped-def]
        if self._only_first():
            self.pieces[self.node.name] = [lambda: self._pool(x, 1)] * 2

    def _op_adaptive_max_pool3d(self, x, size):  # type: ignore[no-untyped-def]
        if self._only_first():
            self.pieces[self.node.name] = [lambda: self._pool(x, 3)] * 2

    def _op_amax(self, x, dim=(), keepdim=False):  # type: ignore[no-untyped-def]
        return self._reduce("max", x, dim, keepdim)

    def _op_amin(self, x, dim=(), keepdim=False):  # type: ignore[no-untyped-def]
        return self._reduce("min", x, dim, keepdim)

    def _op_softmax(self, x, dim, dtype=None):  # type: ignore[no-untyped-def]
        return self._emit("softmax", [x], axis=dim % len(self._shape(x)), sums=True)

    _op__softmax = _op_softmax

    def _op_log_softmax(self, x, dim, dtype=None):  # type: ignore[no-untyped-def]
        return self._emit("softmax", [x], axis=dim % len(self._shape(x)), sums=False)

    _op__log_softmax = _op_log_softmax

    # Products of two tensors, attention, recurrence, look-ups.

    def _op_matmul(self, a, b):  # type: ignore[no-untyped-def]
        weight = self.graph.values[self._of(b)]
        if len(weight.shape) == 2 and (weight.param or self._made_of_weights(self._of(b))):
            return self._emit("linear", [a, b, None], w_out=1, can_bias=False)
        if len(self._shape(a)) < 2 or len(weight.shape) < 2:
            return None
        return self._emit("matmul", [a, b])

    _op_mm = _op_bmm = _op_matmul

    def _made_of_weights(self, number: int) -> bool:
        """Whether a value is a parameter that was only moved around."""
        for node in reversed(self.graph.nodes):
            if number in node.outputs:
                moved = node.kind in ("permute", "reshape") and node.inputs[0] is not None
                return moved and self._made_of_weights(node.inputs[0])
        return bool(self.graph.values[number].param)

    def _op_addmm(self, bias, a, b, beta=1, alpha=1):  # type: ignore[no-untyped-def]
        if beta != 1 or alpha != 1 or len(self._shape(bias)) != 1 or not self._made_of_weights(self._of(b)):
            return None
        return self._emit("linear", [a, b, bias], w_out=1, can_bias=bool(self.graph.values[self._of(bias)].param))

    def _op_scaled_dot_product_attention(self, q, k, v, mask=None, dropout=0.0, causal=False, scale=None, enable_gqa=False):  # type: ignore[no-untyped-def]  # noqa: E501
        if enable_gqa or dropout or len({len(self._shape(t)) for t in (q, k, v)}) > 1:
            return None
        return self._emit("attention", [q, k, v, mask], scaled=scale is None)

    def _op_embedding(self, weight, index, *args):  # type: ignore[no-untyped-def]
        return self._emit("embedding", [weight, index])

    def _op_index(self, table, indices):  # type: ignore[no-untyped-def]
        """Rows of a table, as a learned bias per position looks them up; any other index is left to the report."""
        whole = indices[0] is not None and not any(i is not None for i in indices[1:])
        if not whole or len(self._shape(table)) != 2 or indices[0].meta["val"].dtype == torch.bool:
            return None
        return self._emit("embedding", [table, indices[0]])

    def _op_glu(self, x, dim=-1):  # type: ignore[no-untyped-def]
        shape = self._shape(x)
        dim %= len(shape)
        half = shape[dim] // 2
        size = (*shape[:dim], half, *shape[dim + 1 :])
        value = self._take(x, dim, range(half), (0, 2))
        gate = self._emit("elementwise", [self._take(x, dim, range(half, 2 * half), (1, 2))], size, fn="sigmoid")
        return self._emit("elementwise", [value, gate], size, fn="mul")

    def _op_pixel_shuffle(self, x, factor):  # type: ignore[no-untyped-def]
        return self._emit("pixel_shuffle", [x], factor=factor)

    def _op_pixel_unshuffle(self, x, factor):  # type: ignore[no-untyped-def]
        return self._emit("pixel_unshuffle", [x], factor=factor)

    def _op_channel_shuffle(self, x, groups):  # type: ignore[no-untyped-def]
        n, c, *rest = self._shape(x)
        wide = self._emit("reshape", [x], (n, groups, c // groups, *rest))
        order = (0, 2, 1, *range(3, len(rest) + 3))
        swapped = self._emit("permute", [wide], (n, c // groups, groups, *rest), order=order)
        return self._emit("reshape", [swapped])

    def _recurrent(self, cell, x, states, weights, has_bias, layers, dropout, train, both, batch_first):  # type: ignore[no-untyped-def]
        """One node per layer and direction; directions stand side by side."""
        directions = 2 if both else 1
        per = 4 if has_bias else 2
        if len(weights) != per * layers * directions:  # a projected LSTM
            return
        time = tuple(self._shape(x)[:-1])
        hidden = self._shape(states[0])[-1]
        at = self._of(x)
        stack = self.node.meta.get("nn_module_stack") or {}
        inner = list(stack.values())[-1][0] if stack else ""
        own = bool(inner) and isinstance(self.model.get_submodule(inner), nn.RNNBase)
        made_here = own and all(isinstance(s, torch.fx.Node) and "zeros" in str(s.target) for s in states)
        lasts: list[_Number] = []
        for layer in range(layers):
            sides = []
            for side in range(directions):
                k = per * (layer * directions + side)
                w = [*weights[k : k + per], *([None, None] if not has_bias else [])]
                first = [self._of(s) for s in states]
                sides.append(self._emit("recurrent", [at, *w, *first], (*time, hidden), cell=cell, own_state=made_here))
                lasts.append(sides[-1])
            at = sides[0] if not both else self._emit("cat", sides, (*time, 2 * hidden), axis=len(time))
        if len(lasts) > 1:
            self._emit("same_width", lasts, ())
        one = (1, *self._shape(states[0])[1:])

        def final() -> "_Number":
            parts = [self._emit("last_state", [number], one) for number in lasts]
            return parts[0] if len(parts) == 1 else self._emit("cat", parts, self._shape(states[0]), axis=0)

        self.pieces[self.node.name] = [lambda: at, *(final for _ in states)]

    def _op_gru(self, x, state, weights, *rest):  # type: ignore[no-untyped-def]
        if isinstance(weights, list | tuple):
            self._recurrent("gru", x, [state], weights, *rest)

    def _op_lstm(self, x, states, weights, *rest):  # type: ignore[no-untyped-def]
        if isinstance(weights, list | tuple) and isinstance(states, list | tuple):
            self._recurrent("lstm", x, states, weights, *rest)

    def _op_rnn_tanh(self, x, state, weights, *rest):  # type: ignore[no-untyped-def]
        if isinstance(weights, list | tuple):
            self._recurrent("rnn", x, [state], weights, *rest)

    _op_rnn_relu = _op_rnn_tanh


def _many(value: Any) -> tuple[Any, ...] | str:
    """A number or a list as a tuple; a string stays one."""
    if isinstance(value, str):
        return value
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def as_numpy(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """The tensor's numbers without a copy where numpy knows the type; bfloat16 becomes float32."""
    tensor = tensor.detach().cpu()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return tensor.numpy()


