# SPDX-License-Identifier: Apache-2.0
"""`edgeshift simulate`: try policies on a recorded load before the device has to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeshift.cli.screen import Screen
from edgeshift.cli.values import pairs

if TYPE_CHECKING:
    from edgeshift.portfolio import Portfolio
    from edgeshift.runtime.policies.shape import Policy
    from edgeshift.runtime.simulate_compare import Comparison, Estimate, Standing
    from edgeshift.runtime.state import Ladder

COLUMNS = (
    "policy",
    "accuracy on time",
    "late",
    "refused",
    "full",
    "switches/min",
    "over smallest",
    "over best",
)


def simulate(
    folder: Annotated[Path, typer.Argument(help="Portfolio with measured latencies.")],
    trace: Annotated[
        Path,
        typer.Option(help="Arrivals: times in ms, or a rate per second or minute; .csv or .txt, also .gz."),
    ],
    policy: Annotated[str, typer.Option(help="Policies to try, deadline,hysteresis.")] = "deadline",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="Of a policy: deadline.margin=0.9; repeat.")
    ] = None,
    deadline_ms: Annotated[float, typer.Option(help="From sending a request to its answer.")] = 100.0,
    load: Annotated[
        float,
        typer.Option(
            help="Scale the rate so that the most accurate variant is busy this share; 2 = twice too much."
        ),
    ] = 0.0,
    scale: Annotated[float, typer.Option(help="Or: times as many requests a second as in the trace.")] = 1.0,
    slower: Annotated[
        float, typer.Option(help="Times slower than measured: a device you do not have.")
    ] = 1.0,
    start_s: Annotated[float, typer.Option(help="Where in the trace to begin.")] = 0.0,
    seconds: Annotated[float, typer.Option(help="How much of the trace to take.")] = 3600.0,
    seeds: Annotated[int, typer.Option(help="Repeats with other luck; intervals need 2.")] = 3,
    clock: Annotated[
        int, typer.Option(help="Seed of a clock that heat throttles (modelled); -1 = full clock.")
    ] = -1,
    link: Annotated[
        Path | None, typer.Option(help="Requests travel over this link: t_ms or t_s and kbit_s.")
    ] = None,
    kbit: Annotated[float, typer.Option(help="Size of a request on the link.")] = 24.0,
    threads: Annotated[int, typer.Option(help="Take the latencies measured at this many threads.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
) -> None:
    """Replay a trace in virtual time and compare policies with what they must beat.

    Every policy meets the same arrivals and the same luck. Beside it stand each variant alone with the same admission
    (the smallest, and the best one in hindsight) and a bound that no policy exceeds. "Accuracy on time" is the
    share of all requests that is answered correctly and in time. Latencies are measured, the rest is modelled.

    [bold]Examples[/bold]

      edgeshift simulate build/digits --trace arrivals.csv.gz --load 0.9 --deadline-ms 20
      edgeshift simulate build/digits --trace rate_per_s.txt.gz --policy deadline,hysteresis,pi --load 1.5 --seconds 600
      edgeshift simulate build/digits --trace arrivals.csv.gz --policy frequency,thermal --clock 1 --load 0.7
    """
    from edgeshift.core.errors import BadValue
    from edgeshift.portfolio import Portfolio
    from edgeshift.runtime.simulate import Replay
    from edgeshift.runtime.simulate_compare import Trials, compare
    from edgeshift.runtime.traces import modelled_clock, read_arrivals, read_link

    if seeds < 1:
        raise BadValue("--seeds", seeds, "at least 1")
    if load < 0 or (load and scale != 1):
        raise BadValue("--load and --scale", (load, scale), "one of them, above 0")
    portfolio = Portfolio.open(folder)
    rungs = _rungs(portfolio, threads, slower)
    scores, split = _scores(portfolio, rungs)
    times = load / _load_of(trace, rungs, start_s, seconds) if load else scale
    policies = _policies(policy, pairs("--option", option))
    shown = Screen(quiet=json)
    for line in _untraced(policies, clock=clock >= 0, link=link is not None):
        shown.say(line)
    carried = read_link(link) if link else None

    def made(seed: int) -> Replay:
        sent_s = read_arrivals(trace, scale=times, seed=seed, start_s=start_s, seconds=seconds)
        heat = modelled_clock(clock + seed, max(60.0, seconds)) if clock >= 0 else None
        return Replay.of(sent_s, deadline_s=deadline_ms / 1000, clock=heat, link=carried, kbit=kbit)

    result = compare(policies, Trials(rungs, made, range(seeds), scores), shown)
    if json:
        from edgeshift.cli.result import print_json
        from edgeshift.runtime.simulate_compare import plain_comparison

        print_json({"split": split, "scale": times, **plain_comparison(result)})
        return
    _print(result, split)


def _rungs(portfolio: "Portfolio", threads: int, slower: float) -> "Ladder":
    """The portfolio's ladder, on a device that is so many times slower."""
    from dataclasses import replace

    from edgeshift.core.errors import BadValue
    from edgeshift.runtime.ladder import ladder_of
    from edgeshift.runtime.state import Ladder

    if not 0 < slower < float("inf"):
        raise BadValue("--slower", slower, "a finite number above 0")
    ladder = ladder_of(portfolio, threads=threads)
    return Ladder(
        tuple(
            replace(
                p, latency_ms=p.latency_ms * slower, p95_ms=p.p95_ms * slower, fixed_ms=p.fixed_ms * slower
            )
            for p in ladder.profiles
        )
    )


