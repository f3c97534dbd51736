"""Following begins when the plugin is first loaded, whatever happens next."""

from __future__ import annotations

import json

import pytest

from orthanc_gcp.orthanc.first_start import FILE_NAME
from orthanc_gcp.plugin.first_start import configuration_folder, followed_since

RULES = {"GoogleCloudPlatform": {"Send": [{"To": "a"}]}}


class Host:
    """What the Python plugin gives before Orthanc listens."""

    def __init__(self, folder, configuration):
        self.configuration, self.errors = configuration, []
        self.arguments = ["--verbose", str(folder / "orthanc.json")]

    def GetConfiguration(self):  # noqa: N802
        return json.dumps(self.configuration)

    def GetCommandLineArgumentsCount(self):  # noqa: N802
        return len(self.arguments)

    def GetCommandLineArgument(self, number):  # noqa: N802
        return self.arguments[number]

    def LogError(self, text):  # noqa: N802
        self.errors.append(text)


def test_the_first_moment_with_rules_counts(tmp_path):
    host = Host(tmp_path, {**RULES, "StorageDirectory": "files"})
    assert configuration_folder(host) == tmp_path
    assert followed_since(host, 100.5) == 100.5
    assert (tmp_path / "files" / FILE_NAME).exists()
    assert followed_since(host, 200.5) == 100.5


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"GoogleCloudPlatform": []},
        {"GoogleCloudPlatform": {"Send": []}},
        {**RULES, "StorageDirectory": 5},
    ],
)
def test_without_rules_nothing_is_noted(tmp_path, configuration):
    host = Host(tmp_path, configuration)
    assert followed_since(host, 100.5) == 100.5
    assert followed_since(host, 200.5) == 200.5
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    host = Host(tmp_path, {**RULES, "StorageDirectory": "file"})
    assert followed_since(host, 100.5) == 100.5
    assert "cannot note in StorageDirectory" in host.errors[0]
