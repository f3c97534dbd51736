"""A Debian host of its own: Orthanc as the package installs it, at the documented places and ports.

Namespaces of the kernel give each host its own network, processes and mounts: what is written lies
in layers above this machine's folders, so that Debian's real files are there, and what the
documentation says is done word for word. Google's names lead to the emulator there. Only root may
make such a host.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ETC, LOGS, STORAGE = Path("/etc/orthanc"), Path("/var/log/orthanc"), Path("/var/lib/orthanc")
CREDENTIALS = Path("/etc/orthanc-gcp")
VENV = Path("/opt/orthanc-gcp")
UNIT = Path("/lib/systemd/system/orthanc.service")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
LAYERS = ("/etc", "/opt", "/srv", "/usr", "/var")
GOOGLE = ("healthcare.googleapis.com", "oauth2.googleapis.com", "www.googleapis.com")

# What stands in for the running init system: it does what the unit says, by the unit's own words.
_SYSTEMCTL = """#!/bin/sh
# systemctl start|stop|restart|is-active orthanc
pid=/run/orthanc-test.pid
unit() {{ sed -n "s/^$1=//p" {unit}; }}
running() {{ [ -s $pid ] && grep -q "^State:.[^ZX]" "/proc/$(cat $pid)/status" 2>/dev/null; }}
case "$1" in
stop|restart) if running; then kill "$(cat $pid)"; while running; do sleep 0.02; done; fi ;;
esac
case "$1" in
start|restart)
    set -- $(unit ExecStart)
    cd /
    env -i PATH=/usr/bin:/bin setpriv --reuid="$(unit User)" --regid="$(unit Group)" \\
        --init-groups "$@" >/dev/null 2>&1 &
    echo $! > $pid ;;
