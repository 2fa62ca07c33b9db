# SPDX-License-Identifier: Apache-2.0
"""All trainings behind the figures, beside one another on one GPU and within a time limit; what was stopped goes on.

    EDGESHIFT_DATA=... python -m bench.train.together --out build/together --seconds 3600 --workers 12
    python -m bench.train.together --out build/together --pack build/packed      # what is finished, without dense VGGs

One process each: small networks on small images keep a GPU busy a quarter of the time, so a dozen share it. The order
of `JOBS` is the order in which they are begun. Every finished level lies in the job's folder as `run_levels` leaves it,
with its accuracy on the test split beside it; `bench.train.figures` turns them into portfolios, latencies and records.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.train.torch_pruned import torch_pruned
from edgeshift.core.files import write_json
from edgeshift.core.progress import Silent
from edgeshift.data import Split, open_set
from edgeshift.graph import channel_groups, shrink
from edgeshift.models import build as build_model
from edgeshift.models import example, load_weights, pretrained, resolve
from edgeshift.train import METHODS, Level, Task, Training, run_levels
from edgeshift.train.accuracy import batches_of, top1
from edgeshift.train.channels import Prices, is_stream, row_masks
from edgeshift.train.macs import counted
from edgeshift.train.methods.all_in_one import first_scores, widths_within
from edgeshift.train.methods.scratch import redraw_

# Levels of networks above this size are not packed when they are dense.
LARGE = 10_000_000
# VGG-16 after one pass of pruning, trained: what a CPU can train further.
FIRST_PASS = "bench.train.opened:vgg16_first_pass"
# ResNet-56 at half its multiply-accumulates, trained, for a second pass.
HALF = "bench.train.opened:resnet56_half"
# That, at a quarter and trained, to be trained further.
QUARTER = "bench.train.opened:resnet56_quarter"
RATIOS = (0.8, 0.65, 0.5, 0.4, 0.3, 0.22)
# One weight set for both questions: 8 ratios, and down to 0.3.
EIGHT = (0.92, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3)
# Nine sizes with the whole, none below half.
NEAR = (0.96, 0.92, 0.86, 0.8, 0.74, 0.7, 0.6, 0.5)
# Of VGG-16 after one pass, from nearly all of it down to where it has a quarter left.
WIDE = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.22)
# Of a network that is small already.
CLOSE = (0.92, 0.85, 0.78, 0.7, 0.62, 0.55, 0.48, 0.4)


Scaling = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class JobOf:
    """One training.

    Attributes:
        name: Of its folder.
        model: Zoo or pretrained name.
        method: Of `edgeshift.train`, "torch_pruning", "alone", or "on": as it is, taught by its option `teacher`.
        levels: Kept shares; for "torch_pruning" and "alone" the one to cut to.
        options: Of the method.
        train: Fields of `Training`; epochs are scaled by `--scale`.
        seed: Of weights and training.
    """

    name: str
    model: str
    method: str
    levels: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    seed: int = 0


VGG = {"batch_size": 256, "lr": 0.1, "weight_decay": 5e-4, "augment": "crop_flip", "warmup_epochs": 2.0}
TUNE = {
    "first_epochs": 0,
    "batch_size": 256,
    "lr": 0.05,
    "weight_decay": 1e-4,
    "augment": "crop_flip",
    "warmup_epochs": 1.0,
    "distil": 0.5,
}
# Where there is time for few epochs only: more steps in each.
SHORT = {"batch_size": 64, "lr": 0.025}
# What all_in_one and each ratio trained alone have in common.
FAIR = {**TUNE, "epochs": 40, "first_epochs": 40}
# The loss of one weight set is a sum over its ratios, so that its gradients are as much larger.
SHARED_LR = 0.02
# Both in few epochs, the rates by the linear rule; no teacher, whose passes cost as much as a small ratio's.
FAIR_SHORT = {**FAIR, "batch_size": 64, "lr": 0.0125, "warmup_epochs": 0.2, "distil": 0.0}


def soft(steps: int, **options: Any) -> dict[str, Any]:
    """Options of soft_masking for a level of that many steps; the paper's decay of 2e-4 is for 450,000."""
    return {"momentum": 0.99, "warmup": 0.02, "ramp": 0.5, "decay": min(0.02, 90 / steps), **options}


