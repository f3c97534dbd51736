"""The command that runs the emulator, in this process: its options, and what it says."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3
from click.testing import CliRunner, Result

from orthanc_gcp.emulator import command as module
from orthanc_gcp.emulator.command import emulator
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings
from orthanc_gcp.emulator.server import Emulator


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers of this process, which are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def invoke(*arguments: object) -> Result:
    done = CliRunner().invoke(emulator, list(map(str, arguments)))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_it_says_where_it_is_and_runs_until_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = []
    run = Emulator.run

    def run_and_stop(running: Emulator, ready: Callable[[], None]) -> None:
        def ask() -> None:
            ready()
            url = f"{running.url}/emulator/token"
            statuses.append(urllib3.PoolManager(retries=False).request("GET", url).status)
            os.kill(os.getpid(), signal.SIGTERM)

        run(running, lambda: threading.Thread(target=ask).start())

    monkeypatch.setattr(Emulator, "run", run_and_stop)
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"latency": 0, "faults": []}))
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "readme.txt").touch()
    rule = json.dumps({"path": "/nowhere$", "status": 503})
    done = invoke(
        *("--directory", tmp_path / "data", "--port", 0, "--metadata-port", 0),
        *("--write-credentials", tmp_path / "credentials"),
        *("--fault-settings", settings, "--fault", rule, "--seed", tmp_path / "seed"),
    )
    assert done.exit_code == 0, done.output
    assert statuses == [200]
    assert done.stdout.startswith("orthanc-gcp emulator is ready at http://127.0.0.1:")
    assert ", metadata server 127.0.0.1:" in done.stdout
    assert done.stdout.count("\n") == 1
    assert f"not seeded: {tmp_path}/seed/readme.txt: " in done.stderr
    assert "0 stored, 0 there already, 1 left out" in done.stderr
    assert (tmp_path / "credentials" / "service-account.json").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--store", "a/b"], "'a/b' is not the name of a DICOM store"),
        (["--fault", "no JSON"], "Invalid value for --fault: a JSON object is expected"),
        (["--fault", "[]"], "Invalid value for --fault: a JSON object is expected"),
        (
            ["--fault", '{"nothing": 1}'],
            "Invalid value for --fault-settings, --fault or --network",
        ),
        (["--port", "65536"], "Invalid value for '--port': 65536 is not in the range"),
        (["--token-lifetime", "0"], "Invalid value for '--token-lifetime': 0 is not in the range"),
        (["--tls-name", "https://a"], "for --tls-name or --allow-host: 'https://a' is no name"),
        (["--allow-host", "a:80"], "Invalid value for --tls-name or --allow-host: 'a:80' is no"),
        (["--network", "Google"], "'Google' is neither google nor a file that can be read"),
        (["--network", "\0"], "for --network: '\\x00' is neither google nor a file"),
        (["--network", "/dev/null"], "Invalid value for --network: a JSON object is expected"),
        (["--fault", '{"status": 1}'], "Invalid value for --fault-settings, --fault or --network"),
        (["--buckets", "/nowhere"], "Invalid value for '--buckets': Directory '/nowhere' does not"),
        (["--fault-settings", "/nowhere"], "Invalid value for '--fault-settings': File '/nowhere'"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, options: list[str], words: str) -> None:
    done = invoke("--directory", tmp_path, "--port", 0, *options)
    assert done.exit_code == 2
    assert words in done.stderr


def test_why_it_cannot_start(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = invoke("--directory", tmp_path / "one", "--port", other.getsockname()[1])
    assert done.exit_code == 1
    assert "The emulator cannot start: cannot listen at 127.0.0.1:" in done.stderr
    assert "Address already in use; choose another --port, or 0" in done.stderr
    done = invoke("--directory", tmp_path / "one", "--port", 0, "--seed", "/nowhere")
    assert done.exit_code == 1
    assert "The emulator cannot start: /nowhere: No such file or directory" in done.stderr
    (tmp_path / "file").write_text("")
    done = invoke("--directory", tmp_path / "file" / "below", "--port", 0)
    assert done.exit_code == 1
    assert "Not a directory" in done.stderr


def test_without_a_directory_the_users_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert module._default_directory() == Path("/somewhere/orthanc-gcp/emulator")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert module._default_directory() == Path.home() / ".local/share/orthanc-gcp/emulator"


def test_rules_are_added_to_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"faults": [1], "latency": 2}')
    assert module._fault_settings(file, ['{"a": 1}']) == {
        "faults": [1, {"a": 1}],
        "latency": 2,
    }
    file.write_text('{"faults": "wrong"}')
    assert module._fault_settings(file, ['{"a": 1}']) == {"faults": "wrong"}
    assert module._fault_settings(None, []) == {}


def test_a_network_profile_is_a_name_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{"latency": 2}')
    assert module._network(str(file)) == {"latency": 2}
    assert module._network("google") == "google"


def test_the_names_of_profiles_are_those_that_the_settings_know() -> None:
    for name in module._NETWORKS:
        FaultSettings({"network": name})


def test_the_command_needs_no_more_than_click() -> None:
    """Before it says what else is to be installed."""
    code = (
        "import sys; before = set(sys.modules); import orthanc_gcp.emulator.command;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(new - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["click", "orthanc_gcp"]
