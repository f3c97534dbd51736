"""The DICOMweb plugin of the Orthanc around us, reached without HTTP.

Orthanc Book, "DICOMweb plugin", REST API: servers are listed, written and deleted below
``{Root}/servers``; the ``...AfterPlugins`` calls of Orthanc's plugin SDK reach the routes of
other plugins, the plain ones only those of Orthanc itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orthanc_gcp.errors import DefinitionError
from orthanc_gcp.redaction import readable

__all__ = ["InProcessDicomWeb"]


class InProcessDicomWeb:
    """The DICOMweb plugin in the same process, reached without HTTP."""

    def __init__(self, orthanc: Any, root: str) -> None:
        self._orthanc = orthanc
        self._root = root

    def version(self) -> str | None:
        """The plugin's version; None where it is not installed."""
        try:
            plugin = json.loads(self._orthanc.RestApiGet("/plugins/dicom-web"))
        except self._orthanc.OrthancException:
            return None
        return str(plugin.get("Version", ""))

    def shown(self) -> dict[str, dict[str, Any]] | None:
        """All servers as ``GET servers?expand`` shows them; None where the plugin is disabled."""
        try:
            answer = self._orthanc.RestApiGetAfterPlugins(f"{self._root.rstrip('/')}?expand")
        except self._orthanc.OrthancException:
            return None
        servers = json.loads(answer)
        return servers if isinstance(servers, dict) else None

    def put(self, name: str, server: Mapping[str, Any]) -> None:
        """Write the whole definition of a server.

        Raises
        ------
        DefinitionError
            The DICOMweb plugin has refused it.
        """
        try:
            self._orthanc.RestApiPutAfterPlugins(self._root + name, json.dumps(server))
        except self._orthanc.OrthancException as error:
            raise _refused(error) from None

    def delete(self, name: str) -> None:
        """Remove a server.

        Raises
        ------
        DefinitionError
            The DICOMweb plugin has refused, as it does for one that it does not have.
        """
        try:
            self._orthanc.RestApiDeleteAfterPlugins(self._root + name)
        except self._orthanc.OrthancException as error:
            raise _refused(error) from None


def _refused(error: Exception) -> DefinitionError:
    words = error.args[1] if len(error.args) > 1 else type(error).__name__
    return DefinitionError(f"Orthanc answered: {readable(str(words))}")