# For residual networks that are trained already: what kept most in two epochs, see docs/guides/training.md.
AT_ONCE = {
    "multiple": 4,
    "momentum": 0.99,
    "warmup": 0.01,
    "ramp": 0.06,
    "criterion": "magnitude",
    "survival": True,
    "permanent": True,
}


def jobs(table: str) -> list[JobOf]:
    """All of them, the most wanted first.

    Args:
        table: Layer costs of vgg16_bn, of `bench.train.priced`, for soft_masking.
    """
    vgg = {**VGG, "epochs": 20, "first_epochs": 40, "lr": 0.05, "first_lr": 0.1, "distil": 0.3}
    small = soft(20 * 176, multiple=16, table=table, least=0.02)
    found = [
        JobOf("vgg-soft-0", "vgg16_bn", "soft_masking", (1.0, 0.45, 0.28, 0.18), small, vgg),
        *(
            JobOf(
                f"r56-soft-{s}",
                "cifar10_resnet56",
                "soft_masking",
                (1.0, s),
                AT_ONCE,
                tune,
            )
            for s, tune in ((0.5, {**TUNE, "epochs": 40}), (0.25, {**TUNE, "epochs": 40}))
        ),
        JobOf(
            "r56-ranked-0",
            "cifar10_resnet56",
            "soft_masking",
            (1.0, 0.25),
            {**AT_ONCE, "multiple": 2, "ramp": 0.04, "survival": False, "relative": True},
            {**TUNE, **SHORT, "epochs": 40, "distil_views": 6},
        ),
        JobOf(
            "r56-again-0",
            HALF,
            "soft_masking",
            (1.0, 0.5),
            AT_ONCE,
            {**TUNE, **SHORT, "epochs": 40},
        ),
        JobOf(
            "r56-on-0",
            QUARTER,
            "on",
            (1.0,),
            {"teacher": "cifar10_resnet56"},
            {**TUNE, "batch_size": 64, "lr": 0.02, "epochs": 40, "first_epochs": 40, "distil_views": 4},
        ),
        *(
            JobOf(f"r56-tp-{s}", "cifar10_resnet56", "torch_pruning", (s,), {}, {**TUNE, "epochs": 40})
            for s in (0.5, 0.25)
        ),
        JobOf(
            "r20-aio-0",
            "cifar10_resnet20",
            "all_in_one",
            (1.0, *RATIOS[:5]),
            {"ratios": RATIOS[:5], "multiple": 4, "middle": 4, "settle": 0.1},
            {**FAIR, "lr": SHARED_LR},
        ),
        *(r20("r20-soft", "soft_masking", seed) for seed in range(3)),
        *(r20("r20-tp", "torch_pruning", seed) for seed in range(3)),
        *(JobOf(f"r20-alone-{r}", "cifar10_resnet20", "alone", (r,), {}, FAIR) for r in (1.0, *RATIOS[:5])),
        *(
            JobOf(
                f"r20-{name}-aio-0",
                "cifar10_resnet20",
                "all_in_one",
                (1.0, *ratios),
                {"ratios": ratios, "multiple": 2, "middle": middle, "settle": 0.1, "own_rate": 2.5},
                {**FAIR_SHORT, "lr": SHARED_LR / 4},
            )
            for name, ratios, middle in (("eight", EIGHT, 3), ("near", NEAR, 2))
        ),
        *(
            JobOf(f"r20-eight-alone-{r}", "cifar10_resnet20", "alone", (r,), {"multiple": 2}, FAIR_SHORT)
            for r in (0.3, 1.0, 0.5, 0.8, 0.4, 0.6, 0.35, 0.7, 0.92, 0.86, 0.74, 0.96)
        ),
        JobOf(
            "r8-aio-0",
            "cifar10_mlperftiny_resnet8",
            "all_in_one",
            (1.0, *CLOSE),
            {"ratios": CLOSE, "multiple": 2, "middle": 4, "settle": 0.1},
            {**FAIR, "lr": SHARED_LR},
        ),
        *(
            JobOf(f"r8-alone-{r}", "cifar10_mlperftiny_resnet8", "alone", (r,), {"multiple": 2}, FAIR)
            for r in (1.0, *CLOSE)
        ),
        JobOf(
            "vgg-imp-0", "vgg16_bn", "iterative_magnitude", (1.0, 0.2, 0.05, 0.01), {"rewind_steps": 352}, vgg
        ),
        JobOf(
            "r20-slim-0",
            "cifar10_resnet20",
            "network_slimming",
            (1.0, *RATIOS[:5]),
            {"l1": 3e-4, "cost": "macs"},
            {**TUNE, "epochs": 20, "first_epochs": 20},
        ),
        *(
            JobOf(f"vgg-soft-{s}", "vgg16_bn", "soft_masking", (1.0, 0.45, 0.28, 0.18), small, vgg, s)
            for s in (1, 2)
        ),
        JobOf(
            "vgg-aio-0",
            "vgg16_bn",
            "all_in_one",
            (1.0, *RATIOS[1:6]),
            {"ratios": RATIOS[1:6], "multiple": 16, "middle": 2},
            {**VGG, "epochs": 30, "first_epochs": 30},
        ),
        *(
            JobOf(f"vgg-alone-{r}", "vgg16_bn", "alone", (r,), {"multiple": 16}, {**VGG, "epochs": 30})
            for r in (1.0, *RATIOS[1:6])
        ),
        JobOf(
            "vggfirst-aio-0",
            FIRST_PASS,
            "all_in_one",
            (1.0, *WIDE),
            {"ratios": WIDE, "multiple": 16, "middle": 4, "settle": 0.1, "own_rate": 2.5},
            {**FAIR_SHORT, "lr": SHARED_LR / 4},
        ),
        *(
            JobOf(f"vggfirst-alone-{r}", FIRST_PASS, "alone", (r,), {"multiple": 16}, FAIR_SHORT)
            for r in (0.22, 0.3, 0.4, 1.0, 0.5, 0.6, 0.7, 0.8, 0.9)
        ),
        JobOf(
            "vggfirst-slim-0",
            FIRST_PASS,
            "network_slimming",
            (1.0, 0.3),
            {"l1": 3e-4, "cost": "macs"},
            {**FAIR_SHORT, "first_epochs": 13},
        ),
    ]
    return found


