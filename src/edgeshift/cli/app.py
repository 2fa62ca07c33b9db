# SPDX-License-Identifier: Apache-2.0
"""The command `edgeshift`: its commands, exit codes and one-line errors."""

import errno
import inspect
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

import edgeshift
from edgeshift.cli.bench import bench
from edgeshift.cli.build import build
from edgeshift.cli.compare import compare
from edgeshift.cli.costs import costs
from edgeshift.cli.devices import devices
from edgeshift.cli.list import list_
from edgeshift.cli.nest import nest
from edgeshift.cli.plan import plan
from edgeshift.cli.predict import predict
from edgeshift.cli.probe import probe
from edgeshift.cli.publish import publish, rollback
from edgeshift.cli.ratios import ratios
from edgeshift.cli.report import report
from edgeshift.cli.serve import serve
from edgeshift.cli.shrink import shrink
from edgeshift.cli.sign import sign
from edgeshift.cli.simulate import simulate
from edgeshift.cli.verify import verify
from edgeshift.core.errors import EdgeShiftError
from edgeshift.core.files import FULL

DONE, OUR_FAULT, BAD_INPUT, STOPPED = 0, 1, 2, 130
# typer brings its own copy of click or the click package, by version; both root bad usage in this class.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

HELP = """One model in, a portfolio of exact, smaller variants out.

[bold]First steps[/bold]

  edgeshift build resnet8 --data digits --out build/mine
  edgeshift report build/mine
  edgeshift list

[bold]Exit codes[/bold]  0 done, 1 our fault, 2 bad usage or input, 130 stopped with Ctrl-C.

[bold]Data[/bold]  EDGESHIFT_DATA names the folder of data sets and weights that no package holds.
"""

app = typer.Typer(name="edgeshift", help=HELP, add_completion=False, rich_markup_mode="rich")
COMMANDS: dict[str, Callable[..., int | None]] = {
    "build": build,
    "compare": compare,
    "shrink": shrink,
    "nest": nest,
    "bench": bench,
    "plan": plan,
    "costs": costs,
    "predict": predict,
    "probe": probe,
    "ratios": ratios,
    "devices": devices,
    "report": report,
    "simulate": simulate,
    "verify": verify,
    "publish": publish,
    "sign": sign,
    "rollback": rollback,
    "serve": serve,
    "list": list_,
}


def flowing(text: str) -> str:
    """A docstring as help: lines of a paragraph are joined, so that it fits any terminal; indented ones stay."""
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(part if part.startswith(" ") else part.replace("\n", " ") for part in parts)


for _name, _command in COMMANDS.items():
    app.command(_name, help=flowing(_command.__doc__ or ""))(_command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgeshift {edgeshift.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and warnings.")] = False,
) -> None:
    """See `HELP`; the options act before any command runs."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code; errors are one line on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell developers; --debug shows it
    sys.exit(_run(words, debug=debug))


def _run(words: list[str], *, debug: bool) -> int:
    try:
        result = app(words, prog_name="edgeshift", standalone_mode=False)
        if result == STOPPED:
            raise KeyboardInterrupt
        return int(result or DONE)
    except KeyboardInterrupt:
        resumable = "build" in words[:1]
        return _fail("stopped; go on with --resume" if resumable else "stopped", STOPPED)
    except SystemExit:  # how rich leaves when the reader of a pipe goes away: `edgeshift list | head -1`
        return DONE
    except UsageError as error:
        return _fail(_usage(error), BAD_INPUT)
    except EdgeShiftError as error:
        if debug:
            traceback.print_exc()
        if error.exit_code != BAD_INPUT:
            return _our_fault(error, debug=debug)
        return _fail(str(error), error.exit_code)
    except OSError as error:
        if error.errno == errno.EPIPE:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - closed with the process
            return DONE
        if error.errno in FULL:
            return _fail("disk must have room, got a full disk; free some space, then --resume", BAD_INPUT)
        if isinstance(error, PermissionError):
            return _fail(f"{error.filename} must be open to you, got: {error.strerror}", BAD_INPUT)
        return _our_fault(error, debug=debug)
    except Exception as error:
        return _our_fault(error, debug=debug)


def _usage(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "edgeshift"
    text = " ".join(error.format_message().split())  # type: ignore[attr-defined]  # every UsageError has it
    return f"{text.rstrip('.')}; see {command} --help"


def _fail(line: str, code: int) -> int:
    print(f"edgeshift: {' '.join(line.split())}", file=sys.stderr)
    return code


def _our_fault(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
        return _fail(f"our fault: {type(error).__name__}: {error}", OUR_FAULT)
    with tempfile.NamedTemporaryFile("w", prefix="edgeshift-", suffix=".txt", delete=False) as file:
        traceback.print_exc(file=file)
    return _fail(f"our fault: {type(error).__name__}: {error}; traceback saved in {file.name}", OUR_FAULT)
