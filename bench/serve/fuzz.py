# SPDX-License-Identifier: Apache-2.0
"""Coverage-guided fuzzing of what reads foreign bytes: the request parser and the manifest reader.

    python -m bench.serve.fuzz
    python -m bench.serve.fuzz --runs 100000

Atheris mutates valid examples. Only refusals of ours may come out; what is accepted must be what the model takes.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Executions of one child; a round of a few minutes, so that the figures of a stopped run are known.
ROUND = 250_000
TARGETS = ("request", "manifest")
# Bytes of an input: twice the longest example.
LONGEST = {"request": 1024, "manifest": 8192}


def request_target() -> tuple[Callable[[bytes], None], list[bytes]]:
    """The request parser: its first byte says how the header's length is chosen."""
    import numpy as np

    from edgeshift.core.errors import Refused
    from edgeshift.serve.codec import decode
    from edgeshift.serve.codes import REFUSALS
    from edgeshift.serve.ports import Port

    inputs = (Port.of("x", "float32", (None, 2)), Port.of("n", "int8", (2,)), Port.of("b", "bool", (1, 1)))
    outputs = (Port.of("y", "float32", (None, 2)), Port.of("z", "int64", (1,)))

    def one(data: bytes) -> None:
        mode, body = data[:1], data[1:]
        length = None
        if mode == b"r":
            length = body.rfind(b"}") + 1
        elif mode == b"n":
            length, body = int.from_bytes(body[:2], "little", signed=True), body[2:]
        try:
            found = decode(body, length, inputs, outputs)
        except Refused as error:
            if error.code not in REFUSALS:
                raise
            return
        for port in inputs:
            array = found.inputs[port.name]
            assert array.dtype == port.dtype
            assert array.flags.aligned and array.flags.c_contiguous
            assert all(w is None or w == s for w, s in zip(port.shape, array.shape, strict=True))
            assert array.size and np.isfinite(array).all()

    def tensor(name: str, datatype: str, shape: list[int], **more: Any) -> dict[str, Any]:
        return {"name": name, "datatype": datatype, "shape": shape, **more}

    plain = [
        tensor("x", "FP32", [1, 2], data=[[1.5, -2]]),
        tensor("n", "INT8", [2], data=[3, 4]),
        tensor("b", "BOOL", [1, 1], data=[True]),
    ]
    raw = [
        tensor(name, datatype, shape, parameters={"binary_data_size": size})
        for name, datatype, shape, size in (
            ("x", "FP32", [1, 2], 8), ("n", "INT8", [2], 2), ("b", "BOOL", [1, 1], 1),
        )
    ]  # fmt: skip
    asked = {
        "id": "a",
        "parameters": {"deadline_ms": 2.5, "min_accuracy": 0.5, "binary_data_output": True},
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}, {"name": "z"}],
    }
    examples = [
        b"j" + json.dumps({"inputs": plain}).encode(),
        b"j" + json.dumps({"inputs": plain, **asked}).encode(),
        b"r" + json.dumps({"inputs": raw, **asked}).encode() + b"\0\0\x80?\0\0\0@\3\4\1",
        b"n\x40\0" + json.dumps({"inputs": raw}).encode() + b"\0\0\x80?\0\0\0@\3\4\1",
    ]
    return one, examples


def manifest_target() -> tuple[Callable[[bytes], None], list[bytes]]:
    """The manifest reader; after a first byte `b` come bodies under a right checksum."""
    from edgeshift.core.errors import BadPortfolio, BadValue
    from edgeshift.portfolio.manifest import FORMAT, digest, parse
    from tests.portfolio.made import DATA, MODEL, RECIPE, draft

    def one(data: bytes) -> None:
        mode, rest = data[:1], data[1:]
        if mode == b"b":
            try:
                body = json.loads(rest)
                rest = json.dumps({"format": FORMAT, "sha256": digest(body), "body": body}).encode()
            except (ValueError, RecursionError, BadValue):
                return
        try:
            edition = parse(rest, Path("portfolio.json"))
        except BadPortfolio:
            return
        again = parse(edition.to_bytes(), Path("portfolio.json"))
        assert again.manifest.body() == edition.manifest.body()

    from edgeshift.core.values import FileRef
    from edgeshift.portfolio.manifest import Edition, Manifest

    files = {role: FileRef(f"blobs/{h * 64}", h * 64, 9) for role, h in (("onnx", "0"), ("golden", "a"))}
    variant = draft().with_files(files)
    manifest = Manifest(MODEL, DATA, RECIPE, (variant,))
    examples = [
        b"r" + Edition(manifest).to_bytes(),
        b"r" + Edition(manifest, 3, 2).to_bytes(),
        b"b" + json.dumps(manifest.body()).encode(),
    ]
    return one, examples