def r20(name: str, method: str, seed: int) -> JobOf:
    """ResNet-20 at half the multiply-accumulates."""
    if method == "torch_pruning":
        return JobOf(f"{name}-{seed}", "cifar10_resnet20", method, (0.5,), {}, {**TUNE, "epochs": 40}, seed)
    return JobOf(
        f"{name}-{seed}", "cifar10_resnet20", method, (1.0, 0.5), AT_ONCE, {**TUNE, "epochs": 40}, seed
    )


def began(job: JobOf) -> tuple[nn.Module, Any]:
    """The model that a job starts from, with the scaling of its inputs."""
    data = open_set("cifar10")
    ref = resolve(job.model, classes=10, input_shape=(3, 32, 32))
    model = build_model(ref, seed=job.seed)
    if ref.name in pretrained():
        load_weights(model, ref.name)
    scaling = (ref.mean, ref.std) if ref.mean else (tuple(data.mean), tuple(data.std))
    return model.eval(), (ref, *scaling)


class Rescaled(nn.Module):
    """A network behind a change of scale."""

    def __init__(self, network: nn.Module, own: Scaling, given: Scaling) -> None:
        """Scalings are mean and standard deviation per colour: the network's, and that of the inputs."""
        super().__init__()
        (mean, std), (given_mean, given_std) = (torch.tensor(s)[:, :, None, None] for s in (own, given))
        self.register_buffer("scale", given_std / std)
        self.register_buffer("shift", (given_mean - mean) / std)
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of inputs `(n, C, H, W)`."""
        outputs: torch.Tensor = self.network(x * self.scale + self.shift)
        return outputs


def trained_alike(name: str, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """A pretrained network that takes inputs scaled with that mean and standard deviation per colour."""
    ref = resolve(name, classes=10, input_shape=(3, 32, 32))
    network = build_model(ref)
    load_weights(network, name)
    return Rescaled(network, (ref.mean, ref.std), (tuple(mean), tuple(std))).eval()


def is_trained(job: JobOf) -> bool:
    """Whether a job's model comes with trained weights."""
    return job.model in (FIRST_PASS, HALF, QUARTER) or job.model in pretrained()


