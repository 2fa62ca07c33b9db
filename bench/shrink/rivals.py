# SPDX-License-Identifier: Apache-2.0
"""Sparse VGG-16 and ResNet-50: what DNNShifter's rule, torch-simplify and we make of the same weights.

    python -m bench.shrink.rivals [--folder build/bench/sparse] [--only vgg16_bn/256 ...]

Needs the levels of `bench.shrink.train_sparse` and the package of `bench.shrink.torch_simplify`. The case
"vgg16_bn/random" is one-shot magnitude to 99.61 % on untrained weights. Every variant is timed in turns with the
sparse model it came from, in processor time; batch norm is left as each tool leaves it, and folded once more where
it is left. ResNet-50 at 128 and 256 no longer depends on its input after so short a training (`--only
resnet50/128`): there is nothing to compare.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from bench.record import Run, keep, table
from bench.shrink.dnnshifter import contiguous, shrunk_resnet, shrunk_vgg
from bench.shrink.subjects import one_thread, parameters
from bench.shrink.torch_simplify import simplified
from bench.shrink.train_sparse import BATCH, FOLDER, LEVELS, SEED, first_of, fresh
from edgeshift.core.errors import Untraceable
from edgeshift.core.files import read_json, write_json
from edgeshift.data import DataSet, normalise, open_set
from edgeshift.formats import open_onnx
from edgeshift.formats.onnx_file import export_onnx
from edgeshift.graph import shrink
from edgeshift.graph.surgery import copy_module
from edgeshift.measure.latency import Answers, batch_of
from edgeshift.train.checkpoint import Folder
from edgeshift.train.cut import Cut

# Records by the cases they hold: a ResNet-50 takes longer than one may be alone on a shared machine.
VGG = ("vgg16_bn/random", "vgg16_bn/128", "vgg16_bn/256")
CASES = (
    *VGG,
    *("resnet50/32", "resnet50/64"),
)
SHAPE = (3, 32, 32)
RANDOM_SPARSITY = 0.9961  # of the published one-shot comparison
COMPARED = 128  # images whose outputs are compared
REPEATS = (20, 5)  # at batch 1 and 64
COLUMNS = (
    *("case", "variant", "parameters", "smaller", "difference", "agreement", "contiguous"),
    *(
        "torch_1_ms",
        "torch_1",
        "torch_64_ms",
        "torch_64",
        "ort_1_ms",
        "ort_1",
        "ort_64_ms",
        "ort_64",
        "error",
    ),
)


@dataclass(frozen=True)
class Torch:
    """A module as something that answers, like a `Session`."""

    model: nn.Module
    threads: int = 1
    runtime: str = f"torch {torch.__version__}"

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """One call."""
        with torch.inference_mode():
            answer: NDArray[np.float32] = self.model(torch.from_numpy(inputs)).numpy()
        return answer


def sparse(case: str, folder: Path) -> nn.Module:
    """The sparse model of a case, in evaluation mode."""
    name, _, level = case.partition("/")
    if level == "random":
        return random_sparse(name)
    model = fresh(name)
    index = [round(1 / kept) for kept in LEVELS].index(int(level))
    found = Folder(folder / name).read_level(index, LEVELS[index])
    if found is None:
        raise FileNotFoundError(
            f"{folder / name} must hold level {index}; run bench.shrink.train_sparse {name}"
        )
    model.load_state_dict(dict(found.state))
    return measured_(model)


def random_sparse(name: str) -> nn.Module:
    """Untrained weights, statistics of 12 batches, then one global cut by magnitude."""
    model = measured_(fresh(name))
    with torch.no_grad():
        cut = Cut("magnitude", "unstructured", exclude=("fc.weight",))
        named = dict(model.named_parameters())
        for key, mask in cut.masks(model, 1 - RANDOM_SPARSITY, ()).items():
            named[key].masked_fill_(~mask, 0.0)
    return model.eval()


@cache
def cifar() -> DataSet:
    """CIFAR-10, unpacked once."""
    return open_set("cifar10")


def measured_(model: nn.Module) -> nn.Module:
    """Norm statistics measured anew over 12 batches, in place; in evaluation mode.

    A short training leaves statistics half-way to their start, under which a deep network's output hardly depends
    on its input, so that an error could hide.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
            module.reset_running_stats()
    model.train()
    with torch.no_grad():
        for batch in images("train", 12 * BATCH).split(BATCH):
            model(batch)
    return model.eval()


