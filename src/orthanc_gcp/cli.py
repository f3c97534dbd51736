"""The command ``orthanc-gcp``: what a person does at a terminal."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from orthanc_gcp import __version__
from orthanc_gcp.commands.arguments import BROKEN_OFF
from orthanc_gcp.commands.audit.command import audit
from orthanc_gcp.commands.backfill import backfill
from orthanc_gcp.commands.check import check
from orthanc_gcp.commands.demo import demo
from orthanc_gcp.commands.destinations import destinations
from orthanc_gcp.commands.indexes import indexes
from orthanc_gcp.commands.install import install
from orthanc_gcp.commands.live.status import status
from orthanc_gcp.commands.live.top import top
from orthanc_gcp.commands.losses import losses
from orthanc_gcp.commands.pause_resume import pause, resume
from orthanc_gcp.commands.plugin_script import plugin_script
from orthanc_gcp.commands.printing import print_any_text, reader_has_left, say
from orthanc_gcp.commands.quarantine.command import quarantine
from orthanc_gcp.commands.quarantine.retry import retry
from orthanc_gcp.commands.receipt import receipt
from orthanc_gcp.commands.retrieval.gateway import gateway
from orthanc_gcp.commands.retrieval.query import query
from orthanc_gcp.commands.retrieval.retrieve import retrieve
from orthanc_gcp.commands.send import send
from orthanc_gcp.commands.sidecar import sidecar
from orthanc_gcp.commands.worker import worker
from orthanc_gcp.emulator.command import emulator
from orthanc_gcp.logs import places
from orthanc_gcp.process_end import without_finalizing
from orthanc_gcp.redaction import masked

__all__ = ["app"]


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Why nothing more can be written into an open file: a disk, a quota or a limit is full."""


class CommandLineError(click.ClickException):
    """A command, option or argument is none, is missing, or has a value that it cannot have.

    Or the standard output has no room for what is printed.
    """

    exit_code = click.UsageError.exit_code


class UnexpectedError(click.ClickException):
    """A command has failed in a way that nobody has thought of: it has not done what it is for."""

    exit_code = CommandLineError.exit_code


class Commands(click.Group):
    """Commands in the order of a day's work, each with its whole first sentence.

    What is wrong with a command line is said in one line, as everything else is that ends one.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run as the program of this process, which ends then."""
        with without_finalizing():
            return super().__call__(*arguments, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- as click has it
        """The names, in the order in which they are written down below."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of the help, broken up where click would cut it off."""
        rows = [
            (name, self.commands[name].get_short_help_str(limit=1000))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """As click does; the options before the command are read here."""
        print_any_text()
        with _in_one_line():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does; the command and its options are read here."""
        with _in_one_line():
            return super().invoke(ctx)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Say what is wrong with a command line without the usage around it.

    Whoever reads what is printed may leave before the end, as ``head`` does: nothing is said then.
    Of an error that nobody has thought of, it is said where it happened: its message may hold a
    secret or values of a patient.

    Raises
    ------
    CommandLineError
        Something is wrong with it. Where nothing was given, click's error with the help remains.
    UnexpectedError
        The command has failed.
    """
    try:
        yield
    except click.UsageError as error:
        if isinstance(error, click.exceptions.NoArgsIsHelpError) or error.ctx is None:
            raise
        help_command = f"{error.ctx.command_path} --help"
        raise CommandLineError(masked(f"{error.format_message()} (see {help_command})")) from None
    except (click.ClickException, click.exceptions.Exit, click.Abort, EOFError):
        raise  # click ends the command
    except KeyboardInterrupt:  # before the command has something to say of it
        say("broken off", err=True)
        raise click.exceptions.Exit(BROKEN_OFF) from None
    except Exception as error:
        if isinstance(error, BrokenPipeError) and reader_has_left():
            raise click.exceptions.Exit(CommandLineError.exit_code) from None
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM:
            words = f"what it prints cannot be written: {error.strerror}"
            raise CommandLineError(words) from None
        raise UnexpectedError(f"the command failed unexpectedly\n{places(error)}") from error


@click.group(
    "orthanc-gcp",
    cls=Commands,
    commands=[
        install,
        check,
        worker,
        status,
        top,
        receipt,
        audit,
        query,
        retrieve,
        send,
        backfill,
        quarantine,
        retry,
        pause,
        resume,
        indexes,
        losses,
        destinations,
        gateway,
        sidecar,
        plugin_script,
        demo,
        emulator,
    ],
    context_settings={"show_default": True},
)
@click.version_option(__version__, message="%(prog)s %(version)s", help="Print the version.")
def app() -> None:
    """Connects Orthanc to DICOM stores of the Google Cloud Healthcare API."""
