"""The command line itself: what comes before any command does its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import orthanc_gcp
from orthanc_gcp.cli import app
from orthanc_gcp.ledger.database import connect, url_of
from orthanc_gcp.ledger.upgrade import prepare
from tests.support.terminal import (
    COMMANDS,
    ROOT,
    command,
    invoke,
    one_line,
)


def test_every_command_is_tried_here():
    assert set(COMMANDS) == set(app.commands)


def test_version():
    done = command("--version")
    assert (done.stdout, done.returncode) == (f"orthanc-gcp {orthanc_gcp.__version__}\n", 0)


def test_completion_for_bash():
    asked = {"_ORTHANC_GCP_COMPLETE": "bash_complete"}
    done = command(COMP_WORDS="orthanc-gcp au", COMP_CWORD="1", **asked)
    assert done.stdout == "plain,audit\n"
    done = command(COMP_WORDS="orthanc-gcp send --d", COMP_CWORD="2", **asked)
    assert done.stdout == "plain,--dry-run\n"
    source = command(_ORTHANC_GCP_COMPLETE="bash_source").stdout
    assert "_ORTHANC_GCP_COMPLETE=bash_complete" in source
    read = ["bash", "-c", 'eval "$1"; complete -p orthanc-gcp', "bash", source]
    assert "orthanc-gcp" in subprocess.run(read, capture_output=True, text=True, check=True).stdout


def test_completion_for_other_shells():
    assert command(_ORTHANC_GCP_COMPLETE="zsh_source").stdout.startswith("#compdef orthanc-gcp\n")
    source = command(_ORTHANC_GCP_COMPLETE="fish_source").stdout
    assert "complete --no-files --command orthanc-gcp" in source
    asked = {"COMP_WORDS": "orthanc-gcp au", "COMP_CWORD": "au"}
    assert command(_ORTHANC_GCP_COMPLETE="fish_complete", **asked).stdout.startswith("plain")


def test_bash_completes_as_the_guide_has_it(tmp_path):
    """What the guide says to write is read, and the Tab key is pressed."""
    (folder := tmp_path / "bin").mkdir()
    program = folder / "orthanc-gcp"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m orthanc_gcp "$@"\n')
    program.chmod(0o755)
    (line,) = re.findall(
        r"^_ORTHANC_GCP_COMPLETE=bash_source .*$",
        (ROOT / "docs" / "commands.md").read_text(),
        re.MULTILINE,
    )
    written, _, file = line.replace(" orthanc-gcp ", f" {program} ").partition(" > ")
    press = (
        f'set -e; mkdir -p "$(dirname {file})"; {written} > {file}; . {file}; '
        'COMP_WORDS=(orthanc-gcp "$1"); COMP_CWORD=1; '
        f'_orthanc_gcp_completion {program}; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "-c", press, "bash", "re"],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src")},
    )
    assert (done.stdout, done.stderr) == ("receipt retrieve retry resume\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statsu"], "No such command 'statsu'. Did you mean 'status'? (see orthanc-gcp --help)"),
        (["--verion"], "No such option '--verion'. Did you mean '--version'?"),
        (["status"], "Missing argument 'CONFIG'. (see orthanc-gcp status --help)"),
        (["status", "x", "--wacth"], "No such option '--wacth'. Did you mean '--watch'?"),
        (["pause", "x", "y", "z"], "Got unexpected extra argument (z)"),
        (["audit", "x", "--since", "May"], "Invalid value for '--since': 'May' does not match"),
        (["emulator", "--port", "-1"], "Invalid value for '--port': -1 is not in the range"),
        (["emulator", "--store", "a"], "Invalid value for --store: 'a' is not the name of"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments, said):
    done = invoke(*arguments, code=2)
    assert done.stderr.startswith(f"Error: {said}")
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


def test_a_wrong_command_line_of_a_process():
    said = one_line(command("worker"))
    assert said == "Error: Missing argument 'CONFIG...'. (see orthanc-gcp worker --help)"


def test_the_help_is_there_without_arguments_and_fits():
    done = invoke(code=2)
    assert done.stdout == ""
    assert invoke("--help").stdout.rstrip() == done.stderr.rstrip()
    listed = re.findall(r"^  ([a-z][a-z-]*) {2,}\S", done.stderr, re.MULTILINE)
    assert listed == list(COMMANDS)
    for arguments in ([], *([name] for name in set(COMMANDS) - {"emulator"})):
        help_text = invoke(*arguments, "--help").stdout
        assert max(map(len, help_text.splitlines())) <= 80
        assert not re.search(r"^ .*[a-z]\.\.\.$", help_text, re.MULTILINE), "cut off"


def test_help_loads_nothing_heavy():
    heavy = {
        *("cryptography", "google", "pydicom", "rich", "sqlalchemy", "starlette", "urllib3"),
        *("uvicorn", "orthanc_gcp.configuration", "orthanc_gcp.doctor", "orthanc_gcp.ledger"),
    }
    code = f"import sys; import orthanc_gcp.cli; print(*(set(sys.modules) & {heavy!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_output_without_the_characters_of_a_name(tmp_path):
    """As in a file on Windows."""
    file = tmp_path / "orthanc.json"
    account = {"Project": "p", "Location": "l", "Dataset": "d", "DicomStore": "s"}
    section = {"BaseUrl": "http://127.0.0.1:1/v1/", "Accounts": {"日本": account}}
    file.write_text(json.dumps({"GoogleCloudPlatform": section}))
    done = command("check", str(file), PYTHONIOENCODING="cp1252")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "account \\u65e5\\u672c" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_no_room_for_what_it_prints():
    """Exit code 1 would say that the command has found something."""
    words = [sys.executable, "-m", "orthanc_gcp", "plugin-script"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    said = "Error: what it prints cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.parametrize("words", [["--help"], ["plugin-script"], ["status", "CONFIGURATION"]])
def test_whoever_reads_what_it_prints_leaves_early(words, tmp_path):
    """As ``head`` does. Exit code 1 would say that the command has found something."""
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps({"StorageDirectory": str(tmp_path)}))
    prepare(connect(url_of("", tmp_path)))
    words = [str(file) if one == "CONFIGURATION" else one for one in words]
    reader, writer = os.pipe()
    os.close(reader)
    called = [sys.executable, "-m", "orthanc_gcp", *words]
    done = subprocess.run(called, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, "")


def test_whoever_watches_leaves_though_nothing_changes(tmp_path):
    """Nothing would be printed again, and the command would stay for ever."""
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps({"StorageDirectory": str(tmp_path)}))
    prepare(connect(url_of("", tmp_path)))
    called = [sys.executable, "-m", "orthanc_gcp", "status", str(file), "--watch", "--json"]
    process = subprocess.Popen(called, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 2
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_another_connection_that_ends_is_none_of_its_reader(monkeypatch):
    def fail(*_arguments, **_options):
        raise BrokenPipeError

    monkeypatch.setattr(app.commands["plugin-script"], "callback", fail)
    assert "the command failed unexpectedly" in invoke("plugin-script", code=2).stderr


def test_an_error_that_nobody_has_thought_of(monkeypatch):
    values = "of a patient"

    def fail(*_arguments, **_options):
        raise ZeroDivisionError(values)

    monkeypatch.setattr(app.commands["plugin-script"], "callback", fail)
    said = invoke("plugin-script", code=2).stderr
    assert said.startswith("Error: the command failed unexpectedly\n")
    assert values not in said
