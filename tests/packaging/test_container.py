"""The image, the compose file and the Kubernetes example, as far as no engine is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from artefacts.folder import FOLDER_SCRIPT
from artefacts.source import ROOT
from orthanc_gcp import configuration
from orthanc_gcp.cli import app
from orthanc_gcp.configuration import Settings
from orthanc_gcp.configuration.files import read_files

CONTAINER = ROOT / "container"
SCHEMAS = Path(__file__).parent / "schemas"
IMAGE = (CONTAINER / "orthanc.Containerfile").read_text()


def schema(name: str) -> dict:
    return json.loads((SCHEMAS / name).read_text())


def compose() -> dict:
    return yaml.safe_load((CONTAINER / "compose.yaml").read_text())


def objects() -> dict[str, dict]:
    """What is made in Kubernetes, by its kind."""
    found = yaml.safe_load_all((CONTAINER / "kubernetes.yaml").read_text())
    return {one["kind"]: one for one in found}


def read(text: str, folder: Path, **environment: str) -> Settings:
    file = folder / "google-cloud-platform.json"
    file.write_text(text)
    return configuration.read(read_files([file], environment), folder)


def assert_right(settings: Settings) -> None:
    assert [str(problem) for problem in settings.problems] == []
    assert [account.name for account in settings.accounts] == ["my-google"]
    assert settings.rules


def test_the_image_names_what_the_folder_has():
    (to,) = re.findall(r"^COPY orthanc-gcp-\*/ (\S+)/$", IMAGE, re.MULTILINE)
    assert f"ORTHANC__PYTHON_SCRIPT={to}/{FOLDER_SCRIPT}\n" in IMAGE
    assert f"ln -s {to}/bin/orthanc-gcp /usr/local/bin/" in IMAGE
    assert f"compileall -q {to}/lib" in IMAGE


def test_the_image_needs_nothing_from_elsewhere():
    assert not re.search(r"\b(pip|apt|apt-get|venv|gcc|curl|wget)\b", IMAGE.split("FROM", 1)[1])


def test_the_compose_file_is_one():
    jsonschema.validate(compose(), schema("compose.json"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"a": {"imag": "x"}}}, schema("compose.json"))


def test_what_the_compose_file_names_is_there(tmp_path):
    found = compose()
    for service in (found["services"][name] for name in ("orthanc", "worker")):
        assert (CONTAINER / service["build"]["dockerfile"].replace("../../container/", "")).exists()
        assert set(service["secrets"]) == set(found["secrets"])
        assert not any(name.endswith(".json") for name in service["secrets"])
    text = (CONTAINER / found["configs"]["section"]["file"]).read_text()
    settings = read(text, tmp_path, LEDGER_PASSWORD="a b@c")
    assert_right(settings)
    assert set(found["secrets"]) == {Path(settings.accounts[0].service_account_file).name}


def test_the_worker_of_the_compose_file_is_a_command():
    program, command, *arguments = compose()["services"]["worker"]["entrypoint"]
    assert program == "orthanc-gcp"
    app.commands[command].make_context(command, arguments)
    (variable,) = [one for one in compose()["services"]["worker"]["environment"] if "GCP" in one]
    (option,) = [one for one in app.commands[command].params if one.name == "orthanc"]
    assert option.envvar == variable


@pytest.mark.parametrize("kind", list(objects()))
def test_each_object_is_one_by_the_schema_of_its_kind(kind):
    one = schema("kubernetes.json")
    wanted = {**one["kinds"][kind], "$defs": one["$defs"]}
    jsonschema.validate(objects()[kind], wanted)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**objects()[kind], "spce": {}}, wanted)


def test_the_objects_fit_together(tmp_path):
    found = objects()
    template = found["Deployment"]["spec"]["template"]
    assert template["spec"]["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    labels = template["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    (container,) = template["spec"]["containers"]
    volumes = {one["name"]: one for one in template["spec"]["volumes"]}
    assert {one["name"] for one in container["volumeMounts"]} == set(volumes)
    assert volumes["section"]["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]
    claim = volumes["images"]["persistentVolumeClaim"]["claimName"]
    assert claim == found["PersistentVolumeClaim"]["metadata"]["name"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    for port in found["Service"]["spec"]["ports"]:
        assert ports[port["targetPort"]] == port["port"]
    ((file, text),) = found["ConfigMap"]["data"].items()
    assert {one.get("subPath") for one in container["volumeMounts"]} == {file, None}
    assert_right(read(text, tmp_path))