def images(which: str, count: int) -> Tensor:
    """The first images of a CIFAR-10 split, normalised."""
    data = cifar()
    return torch.from_numpy(normalise(first_of(data.split(which), count).images, data.mean, data.std))


def folded(model: nn.Module, example: Tensor) -> nn.Module:
    """A copy whose batch norms are folded into the convolutions before them."""
    copied = copy_module(model)
    made: dict[int, str] = {}
    kept: list[Tensor] = []
    pairs: list[tuple[str, str]] = []

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def after(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.Conv2d):
                made[id(output)] = name
                kept.append(output)  # so that no other tensor gets its id
            elif id(arguments[0]) in made:
                pairs.append((made[id(arguments[0])], name))

        return after

    kinds = (nn.Conv2d, nn.BatchNorm2d)
    handles = [m.register_forward_hook(note(n)) for n, m in copied.named_modules() if isinstance(m, kinds)]
    with torch.no_grad():
        copied(example)
    for handle in handles:
        handle.remove()
    for conv, norm in pairs:
        both = fuse_conv_bn_eval(copied.get_submodule(conv), copied.get_submodule(norm))
        set_(copied, conv, both)
        set_(copied, norm, nn.Identity())
    return copied.eval()


def set_(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in another's place."""
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, module)


def variants(case: str, model: nn.Module) -> dict[str, nn.Module | str]:
    """What is compared; a text where a tool fails. The sparse model comes first."""
    example = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(SEED))
    rule = shrunk_vgg if case.startswith("vgg") else shrunk_resnet
    found: dict[str, nn.Module | str] = {}
    makers: dict[str, Callable[[], nn.Module]] = {
        "sparse": lambda: model,
        "sparse, folded": lambda: folded(model, example),
        "dnnshifter": lambda: rule(model),
        "dnnshifter, contiguous": lambda: contiguous(rule(model)),
        "torch-simplify": lambda: simplified(model, SHAPE),
        "ours": lambda: shrink(model, example).model,
        "ours, multiples of 4": lambda: shrink(model, example, multiple=4).model,
        "ours, folded": lambda: folded(found["ours"], example),  # type: ignore[arg-type]  # ours never fails
    }
    for name, make in makers.items():
        try:
            made = make()
            with torch.no_grad():
                made(example)
            found[name] = made
        except Exception as error:  # a rival's own failure is a result
            if name.startswith(("sparse", "ours")):
                raise
            found[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    return found


def outputs(model: nn.Module, pixels: Tensor) -> Tensor:
    """Logits of many images."""
    with torch.no_grad():
        return torch.cat([model(batch) for batch in pixels.split(64)])


def rows_of(case: str, folder: Path) -> list[dict[str, Any]]:
    """All variants of one case."""
    model = sparse(case, folder)
    zeros = sum(int((p == 0).sum()) for p in model.parameters() if p.dim() > 1)
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    pixels = images("validation", COMPARED)
    whole = outputs(model, pixels)
    rows: list[dict[str, Any]] = []
    answers: list[tuple[dict[str, Any], str, Answers]] = []
    for name, made in variants(case, model).items():
        row: dict[str, Any] = {"case": case, "variant": name, "sparsity": zeros / weights}
        rows.append(row)
        if isinstance(made, str):
            row["error"] = made
            continue
        got = outputs(made, pixels)
        row |= {
            "parameters": parameters(made),
            "smaller": parameters(model) / parameters(made),
            "difference": float((got - whole).abs().max()),
            "largest_output": float(whole.abs().max()),
            "largest_change": float((whole - whole[0]).abs().max()),
            "agreement": float((got.argmax(1) == whole.argmax(1)).float().mean()),
            "contiguous": all(p.is_contiguous() for p in made.parameters()),
        }
        answers.append((row, "torch", Torch(made)))
        try:
            answers.append((row, "ort", open_onnx(export_onnx(made, pixels[:2].contiguous()).data)))
        except Untraceable as error:
            if name.startswith(("sparse", "ours")):
                raise
            row["onnx_error"] = str(error)[:160]
    for batch, repeats in ((1, REPEATS[0]), (64, REPEATS[1])):
        inputs = batch_of(pixels.numpy(), batch)
        for runtime in ("torch", "ort"):
            here = [(row, answer) for row, kind, answer in answers if kind == runtime]
            time_(rows[0], here, f"{runtime}_{batch}", inputs, repeats)
    return rows


def time_(
    first: dict[str, Any],
    answers: Sequence[tuple[dict[str, Any], Answers]],
    key: str,
    inputs: NDArray[np.float32],
    repeats: int,
) -> None:
    """Add milliseconds of processor time, spread and the sparse model's time over the variant's to every row.

    Processor time, as one thread runs and the machine is shared; every variant runs once per round, the first
    round does not count.
    """
    times: list[list[float]] = [[] for _ in answers]
    for turn in range(repeats + 1):
        for (_, answer), seen in zip(answers, times, strict=True):
            answer.run(inputs)  # refills the caches that the others used
            start = time.process_time_ns()
            answer.run(inputs)
            if turn:
                seen.append((time.process_time_ns() - start) * 1e-6)
    for (row, _), seen in zip(answers, times, strict=True):
        low, median, high = np.percentile(seen, (25, 50, 75))
        row |= {f"{key}_ms": float(median), f"{key}_spread": float((high - low) / median)}
    for row, _ in answers:
        row[key] = first[f"{key}_ms"] / row[f"{key}_ms"]


def findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the rows say, in sentences."""
    found = [
        "The trainings are short (16 batches of 32 a level, accuracy near chance), so these checkpoints say nothing "
        "about accuracy; norm statistics are measured anew on loading. The untrained VGG-16 does not depend on its "
        "input: parameters and exactness count there, speed does not."
    ]
    speeds = ("torch_1", "torch_64", "ort_1", "ort_64")
    for case in dict.fromkeys(r["case"] for r in rows):
        named = {r["variant"]: r for r in rows if r["case"] == case}
        for name, row in named.items():
            if name.startswith("sparse"):
                continue
            if "error" in row:
                found.append(f"{case}, {name}: {row['error']}")
                continue
            found.append(
                f"{case}, {name}: {row['parameters']:,} of {named['sparse']['parameters']:,} parameters, largest "
                f"difference {row['difference']:.2g} of {row['largest_output']:.3g} (inputs move the outputs by "
                f"{row['largest_change']:.2g}); sparse model's time / its: "
                + ", ".join(f"{key} {row[key]:.2f}" for key in speeds if key in row)
                + f"; all weights contiguous: {row['contiguous']}."
            )
    for name in ("ours", "ours, multiples of 4", "ours, folded"):
        own = [(r[key], r["case"], key) for r in rows if r["variant"] == name for key in speeds]
        slowest, case, key = min(own)
        found.append(f"{name}: at its slowest {slowest:.2f} times the sparse model's speed ({case}, {key}).")
    return found


def main() -> None:
    """Measure, print and keep."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=FOLDER)
    options.add_argument("--only", nargs="+", default=list(CASES))
    chosen = options.parse_args()
    one_thread()
    rows: list[dict[str, Any]] = []
    for case in chosen.only:
        kept = chosen.folder / "rivals" / f"{case.replace('/', '-')}.json"
        if not kept.is_file():  # a run that was stopped goes on with the next case
            write_json(kept, rows_of(case, chosen.folder))
        rows += read_json(kept)
        print(table([r for r in rows if r["case"] == case], COLUMNS), flush=True)
    print(*findings(rows), sep="\n")
    name = {frozenset(CASES): "shrink_rivals", frozenset(VGG): "shrink_rivals_vgg"}.get(
        frozenset(chosen.only)
    )
    if name is not None:
        says = "Sparse checkpoints shrunk by DNNShifter's rule, torch-simplify 1.1.4 and edgeshift.shrink."
        repeats = f"medians of {REPEATS} processor times at batch 1 and 64, all variants of a case in turns"
        spread = "interquartile range / median, see *_spread"
        keep(Run(name, says, seeds=(SEED,), repeats=repeats, spread=spread), rows, findings(rows))


if __name__ == "__main__":
    main()
