"""``parity``: the group of commands, and what an error looks like."""

from __future__ import annotations

import errno
import gc
import importlib
import sys
import traceback
from typing import Any

import click

from parity.cli.console import error_line
from parity.core.errors import ParityError, UsageError, nearest
from parity.core.interrupt import interrupt_once
from parity.core.version import VERSION

COMMANDS = {
    "run": "Run cases on implementations, compare every step.",
    "compare": "Two recorded trainings, or two kept traces: where they part, and why.",
    "record": "Run a training script as it is, and record what its optimizers do.",
    "migrate": "Carry a checkpoint, optimizer and all, from Keras to torch or back.",
    "identify": "Say which Adam a target is: formula, hyperparameters, arithmetic, departures.",
    "explain": "Say why two implementations differ, to the last bit.",
    "convert-eps": "Carry an epsilon to another convention, and say what difference is left.",
    "baseline": "Keep what an Adam does today, hold tomorrow's against it.",
    "upgrade": "Say what another release changes, to the bit, and why.",
    "bisect": "Find the first release in which an Adam changes.",
    "matrix": "Hold several releases against the newest, or against a baseline.",
    "atlas": "One page of what releases changed, since when and why.",
    "report": "Make the pages of a run, hold two runs side by side, certify a pair.",
    "list": "List cases, implementations, metrics or conventions.",
    "doctor": "Check this installation by running every implementation once.",
}

TOO_MANY_FILES = ", more than one process may have here (ulimit -n); fewer at a time: -j 1"

INTERNAL_ERROR = 3
INTERRUPTED = 2


class LazyGroup(click.Group):
    """Commands are imported when they are called, so that help comes at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"parity.cli.{cmd_name.replace('-', '_')}_command")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name where there is none."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UsageError(f"command {args[0]!r} is unknown; {nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``parity --help``, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="parity")
def cli() -> None:
    """Is my Adam the same Adam? Step by step, bit by bit, across NumPy, PyTorch and TensorFlow.

    Exit codes: 0 all as expected; 1 something is not; 2 usage or interrupted; 3 internal error;
    4 bad case or configuration; 5 nothing was compared.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run a command and leave with its exit code."""
    # Until the process is gone: a second Ctrl-C must not take the exit code of the first.
    interrupt_once()
    code = exit_code(arguments)
    # All that is left goes with the process: to look through it for garbage takes a fifth of a second.
    gc.freeze()
    sys.exit(code)


def exit_code(arguments: list[str] | None = None) -> int:
    """Run a command; every error of a user is one line on standard error."""
    try:
        answer = cli.main(arguments, prog_name="parity", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        where = f" (try '{context.command_path} --help')" if context is not None else ""
        error_line(f"{error.format_message()}{where}")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        error_line("interrupted")
        return INTERRUPTED
    except ParityError as error:
        error_line(str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever reads has left before the verdict was told: nothing that may count as green.
        sys.stderr.close()
        return INTERRUPTED
    except OSError as error:
        hint = TOO_MANY_FILES if error.errno == errno.EMFILE else ""
        error_line(f"{error.filename or 'file system'}: {error.strerror or error}{hint}")
        return ParityError.exit_code
    except Exception:
        traceback.print_exc()
        error_line("internal error; this is a bug of parity, the lines above say where")
        return INTERNAL_ERROR
    return answer if isinstance(answer, int) else 0


if __name__ == "__main__":
    main()
