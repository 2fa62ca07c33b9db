# SPDX-License-Identifier: Apache-2.0
"""The fleet's measurements as samples: `python -m bench.fleet.load` packs what was measured into `data/`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.fleet.measure import ROWS
from bench.fleet.members import Member, members
from bench.fleet.onnx_file import onnx_bytes
from bench.fleet.spaces import Design, draw_all
from edgeshift.core.files import write_json
from edgeshift.devices import this_machine
from edgeshift.predict.network import COUNT_NAMES, Network, count_matrix
from edgeshift.predict.onnx_network import network_of
from edgeshift.predict.samples import Samples

DATA = Path(__file__).parent / "data"
TABLE, LINES, MEMBERS = DATA / "fleet.npz", DATA / "operators.json", DATA / "members.json"
MEMORY = ("resident_1", "arena_1", "resident_8", "arena_8")


def designs(limit: int = 360) -> list[Design]:
    """The measured networks."""
    return draw_all()[:limit]


# Networks from this place on were measured after every predictor had its form: they judge, nothing was chosen on them.
FRESH = 300


def networks(wanted: Sequence[Design]) -> tuple[Network, ...]:
    """Their graphs in float32 at batch size 1."""
    return tuple(network_of(onnx_bytes(design), 1, design.name) for design in wanted)


def profile(member: Member) -> dict[str, Any]:
    """What a member is, for predictors that know devices by their description."""
    found = this_machine().flat()
    return {
        **{key: found[key] for key in ("chip", "isa", "cores", "clock_ghz") if key in found},
        "isa": member.isa or found.get("isa", ""),
        "runtime": member.name.split("-t")[0],
        "precision": member.precision,
        "threads": member.threads,
        "batch_size": member.batch_size,
    }


def samples(*, quantity: str = "latency", graphs: bool = True) -> Samples:
    """All members and networks.

    Args:
        quantity: "latency" in ms, or "peak_memory" in bytes (arena and resident, at batch sizes 1 and 8).
        graphs: Rebuild the graphs too, a quarter of a minute.
    """
    with np.load(TABLE, allow_pickle=False) as table:
        names = [str(name) for name in table["networks"]]
        assert names == [design.name for design in designs(len(names))]
        cost, columns = (
            (table["latency_ms"], table["devices"])
            if quantity == "latency"
            else (table["memory_bytes"], np.array(MEMORY))
        )
        features = table["features"]
    devices = tuple(str(d) for d in columns)
    known = {row["name"]: row for row in json.loads(MEMBERS.read_text())}
    return Samples(
        features.astype(np.float64),
        cost.astype(np.float64),
        devices,
        COUNT_NAMES,
        networks(designs(len(names))) if graphs else (),
        {d: {k: v for k, v in known[d].items() if k != "name"} for d in devices if d in known},
        quantity=quantity,
        unit="ms" if quantity == "latency" else "bytes",
    ).check()


def timelines() -> dict[str, Any]:
    """Network name -> operators on `ort-t1-b1`, as `WhatIf` takes them."""
    found: dict[str, Any] = json.loads(LINES.read_text())
    return found


def column(name: str, field: str, wanted: Sequence[Design], session: int = 1) -> NDArray[np.float64]:
    """One number of each network's row; NaN where there is none."""
    file = ROWS / f"{name}-{session}.jsonl"
    rows = (
        {row["net"]: row for row in map(json.loads, file.read_text().splitlines())} if file.exists() else {}
    )
    return np.array([rows.get(design.name, {}).get(field, np.nan) for design in wanted])


def main() -> None:
    """Pack the rows that were measured: of a member's two sessions the later, quiet one counts."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    wanted = designs()
    fields = {"latency_ms": "ms", "mad_ms": "mad", "undisturbed_calls": "good"}
    first, memory = earlier(wanted)
    packed = later(wanted)
    second = {
        name: {f: column(name, k, wanted, 2) for f, k in fields.items()}
        if (ROWS / f"{name}-2.jsonl").exists() or name not in packed
        else packed[name]
        for name in members()
    }
    again = [name for name in members() if np.isfinite(second[name]["latency_ms"]).all()]
    kept = [name for name in members() if name in again or name in first]
    used = {name: second[name] if name in again else first[name] for name in kept}
    file = ROWS / "memory.json"
    for row in map(json.loads, file.read_text().splitlines()) if file.exists() else ():
        memory[[d.name for d in wanted].index(row["net"])] = [row[m] for m in MEMORY]
    none = np.full(len(wanted), np.nan)
    np.savez_compressed(
        TABLE,
        networks=np.array([design.name for design in wanted]),
        family=np.array([design.family for design in wanted]),
        devices=np.array(kept),
        session=np.array([2 if name in again else 1 for name in kept]),
        features=count_matrix(networks(wanted)).astype(np.float32),
        **{f: np.stack([used[name][f] for name in kept], 1).astype(np.float32) for f in fields},
        again_ms=np.stack(
            [first[name]["latency_ms"] if name in again and name in first else none for name in kept], 1
        ).astype(np.float32),
        memory_bytes=memory,
    )
    operators = ROWS / "operators-2.json"
    if operators.exists():
        lines = [json.loads(line) for line in operators.read_text().splitlines()]
        shown = {
            line["net"]: {"tasks": line["tasks"], "call_ms": round(line["call_ms"], 5)} for line in lines
        }
        LINES.write_text(json.dumps(shown, separators=(",", ":"), sort_keys=True) + "\n")
    told = {row["name"]: row for row in json.loads(MEMBERS.read_text())} if MEMBERS.exists() else {}
    fresh = {n: {"name": n, **profile(members()[n])} for n in kept}
    # This machine is described for what was measured on it; the rest keeps its description.
    write_json(MEMBERS, [fresh[n] if n in again or n not in told else told[n] for n in kept])
    cells = int(np.isfinite([used[name]["latency_ms"] for name in kept]).sum())
    print(f"{len(kept)} members, {len(again)} of the second session, {len(wanted)} networks, {cells} cells")


def earlier(
    wanted: Sequence[Design],
) -> tuple[dict[str, dict[str, NDArray[np.float64]]], NDArray[np.float64]]:
    """The first session's columns by member, as the packed table holds them, and memory; NaN where nothing."""
    memory = np.full((len(wanted), len(MEMORY)), np.nan)
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    with np.load(TABLE, allow_pickle=False) as old:
        place = {str(name): i for i, name in enumerate(old["networks"])}
        rows = np.array([place.get(design.name, -1) for design in wanted])
        sessions = old["session"] if "session" in old.files else np.ones(len(old["devices"]), int)
        memory[rows >= 0] = old["memory_bytes"][rows[rows >= 0]]
        for j, name in enumerate(map(str, old["devices"])):
            columns = {"latency_ms": old["latency_ms" if sessions[j] == 1 else "again_ms"][:, j]}
            columns |= {f: old[f][:, j] for f in ("mad_ms", "undisturbed_calls")}
            if np.isfinite(columns["latency_ms"]).any():
                found[name] = {f: np.where(rows >= 0, c[rows], np.nan) for f, c in columns.items()}
    return found, memory


def later(wanted: Sequence[Design]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """The second session's columns by member, as the packed table holds them: their rows may be on no disk any more."""
    with np.load(TABLE, allow_pickle=False) as old:
        if "session" not in old.files or [str(n) for n in old["networks"]] != [d.name for d in wanted]:
            return {}
        return {
            str(name): {f: old[f][:, j] for f in ("latency_ms", "mad_ms", "undisturbed_calls")}
            for j, name in enumerate(old["devices"])
            if old["session"][j] == 2
        }


if __name__ == "__main__":
    main()
