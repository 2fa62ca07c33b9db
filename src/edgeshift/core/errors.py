# SPDX-License-Identifier: Apache-2.0
"""Every error EdgeShift raises on purpose.

EdgeShiftError                   exit code 2 unless said otherwise
  BadValue        (ValueError)   an option or argument is out of range
  UnknownName     (LookupError)  no plug-in, model, data set ... of that name
  BadWeights      (ValueError)   weights do not fit the model
  NotFinite       (ValueError)   NaN or infinity where a number must be
  BadData         (ValueError)   a data set that cannot be used
  Untraceable     (ValueError)   torch.export cannot see through the model
  BadPortfolio    (ValueError)   a manifest or file that must not be trusted
  BadDigest       (BadPortfolio) a file that is not the one that was stored
  SelfTestFailed  (BadPortfolio) a variant that answers wrongly on this device
  TooOld          (BadPortfolio) a generation below the smallest that is accepted here
  FolderTaken     (OSError)      the output folder holds something else
  DiskFull        (OSError)      no room left on the disk
  NotInstalled    (ImportError)  an optional dependency is missing
  NoEffect        (ValueError)   a method changed nothing
  Refused         (ValueError)   a request the server does not answer, by a stable code
  Rejected        (RuntimeError) a request that was not admitted, by a stable code
  VariantFailed   (RuntimeError) no variant could answer a request
  OutOfMemory     (MemoryError)  a variant does not fit; a smaller one may
  NotExact        (ArithmeticError, exit code 1)  our own promise broke
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class EdgeShiftError(Exception):
    """Anything EdgeShift raises on purpose; its text is one line for the user."""

    exit_code: ClassVar[int] = 2


class BadValue(EdgeShiftError, ValueError):
    """`<what> must be <want>, got <got>`."""

    def __init__(self, what: str, got: object, want: str) -> None:
        super().__init__(f"{what} must be {want}, got {got!r}")


class UnknownName(EdgeShiftError, LookupError):
    """`no <noun> named <name>; did you mean <near>?`."""

    def __init__(self, noun: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
        super().__init__(f"no {noun} named {name!r}; {hint}")


class BadWeights(EdgeShiftError, ValueError):
    """Weights that do not fit the model they are loaded into."""


class NotFinite(EdgeShiftError, ValueError):
    """NaN or infinity where a finite number must be."""


class BadData(EdgeShiftError, ValueError):
    """A data set that cannot be used: empty, one class, wrong shape."""


class Untraceable(EdgeShiftError, ValueError):
    """A model that torch.export cannot trace; names the module and the line."""


class BadPortfolio(EdgeShiftError, ValueError):
    """A manifest or file that must not be trusted."""


class BadDigest(BadPortfolio):
    """A file whose size or checksum is not the one that was written down for it."""


class SelfTestFailed(BadPortfolio):
    """A variant that opens and answers wrongly, such as one built for another CPU."""


class TooOld(BadPortfolio):
    """A generation below the smallest one that is accepted on this device."""


class FolderTaken(EdgeShiftError, OSError):
    """The output folder holds something that is not ours to overwrite."""


class DiskFull(EdgeShiftError, OSError):
    """No room left on the disk; nothing half-written stays."""


class NotInstalled(EdgeShiftError, ImportError):
    """An optional dependency is missing; the text says what to install."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} must be installed for this, got no module; pip install 'edgeshift[{extra}]'"
        )


class NoEffect(EdgeShiftError, ValueError):
    """A method that was asked to change something changed nothing."""


class Refused(EdgeShiftError, ValueError):
    """A request the server does not answer; `code` is one of `serve.codes.REFUSALS`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"request must be one the server can answer, got {code}")
        self.code = code


class Rejected(EdgeShiftError, RuntimeError):
    """A request that was not admitted; `code` is "deadline", "queue_full" or "closed"."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class VariantFailed(EdgeShiftError, RuntimeError):
    """The variant raised, hung or died, and no other could answer in time."""


class OutOfMemory(EdgeShiftError, MemoryError):
    """A variant that does not fit into memory; a smaller one may."""


class NotExact(EdgeShiftError, ArithmeticError):
    """The shrunk model does not compute what the masked one does."""

    exit_code: ClassVar[int] = 1