def narrowed(
    model: nn.Module, sample: torch.Tensor, ratio: float, multiple: int, seed: int | None
) -> nn.Module:
    """The network with the widths that all_in_one gives to a ratio, and the channels that it begins with.

    Args:
        model: Not changed.
        sample: Inputs of the network.
        ratio: Of its multiply-accumulates.
        multiple: Of widths.
        seed: Weights are drawn anew with it; None = what is left of the model's stays.
    """
    groups = channel_groups(model, sample)
    prices = Prices(counted(model, sample[:1], groups))
    free = tuple(g for g in groups if not is_stream(g, prices.macs.shapes))
    kept = widths_within(prices, free, ratio, multiple, 0.0)
    masked = deepcopy(model)
    parameters = dict(masked.named_parameters())
    scores = first_scores(parameters, free, torch.from_numpy)
    chosen = {n: score.argsort(descending=True).argsort() < kept[n] for n, score in scores.items()}
    with torch.no_grad():
        for name, mask in row_masks(chosen, free, {n: p.shape for n, p in parameters.items()}).items():
            parameters[name].masked_fill_(~mask, 0.0)
    small: nn.Module = shrink(masked, sample, multiple=1).model
    if seed is not None:
        redraw_(small, seed)
    return small.eval()


def run(job: JobOf, out: Path, scale: float, limit: int | None, device: str, threads: int) -> None:
    """Train one job, level after level, each judged on test when it is finished; goes on where it was stopped."""
    model, (ref, mean, std) = began(job)
    data, sample = open_set("cifar10"), example(ref)
    splits = {which: data.split(which) for which in ("train", "validation", "test")}
    if limit:
        splits = {k: Split(s.images[:limit], s.labels[:limit]) for k, s in splits.items()}
    epochs = {
        k: max(1, round(v * scale)) for k, v in job.train.items() if k in ("epochs", "first_epochs") and v
    }
    training = Training(
        **{
            "threads": threads,
            "bf16": "trial",
            "checkpoint_seconds": 45.0,
            **job.train,
            **epochs,
            "seed": job.seed,
            "device": device,
        }
    )
    teacher, groups, method, levels, options = None, (), job.method, job.levels, job.options
    if job.method == "torch_pruning":
        parent = model
        model, said = torch_pruned(parent, sample, levels[0])
        teacher = partial(deepcopy, parent)
        write_json(out / "left_alone.json", said)
        training = Training(**{**training.__dict__, "first_epochs": None})
        method, levels, options = "one_shot", (1.0,), {}
    elif job.method == "alone":
        trained = is_trained(job)
        teacher = partial(deepcopy, model) if trained else None
        seed = None if trained else job.seed
        model = narrowed(model, sample, levels[0], int(job.options.get("multiple", 4)), seed)
        method, levels, options = "one_shot", (1.0,), {}
    elif job.method == "on":
        teacher = partial(trained_alike, job.options["teacher"], mean, std)
        method, options = "one_shot", {}
    else:
        groups = channel_groups(model, sample)
        teacher = partial(deepcopy, model) if job.method == "all_in_one" and is_trained(job) else None
    task = Task(partial(deepcopy, model), splits["train"], splits["validation"], mean, std, groups, teacher)
    test = batches_of(splits["test"], mean, std, device="cpu" if device == "cpu" else "cuda")
    facts = {
        "job": job.name,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "parent_test": judged(model if teacher is None else teacher(), test),
        "start_macs": counted(model, sample[:1], ()).dense,
        "parameters": sum(p.numel() for p in model.parameters()),
        "shapes": {n: list(t.shape) for n, t in model.state_dict().items()},
        "mean": list(mean),
        "std": list(std),
    }
    write_json(out / "facts.json", facts)
    for level in run_levels(
        METHODS.make(method, **options), task, training, levels, out / "levels", Silent()
    ):
        found = deepcopy(model)
        found.load_state_dict(level.state)
        write_json(out / f"test-{level.index:02d}.json", {"kept": level.kept, "test": judged(found, test)})
        print(job.name, level.index, level.kept, level.validation_accuracy, flush=True)
    write_json(out / "done.json", {"seconds": sum(e["seconds"] for e in curve_of(level))})