is-active) running ;;
esac
"""


class DebianHost:
    """A host in a folder: commands are run in it as a person would type them.

    Parameters
    ----------
    virtual_environment
        What stands at ``/opt/orthanc-gcp``; None for an empty folder.
    root
        The root of another release; None for this machine's.
    """

    PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def __init__(
        self, folder: Path, virtual_environment: Path | None = None, root: Path | None = None
    ) -> None:
        self.folder, self.root = folder, root
        folder.chmod(0o755)
        self.google = Google(self)
        self._started: list[subprocess.Popen[str]] = []
        self._holder = self._hold(virtual_environment)
        assert not self.path(ETC).samefile(ETC), "this machine itself would be written to"
        # systemd-tmpfiles makes them in newer releases, and nobody where no init system runs.
        for place in (LOGS, STORAGE):
            self.run(f"test -d {place} || install -d -o orthanc -g orthanc {place}")
        with self.path(AUTHORITIES).open("a") as authorities:
            authorities.write(self.google.authority())
        self.path("/etc/hosts").write_text(f"127.0.0.1 localhost {' '.join(GOOGLE)}\n")
        self.path("/usr/bin/systemctl").unlink(missing_ok=True)
        self.path("/usr/bin/systemctl").write_text(_SYSTEMCTL.format(unit=UNIT))
        self.path("/usr/bin/systemctl").chmod(0o755)

    # -- The host --------------------------------------------------------------------------------

    def run(
        self,
        command: str | list[str],
        *,
        user: str = "root",
        folder: Path | str = "/",
        internet: bool = False,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line in the host's shell, as a user of it.

        Parameters
        ----------
        internet
            In this machine's network, where packages come from, and not in the host's own.
        """
        shell = ["sh", "-c", command] if isinstance(command, str) else command
        variables = {
            "PATH": self.PATH,
            "HOME": "/root" if user == "root" else "/nonexistent",
            "COLUMNS": "200",
            **environment,
        }
        return subprocess.run(
            [*self._enter(internet), f"--wdns={folder}", "--", *_as(user), *shell],
            capture_output=True,
            text=True,
            env=variables,
            timeout=300,
        )

    def popen(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command of this machine in the host's network."""
        enter = ["nsenter", f"--target={self._target}", "--net", "--"]
        process = subprocess.Popen([*enter, *command], text=True, **options)
        self._started.append(process)
        return process

    def path(self, place: Path | str) -> Path:
        """Where a file of the host lies, seen from the test."""
        return Path(f"/proc/{self._target}/root{place}")

    def stop(self) -> None:
        """End all processes of the host."""
        self.google.stop()
        for process in self._started:
            if process.stdout is not None:
                process.stdout.close()
        self._holder.kill()
        for process in (self._holder, *self._started):
            process.wait()

    # -- Its Orthanc -----------------------------------------------------------------------------

    def restart(self) -> None:
        """``systemctl restart orthanc``, and wait until it answers."""
        self.run("systemctl restart orthanc")
        self.wait_for_orthanc()

    def wait_for_orthanc(self, wait: float = 30) -> None:
        """Until Orthanc answers; fails at once when it has ended."""
        deadline = time.monotonic() + wait
        while self.curl("/system") is None:
            assert self.run("systemctl is-active orthanc").returncode == 0, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def is_running(self) -> bool:
        """Whether Orthanc runs."""
        return self.run("systemctl is-active orthanc").returncode == 0

    def curl(self, path: str, *arguments: str) -> Any:
        """What Orthanc answers; None for no answer or an error."""
        url = f"http://localhost:8042{path}"
        process = self.popen(
            ["curl", "--silent", "--fail", *arguments, url], stdout=subprocess.PIPE
        )
        answer, _ = process.communicate(timeout=60)
        if process.returncode:
            return None
        try:
            return json.loads(answer)
        except ValueError:
            return answer

    def wait_for_servers(self, *names: str, wait: float = 20) -> None:
        """Until the DICOMweb plugin has these servers."""
        deadline = time.monotonic() + wait
        while not set(names) <= set(self.curl("/dicom-web/servers") or ()):
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    @property
    def log(self) -> str:
        """All that Orthanc has logged, over all its starts."""
        logs = sorted(self.path(LOGS).glob("Orthanc.log.*"))
        return "".join(one.read_text(errors="replace") for one in logs if not one.is_symlink())

    def wait_for_log(self, text: str, wait: float = 20) -> None:
        """Until a text stands in Orthanc's log."""
        deadline = time.monotonic() + wait
        while text not in self.log:
            assert time.monotonic() < deadline, f"{text!r} is not in:\n{self.log}"
            time.sleep(0.05)

    # -- Its files -------------------------------------------------------------------------------

    def configure(self, file: str, text: str | dict[str, Any]) -> None:
        """Write a file of ``/etc/orthanc``."""
        content = text if isinstance(text, str) else json.dumps(text, indent=2)
        self.path(ETC / file).write_text(content)

    def give_key(self, file: str = "dicom-osimis.json", kind: str = "service-account") -> None:
        """Put a credential file of Google's where Orthanc's user may read it, and nobody else."""
        self.path(CREDENTIALS).mkdir(exist_ok=True)
        key = self.path(CREDENTIALS / file)
        key.write_text(self.google.credential(f"{kind}.json"))
        key.chmod(0o640)
        self.give(CREDENTIALS / file, "root:orthanc")

    def give(self, place: Path | str, owner: str) -> None:
        """Give a file to a user of the host, or to ``user:group``."""
        done = self.run(["chown", owner, str(place)])
        assert done.returncode == 0, done.stderr

    def edit(self, file: str, option: str, value: Any) -> None:
        """Give an option of Debian's own files another value."""
        path = self.path(ETC / file)
        pattern = rf'(^\s*"{option}"\s*:\s*)[^\n]*?(,?)(\s*(?://[^\n]*)?\n)'
        text, count = re.subn(
            pattern,
            lambda found: f"{found[1]}{json.dumps(value)}{found[2]}{found[3]}",
            path.read_text(),
            count=1,
            flags=re.MULTILINE,
        )
        assert count == 1, f"{option} is not in {file}"
        path.write_text(text)

    # -- Its namespaces --------------------------------------------------------------------------

    def _hold(self, virtual_environment: Path | None) -> subprocess.Popen[bytes]:
        """A process that the namespaces live with."""
        if self.root is None:
            mounts, top = [self._layer(Path(place), Path(place)) for place in LAYERS], ""
        else:
            merged = self.folder / "root"
            mounts, top = (
                [self._layer(self.root, merged), *_furnished(merged, self.folder)],
                str(merged),
            )
        mounts.append(f"mkdir -p {top}{VENV}")
        if virtual_environment is not None:
            mounts.append(f"mount --bind {virtual_environment} {top}{VENV}")
        mounts.append(f"mount -t tmpfs tmpfs {top}/run")
        script = "; ".join(["set -e", *mounts, "ip link set lo up"])
        end = f"exec chroot {top or '/'} sh -c 'echo ready; exec sleep infinity'"
        holder = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
                "sh",
                "-c",
                f"{script}; {end}",
            ],
            stdout=subprocess.PIPE,
        )
        assert holder.stdout is not None
        with holder.stdout as line:
            assert line.readline() == b"ready\n", "a host cannot be made here"
        self._target = _children(holder.pid)[0]
        return holder

    def _layer(self, below: Path, place: Path) -> str:
        """What mounts a folder with a layer above it that takes all that is written."""
        above, work = (self.folder / f"{below.name}-{kind}" for kind in ("layer", "work"))
        above.mkdir()
        work.mkdir()
        place.mkdir(exist_ok=True)
        options = f"lowerdir={below},upperdir={above},workdir={work}"
        return f"mount -t overlay overlay -o {options} {place}"

    def _enter(self, internet: bool = False) -> list[str]:
        network = [] if internet else ["--net"]
        return ["nsenter", f"--target={self._target}", "--mount", "--pid", "--root", *network]


