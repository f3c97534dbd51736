"""The connector beside an Orthanc: the same service, over Orthanc's REST API.

For an Orthanc without the Python plugin. It waits for an Orthanc that is not up yet, and publishes
again when Orthanc was restarted and knows nothing any more.
"""

from __future__ import annotations

import threading

from orthanc_gcp.configuration import Settings
from orthanc_gcp.connector.connector import Connector
from orthanc_gcp.errors import DefinitionError, OrthancError, OrthancUnavailableError
from orthanc_gcp.orthanc.rest import OrthancRest, RestDicomWeb

__all__ = ["Sidecar"]

CHECK_EVERY = 1.0
"""Seconds: an Orthanc that was restarted is found out about so soon."""


class Sidecar:
    """Keeps the definitions of one Orthanc right until it is stopped."""

    def __init__(self, settings: Settings, orthanc: OrthancRest) -> None:
        self._orthanc = orthanc
        self._connector = Connector(settings, RestDicomWeb(orthanc, settings.servers_root))
        self._stopped = threading.Event()
        # An Orthanc that lacks the DICOMweb plugin will not get it from one second to the next.
        self._without_plugin = settings.refresh_interval

    def run(self) -> None:
        """Run until :meth:`stop`."""
        self._connector.start()
        outage, published, pause = self._connector.orthanc, False, 0.0
        while not self._stopped.wait(pause):
            try:
                published = self._publish_or_check(published)
                pause = CHECK_EVERY if published else self._without_plugin
            except (OrthancError, DefinitionError) as error:
                published, pause = False, CHECK_EVERY
                outage.failed(str(error), pause, kind=error.kind)
            else:
                outage.ended()
        self._connector.stop()

    def stop(self) -> None:
        """End :meth:`run`, from any thread or a signal handler."""
        self._stopped.set()

    def _publish_or_check(self, published: bool) -> bool:
        """Publish to an Orthanc that has just come up; later, restore what it has forgotten.

        Raises
        ------
        OrthancError, DefinitionError
            It cannot be asked, or does not show its servers.
        """
        if published:
            self._connector.check_definitions()
            return True
        system = self._orthanc.call("GET", "/system")
        if not isinstance(system, dict) or "ApiVersion" not in system:
            raise OrthancUnavailableError(f"{self._orthanc.url} is not an Orthanc")
        return self._connector.orthanc_started()
