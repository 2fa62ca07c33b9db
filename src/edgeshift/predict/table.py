# SPDX-License-Identifier: Apache-2.0
"""Anybody's measurements as one `.npz` file: features, costs, devices, and accuracy if known. No pickle."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeshift.core.errors import BadData
from edgeshift.core.files import write_bytes
from edgeshift.predict.samples import Samples

NEEDED = ("features", "latency_ms", "devices")
OPTIONAL = ("accuracy", "feature_names", "families")
# A table of a million networks is beyond what any fleet has measured; more is a mistake or an attack.
MOST_BYTES = 2**31


def read_table(path: Path | str) -> Samples:
    """The costs in a table.

    `features [n, d]`: numbers; `latency_ms [n, m]`: above 0, NaN or -1 = not measured; `devices [m]`: texts;
    optional `accuracy [n]`, `feature_names [d]` and `families [m]` (devices of one family are held out
    together).

    Raises:
        BadData: If the file is not such a table; says which array and why.
    """
    file = Path(path)
    arrays = _arrays(file)
    features, cost = _numbers(file, arrays, "features", 2), _numbers(file, arrays, "latency_ms", 2)
    devices = _texts(file, arrays, "devices")
    n, m = len(features), len(devices)
    if n == 0 or features.shape[1] == 0 or not np.isfinite(features).all():
        raise BadData(f"features of {file} must be finite [networks, features], got {features.shape}")
    if cost.shape != (n, m):
        raise BadData(f"latency_ms of {file} must be [{n}, {m}], got {cost.shape}")
    cost = np.where(cost == -1, np.nan, cost)
    known = cost[~np.isnan(cost)]
    if not (np.isfinite(known).all() and (known > 0).all()):
        raise BadData(f"latency_ms of {file} must be above 0, or NaN where not measured, got {known.min()}")
    if len(set(devices)) != m or m == 0:
        raise BadData(f"devices of {file} must be distinct names, got {', '.join(devices) or 'none'}")
    accuracy = _numbers(file, arrays, "accuracy", 1) if "accuracy" in arrays else None
    if accuracy is not None and (accuracy.shape != (n,) or not np.isfinite(accuracy).all()):
        raise BadData(f"accuracy of {file} must be {n} finite numbers, got {accuracy.shape}")
    names = _texts(file, arrays, "feature_names") if "feature_names" in arrays else ()
    if names and len(names) != features.shape[1]:
        raise BadData(f"feature_names of {file} must be {features.shape[1]} texts, got {len(names)}")
    kin = _texts(file, arrays, "families") if "families" in arrays else devices
    if len(kin) != m:
        raise BadData(f"families of {file} must be {m} texts, got {len(kin)}")
    return Samples(
        features=features,
        cost=cost,
        devices=devices,
        feature_names=names,
        accuracy=accuracy,
        families=dict(zip(devices, kin, strict=True)),
    ).check()


def write_table(path: Path | str, samples: Samples) -> None:
    """Write samples as a table; networks as graphs and spec sheets do not fit in and are left out."""
    arrays: dict[str, Any] = {
        "features": samples.features,
        "latency_ms": samples.cost,
        "devices": np.array(samples.devices, dtype=np.str_),
        "families": np.array([samples.family(d) for d in samples.devices], dtype=np.str_),
    }
    if samples.feature_names:
        arrays["feature_names"] = np.array(samples.feature_names, dtype=np.str_)
    if samples.accuracy is not None:
        arrays["accuracy"] = samples.accuracy
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(Path(path), buffer.getvalue())


def _arrays(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise BadData(f"table must be an .npz file, got {file}, which does not exist")
    try:
        with zipfile.ZipFile(file) as pack:
            size = sum(entry.file_size for entry in pack.infolist())
        if size > MOST_BYTES:
            raise BadData(f"table {file} must unpack to at most 2 GiB, got {size} bytes")
        with np.load(file, allow_pickle=False) as pack_:
            found = {name: pack_[name] for name in pack_.files if name in NEEDED + OPTIONAL}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError) as error:
        if isinstance(error, BadData):
            raise
        raise BadData(f"table {file} must be an .npz file without pickled objects, got: {error}") from error
    for name in NEEDED:
        if name not in found:
            raise BadData(
                f"table {file} must hold {', '.join(NEEDED)}, got {', '.join(found) or 'none of them'}"
            )
    return found


def _numbers(file: Path, arrays: Mapping[str, Any], name: str, axes: int) -> NDArray[np.float64]:
    found = arrays[name]
    if found.ndim != axes or found.dtype.kind not in "fiub":
        raise BadData(f"{name} of {file} must be numbers with {axes} axes, got {found.dtype} {found.shape}")
    numbers: NDArray[np.float64] = found.astype(np.float64)
    return numbers


def _texts(file: Path, arrays: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = arrays[name]
    if found.ndim != 1 or found.dtype.kind not in "US":
        raise BadData(f"{name} of {file} must be a list of texts, got {found.dtype} {found.shape}")
    return tuple(str(text) for text in found.astype(np.str_))
