"""What a gateway says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orthanc_gcp.gateway.commitment.status import OpenCommitments
from orthanc_gcp.gateway.figures import Responses

__all__ = ["GatewayStatus"]


@dataclass(frozen=True)
class GatewayStatus:
    """A gateway that runs.

    Attributes
    ----------
    since
        When it began to listen, in UTC seconds.
    associations, most
        How many there are now, and may be.
    problems
        Account -> why its store cannot be asked just now; None for nothing.
    responses
        Service -> the requests that have ended.
    commitments
        The requests for storage commitment that have not; None where it is not offered.
    """

    since: float
    port: int
    associations: int
    most: int
    problems: Mapping[str, str | None] = field(default_factory=dict)
    responses: Mapping[str, Responses] = field(default_factory=dict)
    commitments: OpenCommitments | None = None

    def as_json(self) -> dict[str, Any]:
        """As Orthanc's REST API shows it."""
        words = [f"account {name}: {one}" for name, one in self.problems.items() if one]
        return {
            "State": "Running",
            "Since": datetime.fromtimestamp(self.since, UTC).isoformat(timespec="seconds"),
            "Port": self.port,
            "Associations": self.associations,
            "MaxAssociations": self.most,
            "Problem": "; ".join(words) or None,
            "StorageCommitment": self.commitments and self.commitments.as_json(),
            "Requests": [
                {
                    "Service": service,
                    "Seconds": round(one.seconds, 3),
                    "ByStatus": {
                        f"{status:04X}": count for status, count in sorted(one.by_status.items())
                    },
                }
                for service, one in self.responses.items()
            ],
        }
