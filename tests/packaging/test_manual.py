"""The pages of the manual are read by man, and say what --help says."""

from __future__ import annotations

import re
import shutil
import subprocess

import click
import pytest

from artefacts.manual import pages
from orthanc_gcp.cli import app

PAGES = pages("1.2.3")


def shown(page: str) -> str:
    """The words of a page, as somebody reads it."""
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-rLL=400n", "-rHY=0"],
        input=PAGES[page],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return " ".join(done.stdout.split())


def test_every_command_has_a_page():
    assert set(PAGES) == {"orthanc-gcp.1", *(f"orthanc-gcp-{name}.1" for name in app.commands)}
    listed = re.findall(r"^\.TP\n\.B (.+)\n\\&\S", PAGES["orthanc-gcp.1"], re.MULTILINE)
    assert [name.replace("\\-", "-") for name in listed][: len(app.commands)] == list(app.commands)


@pytest.mark.parametrize("page", PAGES)
def test_what_troff_might_take_for_a_request(page):
    for line in PAGES[page].splitlines():
        assert line.isascii(), line
        known = re.match(r"\.(TH|SH|TP|PP|B|BR|nf|fi)\b", line)
        assert known or line.startswith(("\\&", "orthanc\\-gcp")), line


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_warn_of():
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-z"],
        input="".join(PAGES.values()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("name", ["check", "query", "emulator"])
def test_a_page_says_what_the_help_says(name):
    command = app.commands[name]
    words = shown(f"orthanc-gcp-{name}.1")
    with click.Context(command, info_name=name, show_default=True) as context:
        for parameter in command.get_params(context):
            for text in parameter.get_help_record(context):
                assert " ".join(text.split()) in words
    assert f"orthanc-gcp-{name} - " in words
    for paragraph in command.help.replace("\b", "").split("\n\n"):
        assert " ".join(paragraph.split()) in words
