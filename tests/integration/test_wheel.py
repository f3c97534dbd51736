"""A wheel built from the tree, in an environment of its own, serves the plugin."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.keys import user_account

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_the_wheel_alone_is_the_connector(orthanc, token_server, tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--constraint", str(_versions(tmp_path)), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    installed = json.loads(
        subprocess.run(
            [*pip, "list", "--format", "json"], check=True, capture_output=True, text=True
        ).stdout
    )
    assert not {"pydicom", "starlette", "aiohttp"} & {package["name"] for package in installed}
    text = subprocess.run(
        [tmp_path / "venv" / "bin" / "orthanc-gcp", "plugin-script"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert str(tmp_path / "venv") in text
    assert str(ROOT / "src") not in text

    accounts = {"my-google": user_account(token_server.url)}
    instance = orthanc({"GoogleCloudPlatform": {"Accounts": accounts}}, python_script=text)
    instance.wait_for_servers("my-google")
    assert instance.request("GET", "/gcp/app/index.html").status == 200


def _versions(folder: Path) -> Path:
    """The locked versions as constraints (with hashes, pip would refuse the wheel itself)."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    file = folder / "constraints.txt"
    file.write_text("\n".join(line.rstrip(" \\") for line in lines if "==" in line))
    return file
