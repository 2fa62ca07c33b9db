# SPDX-License-Identifier: Apache-2.0
"""A server in a process of its own, as a user starts it."""

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.runtime.made import portfolio


@dataclass(frozen=True)
class Running:
    """A server that listens.

    Attributes:
        host: It listens on.
        port: Of it.
        model: Name in addresses.
        token: For management.
        pid: Of its process.
    """

    host: str
    port: int
    model: str
    token: str
    pid: int

    def resident_bytes(self) -> int:
        """Memory of the process that is resident."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def server(folder: Path, *options: str) -> Iterator[Running]:
    """`edgeshift serve` on a free port, with management; ends with the block and must end well."""
    with tempfile.TemporaryDirectory() as private:
        token_file = Path(private) / "token"
        token_file.touch(0o600)
        token_file.write_text(secrets.token_hex(32), encoding="ascii")
        line = [sys.executable, "-m", "edgeshift", "serve", str(folder), "--port", "0"]
        line += ["--management-token-file", str(token_file), *options]
        around = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=around) as process:
            assert process.stdout is not None
            try:
                found = re.search(r"at http://([\d.]+):(\d+)/v2/models/([\w.-]+)/", process.stdout.readline())
                assert found is not None, "the server did not start"
                host, port, model = found.groups()
                yield Running(host, int(port), model, token_file.read_text(encoding="ascii"), process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
                process.stdout.read()
            assert process.wait(timeout=60) == 0, "the server must end well"


@contextmanager
def served(place: Path | None, *options: str) -> Iterator[tuple[Path, Running]]:
    """A portfolio and a server of it; ResNet-20 at four widths, made on the spot, if none is given."""
    with tempfile.TemporaryDirectory() as folder:
        path = portfolio(Path(folder) / "p").path if place is None else place
        with server(path, *options) as at:
            yield path, at
