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
from edgeshift.portfolio import generations, keys, store
from edgeshift.portfolio import manifest as manifests
from edgeshift.portfolio.diff import Difference, diff
from edgeshift.portfolio.front import DEFAULT_OBJECTIVES, front
from edgeshift.portfolio.manifest import Edition, Manifest
from edgeshift.portfolio.verify import Verification, onnx_of, verify

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
        generation: The number it was published under; 0 = a draft that was changed since.
        previous: The generation that it came after; 0 = none.
    """

    path: Path
    manifest: Manifest
    generation: int = 0
    previous: int = 0

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
        manifests.write(path, Edition(asked))
        return Portfolio(path, asked)

    @staticmethod
    def open(
        path: str | Path, public_key: Path | bytes | None = None, least_generation: int = 0
    ) -> "Portfolio":
        """The portfolio in a folder. Reads the manifest; `verify` reads the files too.

        Args:
            path: The folder.
            public_key: Ed25519 key as PEM, or its file, that must have signed it; None = no signature is asked for.
            least_generation: Smallest to accept: whoever may write the folder can put back an older one that was
                signed once. 0 = any, drafts too.

        Raises:
            BadPortfolio: If there is none, it must not be trusted, or the key did not sign it.
            TooOld: If its generation is below the least.
            BadValue: If the key is none.
        """
        folder, key = Path(path), None if public_key is None else keys.public(public_key)
        edition = generations.current(folder, key, least_generation)
        return Portfolio(folder, edition.manifest, edition.generation, edition.previous)

    @property
    def edition(self) -> Edition:
        """The manifest with its place among the published ones."""
        return Edition(self.manifest, self.generation, self.previous)

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
        self._unchanged()
        known = {v.id: v for v in self.variants}
        known[variant.id] = variant
        after = replace(self.manifest, variants=tuple(known.values()))
        draft = Edition(after, 0, self.generation or self.previous)
        manifests.write(self.path, draft)
        return replace(self, manifest=after, generation=0, previous=draft.previous)

    def _unchanged(self) -> None:
        if manifests.read(self.path) != self.edition:
            raise FolderTaken(
                f"{self.path} must be written by one process, got changed since it was read; open it again"
            )

    def publish(self) -> "Portfolio":
        """This portfolio under the next number, kept until `sweep` drops it; itself if nothing changed since.

        The manifest is copied to `generations/`, with a list of the checksums of all its files beside it that can
        be signed. Neither is ever written again.

        Raises:
            BadPortfolio: If a file is missing or was changed.
            FolderTaken: If another process changed the portfolio since it was read.
            DiskFull: If there is no room; the portfolio stays as it was.
        """
        self._unchanged()
        if self.generation:
            return self
        edition = generations.publish(self.path, self.edition)
        return replace(self, generation=edition.generation)

    def sign(self, private_key: Path) -> "Portfolio":
        """This portfolio, published and signed.

        Args:
            private_key: File with an Ed25519 key as PEM, such as `edgeshift.portfolio.keys.new` writes.

        Raises:
            BadValue: If the file holds no such key.
            BadPortfolio: If a file is missing or was changed.
            DiskFull: If there is no room.
        """
        key = keys.private(private_key)
        published = self.publish()
        generations.sign(self.path, published.edition, key)
        return published

    def earlier(
        self, number: int, public_key: Path | bytes | None = None, least_generation: int = 0
    ) -> "Portfolio":
        """A kept generation as a portfolio; this one stays current.

        Args:
            number: Of the generation.
            public_key: See `open`.
            least_generation: See `open`.

        Raises:
            UnknownName: If it is not kept.
            BadPortfolio: If it must not be trusted, or the key did not sign it.
            TooOld: If it is below the least.
        """
        key = None if public_key is None else keys.public(public_key)
        edition, _ = generations.earlier(self.path, number, key, least_generation)
        return Portfolio(self.path, edition.manifest, edition.generation, edition.previous)

    def rolled_back(
        self, to: int | None = None, public_key: Path | bytes | None = None, least_generation: int = 0
    ) -> "Portfolio":
        """The portfolio of an earlier generation, current from now on; a draft that was not published is lost.

        Args:
            to: Number of a kept generation; None = the one before this.
            public_key: See `open`.
            least_generation: See `open`.

        Raises:
            UnknownName: If there is no such generation.
            BadPortfolio: If it must not be trusted, or the key did not sign it; this one stays current.
            TooOld: If it is below the least; this one stays current.
            DiskFull: If there is no room; this one stays current.
        """
        key = None if public_key is None else keys.public(public_key)
        number = self.previous if to is None else to
        edition = generations.roll_back(self.path, number, key, least_generation)
        return replace(
            self, manifest=edition.manifest, generation=edition.generation, previous=edition.previous
        )

    def generations(self) -> tuple[int, ...]:
        """Numbers of the generations that are kept, the oldest first."""
        return generations.numbers(self.path)

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

    def onnx(self, variant: Variant) -> bytes:
        """A variant's ONNX file, read or made of its nested file; compared with its checksum.

        Raises:
            UnknownName: If the variant has neither.
            BadPortfolio: If a file is missing, a link, or was changed.
        """
        return onnx_of(self.path, variant)

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

    def sweep(self, keep: int | None = None) -> int:
        """Remove what a crash left or no kept generation names; returns the bytes gained. One writer only.

        Args:
            keep: Generations to keep, 1 or more: the current one and those before it. None = all.

        Raises:
            BadPortfolio: If a kept generation cannot be read; nothing is removed then.
        """
        dropped = [] if keep is None else generations.beyond(self.path, self.edition, keep)
        gone = {number for number, _ in dropped}
        used = generations.blobs(self.path, gone)
        used |= {file.sha256 for variant in self.variants for file in variant.files.values()}
        gained = 0
        # The generations first: killed in between, it leaves blobs that no manifest names, never the reverse.
        for path in [*(path for _, path in dropped), *store.leftovers(self.path, used)]:
            gained += path.stat().st_size
            path.unlink()
        return gained

    def verify(self) -> Verification:
        """Everything that can be checked without training code; see `edgeshift.portfolio.verify`.

        Raises:
            BadPortfolio: With the first finding and the number of the others.
        """
        if generations.current(self.path, None) != self.edition:
            raise BadPortfolio(f"{self.path} must be as it was read, got another manifest; open it again")
        return verify(self.path, self.variants)
