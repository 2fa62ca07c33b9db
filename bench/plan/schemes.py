# SPDX-License-Identifier: Apache-2.0
"""A scheme for each block of ResNet-20, mapped by rules and by search, against each scheme used everywhere.

    python -m bench.plan.schemes --keep DIR             # measures, maps, tunes, judges; goes on where it stopped
    python -m bench.plan.schemes --keep DIR --times     # on a quiet machine: times all files, writes the record

Schemes: fewer channels inside a block, no block at all, 2 of every 4 weights, int8, and channels with int8. What each
does to one block is measured: the loss on validation images once batch norm is measured anew, and the time of the whole
network, from which a table of costs is fitted. Networks of the chosen mappings and of every scheme used everywhere are
cut, tuned on as many images, written to ONNX, rounded to int8 where the mapping says so and judged on test.
"""

import argparse
from collections.abc import Iterator
from copy import deepcopy
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn

from bench.plan.scheme_files import BLOCK, SHARES, Builder, Mapped, is_int8
from bench.record import Run, keep, table
from edgeshift.core.files import read_json, write_bytes, write_json
from edgeshift.core.progress import Silent
from edgeshift.data import Split, normalise, open_set
from edgeshift.formats import open_onnx
from edgeshift.measure import Protocol, latencies
from edgeshift.models import build, example, load_weights, resolve
from edgeshift.plan import SOLVERS
from edgeshift.plan.problem import Cost, Parts, Problem
from edgeshift.plan.spaces.layers import Layers
from edgeshift.plan.spaces.shape import Designs, Floats
from edgeshift.train import METHODS, Task, Training, run_levels
from edgeshift.train.accuracy import batches_of, recalibrate_

JUDGED, CALIBRATION, TUNED = 2_000, 512, 15_000
# Random mappings that the table is fitted to, beside those that change one block, and others that it is checked on.
MIXED, CHECKED = 40, 12
# Limits as shares of what int8 everywhere takes, and as shares of the dense network's time for float32 mappings.
LIMITS, FLOAT_LIMITS = (1.0, 0.985, 0.96, 0.9, 0.8, 0.65), (0.8, 0.6, 0.45)
SEARCH = {"rounds": 400, "batch": 64, "step": 0.2, "elite": 0.1}
TUNING = Training(
    epochs=2, lr=0.02, weight_decay=1e-4, warmup_epochs=0.2, augment="crop_flip", distil=0.5, threads=1,
    bf16="on", device="cpu",
)  # fmt: skip
# Kinds of tensors behind which precision may change, one way or the other; see `stage_of`.
CHANGES = 2 * 4
# Times that what the solvers chose is timed and the table fitted again; and how much such a row counts.
ROUNDS, TOLD = 3, 3.0
TABLE = Protocol(min_repeats=150, max_seconds=2.0)
FINAL = Protocol(min_repeats=1000, min_seconds=1.0, max_seconds=6.0, precision=0.002)


def plain(option: str) -> str:
    """The option without its precision: what weights must be tuned for."""
    return option.removesuffix(":int8")


