# SPDX-License-Identifier: Apache-2.0
"""From a PyTorch model to a list of ATen calls, by running its forward once: thirty times quicker than torch.export.

In inference mode every call arrives as the operator that the user's code named, such as `aten.conv2d`, which is the
form that torch.export gives too. What a single run cannot tell is refused with the reason, and torch.export is asked
instead: numbers that leave the tensors, as in `if x.sum() > 0`, sizes that depend on numbers, tensors from nowhere,
and writing into a tensor that another one looks into. No number can matter then, so most operators are not computed:
their results are zeros of the right size.
"""

import operator
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from edgeshift.graph.fronts.skip import SKIPPED
from edgeshift.graph.modules import named_modules, parameters_then_buffers

# Methods through which numbers or memory leave a tensor without an operator.
ESCAPES = {
    "__array__", "__copy__", "__deepcopy__", "__dlpack__", "__reduce_ex__", "_make_subclass", "apply_", "data_ptr",
    "map_", "numpy", "set_", "share_memory_", "storage", "tolist", "untyped_storage",
}  # fmt: skip
# `x.data` is a tensor made without an operator; all accessors share the name `__get__`.
DATA = (Tensor.data.__get__, Tensor.data.__set__)  # type: ignore[attr-defined]  # a getset_descriptor
# Sizes of the results depend on numbers, though torch does not tag them so.
SIZED_BY_NUMBERS = {"aten::_pack_padded_sequence", "aten::_pad_packed_sequence"}
INDEXED = {"aten::index", "aten::index_put"}
SAME = {"aten::lift_fresh", "aten::detach_"}  # the tensor itself comes back
MASKS = (torch.bool, torch.uint8)


class Refused(Exception):
    """Why one run does not tell what the model computes."""


class Look(NamedTuple):
    """Size and type of a tensor, without its numbers."""

    shape: torch.Size
    dtype: torch.dtype


class Step:
    """One call, with the attributes that the walker reads off a `torch.fx.Node`.

    Attributes:
        name: Unlike any other step's.
        op: "placeholder" or "call_function".
        target: The operator.
        args: Its arguments, steps for tensors.
        kwargs: Its named arguments.
        meta: `{"val": Look or a list of them}`.
        module: Dotted name of the module that ran it, empty at the top.
        line: "file.py:12" in the user's own code.
        users: The steps that take it.
        all_input_nodes: The steps it takes.
        tensor: The numbers of a parameter, buffer or literal.
    """

    __slots__ = (
        "all_input_nodes",
        "args",
        "kwargs",
        "line",
        "meta",
        "module",
        "name",
        "op",
        "target",
        "tensor",
        "users",
    )

    def __init__(self, name: str, target: Any, args: Any = (), kwargs: Any = None) -> None:
        self.name, self.op, self.target, self.args, self.kwargs = (
            name,
            "call_function",
            target,
            args,
            kwargs or {},
        )
        self.meta: dict[str, Any] = {}
        self.module = self.line = ""
        self.users: list[Step] = []
        self.all_input_nodes: list[Step] = []
        self.tensor: Tensor | None = None


class Recording(NamedTuple):
    """What one run of a forward called.

    Attributes:
        steps: Parameters and buffers, inputs, then calls in order.
        outputs: The steps of the output tensors.
    """

    steps: list[Step]
    outputs: list[Step]


def record(model: nn.Module, example: tuple[Any, ...], *, compute: bool = False) -> Recording:
    """Run a model once and note every operator.

    Args:
        model: In evaluation mode; its attributes are as before afterwards.
        example: Its positional arguments. Not changed.
        compute: Compute every operator, also those whose results' sizes say all.

    Raises:
        Refused: If one run does not tell what the model computes; says why.
    """
    modules = [m for _, m in named_modules(model)]
    if any(issubclass(kind, torch.jit.ScriptModule) for kind in set(map(type, modules))):
        raise Refused("a scripted module")
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        inputs = tree_map_only(Tensor, torch.clone, example)
        book = Book(model, [x for x in tree_leaves(inputs) if isinstance(x, Tensor)], compute=compute)
        with untouched(modules), book.modules(), Escapes(book), book:
            result = model(*inputs)
        if book.refusal:  # the user's code may have caught the exception
            raise Refused(book.refusal)
        outputs = [book.step_of(x) for x in tree_leaves(result) if isinstance(x, Tensor)]
    _note_users(book.steps, outputs)
    return Recording(book.steps, outputs)


