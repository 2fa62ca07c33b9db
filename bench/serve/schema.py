# SPDX-License-Identifier: Apache-2.0
"""Thousands of requests made from the server's own OpenAPI document: none may be answered with a 5xx.

    python -m bench.serve.schema
    python -m bench.serve.schema --examples 5

Schemathesis runs all its phases (examples, coverage, fuzzing, stateful) and checks (server errors, statuses and
bodies against the document, headers, wrong data refused, right data accepted, methods, authentication).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.record import Run, keep
from bench.serve.process import Running, served

# Right by the document and refused all the same: shape and data must agree, which JSON Schema cannot say.
ALSO_RIGHT = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "400", "401", "403", "404", "409", "429", "503"]
"""
RUN = Run(
    claim="serve_schema",
    says="Requests that schemathesis makes from the OpenAPI document of a server with management.",
    repeats="one run of all phases and checks",
)


def asked(at: Running, examples: int, seed: int, place: Path) -> tuple[int, Counter[int], list[str]]:
    """One run: its cases, answers by status, and the lines that say what failed."""
    settings = place / "schemathesis.toml"
    settings.write_text(ALSO_RIGHT, encoding="ascii")
    report = place / "events.ndjson"
    url = f"http://{at.host}:{at.port}/openapi.json"
    line = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", url]
    line += ["-H", f"Authorization: Bearer {at.token}", "-n", str(examples), f"--seed={seed}", "--no-color"]
    line += ["--continue-on-failure", "--report-ndjson-path", str(report), "--generation-database=none"]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, cwd=place, check=False)
    print(done.stdout[-3000:], flush=True)
    statuses: Counter[int] = Counter()
    for text in report.read_text(encoding="utf-8").splitlines():
        count_statuses(json.loads(text), statuses)
    failed = [each.strip() for each in done.stdout.splitlines() if each.strip().startswith("- ST")]
    (cases,) = [each.split()[0] for each in done.stdout.splitlines() if " generated," in each]
    return int(cases), statuses, failed


def count_statuses(value: Any, statuses: Counter[int]) -> None:
    """Count `status_code` wherever it stands in an event."""
    if isinstance(value, dict):
        if isinstance(value.get("status_code"), int):
            statuses[value["status_code"]] += 1
        for each in value.values():
            count_statuses(each, statuses)
    elif isinstance(value, list):
        for each in value:
            count_statuses(each, statuses)


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=150, help="per address and phase")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--portfolio", type=Path, help="default: ResNet-20 at four widths, made on the spot")
    parser.add_argument("--no-record", action="store_true")
    wanted = parser.parse_args()
    with served(wanted.portfolio) as (_, at), tempfile.TemporaryDirectory() as folder:
        cases, statuses, failed = asked(at, wanted.examples, wanted.seed, Path(folder))
    errors = sum(n for status, n in statuses.items() if status >= 500)
    rows = [{"status": status, "answers": n} for status, n in sorted(statuses.items())]
    findings = [
        f"{cases} cases, {errors} answers with a 5xx, {len(failed)} failed checks {sorted(set(failed))}",
        f"answers by status: {dict(sorted(statuses.items()))}",
    ]
    print("\n".join(findings))
    if not wanted.no_record:
        keep(RUN if wanted.seed == 0 else replace(RUN, claim=f"{RUN.claim}_{wanted.seed}"), rows, findings)


if __name__ == "__main__":
    main()
