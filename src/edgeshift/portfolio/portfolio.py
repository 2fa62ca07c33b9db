# SPDX-License-Identifier: Apache-2.0
"""A folder of variants that is always whole: blobs first, then one rename of the manifest."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeshift.core.errors import BadPortfolio, FolderTaken, UnknownName
from edgeshift.core.recipe import canonical
from edgeshift.core.values import FileRef, Measurement, ModelRef, Proof, Variant
from edgeshift.portfolio import manifest as manifests
from edgeshift.portfolio import store
from edgeshift.portfolio.diff import Difference, diff
from edgeshift.portfolio.front import DEFAULT_OBJECTIVES, front
from edgeshift.portfolio.manifest import Manifest
from edgeshift.portfolio.verify import Verification, verify

# A log tells when and how long; it does not change what a variant computes.
NOT_IDENTITY = ("log",)


@dataclass(frozen=True)
class Draft:
    """A variant before it is stored: everything but its files and the id that they give. See `Variant`."""

    name: str
    recipe: Mapping[str, Any]
    accuracy: Mapping[str, float]
    parameters: int
    macs: int
    sparsity: float
    widths: Mapping[str, int]
    measurements: tuple[Measurement, ...]
    proof: Proof

    def with_files(self, files: Mapping[str, FileRef]) -> Variant:
        """The variant that these files make."""
        parts = {role: file.sha256 for role, file in files.items() if role not in NOT_IDENTITY}
        identity = hashlib.sha256(canonical(parts).encode()).hexdigest()[:16]
        return Variant(
            id=identity,
            name=self.name,
            files=dict(files),
            recipe=self.recipe,
            accuracy=self.accuracy,
            parameters=self.parameters,
            macs=self.macs,
            sparsity=self.sparsity,
            widths=self.widths,
            measurements=self.measurements,
            proof=self.proof,
        )


@dataclass(frozen=True)
class Portfolio:
    """The variants in one folder, as they were when it was read.

    Attributes:
        path: The folder.
        manifest: What `portfolio.json` says.
    """

    path: Path
    manifest: Manifest

    @staticmethod
    def create(
        path: Path, model: ModelRef, data: Mapping[str, Any], recipe: Mapping[str, Any]
    ) -> "Portfolio":
        """An empty portfolio in an empty or absent folder, or the one there if it was asked the same.

        Args:
            path: Folder; made with its parents.
            model: What all variants come from.
            data: Data set and its facts, JSON values.
            recipe: What was asked for, JSON values; equal recipes go on in the same folder.

        Raises:
            FolderTaken: If the folder holds other files, or a portfolio of another model, data or recipe.
            BadPortfolio: If the folder holds a portfolio that cannot be trusted.
            DiskFull: If there is no room.
        """
        asked = Manifest(model, data, recipe).check()
        if path.exists() and not path.is_dir():
            raise FolderTaken(f"{path} must be a folder, got a file; choose another --out")
        if (path / manifests.NAME).exists():
            found = Portfolio.open(path)
            there, wanted = found.manifest.body(), asked.body()
            for what in ("model", "data", "recipe"):
                if canonical(there[what]) != canonical(wanted[what]):
                    raise FolderTaken(f"{path} must hold the same {what}, got a portfolio of another one")
            return found
        # A crash before the first manifest leaves an empty folder or halves of it.
        foreign = (
            sorted(p.name for p in path.iterdir() if not p.name.startswith(store.PART))
            if path.exists()
            else []
        )
        if foreign:
            raise FolderTaken(f"{path} must be empty or hold a portfolio, got {foreign[0]!r} in it")
        manifests.write(path, asked)
        return Portfolio(path, asked)

    @staticmethod
    def open(path: str | Path) -> "Portfolio":
        """The portfolio in a folder. Reads the manifest; `verify` reads the files too.

        Raises:
            BadPortfolio: If there is none, or it must not be trusted.
        """
        return Portfolio(Path(path), manifests.read(Path(path)))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """In the order they were added."""
        return self.manifest.variants

    @property
    def model(self) -> ModelRef:
        """What all variants come from."""
        return self.manifest.model

    @property
    def data(self) -> Mapping[str, Any]:
        """Data set and its facts."""
        return self.manifest.data

    @property
    def recipe(self) -> Mapping[str, Any]:
        """What was asked for."""
        return self.manifest.recipe

    def __iter__(self) -> Iterator[Variant]:
        return iter(self.variants)

    def __len__(self) -> int:
        return len(self.variants)

    def find(self, name: str) -> Variant:
        """The variant of that name or id.

        Raises:
            UnknownName: If there is none.
        """
        for variant in self.variants:
            if name in (variant.name, variant.id):
                return variant
        raise UnknownName("variant", name, [v.name for v in self.variants])

    def add(self, draft: Draft, files: Mapping[str, bytes | Path]) -> "Portfolio":
        """This portfolio and one more variant, on disk and returned.

        A variant whose files are there already is replaced in its place: adding twice is adding once. Killed
        at any point, the folder holds either portfolio; blobs that no variant names are swept later.

        Args:
            draft: Everything but the files.
            files: Role -> bytes or file to copy. Roles are free; "onnx", "weights" and "golden" are verified.

        Raises:
            BadValue: If a part is out of range, or another variant has the name; nothing is added then.
            FolderTaken: If another process changed the portfolio since it was read.
            DiskFull: If there is no room; the portfolio stays as it was.
        """
        stored = {role: store.put(self.path, files[role]) for role in sorted(files)}
        return self._replaced(draft.with_files(stored))

    def remeasured(self, variant: Variant, measurements: Sequence[Measurement]) -> "Portfolio":
        """This portfolio with more figures for one variant; those of the same protocol are replaced.

        Same are quantity, kind, batch size and threads.

        Raises:
            UnknownName: If the variant is not in this portfolio.
            FolderTaken: If another process changed the portfolio since it was read.
            DiskFull: If there is no room; the portfolio stays as it was.
        """
        before = self.find(variant.id)
        known = {
            (m.quantity, m.kind, m.batch_size, m.threads): m for m in (*before.measurements, *measurements)
        }
        return self._replaced(replace(before, measurements=tuple(known.values())))

    def _replaced(self, variant: Variant) -> "Portfolio":
        """This portfolio with a variant in place of the one with its id, or at the end."""
        before = manifests.digest(self.manifest.body())
        if manifests.digest(manifests.read(self.path).body()) != before:
            raise FolderTaken(
                f"{self.path} must be written by one process, got changed since it was read; open it again"
            )
        known = {v.id: v for v in self.variants}
        known[variant.id] = variant
        after = replace(self.manifest, variants=tuple(known.values()))
        manifests.write(self.path, after)
        return replace(self, manifest=after)

    def path_of(self, variant: Variant, role: str) -> Path:
        """Where a variant's file lies. Not its content: see `read` and `verify`.

        Raises:
            UnknownName: If the variant has no such file.
            BadPortfolio: If the file is missing or a link.
        """
        return store.locate(self.path, self._file(variant, role))

    def read(self, variant: Variant, role: str) -> bytes:
        """A variant's file, compared with its checksum.

        Raises:
            UnknownName: If the variant has no such file.
            BadPortfolio: If the file is missing, a link, or was changed.
        """
        return store.fetch(self.path, self._file(variant, role))

    def _file(self, variant: Variant, role: str) -> FileRef:
        if role not in variant.files:
            raise UnknownName("file", role, variant.files)
        return variant.files[role]

    def front(self, objectives: Sequence[str] = DEFAULT_OBJECTIVES) -> tuple[Variant, ...]:
        """The variants that no other dominates; see `edgeshift.portfolio.front`."""
        return front(self.variants, objectives)

    def diff(self, other: "Portfolio") -> Difference:
        """What must be added, removed and changed to get from this to the other."""
        return diff(self.variants, other.variants)

    def sweep(self) -> int:
        """Remove what a crash left or no variant names; returns the bytes gained. One writer only."""
        used = {file.sha256 for variant in self.variants for file in variant.files.values()}
        gained = 0
        for path in store.leftovers(self.path, used):
            gained += path.stat().st_size
            path.unlink()
        return gained

    def verify(self) -> Verification:
        """Everything that can be checked without training code; see `edgeshift.portfolio.verify`.

        Raises:
            BadPortfolio: With the first finding and the number of the others.
        """
        if manifests.digest(manifests.read(self.path).body()) != manifests.digest(self.manifest.body()):
            raise BadPortfolio(f"{self.path} must be as it was read, got another manifest; open it again")
        return verify(self.path, self.variants)
