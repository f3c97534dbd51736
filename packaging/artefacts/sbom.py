"""A software bill of materials (CycloneDX 1.6, as JSON) of all that is shipped."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

from artefacts.folder import Folder
from artefacts.licences import licence_of
from artefacts.lock import normalized
from artefacts.source import Source

__all__ = ["bill_of_materials", "write"]

_OWN = "orthanc-gcp"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/orthanc-gcp")


def write(folder: Folder, source: Source, file: Path) -> Path:
    """Write the bill of a folder."""
    document = bill_of_materials(folder, source)
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return file


def bill_of_materials(folder: Folder, source: Source) -> dict[str, Any]:
    """Each package of a folder: name, version, licence, the hashes of its wheels, its parts."""
    found = sorted((folder.path / "lib").glob("*.dist-info"))
    packages = [_component(info, folder) for info in found]
    (own,) = [one for one in packages if one["name"] == _OWN]
    others = [one for one in packages if one is not own]
    moment = datetime.fromtimestamp(source.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    content = {
        "metadata": {"timestamp": moment, "component": {**own, "type": "application"}},
        "components": others,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": [one["bom-ref"] for one in others]}],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True)).urn,
        "version": 1,
        **content,
    }


def _component(info: Path, folder: Folder) -> dict[str, Any]:
    distribution = PathDistribution(info)
    name, version = normalized(str(distribution.metadata["Name"])), distribution.version
    reference = f"pkg:pypi/{name}@{version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        "licenses": [{"expression": licence_of(distribution)}],
    }
    hashes = [{"alg": "SHA-256", "content": one} for one in folder.hashes.get(name, [])]
    parts = list(_parts(info, reference))
    return (
        component
        | ({"hashes": hashes} if hashes else {})
        | ({"components": parts} if parts else {})
    )


def _parts(info: Path, reference: str) -> Iterator[dict[str, Any]]:
    """What is linked into a package's compiled modules, as its own bills say (PEP 770)."""
    seen = {reference}
    for file in sorted(info.glob("sboms/*.json")):
        for part in json.loads(file.read_text("utf-8")).get("components", []):
            name, version = part.get("name"), part.get("version")
            own = f"pkg:pypi/{normalized(str(name))}@{version}"
            place = f"{reference}#{name}@{version}"
            if name and version and not {own, place} & seen:
                seen.add(place)
                purl = {"purl": part["purl"]} if "purl" in part else {}
                found = {"type": "library", "bom-ref": place, "name": name, "version": version}
                yield found | purl