def child(target: str, words: list[str], corpus: Path) -> None:
    """Fuzz in this process; it ends with libFuzzer's own exit code."""
    import atheris

    with atheris.instrument_imports(include=["edgeshift.serve", "edgeshift.portfolio", "edgeshift.core"]):
        one, examples = {"request": request_target, "manifest": manifest_target}[target]()
    for number, example in enumerate(examples):
        (corpus / f"example-{number}").write_bytes(example)
    atheris.Setup([sys.argv[0], *words, str(corpus)], one)
    atheris.Fuzz()


def fuzzed(target: str, runs: int, seed: int, corpus: Path) -> dict[str, Any]:
    """One child's run, going on from a corpus: executions, coverage, crashes."""
    begun = time.perf_counter()
    line = [sys.executable, "-m", "bench.serve.fuzz", "--child", target, "--corpus", str(corpus)]
    line += [
        f"-runs={runs}",
        f"-seed={seed}",
        f"-max_len={LONGEST[target]}",
        f"-artifact_prefix={corpus}/",
        "-timeout=60",
    ]
    done = subprocess.run(line, stderr=subprocess.PIPE, text=True, check=False)
    executed = re.findall(r"Done (\d+) runs", done.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    if done.returncode:
        print(done.stderr[-4000:], flush=True)
    return {
        "target": target,
        "executions": int(executed[-1]) if executed else 0,
        "branches": int(covered[-1]) if covered else 0,
        "failures": int(done.returncode != 0),
        "seconds": time.perf_counter() - begun,
    }


def rounds(targets: list[str], runs: int, minutes: float) -> list[dict[str, Any]]:
    """Rounds of all targets until each has its executions or the time is over."""
    rows: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, -(-runs // ROUND) + 1):
            for target in targets:
                corpus = Path(folder) / target
                corpus.mkdir(exist_ok=True)
                one = fuzzed(target, min(runs, ROUND), seed, corpus)
                before = rows.get(target, dict.fromkeys(one, 0))
                rows[target] = {k: before[k] + one[k] for k in ("executions", "failures", "seconds")}
                rows[target] |= {"target": target, "branches": one["branches"]}
                print(time.strftime("%H:%M:%S"), rows[target], flush=True)
            if time.monotonic() > end:
                break
    return list(rows.values())


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=6_000_000, help="executions per target")
    parser.add_argument("--minutes", type=float, default=60, help="no new round after these")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    asked, words = parser.parse_known_args()
    if asked.child:
        child(asked.child, words, asked.corpus)
        return
    # Not above: what a child imports before atheris instruments it is fuzzed blind.
    from bench.record import Run, keep, table

    rows = rounds(asked.targets.split(","), asked.runs, asked.minutes)
    print(table(rows, ["target", "executions", "branches", "failures", "seconds"]))
    if not asked.no_record:
        total = sum(row["executions"] for row in rows)
        findings = [f"{total} executions in all, {sum(row['failures'] for row in rows)} failures"]
        findings += [
            f"{r['target']}: {r['executions']} executions, {r['branches']} branches seen" for r in rows
        ]
        run = Run(
            claim="serve_fuzz" if len(rows) == len(TARGETS) else f"serve_fuzz_{rows[0]['target']}",
            says="Coverage-guided fuzzing (atheris) of the request parser and the manifest reader.",
            repeats="rounds that go on from one corpus; only refusals of ours may come out",
        )
        keep(run, rows, findings)


if __name__ == "__main__":
    main()
