# SPDX-License-Identifier: Apache-2.0
"""Levels on disk: whole or absent, so that a run that was killed goes on with the same bytes.

run.json               what is trained: key of the recipe, threads and precision decided at the start
level-03.safetensors   state/<name>, masks/<name>
memory-03.safetensors  what the method keeps for the next level; only the last one stays
teacher-01.safetensors the teacher's outputs on a view of all training images
level-03.json          written last: the level exists from here on; sha256 of the tensors
level-03.jsonl         training log, one line per epoch
part-03.safetensors    the level in training at the end of an epoch, with momentum; gone with the level
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgeshift.core.errors import BadPortfolio, FolderTaken
from edgeshift.core.files import read_json, sha256_file, write_bytes, write_json
from edgeshift.core.values import Masks
from edgeshift.train.task import Level

FORMAT = 1
KINDS = ("state", "masks", "momentum", "memory")
# What this room writes; anything else in the folder belongs to somebody else.
OURS = (
    "run.json",
    "level-*.safetensors",
    "level-*.json",
    "level-*.jsonl",
    "memory-*.safetensors",
    "part-*.safetensors",
    "teacher-*.safetensors",
    ".part-*",
)


@dataclass(frozen=True)
class Part:
    """A level at the end of one of its epochs.

    Attributes:
        state: Parameter and buffer name -> tensor.
        masks: Parameter name -> bool tensor.
        momentum: Parameter name -> the optimizer's buffer.
        memory: What the method keeps.
        step: Steps behind.
        steps: Of the whole level.
        curve: One record per epoch so far.
    """

    state: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    momentum: Mapping[str, Tensor]
    memory: Mapping[str, Tensor]
    step: int
    steps: int
    curve: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Folder:
    """The folder of one run.

    Attributes:
        path: Made when the run starts.
    """

    path: Path

    def start(self, key: str, decide: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Take the folder for a run, or come back to it.

        Args:
            key: Hash of all that decides the bytes.
            decide: Called at the first start only; facts such as the thread count, JSON values.

        Returns:
            The facts of the run's first start.

        Raises:
            FolderTaken: If the folder holds another run, or something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FolderTaken(f"folder must be a folder, got a file at {self.path}")
        self.path.mkdir(parents=True, exist_ok=True)
        foreign = [p.name for p in sorted(self.path.iterdir()) if not any(p.match(ours) for ours in OURS)]
        if foreign:
            raise FolderTaken(f"folder {self.path} must be empty or hold a run, got {foreign[0]}")
        for left in self.path.glob(".part-*"):  # of a write that was killed
            left.unlink()
        run = self.path / "run.json"
        if not run.exists():
            write_json(run, {"format": FORMAT, "key": key, "facts": dict(decide())})
        found = read_json(run)
        if not isinstance(found, dict) or found.get("format") != FORMAT or "facts" not in found:
            raise BadPortfolio(
                f"{run} must be a run of format {FORMAT}, got another; start in an empty folder"
            )
        if found["key"] != key:
            raise FolderTaken(
                f"folder {self.path} must hold a run with these options and data, got another run; "
                "take an empty folder, or the options it was started with"
            )
        return dict(found["facts"])

    def read_level(self, index: int, kept: float) -> Level | None:
        """A finished level, or None if it is not there.

        Raises:
            FolderTaken: If the level there kept another fraction.
            BadPortfolio: If its files do not fit together.
        """
        record_path = self.path / f"level-{index:02d}.json"
        if not record_path.exists():
            return None
        record = read_json(record_path)
        if record["kept"] != kept:
            raise FolderTaken(
                f"level {index} in {self.path} must keep {kept}, got {record['kept']}; take another folder"
            )
        tensors = _checked(self.path / f"level-{index:02d}.safetensors", record["sha256"])
        return Level(
            index=index,
            kept=kept,
            masks=Masks({n: m.numpy() for n, m in _under(tensors, "masks").items()}),
            state=_under(tensors, "state"),
            curve=tuple(record["curve"]),
            validation_accuracy=record["validation_accuracy"],
        ).check()

    def read_memory(self, index: int) -> dict[str, Tensor]:
        """What the method kept at the end of the last finished level.

        Raises:
            BadPortfolio: If the file is not the one that the level's record names.
        """
        digest = read_json(self.path / f"level-{index:02d}.json")["memory_sha256"]
        return _checked(self._memory(index), digest) if digest else {}

    def write_level(self, level: Level, memory: Mapping[str, Tensor]) -> None:
        """Make a level last; then the part of it and the memory before it go."""
        stem = f"level-{level.index:02d}"
        masks = {name: torch.from_numpy(mask) for name, mask in level.masks.tensors.items()}
        write_bytes(self.path / f"{stem}.safetensors", save(_over(state=level.state, masks=masks)))
        if memory:
            write_bytes(self._memory(level.index), save(dict(memory)))
        self.write_log(level.index, level.curve)
        record = {
            "kept": level.kept,
            "masked_weights": level.masks.total,
            "kept_weights": level.masks.kept,
            "validation_accuracy": level.validation_accuracy,
            "curve": [dict(record) for record in level.curve],
            "sha256": sha256_file(self.path / f"{stem}.safetensors"),
            "memory_sha256": sha256_file(self._memory(level.index)) if memory else None,
            "torch": torch.__version__,
        }
        write_json(self.path / f"{stem}.json", record)
        self._part(level.index).unlink(missing_ok=True)
        for earlier in range(level.index):
            self._memory(earlier).unlink(missing_ok=True)

    def read_part(self, index: int) -> Part | None:
        """The level in training, or None; what cannot be read raises BadPortfolio."""
        if not self._part(index).exists():
            return None
        tensors, metadata = _read(self._part(index))
        about = json.loads(metadata["part"])
        kinds = {kind: _under(tensors, kind) for kind in KINDS}
        return Part(**kinds, step=about["step"], steps=about["steps"], curve=tuple(about["curve"]))

    def write_part(self, index: int, part: Part) -> None:
        """Make an epoch of the level in training last, and its log."""
        self.write_log(index, part.curve)
        about = {"step": part.step, "steps": part.steps, "curve": [dict(record) for record in part.curve]}
        tensors = _over(**{kind: getattr(part, kind) for kind in KINDS})
        write_bytes(self._part(index), save(tensors, metadata={"part": json.dumps(about)}))

    def read_view(self, view: int) -> Tensor | None:
        """The teacher's outputs on a view, `(N, classes)`, or None; what cannot be read raises BadPortfolio."""
        path = self._view(view)
        return _read(path)[0]["outputs"] if path.exists() else None

    def write_view(self, view: int, outputs: Tensor) -> None:
        """Make the teacher's outputs on a view last."""
        write_bytes(self._view(view), save({"outputs": outputs}))

    def write_log(self, index: int, curve: tuple[Mapping[str, float], ...]) -> None:
        """The training log so far: JSON lines."""
        lines = "".join(json.dumps(record, sort_keys=True) + "\n" for record in curve)
        write_bytes(self.path / f"level-{index:02d}.jsonl", lines.encode())

    def _part(self, index: int) -> Path:
        return self.path / f"part-{index:02d}.safetensors"

    def _memory(self, index: int) -> Path:
        return self.path / f"memory-{index:02d}.safetensors"

    def _view(self, view: int) -> Path:
        return self.path / f"teacher-{view:02d}.safetensors"


def _over(**kinds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"{kind}/{name}": tensor.detach().contiguous()
        for kind, tensors in kinds.items()
        for name, tensor in tensors.items()
    }


def _under(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}/"): t for name, t in tensors.items() if name.startswith(f"{kind}/")}


def _checked(path: Path, digest: str) -> dict[str, Tensor]:
    if not path.exists() or sha256_file(path) != digest:
        raise BadPortfolio(
            f"{path} must have the sha256 of its level's record, got another; delete the level's .json"
        )
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise BadPortfolio(
            f"{path} must be a safetensors file, got: {error}; delete it and resume"
        ) from error
