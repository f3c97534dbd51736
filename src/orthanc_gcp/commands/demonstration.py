"""The steps of ``orthanc-gcp demo``: every way between an Orthanc and the emulator.

What it does to Orthanc is what the original plugin's documentation shows: each step is a call of
Orthanc's own REST API. Only paths, ports and ``BaseUrl`` differ from its sample configuration.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess  # programs of ours, never by a shell  # nosec B404
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from rich.console import Console
from rich.table import Table

from orthanc_gcp.errors import GcpError
from orthanc_gcp.plugin import script

__all__ = ["Demonstration", "DemonstrationError", "running"]

SAMPLES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "examples_rgb_color.dcm",
    "examples_ybr_color.dcm",
    "liver_1frame.dcm",
    "reportsi.dcm",
    "rtdose.dcm",
    "rtplan.dcm",
    "waveform_ecg.dcm",
)
SERVER = "/dicom-web/servers/my-google"
PLUGINS = (
    Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so"),
    Path("/usr/share/orthanc/plugins/libOrthancPython.so"),
)
_WAIT = 30


class DemonstrationError(GcpError):
    """A step of the demonstration failed."""


@contextmanager
def running(folder: Path, console: Console) -> Iterator[Demonstration]:
    """The emulator and Orthanc, stopped at the end whatever happens.

    Raises
    ------
    DemonstrationError
        One of the two does not start.
    """
    processes: list[subprocess.Popen[Any]] = []
    demonstration = Demonstration(folder, console, processes)
    try:
        demonstration.step("start the emulator of Google", demonstration.start_emulator)
        demonstration.step(
            "start Orthanc with the sample configuration", demonstration.start_orthanc
        )
        yield demonstration
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            process.wait(_WAIT)
            if process.stdout is not None:
                process.stdout.close()


@dataclass
class Demonstration:
    """Where it happens, and its steps, each of which returns what it came to, to be printed.

    Sending, searching, retrieving and deleting are routes of Orthanc's DICOMweb plugin below
    ``/dicom-web/servers/{name}``: ``/stow``, ``/qido``, ``/retrieve``, ``/delete`` and ``/get``.
    """

    folder: Path
    console: Console
    processes: list[subprocess.Popen[Any]]
    orthanc: str = ""
    google: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    studies: list[str] = field(default_factory=list)
    http: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(retries=False, timeout=60.0)
    )

    def tour(self) -> None:
        """Every way between Orthanc and the store, and back.

        Raises
        ------
        DemonstrationError
            A step failed: its title, and what went wrong.
        """
        self.step("acquire a token and publish the server my-google", self.wait_for_server)
        self.step("upload sample images to Orthanc", self.upload)
        self.step("send them to the store (STOW-RS)", self.send)
        self.step("search the store (QIDO-RS)", self.search)
        self.step("delete them in Orthanc", self.delete_locally)
        self.step("retrieve them from the store (WADO-RS)", self.retrieve)
        self.step("compare them byte for byte", self.compare)
        self.step("delete them in the store", self.delete_in_store)

    def step(self, title: str, action: Callable[[], str]) -> None:
        """Run one step and print how it went.

        Raises
        ------
        DemonstrationError
            It failed, in whatever way.
        """
        began = time.monotonic()
        try:
            result = action()
        except Exception as error:
            raise DemonstrationError(f"{title}: {error}") from error
        seconds = time.monotonic() - began
        self.console.print(f"[green]ok[/] {seconds:6.2f} s  {title}: {result}", soft_wrap=True)

    def print_addresses(self) -> None:
        """Where to look around while everything is up."""
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_row("Orthanc Explorer", f"{self.orthanc}/app/explorer.html")
        table.add_row("DICOMweb client", f"{self.orthanc}/dicom-web/app/client/index.html")
        table.add_row("the store's server", f"{self.orthanc}{SERVER}")
        table.add_row("the emulator", self.google)
        self.console.print(table)

    # -- The steps ----------------------------------------------------------------------------

    def start_emulator(self) -> str:
        """The emulator, with credentials that work against it; its address.

        Raises
        ------
        DemonstrationError
            It ended before it was ready.
        """
        command = [
            *(sys.executable, "-m", "orthanc_gcp", "emulator", "--tls"),
            *("--port", str(_port(8085)), "--directory", str(self.folder / "google")),
            *("--write-credentials", str(self.folder)),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")  # noqa: S603 - a program of ours, and no shell # nosec B603
        self.processes.append(process)
        line = process.stdout.readline() if process.stdout else ""
        found = re.search(r"https://\S+?:\d+", line)
        if found is None:
            raise DemonstrationError("the emulator does not start, its message is above")
        self.google = found[0]
        return self.google

    def start_orthanc(self) -> str:
        """Orthanc with the DICOMweb plugin and this plugin; its version and address.

        Raises
        ------
        DemonstrationError
            Orthanc or a plugin is not installed, or it does not answer.
        """
        executable = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if executable is None or not all(plugin.exists() for plugin in PLUGINS):
            packages = "orthanc orthanc-dicomweb orthanc-python"
            raise DemonstrationError(
                f"Orthanc is not complete, install it: apt-get install {packages}"
            )
        port = _port(8042)
        file = self.folder / "orthanc.json"
        file.write_text(json.dumps(self.configuration(port), indent=2), "utf-8")
        with (self.folder / "orthanc.log").open("wb") as log:
            command = [executable, str(file)]
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))  # noqa: S603 - a program of ours, and no shell # nosec B603
        self.orthanc = f"http://127.0.0.1:{port}"
        self.until(lambda: self._system() is not None, "Orthanc does not answer")
        return f"version {self._system()}, {self.orthanc}"

    def configuration(self, port: int) -> dict[str, Any]:
        """The sample configuration of the original's documentation, with this machine's paths."""
        script_file = self.folder / "orthanc_gcp_script.py"
        script_file.write_text(script.text(), "utf-8")
        return {
            "Name": "orthanc-gcp demo",
            "StorageDirectory": str(self.folder / "orthanc"),
            "IndexDirectory": str(self.folder / "orthanc"),
            "HttpPort": port,
            "DicomServerEnabled": False,
            "HttpsCACertificates": str(self.folder / "google" / "ca.pem"),
            "Plugins": [str(plugin) for plugin in PLUGINS],
            "PythonScript": str(script_file),
            "GoogleCloudPlatform": {
                "BaseUrl": f"{self.google}/v1beta1/",
                "Accounts": {
                    "my-google": {
                        "Project": "osimis-test",
                        "Location": "europe-west2",
                        "Dataset": "test",
                        "DicomStore": "dicom",
                        "ServiceAccountFile": str(self.folder / "service-account.json"),
                    }
                },
            },
        }

    def wait_for_server(self) -> str:
        """The connector has a token, and the DICOMweb plugin knows the store."""
        self.until(
            lambda: "my-google" in self.call("GET", "/dicom-web/servers"),
            "the store is not published, see orthanc.log",
        )
        return str(self.call("GET", "/dicom-web/servers?expand")["my-google"]["Url"])

    def upload(self) -> str:
        """Sample files of several modalities, which pydicom ships."""
        from pydicom.data import get_testdata_file

        for name in SAMPLES:
            content = Path(str(get_testdata_file(name))).read_bytes()
            self.files[self.call("POST", "/instances", content)["ID"]] = content
        series = self.call("GET", "/series?expand")
        modalities = {one["MainDicomTags"]["Modality"] for one in series}
        return f"{len(self.files)} instances, {', '.join(sorted(modalities))}"

    def send(self) -> str:
        """STOW-RS by the DICOMweb plugin."""
        answer = self.call(
            "POST", f"{SERVER}/stow", {"Resources": list(self.files), "Synchronous": True}
        )
        _expect(int(answer["InstancesCount"]), len(self.files), "instances were sent")
        return f"{answer['InstancesCount']} instances"

    def search(self) -> str:
        """QIDO-RS by the DICOMweb plugin: all, and one patient."""
        found = self.call("POST", f"{SERVER}/qido", {"Uri": "/instances"})
        _expect(len(found), len(self.files), "instances were found")
        query = {"Uri": "/studies", "Arguments": {"PatientID": "1CT1"}}
        _expect(len(self.call("POST", f"{SERVER}/qido", query)), 1, "studies of patient 1CT1")
        return f"{len(found)} instances, 1 study of patient 1CT1"

    def delete_locally(self) -> str:
        """Nothing is left in Orthanc."""
        for study in self.call("GET", "/studies?expand"):
            self.studies.append(study["MainDicomTags"]["StudyInstanceUID"])
            self.call("DELETE", f"/studies/{study['ID']}")
        _expect(len(self.call("GET", "/instances")), 0, "instances are left")
        return f"{len(self.studies)} studies"

    def retrieve(self) -> str:
        """WADO-RS by the DICOMweb plugin."""
        body = {"Resources": [{"Study": study} for study in self.studies], "Synchronous": True}
        answer = self.call("POST", f"{SERVER}/retrieve", body)
        count = int(answer["ReceivedInstancesCount"])
        _expect(count, len(self.files), "instances were retrieved")
        return f"{count} instances"

    def compare(self) -> str:
        """What came back is what was sent.

        Raises
        ------
        DemonstrationError
            It is not.
        """
        for instance, content in self.files.items():
            if self.raw("GET", f"/instances/{instance}/file") != content:
                raise DemonstrationError(f"instance {instance} came back with other bytes")
        return f"{sum(map(len, self.files.values())):,} bytes are the same"

    def delete_in_store(self) -> str:
        """DELETE by the DICOMweb plugin; the store works on it for a moment."""
        for study in self.studies:
            body = {"Level": "Study", "StudyInstanceUID": study}
            self.call("POST", f"{SERVER}/delete", body)
        self.until(
            lambda: not self.raw("POST", f"{SERVER}/get", {"Uri": "/studies"}),
            "there are still studies in the store",
        )
        return f"{len(self.studies)} studies, the store is empty"

    # -- Orthanc's REST API -------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Orthanc's answer, parsed."""
        return json.loads(self.raw(method, path, body))

    def raw(self, method: str, path: str, body: Any = None) -> bytes:
        """Orthanc's answer as it came.

        Raises
        ------
        DemonstrationError
            Its status is not 200.
        """
        data = body if isinstance(body, bytes | None) else json.dumps(body)
        headers = {"Accept-Encoding": "identity"}
        answer = self.http.request(method, self.orthanc + path, body=data, headers=headers)
        if answer.status != 200:
            raise DemonstrationError(f"Orthanc answered {answer.status} to {method} {path}")
        return answer.data

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait for something, for half a minute at most.

        Raises
        ------
        DemonstrationError
            It did not come, or the process that was started last has ended.
        """
        deadline = time.monotonic() + _WAIT
        while not condition():
            if time.monotonic() > deadline or self.processes[-1].poll() is not None:
                raise DemonstrationError(otherwise)
            time.sleep(0.05)

    def _system(self) -> str | None:
        try:
            return str(self.call("GET", "/system")["Version"])
        except urllib3.exceptions.HTTPError:
            return None


def _expect(found: int, expected: int, what: str) -> None:
    """See that a number is right.

    Raises
    ------
    DemonstrationError
        It is not.
    """
    if found != expected:
        raise DemonstrationError(f"{found} {what}, expected {expected}")


def _port(wanted: int) -> int:
    """The usual port, or any free one.

    Raises
    ------
    DemonstrationError
        None is free.
    """
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemonstrationError("no port is free")
