"""The command `ntkflow`: finds the sub-command, imports only that one, and turns our errors into one line."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import typer

from ntkflow import __version__
from ntkflow.cli import ends
from ntkflow.errors import INTERRUPTED, InputError, SolveError, StoppedError
from ntkflow.runs.border.typed import bounded
from ntkflow.runs.pictures.drawing import started_early

ENTRY_POINTS = "ntkflow.commands"

# name: (module:object, help); the module is imported only when its command runs.
COMMANDS: dict[str, tuple[str, str]] = {
    "simulate": (
        "ntkflow.cli.simulate:simulate",
        "Integrate the block-kernel flow and write a run directory.",
    ),
    "theory": (
        "ntkflow.cli.theory:theory",
        "Say all that can be said before integrating: limits, rates, conditions.",
    ),
    "sweep": ("ntkflow.cli.sweep:sweep", "Simulate over a grid of settings; phase diagrams."),
    "fit": ("ntkflow.cli.fit:fit", "Estimate the kernel constants that best explain an observed trajectory."),
    "metrics": (
        "ntkflow.cli.metrics:metrics",
        "Measure the collapse of any features by every published measure.",
    ),
    "plot": ("ntkflow.cli.runs:plot", "Draw the figure of a run again, in any format."),
    "show": ("ntkflow.cli.runs:show", "Print the summary of a run."),
    "explore": (
        "ntkflow.cli.explore:explore",
        "Write a page with sliders: the flow to play with, in any browser.",
    ),
    "prove": (
        "ntkflow.cli.prove:prove_command",
        "Verify the theory symbolically, the paper's errata included.",
    ),
}
PLUGIN_HELP = {"validate": "Train real networks, measure their kernels, compare with the theory."}


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application, with real code behind the command that `arguments` names and help texts behind the others."""
    app = typer.Typer(
        name="ntkflow",
        help="Simulate, test and extend the theory of Neural (Tangent Kernel) Collapse.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, (target, help_text) in COMMANDS.items():
        if name == wanted:
            app.command(name)(_load(target))  # its docstring says more
        else:
            app.command(name, help=help_text)(_stub)
    for name, load in _plugins().items():
        help_text = PLUGIN_HELP.get(name, "")
        if name == wanted:
            app.add_typer(load(), name=name, help=help_text or None)
        else:
            app.command(name, help=help_text)(_stub)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exit code 0, 1 (failed), 2 (bad input), 3 (diverged), 130 (interrupted)."""
    ends.open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Products of small matrices: contended BLAS threads cost far more than they bring.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    with ends.leaving_in_time() as interrupted:
        code = _ended(lambda: _run(words))
    if code == 0:
        # What is printed may be on its way still, and the device may be full.
        code = _ended(_flush)
    ends.leave(code, interrupted.is_set())


def _run(words: Sequence[str]) -> int:
    with started_early(words):
        command = typer.main.get_command(build(words))
        bounded(command)
        code = command(args=words or ["--help"], prog_name="ntkflow", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _flush() -> int:
    sys.stdout.flush()
    return 0


def _ended(run: Callable[[], int]) -> int:
    """The exit code of what is run; whatever it raises becomes one line."""
    try:
        code = run()
    except (InputError, SolveError, StoppedError) as error:
        return _failed(error, error.exit_code)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except MemoryError:
        return _failed("not enough memory for these sizes; lower them", 1)
    except BrokenPipeError:
        return 1  # the reader has gone, as in `| head`; what was computed is on disk already
    except OSError as error:
        return _failed(f"{error.filename or 'output'}: {error.strerror or error}", 1)
    except Exception as error:
        # The parser's own errors; which package they come from depends on typer's version.
        if not hasattr(error, "format_message"):
            raise
        return _misused(error)
    # Some versions of the parser swallow Ctrl-C and return this code.
    return _failed(ends.NOTHING_KEPT, INTERRUPTED) if code == INTERRUPTED else code


def _misused(error: Any) -> int:
    """What the parser says, with the command whose help tells more; a group called alone has shown its help."""
    message = error.format_message()
    if not message:
        return 0
    context = getattr(error, "ctx", None)
    command = "ntkflow" if context is None else context.command_path
    return _failed(f"{message}{'' if message[-1] in '.?!' else '.'} See {command} --help", 2)


def _failed(message: object, code: int) -> int:
    ends.complain(message)
    return code


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
) -> None:
    del version  # its callback has done the work


def _stub() -> None:
    raise RuntimeError("a command was called that its arguments did not name")  # pragma: no cover


def _load(target: str) -> Callable[..., object]:
    module, name = target.split(":")
    command: Callable[..., object] = getattr(import_module(module), name)
    return command


def _plugins() -> dict[str, Callable[[], typer.Typer]]:
    from importlib.metadata import entry_points

    return {point.name: point.load for point in entry_points(group=ENTRY_POINTS)}
