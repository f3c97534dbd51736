"""The pages of the manual (``man(7)``), made of what the commands themselves say with ``--help``.

One page for the whole, and one for each command: ``man orthanc-gcp-status``, as Git has it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from orthanc_gcp.cli import app

__all__ = ["pages"]

_NAME = "orthanc-gcp"
_AS_WRITTEN = "\b"
"""Begins a paragraph whose lines click leaves as they are."""
_ABOUT = "connects Orthanc to DICOM stores of the Google Cloud Healthcare API"
_EXIT_CODES = (
    ("0", "It has done what it is for, and there is nothing that needs anybody."),
    ("1", "It has, and something is not as it should be."),
    ("2", "It could not do what it is for, or the command line has a mistake in it."),
    ("130", "Ctrl-C ended it."),
)


def pages(version: str) -> dict[str, str]:
    """All pages, by the names of their files."""
    found = {f"{_NAME}.1": _whole(version)}
    for name, command in app.commands.items():
        found[f"{_NAME}-{name}.1"] = _page(name, command, version)
    return found


def _whole(version: str) -> str:
    lines = [
        *_head(_NAME, version, _ABOUT),
        *_synopsis(_NAME, ["COMMAND", "[OPTIONS]", "[ARGUMENTS]"]),
        ".SH COMMANDS",
    ]
    for name, command in app.commands.items():
        lines += _item(name, command.get_short_help_str(1000))
    return _text([*lines, *_ends(app.commands)])


def _page(name: str, command: click.Command, version: str) -> str:
    full = f"{_NAME}-{name}"
    context = click.Context(command, info_name=f"{_NAME} {name}", **app.context_settings)
    about = command.get_short_help_str(1000).rstrip(".")
    lines = [
        *_head(full, version, about[:1].lower() + about[1:]),
        *_synopsis(f"{_NAME} {name}", command.collect_usage_pieces(context)),
        ".SH DESCRIPTION",
        *_paragraphs(inspect.cleandoc(command.help or "")),
    ]
    for title, kind in (("ARGUMENTS", "argument"), ("OPTIONS", "option")):
        records = [
            one.get_help_record(context)
            for one in command.get_params(context)
            if one.param_type_name == kind
        ]
        lines.append(f".SH {title}" if any(records) else "")
        for record in filter(None, records):
            lines += _item(*record)
    return _text([*lines, *_ends([])])


def _head(name: str, version: str, about: str) -> Iterator[str]:
    yield f'.TH {_escaped(name.upper())} 1 "" "{_escaped(f"{_NAME} {version}")}" "{_NAME}"'
    yield ".SH NAME"
    yield f"{_escaped(name)} \\- {_escaped(about)}"


def _synopsis(command: str, pieces: list[str]) -> Iterator[str]:
    yield ".SH SYNOPSIS"
    yield f".B {_escaped(command)}"
    yield _line(" ".join(pieces))


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith(_AS_WRITTEN):
            yield from (".nf", *map(_line, paragraph.splitlines()[1:]), ".fi")
        else:
            yield _line(" ".join(paragraph.split()))


def _ends(commands: dict[str, click.Command] | list[str]) -> Iterator[str]:
    """The exit codes, and where there is more."""
    yield ".SH EXIT STATUS"
    for code, meaning in _EXIT_CODES:
        yield from _item(code, meaning)
    yield ".SH SEE ALSO"
    others = [f"{_NAME}-{name}" for name in commands] or [_NAME]
    yield ",\n".join(f".BR {_escaped(name)} (1)" for name in others).replace(",\n", " ,\n")


def _item(term: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_escaped(term)}"
    yield _line(meaning)


def _line(text: str) -> str:
    """A line of text, which is no request to troff, whatever it begins with."""
    return f"\\&{_escaped(text)}"


def _escaped(text: str) -> str:
    """A text as it is to be read: hyphens that can be copied, no commands of troff's."""
    for character, written in (
        ("\\", "\\e"),
        ("-", "\\-"),
        ("'", "\\(aq"),
        ("`", "\\(ga"),
        ("^", "\\(ha"),
        ("~", "\\(ti"),
        ('"', "\\(dq"),
    ):
        text = text.replace(character, written)
    return text


def _text(lines: list[str]) -> str:
    return "\n".join(filter(None, lines)) + "\n"