def _note_users(steps: list[Step], outputs: list[Step]) -> None:
    """Tell every step who takes it; the network's result counts."""
    for step in steps:
        for source in step.all_input_nodes:
            source.users.append(step)
    for step in outputs:
        step.users.append(Step("output", "output"))


@contextmanager
def untouched(modules: list[nn.Module]) -> Iterator[None]:
    """Attributes that a forward sets are as before afterwards: what it keeps here could never be trained."""
    before = [(m, dict(vars(m))) for m in modules]
    try:
        yield
    finally:
        for module, held in before:
            now = vars(module)
            if now.keys() != held.keys() or not all(map(operator.is_, now.values(), held.values())):
                now.clear()
                now.update(held)


class Book(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own subclass hook
    """Notes every operator that is called while it is active."""

    def __init__(self, model: nn.Module, inputs: list[Tensor], *, compute: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.compute = compute
        self.steps: list[Step] = []
        self.known: dict[int, tuple[weakref.ref[Tensor], Step]] = {}
        self.storages: dict[int, list[weakref.ref[Tensor]]] | None = None  # until something is written to
        self.refusal = ""
        self.noting = False  # the book itself looks at memory
        named = named_modules(model, again=True)
        self.names = {id(m): n for n, m in reversed(named)}
        self.running: list[str] = []
        self.given: set[int] = set()
        self.literals = {id(t): t for _, m in named for t in vars(m).values() if isinstance(t, Tensor)}
        self.users_file: dict[str, str] = {}
        for name, tensor in parameters_then_buffers(named):
            if id(tensor) not in self.given:
                self.give(name, tensor).tensor = tensor
        for number, tensor in enumerate(inputs):
            self.give(f"input_{number}", tensor)

    def give(self, name: str, tensor: Tensor) -> Step:
        """A tensor that is there before the run."""
        step = Step(name, name)
        step.op = "placeholder"
        step.meta["val"] = Look(tensor.shape, tensor.dtype)
        self.steps.append(step)
        self.given.add(id(tensor))
        self.know(tensor, step)
        return step

    def know(self, tensor: Tensor, step: Step) -> None:
        """From here on the tensor is what this step made."""
        self.known[id(tensor)] = (weakref.ref(tensor), step)
        if self.storages is not None:
            self.storages.setdefault(tensor.untyped_storage()._cdata, []).append(self.known[id(tensor)][0])

    def in_memory_of(self, tensor: Tensor) -> list[Tensor]:
        """The known tensors that look into the memory of this one."""
        if self.storages is None:
            self.storages = {}
            for reference, _ in self.known.values():
                known = reference()
                if known is not None:
                    self.storages.setdefault(known.untyped_storage()._cdata, []).append(reference)
        held = [r() for r in self.storages.get(tensor.untyped_storage()._cdata, ())]
        return [t for t in held if t is not None]

    def refuse(self, why: str) -> Refused:
        """To be raised."""
        self.refusal = self.refusal or why
        return Refused(why)

    def step_of(self, tensor: Tensor) -> Step:
        """Who made a tensor."""
        entry = self.known.get(id(tensor))
        if entry is not None and entry[0]() is tensor:
            return entry[1]
        if id(tensor) in self.literals and self.literals[id(tensor)] is tensor:
            return self.literal(tensor)
        raise self.refuse("a tensor that no recorded operator made")

    def literal(self, tensor: Tensor) -> Step:
        """A tensor that stands in the user's code."""
        step = self.give(f"literal_{len(self.steps)}", tensor)
        step.tensor = tensor
        return step

    @contextmanager
    def modules(self) -> Iterator[None]:
        """Know which module runs."""

        def enter(module: nn.Module, args: Any) -> None:
            self.running.append(self.names.get(id(module), self.running[-1] if self.running else ""))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self.running.pop()

        handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator and note it."""
        kwargs = kwargs or {}
        self.noting = True
        try:
            return self.note(func, func._schema.name, args, kwargs)
        finally:
            self.noting = False

    def note(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the operator and note it."""
        if name == "aten::lift_fresh":
            self.literal(args[0])
        if name in SAME:
            return func(*args, **kwargs)
        written = self.check(func, name, args)
        inputs: list[Step] = []
        step = Step(f"{func.__name__}_{len(self.steps)}", func, self.taken(args, inputs))
        step.kwargs = {key: self.taken(value, inputs) for key, value in kwargs.items()} if kwargs else kwargs
        step.all_input_nodes = list(dict.fromkeys(inputs))
        skip = None if self.compute or kwargs else SKIPPED.get(func)
        result = skip(*args) if skip is not None else None
        if result is None:
            result = func(*args, **kwargs)
        self.steps.append(step)
        step.module = self.running[-1] if self.running else ""
        step.line = self.user_line(sys._getframe(2))
        if isinstance(result, Tensor):
            step.meta["val"] = Look(result.shape, result.dtype)
            self.know(result, step)
        elif isinstance(result, tuple | list) and all(isinstance(r, Tensor) for r in result):
            step.meta["val"] = [Look(r.shape, r.dtype) for r in result]
            for number, piece in enumerate(result):
                self.piece(step, number, piece)
        else:
            raise self.refuse(f"{name} makes something that is no tensor")
        if written is not None:
            self.know(written, step)
        return result

    def piece(self, whole: Step, number: int, tensor: Tensor) -> None:
        """One of several results."""
        step = Step(f"piece_{len(self.steps)}", operator.getitem, (whole, number))
        step.all_input_nodes, step.module, step.line = [whole], whole.module, whole.line
        step.meta["val"] = Look(tensor.shape, tensor.dtype)
        self.steps.append(step)
        self.know(tensor, step)

    def taken(self, value: Any, inputs: list[Step]) -> Any:
        """Arguments with steps for tensors; the steps are added to `inputs`."""
        if isinstance(value, Tensor):
            inputs.append(self.step_of(value))
            return inputs[-1]
        if isinstance(value, tuple | list):
            return type(value)([self.taken(v, inputs) for v in value]) if value else value
        return value

    def check(self, func: Any, name: str, args: tuple[Any, ...]) -> Tensor | None:
        """Refuse what one run cannot tell; the tensor that is written to, if any."""
        tags = func.tags
        if name in INDEXED:
            if any(isinstance(i, Tensor) and i.dtype in MASKS for i in args[1]):
                raise self.refuse(f"{name} by a mask")
        elif name in SIZED_BY_NUMBERS or torch.Tag.dynamic_output_shape in tags:
            raise self.refuse(f"{name} makes sizes of numbers")
        if torch.Tag.data_dependent_output in tags:
            raise self.refuse(f"{name} takes a number out of a tensor")
        if not func._schema.is_mutable:
            return None
        target = args[0] if args else None
        plain = func.__name__.partition(".")[0].endswith("_") and isinstance(target, Tensor)
        if not plain or id(target) in self.given:
            raise self.refuse(f"{name} writes into what it was given")
        assert isinstance(target, Tensor)
        if any(t is not target for t in self.in_memory_of(target)):
            raise self.refuse(f"{name} writes into a tensor that another one looks into")
        return target

    def user_line(self, frame: FrameType | None) -> str:
        """The innermost "file.py:12" of user code that is running."""
        while frame is not None:
            file = frame.f_code.co_filename
            short = self.users_file.get(file)
            if short is None:
                foreign = "/torch/" in file or file.startswith("<") or file == __file__
                short = self.users_file[file] = "" if foreign else file.rpartition("/")[2]
            if frame.f_code is record.__code__:
                return ""  # the call of the model itself
            if short:
                return f"{short}:{frame.f_lineno}"
            frame = frame.f_back
        return ""


class Escapes(TorchFunctionMode):
    """Refuses the methods through which numbers leave a tensor unseen."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the function unless it is one of those."""
        if not self.book.noting and (getattr(func, "__name__", "") in ESCAPES or func in DATA):
            raise self.book.refuse(f"{getattr(func, '__name__', '')} on a tensor")
        return func(*args, **kwargs) if kwargs else func(*args)