def curve_of(level: Level) -> Iterator[Any]:
    """The epochs of a level."""
    yield from level.curve


def judged(model: nn.Module, batches: Any) -> float:
    """Top-1 on a split, float32."""
    model = deepcopy(model).to(batches.images.device)
    return top1(model, batches, 500)


def together(names: list[str], asked: argparse.Namespace) -> None:
    """Run the jobs as processes, so many at a time, until all are done or the time is up."""
    stop = time.monotonic() + asked.seconds
    waiting = [n for n in names if not (asked.out / n / "done.json").exists()]
    running: dict[str, subprocess.Popen[bytes]] = {}
    while (waiting or running) and time.monotonic() < stop:
        for name, process in list(running.items()):
            if process.poll() is not None:
                print(
                    f"{asked.seconds - stop + time.monotonic():.0f} s: {name} ended, {process.returncode}",
                    flush=True,
                )
                del running[name]
        while waiting and len(running) < asked.workers:
            name = waiting.pop(0)
            folder = asked.out / name
            folder.mkdir(parents=True, exist_ok=True)
            words = [sys.executable, "-m", "bench.train.together", "--run", name, "--out", str(asked.out)]
            words += ["--scale", str(asked.scale), "--device", asked.device, "--table", asked.table]
            words += ["--threads", str(asked.threads)]
            words += ["--limit", str(asked.limit)] if asked.limit else []
            with (folder / "log.txt").open("ab") as log:
                running[name] = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        time.sleep(0.5)
    for process in running.values():
        process.kill()
    for name in names:
        print(name, status(asked.out / name), flush=True)


def status(folder: Path) -> str:
    """One line on how far a job came."""
    if (folder / "done.json").exists():
        return "done " + " ".join(
            f"{json.loads(p.read_text())['test']:.4f}" for p in sorted(folder.glob("test-*.json"))
        )
    logs = sorted((folder / "levels").glob("level-*.jsonl"))
    last = logs[-1].read_text().strip().rpartition("\n")[2] if logs else ""
    return f"level {len(logs) - 1}: {last[:300]}" if last else "no epoch saved"


def pack(out: Path, to: Path) -> None:
    """One `.tar` per job: its levels, but not dense ones of large networks, and not what only training needs."""
    to.mkdir(parents=True, exist_ok=True)
    for folder in sorted(p for p in out.iterdir() if p.is_dir()):
        large = (folder / "facts.json").exists() and json.loads((folder / "facts.json").read_text())
        with tarfile.open(to / f"{folder.name}.tar", "w") as tar:
            for path in sorted(folder.rglob("*")):
                dense = path.name == "level-00.safetensors" and large and large["parameters"] > LARGE
                if path.is_file() and not dense and not path.name.startswith(("part-", "memory-")):
                    tar.add(path, path.relative_to(out))


def main() -> None:
    """Run everything, one job, or pack what is finished."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/together"))
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--scale", type=float, default=1.0, help="times the epochs")
    parser.add_argument("--only", default="", help="names of jobs that start so, comma-separated")
    parser.add_argument("--skip", default="")
    parser.add_argument("--limit", type=int, help="images per split, to try the jobs")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each process")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument(
        "--table", default="build/vgg16_bn_priced.json", help="layer costs, of bench.train.priced"
    )
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--pack", type=Path)
    asked = parser.parse_args()
    if asked.pack:
        pack(asked.out, asked.pack)
        return
    all_jobs = {job.name: job for job in jobs(asked.table)}
    if asked.run:
        run(all_jobs[asked.run], asked.out / asked.run, asked.scale, asked.limit, asked.device, asked.threads)
        return
    only, skip = (tuple(x for x in s.split(",") if x) for s in (asked.only, asked.skip))
    names = [n for n in all_jobs if (not only or n.startswith(only)) and not (skip and n.startswith(skip))]
    together(names, asked)


if __name__ == "__main__":
    main()