def _scores(portfolio: "Portfolio", ladder: "Ladder") -> tuple[tuple[float, ...], str]:
    """The accuracy that counts in the result, and its split: test if all have it. Policies see validation."""
    found = [portfolio.find(p.id).accuracy.get("test") for p in ladder.profiles]
    known = tuple(value for value in found if value is not None)
    return (known, "test") if len(known) == len(ladder) else ((), "validation")


def _load_of(trace: Path, ladder: "Ladder", start_s: float, seconds: float) -> float:
    """Share of time that the most accurate variant is busy if the trace is replayed as it is."""
    from edgeshift.core.errors import BadData
    from edgeshift.runtime.traces import read_arrivals

    times = read_arrivals(trace, start_s=start_s, seconds=seconds)
    if len(times) < 2:
        raise BadData(f"{trace.name} must have 2 requests in this part, got {len(times)}; take a longer one")
    return float(len(times) / (times[-1] - times[0]) * ladder.profiles[-1].latency_ms / 1000)


def _policies(words: str, options: dict[str, Any]) -> "dict[str, Policy]":
    """The policies by name, with the options that were given as policy.option=value."""
    from edgeshift.core.errors import BadValue
    from edgeshift.runtime import POLICIES

    names = [word.strip() for word in words.split(",") if word.strip()]
    mine: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in options.items():
        name, dot, option = key.partition(".")
        if not dot or name not in mine:
            raise BadValue("--option", key, f"policy.option=value of {', '.join(names)}")
        mine[name][option] = value
    if not names:
        raise BadValue("--policy", words, f"some of {', '.join(POLICIES.names())}")
    return {name: POLICIES.make(name, **given) for name, given in mine.items()}


def _untraced(policies: "dict[str, Policy]", *, clock: bool, link: bool) -> list[str]:
    """A line for each policy that will see a sensor at its best, because nothing traces it."""
    from edgeshift.runtime.limits import sensors_of
    from edgeshift.runtime.simulate import AT_BEST

    traced = {"cpufreq", "temperature"} if clock else set()
    traced |= {"upload"} if link else set()
    more = {"cpufreq": "add --clock", "temperature": "add --clock", "upload": "add --link"}
    return [
        f"{name} sees {sensor} at {AT_BEST[sensor]:g} throughout; {more.get(sensor, 'no trace moves it')}"
        for name, policy in policies.items()
        for sensor in sensors_of(policy)
        if sensor not in traced
    ]


def _print(result: "Comparison", split: str) -> None:
    """The table, as wide as the terminal, and what to read off it."""
    from rich.console import Console
    from rich.table import Table

    smallest, best = result.statics[0].name, result.best_static
    table = Table(box=None)
    for name in (
        "policy",
        "accuracy on time",
        "late",
        "refused",
        "queue full",
        "switches/min",
        "over smallest",
        "over best",
    ):
        table.add_column(name, justify="left" if name == "policy" else "right")
    rows: list[Standing] = [*result.standings, *(s for s in result.statics if s.name in (smallest, best))]
    for row in rows:
        alone = " alone" if row in result.statics else ""
        table.add_row(
            row.name + alone,
            _percent(row.accuracy_on_time),
            *(f"{100 * value:.2f} %" for value in (row.late, row.refused, row.full)),
            f"{row.switches_per_minute:.0f}",
            _points(row.over_smallest),
            _points(row.over_best_static),
        )
    table.add_row("bound", _percent(result.bound), *[""] * 6)
    Console().print(table)
    typer.echo(
        f"\n{result.requests:.0f} requests, load {result.load:.2f} of {result.statics[-1].name}; "
        f"accuracy on {split}; the best variant alone is {best}. Latencies measured, the replay modelled."
    )


def _percent(estimate: "Estimate") -> str:
    return f"{100 * estimate.mean:.2f} %{_spread(estimate)}"


def _points(estimate: "Estimate") -> str:
    return f"{100 * estimate.mean:+.2f}{_spread(estimate)}"


def _spread(estimate: "Estimate") -> str:
    """The interval in points; nothing where one seed gives none."""
    return "" if estimate.half_width != estimate.half_width else f" ±{100 * estimate.half_width:.2f}"
