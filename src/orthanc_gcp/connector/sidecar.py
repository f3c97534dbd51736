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

LOOK_EVERY = 1.0


class Sidecar:
    """Keeps the definitions of one Orthanc right until it is stopped."""

    def __init__(self, settings: Settings, orthanc: OrthancRest) -> None:
        self._orthanc = orthanc
        self._connector = Connector(settings, RestDicomWeb(orthanc, settings.servers_root))
        self._stopped = threading.Event()
        # An Orthanc that lacks the DICOMweb plugin will not get it from one second to the next.
        self._patience = settings.refresh_interval

    def run(self) -> None:
        """Run until :meth:`stop`."""
        self._connector.start()
        outage, published, pause = self._connector.orthanc, False, 0.0
        while not self._stopped.wait(pause):
            try:
                published = self._tend(published)
                pause = LOOK_EVERY if published else self._patience
            except (OrthancError, DefinitionError) as error:
                published, pause = False, LOOK_EVERY
                outage.failed(str(error), pause, kind=error.kind)
            else:
                outage.ended()
        self._connector.stop()

    def stop(self) -> None:
        """End :meth:`run`, from any thread or a signal handler."""
        self._stopped.set()

    def _tend(self, published: bool) -> bool:
        """Publish to an Orthanc that has just come up; later, restore what it has forgotten."""
        if published:
            self._connector.look_at_servers()
            return True
        if self._orthanc.call("GET", "/system") is None:
            raise OrthancUnavailableError(f"{self._orthanc.url} is not an Orthanc")
        return self._connector.orthanc_started()
