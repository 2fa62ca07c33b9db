# SPDX-License-Identifier: Apache-2.0
"""`edgeshift serve`: answer requests over HTTP and shift between variants."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeshift.serve.service import Service


def serve(
    folder: Annotated[Path, typer.Argument(help="Portfolio to serve.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback open the server to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    name: Annotated[str, typer.Option(help="Name of the model in addresses; default: the portfolio's.")] = "",
    deadline_ms: Annotated[float | None, typer.Option(help="For requests that name none.")] = None,
    policy: Annotated[
        str, typer.Option(help="How the variant is chosen; see edgeshift list policy.")
    ] = "deadline",
    sensor: Annotated[
        list[str] | None,
        typer.Option(help="Sensors to read, again for each; default: all that this device has."),
    ] = None,
    mode: Annotated[str, typer.Option(help="Variants in memory: warm, neighbours, demand, views.")] = "warm",
    workers: Annotated[int, typer.Option(help="Threads that answer.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of one variant.")] = 1,
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Run each variant in a process of its own.")
    ] = False,
    public_key: Annotated[
        Path | None, typer.Option(help="Ed25519 key that must have signed the portfolio.")
    ] = None,
    least_generation: Annotated[
        int, typer.Option(min=0, help="Smallest generation to serve, also after a reload or rollback.")
    ] = 0,
    plan: Annotated[
        Path | None, typer.Option(help="Plan file of edgeshift plan; only its variants are served.")
    ] = None,
    management_token_file: Annotated[
        Path | None, typer.Option(help="File with the token for /manage; without it there is none.")
    ] = None,
    max_body_mb: Annotated[float, typer.Option(help="Longest request body in MB.")] = 4.0,
    read_timeout: Annotated[
        float, typer.Option(help="Seconds for headers, and again for a body, to arrive.")
    ] = 5.0,
    max_connections: Annotated[int, typer.Option(help="Connections open at the same time.")] = 256,
) -> int:
    """Serve a portfolio over HTTP by the Open Inference Protocol.

    The version of a model is a variant; without one in the address the policy chooses, and the answer says
    which it was. The dashboard is at /dashboard, counts for Prometheus at /metrics, the document of all
    addresses at /openapi.json. SIGTERM and Ctrl-C finish the requests in flight.

    [bold]Examples[/bold]

      edgeshift serve build/digits --deadline-ms 20
      edgeshift serve build/digits --plan plan.json
      edgeshift serve build/digits --policy thermal --management-token-file token.txt
    """
    from edgeshift.serve import Limits, Settings, is_loopback
    from edgeshift.serve import serve as run

    limits = Limits(body_bytes=int(max_body_mb * (1 << 20)), read_s=read_timeout, connections=max_connections)
    settings = Settings(
        host, port, name, deadline_ms, policy, _sensors(sensor), mode, workers, threads, isolated, public_key,
        least_generation, plan, management_token_file, limits,
    )  # fmt: skip
    if not is_loopback(host):
        typer.echo(
            f"edgeshift: warning: {host} is open to the network: whoever reaches it can send requests and read "
            "the dashboard, without encryption; put a gateway in front",
            err=True,
        )
    number = run(folder, settings, _started)
    return 130 if number == signal.SIGINT else 0


def _sensors(asked: list[str] | None) -> tuple[str, ...]:
    from edgeshift.runtime import SENSORS

    if asked is not None:
        return tuple(asked)
    return tuple(name for name in SENSORS.names() if SENSORS.make(name).read() is not None)


def _started(url: str, service: "Service") -> None:
    count = len(service.model.versions)
    typer.echo(f"serving {service.name}, {count} variants, at {url}/v2/models/{service.name}/infer")
    typer.echo(f"dashboard at {url}/dashboard")
    if service.token is None:
        typer.echo("management is off; --management-token-file turns it on")