class Google:
    """The emulator, at Google's own names and port inside a host."""

    def __init__(self, host: DebianHost) -> None:
        self._host = host
        self.folder = host.folder / "google"
        self.folder.mkdir(mode=0o755)
        self.credentials = self.folder / "credentials"
        self._process: subprocess.Popen[str] | None = None

    def authority(self) -> str:
        """The certificate that the host trusts."""
        from orthanc_gcp.emulator.auth.certificates import ensure_certificates

        names = ("127.0.0.1", *GOOGLE)
        return ensure_certificates(self.folder, names).ca.read_text()

    def start(self, *arguments: str) -> None:
        """Listen, unless it does."""
        if self._process is not None:
            return
        names = [option for name in GOOGLE for option in ("--tls-name", name)]
        self._process = self._host.popen(
            [
                *(sys.executable, "-m", "orthanc_gcp", "emulator", "--port", "443", "--admin"),
                *("--directory", str(self.folder), "--write-credentials", str(self.credentials)),
                *(*names, *arguments),
            ],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert "is ready" in self._process.stdout.readline()

    def stop(self) -> None:
        """Be away."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def credential(self, name: str = "service-account.json") -> str:
        """The content of a credential file that it has made."""
        return (self.credentials / name).read_text()


@contextmanager
def kept_logs(host: DebianHost, request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep Orthanc's log of a test that failed."""
    yield
    from tests.conftest import FAILED, KEPT_LOGS

    if request.node.stash.get(FAILED, False):
        KEPT_LOGS.mkdir(exist_ok=True)
        (KEPT_LOGS / f"{request.node.name.replace('/', '-')}.log").write_text(host.log)


def _furnished(root: Path, folder: Path) -> list[str]:
    """What mounts what a root of its own needs: devices, processes, and the host's folder."""
    return [
        f"mount --rbind /dev {root}/dev",
        f"mount -t proc proc {root}/proc",
        f"mkdir -p {root}{folder}",
        f"mount --bind {folder} {root}{folder}",
    ]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _as(user: str) -> list[str]:
    if user == "root":
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
