"""The script that loads the plugin is printed as it is."""

from __future__ import annotations

from orthanc_gcp.plugin import script
from tests.support.terminal import invoke


def test_the_script_is_printed_and_nothing_else():
    done = invoke("plugin-script")
    assert (done.stdout, done.stderr) == (script.text(), "")
    compile(done.stdout, "orthanc_gcp_plugin.py", "exec")