class Bench:
    """What is measured, kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = open_set("cifar10")
        self.ref = resolve("cifar10_resnet20", classes=10, input_shape=(3, 32, 32))
        parent = build(self.ref)
        load_weights(parent, self.ref.name)
        train = self.data.split("train")
        self.train = Split(train.images[:TUNED], train.labels[:TUNED])
        few = Split(train.images[:2048], train.labels[:2048])
        self.batches = batches_of(few, self.ref.mean, self.ref.std)
        self.builder = Builder(parent.eval(), example(self.ref), self.inputs(train.images[-CALIBRATION:]))
        self.quick = Builder(parent.eval(), example(self.ref), self.builder.calibration[:64])
        self.space = Layers(self.builder.names, self.builder.options)

    def inputs(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images as the networks read them."""
        return normalise(images, self.ref.mean, self.ref.std)

    def everywhere(self, option: str) -> dict[str, str]:
        """One option for every block; stem and classifier follow its precision."""
        ends = "dense:int8" if is_int8(option) else "dense"
        return {n: option if n in self.builder.blocks else ends for n in self.builder.names}

    def key(self, mapped: Mapped) -> str:
        """A file name."""
        return "".join(map(str, self.space.encode(mapped)))

    # What one option does

    def flips(self) -> list[tuple[str, str, dict[str, str]]]:
        """Place, option and mapping: every option alone in the dense network, without channels and int8 at once."""
        dense = self.everywhere("dense")
        return [
            (name, option, {**dense, name: option})
            for name, options in zip(self.space.names, self.space.each, strict=True)
            for option in options[1:]
            if plain(option) == "dense" or not is_int8(option)
        ]

    def others(self) -> list[dict[str, str]]:
        """More mappings whose time is measured: every option alone in the int8 network, and mixed ones."""
        rounded = self.everywhere("dense:int8")
        alone = [
            {**rounded, name: option}
            for name, options in zip(self.space.names, self.space.each, strict=True)
            for option in options
            if option != "dense:int8" and (is_int8(option) or option in ("removed", "dense"))
        ]
        rng = np.random.default_rng(0)
        mixed = [dict(self.space.decode(d)) for d in self.space.sample(MIXED + CHECKED, rng)]
        return [rounded, *alone, *mixed]

    def file(self, mapped: Mapped, *, judged: bool = False) -> Path:
        """An untuned network's file; `judged` = batch norm is measured anew and ranges are read from all images."""
        path = self.folder / "files" / f"{self.key(mapped)}{'j' if judged else ''}.onnx"
        if not path.exists():
            builder = self.builder if judged else self.quick
            network = builder.network(mapped)
            with torch.no_grad():
                for name, mask in builder.masks(network, mapped).items():
                    network.get_parameter(name).mul_(mask)
            if judged and any(plain(o) != "dense" for o in mapped.values()):
                recalibrate_(network, self.batches.epoch(256, "crop_flip", 0, 0, 0), 4)
            write_bytes(path, builder.file(network, mapped))
        return path

    def losses(self, file: Path) -> tuple[float, float]:
        """Mean cross-entropy and accuracy on validation images."""
        split = self.data.split("validation")
        images, labels = self.inputs(split.images[:JUDGED]), torch.from_numpy(split.labels[:JUDGED])
        logits = torch.from_numpy(answers(file.read_bytes(), images))
        return float(nn.functional.cross_entropy(logits, labels)), float(
            (logits.argmax(1) == labels).float().mean()
        )

    @cached_property
    def harm(self) -> dict[str, dict[str, float]]:
        """Place -> option -> rise of the loss."""
        path = self.folder / "harm.json"
        if not path.exists():
            dense = self.losses(self.file(self.everywhere("dense"), judged=True))[0]
            found: dict[str, dict[str, float]] = {n: {"dense": 0.0} for n in self.space.names}
            for name, option, mapped in self.flips():
                loss, right = self.losses(self.file(mapped, judged=True))
                found[name][option] = loss - dense
                print(f"{name} {option}: loss {loss - dense:+.4f}, right {right:.4f}", flush=True)
            for name in self.builder.blocks:  # cut and rounded: the sum of both
                for share in SHARES:
                    found[name][f"{share}:int8"] = found[name][share] + found[name]["dense:int8"]
            write_json(path, found)
        return dict(read_json(path))

    @cached_property
    def measured(self) -> list[tuple[dict[str, str], float]]:
        """Mappings and their milliseconds, as shares of the dense network's in the same turns."""
        path = self.folder / "times.json"
        if not path.exists():
            write_json(path, self.timed([*(m for _, _, m in self.flips()), *self.others()]))
        return [(row["mapped"], row["share"]) for row in read_json(path)]

    @property
    def told(self) -> list[tuple[dict[str, str], float]]:
        """The same of what the solvers chose so far."""
        path = self.folder / "told.json"
        return [(row["mapped"], row["share"]) for row in read_json(path)] if path.exists() else []

    def timed(self, mappings: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Rows of `measured`."""
        dense = open_onnx(self.file(self.everywhere("dense")))
        shares: list[float] = []
        for start in range(0, len(mappings), 10):
            sessions = [dense, *(open_onnx(self.file(m)) for m in mappings[start : start + 10])]
            took = latencies(sessions, self.builder.calibration[:1], protocol=TABLE)
            shares += [t.value / took[0].value for t in took[1:]]
            print(f"{len(shares)} of {len(mappings)} mappings timed", flush=True)
        return [{"mapped": m, "share": s} for m, s in zip(mappings, shares, strict=True)]

    # The mapping

    @cached_property
    def _rounded(self) -> list[NDArray[np.bool_]]:
        return [np.array([is_int8(o) for o in place]) for place in self.space.each]

    @cached_property
    def _absent(self) -> list[NDArray[np.bool_]]:
        return [np.array([o == "removed" for o in place]) for place in self.space.each]

    def terms(self, designs: Designs) -> Floats:
        """`(n, terms)`: 1, an indicator per option that is not dense, changes of precision by size of the image."""
        changes = np.zeros((len(designs), CHANGES))
        rows, where = np.arange(len(designs)), np.zeros(len(designs), np.int64)
        before = self._rounded[0][designs[:, 0]]
        for place, name in enumerate(self.space.names):
            there = ~self._absent[place][designs[:, place]]
            after = self._rounded[place][designs[:, place]]
            changed = there & (before != after)
            changes[rows[changed], 2 * where[changed] + after[changed]] += 1
            before = np.where(there, after, before)
            where[there] = stage_of(name)
        hot = self.space.one_hot(designs)
        kept = np.ones(hot.shape[1], bool)
        kept[np.cumsum((0, *self.space.sizes[:-1]))] = False
        return np.concatenate([np.ones((len(designs), 1)), hot[:, kept], changes], 1)

    @cached_property
    def weights(self) -> Floats:
        """What the terms cost, least squares."""
        told = self.told
        rows = [*self.measured[:-CHECKED], *told]
        heavy = np.sqrt([1.0] * (len(rows) - len(told)) + [TOLD] * len(told))
        terms = self.terms(np.array([self.space.encode(m) for m, _ in rows]))
        return np.linalg.lstsq(terms * heavy[:, None], heavy * [s for _, s in rows], rcond=None)[0]

    def cost(self, designs: Designs) -> Floats:
        """`(n,)` shares of the dense network's time, by the table."""
        return np.asarray(self.terms(designs) @ self.weights)

    def alone(self, name: str, option: str) -> float:
        """What the table says of the dense network with one option, changes of precision not counted."""
        terms = self.terms(self.space.encode({**self.everywhere("dense"), name: option})[None])[0]
        terms[-CHANGES:] = 0
        return float(terms @ self.weights)

    def error(self) -> tuple[float, float]:
        """Mean and largest error of the table on mixed mappings it was not fitted to, in percent."""
        rows = self.measured[-CHECKED:]
        guess = self.cost(np.array([self.space.encode(m) for m, _ in rows]))
        off = 100 * np.abs(guess / np.array([s for _, s in rows]) - 1)
        return float(off.mean()), float(off.max())

    def problem(self, options: tuple[str, ...], limit: float) -> Problem:
        """Least harm within a share of the dense network's time, of these options."""
        each = tuple(tuple(o for o in place if o in options) for place in self.space.each)
        space = Layers(self.space.names, each)
        harm = tuple(
            np.array([-self.harm[n][o] for o in place]) for n, place in zip(space.names, each, strict=True)
        )

        full = [
            np.array([all_.index(o) for o in some]) for all_, some in zip(self.space.each, each, strict=True)
        ]

        def whole(designs: Designs) -> Designs:
            return np.stack([f[designs[:, i]] for i, f in enumerate(full)], 1)

        dense = self.space.encode(self.everywhere("dense"))
        costs, base = [], float(self.cost(dense[None])[0])
        whole_blocks = [base - self.alone(n, "removed") for n in self.builder.blocks]
        # A place's own part of the dense network's time: a block's is what goes with it, the ends share the rest.
        end = (base - sum(whole_blocks)) / 2
        for own, name, place in zip((end, *whole_blocks, end), space.names, each, strict=True):
            costs.append(np.array([own + self.alone(name, option) - base for option in place]))
        parts = Parts(harm, (tuple(costs),), (0.0, 0.0))
        gain = lambda d: np.sum([h[d[:, i]] for i, h in enumerate(harm)], axis=0)  # noqa: E731
        return Problem(space, gain, (Cost("latency", lambda d: self.cost(whole(d)), limit),), parts)

    @cached_property
    def chosen(self) -> list[dict[str, Any]]:
        """Name, kind and mapping of everything that is tuned and judged."""
        path = self.folder / "chosen.json"
        if not path.exists():
            for _ in range(ROUNDS):
                known = {self.key(m) for m, _ in (*self.measured, *self.told)}
                found = {self.key(one["mapped"]): one["mapped"] for one in (*self.uniform(), *self.mapped())}
                fresh = [m for k, m in found.items() if k not in known]
                if not fresh:
                    break
                rows = [{"mapped": m, "share": share} for m, share in self.told]
                write_json(self.folder / "told.json", [*rows, *self.timed(fresh)])
                del self.weights
            write_json(path, [*self.uniform(), *self.mapped()])
        return list(read_json(path))

    def uniform(self) -> Iterator[dict[str, Any]]:
        """Each scheme used everywhere; blocks are left out in every stage, the least harmful first."""
        for option in ("dense", *SHARES, "n_m:0.5"):
            yield {"way": plain(option).partition(":")[0], "name": option, "mapped": self.everywhere(option)}
        for count in (1, 2):
            yield {"way": "removed", "name": f"removed:{count}", "mapped": self.thinned("dense", count)}
        for option in [o for o in BLOCK if is_int8(o)]:
            kind = "int8" if option == "dense:int8" else "int8+channel"
            yield {"way": kind, "name": option, "mapped": self.everywhere(option)}
        for count in (1, 2):
            yield {
                "way": "int8+removed",
                "name": f"removed:{count}:int8",
                "mapped": self.thinned("dense:int8", count),
            }

    def thinned(self, option: str, count: int) -> dict[str, str]:
        """So many blocks of every stage left out."""
        mapped = self.everywhere(option)
        for stage in ("layer1", "layer2", "layer3"):
            blocks = [n for n in self.builder.blocks if n.startswith(stage)]
            for name in sorted(blocks, key=lambda n: self.harm[n]["removed"])[:count]:
                mapped[name] = "removed"
        return mapped

    def mapped(self) -> Iterator[dict[str, Any]]:
        """What the solvers answer."""
        rounded = float(self.cost(self.space.encode(self.everywhere("dense:int8"))[None])[0])
        floats = tuple(o for o in BLOCK if not is_int8(o))
        asked = [("", BLOCK, rounded * share) for share in LIMITS] + [
            (":float", floats, s) for s in FLOAT_LIMITS
        ]
        for kind, options, limit in asked:
            for name in ("search", "rules"):
                # The published rule chooses among structures; leaving a block out costs nothing, so nothing is near it.
                known = tuple(o for o in options if o != "removed") if name == "rules" else options
                solver = SOLVERS.make(name, **(SEARCH if name == "search" else {}))
                found = solver.solve(self.problem(known, limit), 0)
                mapping = self.problem(known, limit).space.decode(found.design)
                print(name, kind, round(limit, 3), found.met, round(found.gain, 4), dict(mapping), flush=True)
                if found.met:
                    yield {"way": name + kind, "name": f"{name}{kind}<={limit:.3f}", "mapped": dict(mapping),
                           "limit": limit, "guess": found.costs["latency"], "harm": -found.gain}  # fmt: skip

    # The truth

    def tuned(self, mapped: Mapped) -> nn.Module:
        """The network after tuning; the same for mappings that differ in precision alone."""
        weights = {n: plain(o) for n, o in mapped.items()}
        network = self.builder.network(weights)
        masks = self.builder.masks(network, weights)
        exclude = tuple(n for n, p in network.named_parameters() if p.ndim > 1 and n not in masks)
        method = (
            METHODS.make("one_shot", pattern="n_m", exclude=exclude) if masks else METHODS.make("one_shot")
        )
        levels = (1.0, 0.5) if masks else (1.0,)
        training = Training(**{**TUNING.__dict__, "first_epochs": 0 if masks else None})
        split = self.data.split("validation")
        task = Task(
            partial(deepcopy, network), self.train, Split(split.images[:JUDGED], split.labels[:JUDGED]),
            self.ref.mean, self.ref.std, (), partial(deepcopy, self.builder.parent),
        )  # fmt: skip
        folder = self.folder / "tuned" / self.key(weights)
        level = list(run_levels(method, task, training, levels, folder, Silent()))[-1]
        network.load_state_dict(dict(level.state))
        return network

    def final(self, one: dict[str, Any]) -> Path:
        """The file that would be shipped."""
        path = self.folder / "final" / f"{self.key(one['mapped'])}.onnx"
        if not path.exists():
            write_bytes(path, self.builder.file(self.tuned(one["mapped"]), one["mapped"]))
        return path

    def right(self, one: dict[str, Any]) -> NDArray[np.bool_]:
        """`(10000,)`: test images that the file gets right."""
        path = self.final(one).with_suffix(".npy")
        if not path.exists():
            split = self.data.split("test")
            images = self.inputs(split.images)
            np.save(path, answers(self.final(one).read_bytes(), images).argmax(1) == split.labels)
        return np.asarray(np.load(path))


def stage_of(name: str) -> int:
    """0 behind the stem, 1 to 3 behind a block: which tensor is rounded where precision changes there."""
    return int(name[5]) if name.startswith("layer") else 0


def answers(file: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of a file, 250 images at a time."""
    session = open_onnx(file)
    return np.concatenate([session.run(part) for part in np.array_split(images, max(1, len(images) // 250))])


def rival_ms(front: list[dict[str, Any]], accuracy: float) -> float:
    """The least latency at which a scheme is as accurate, between two of its networks if need be.

    Above its most accurate network that one counts: the scheme has nothing as good. Below the least accurate of those
    that are worth having, that one counts too: the scheme has nothing quicker.
    """
    best: list[dict[str, Any]] = []
    for row in sorted(front, key=lambda r: float(r["ms"])):
        if not best or row["accuracy"] > best[-1]["accuracy"]:
            best.append(row)
    return float(np.interp(accuracy, [r["accuracy"] for r in best], [r["ms"] for r in best]))


def rows_of(bench: Bench) -> list[dict[str, Any]]:
    """Everything that was chosen, judged on test and timed in turns."""
    files = {bench.key(one["mapped"]): open_onnx(bench.final(one)) for one in bench.chosen}
    took = latencies(list(files.values()), bench.builder.calibration[:1], protocol=FINAL)
    times = dict(zip(files, took, strict=True))
    rows = []
    for one in bench.chosen:
        time, right = times[bench.key(one["mapped"])], float(bench.right(one).mean())
        rows.append({**one, "accuracy": right, "ms": time.value, "p95_ms": time.p95, "spread": time.spread})
    slack = doubt(bench, rows)
    for row in [r for r in rows if "limit" in r]:
        row["rivals_ms"] = {
            name: rival_ms([r for r in rows if r["way"] in ways], row["accuracy"] - slack)
            for name, ways in FRONTS.items()
        }
    return rows


# What is used everywhere, and the ways whose networks it can choose among.
FRONTS = {
    "channels": ("dense", "channel"),
    "blocks left out in every stage": ("dense", "removed"),
    "2 of 4 weights": ("dense", "n_m"),
    "int8": ("dense", "int8"),
    "int8 and channels": ("dense", "int8", "int8+channel"),
    "int8 and blocks left out": ("dense", "int8", "int8+removed"),
}
SINGLE = tuple(FRONTS)[:4]


def times_faster(row: dict[str, Any], names: tuple[str, ...]) -> float:
    """Latency of the quickest of these rivals at this network's accuracy, over the network's."""
    return min(row["rivals_ms"][n] for n in names) / float(row["ms"])


def findings(bench: Bench, rows: list[dict[str, Any]]) -> list[str]:
    """What the rows say, whichever way it went."""
    mean, most = bench.error()
    said = [
        f"The table of costs misses mixed mappings it was not fitted to by {mean:.1f} % in the mean, {most:.1f} % at "
        f"most; the harm of one block alone, summed, ranks the tuned mappings' loss of accuracy with a Spearman "
        f"correlation of {agreement(rows):.2f}."
    ]
    for way in ("search", "rules", "search:float", "rules:float"):
        mine = list({bench.key(r["mapped"]): r for r in rows if r["way"] == way}.values())
        exact = tuple(n for n in SINGLE if n != "int8")
        asked = {"one scheme": exact if ":float" in way else SINGLE, "two schemes": tuple(FRONTS)[4:]}
        for label, names in asked.items():
            if ":float" in way and label != "one scheme":
                continue
            ratios = [times_faster(r, names) for r in mine]
            parts = [
                f"{100 * r['accuracy']:.2f} % in {r['ms']:.4f} ms: {x:.3f}"
                for r, x in zip(mine, ratios, strict=True)
            ]
            said.append(
                f"{way.replace(':float', ' among float32 options')}, {len(mine)} mappings against {label} everywhere; "
                f"latency of the quickest that is as accurate, over theirs: {'; '.join(parts)}. Above 1 in "
                f"{sum(x > 1 for x in ratios)} of {len(ratios)}."
            )
    whole = next(r for r in rows if r["name"] == "dense:int8")
    below = [
        r for r in rows if r["way"] == "search" and r["accuracy"] < whole["accuracy"] - doubt(bench, rows)
    ]
    if below:
        said.append(
            f"int8 everywhere is one network: against the {len(below)} mappings by search that are more than a "
            "standard error less accurate it counts, as the scheme's quickest, although it is "
            f"{100 * (whole['accuracy'] - below[0]['accuracy']):.2f} to "
            f"{100 * (whole['accuracy'] - below[-1]['accuracy']):.2f} points more accurate. "
            "What it takes with another scheme at just that accuracy is in the line on two schemes."
        )
    for r in [r for r in rows if "limit" not in r]:
        said.append(f"{r['name']} everywhere: {100 * r['accuracy']:.2f} % in {r['ms']:.4f} ms.")
    images = len(bench.right(rows[0]))
    said.append(
        "A rival may be one standard error less accurate and counts as equal. Between two networks of a scheme latency "
        "is interpolated by accuracy; above its most accurate one that one counts, and below the least accurate that "
        "is worth having, that one. Each network was tuned for "
        f"{TUNING.epochs} epochs on {TUNED:,} images. Accuracy is of {images:,} test images and one seed: two networks "
        f"differ with a standard error of about {100 * doubt(bench, rows):.2f} points."
    )
    return said


def agreement(rows: list[dict[str, Any]]) -> float:
    """Rank correlation of the summed harm with the error on test, over all mappings that solvers chose."""
    mine = [r for r in rows if "limit" in r]
    return float(spearmanr([r["harm"] for r in mine], [1 - r["accuracy"] for r in mine]).statistic)


def doubt(bench: Bench, rows: list[dict[str, Any]]) -> float:
    """Standard error of the difference of two networks' accuracies, the median over neighbours in accuracy."""
    ordered = sorted(rows, key=lambda r: float(r["accuracy"]))
    found = []
    for one, other in pairwise(ordered):
        a, b = bench.right(one), bench.right(other)
        if (a != b).any():
            found.append(float(np.std(a.astype(float) - b) / np.sqrt(len(a))))
    return float(np.median(found))


def main() -> None:
    """Prepare, or time and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, required=True, help="Folder of files, trainings and tables.")
    parser.add_argument("--times", action="store_true", help="Time what is kept and write the record.")
    words = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(words.keep)
    if not words.times:
        for one in bench.chosen:
            print(f"{one['name']}: {100 * bench.right(one).mean():.2f} % on test", flush=True)
        return
    rows = rows_of(bench)
    said = findings(bench, rows)
    print(table(rows, ["way", "name", "accuracy", "ms", "spread", "limit", "guess"]), *said, sep="\n")
    run = Run(
        "plan_schemes",
        "A scheme for each block of ResNet-20 on CIFAR-10, mapped by solvers, against each scheme used everywhere.",
        repeats=f"latency: medians of at least {FINAL.min_repeats} calls, all files in turns, one image",
        spread="interquartile range / median of the milliseconds",
    )
    keep(run, rows, said)


if __name__ == "__main__":
    main()
