"""What the fault settings are at first."""

from __future__ import annotations

FIRST = {
    "refusal": None,
    "deletedKeys": [],
    "revokedRefreshTokens": [],
    "disabledApi": False,
    "deniedPermissions": [],
    "deniedImpersonation": False,
    "deniedQuotaProjects": [],
    "strangers": [],
    "grantedScopes": None,
    "metadata": True,
    "tokenEndpoint": None,
    "clockOffset": 0,
    "dateOffset": 0,
    "faults": [],
    "seed": 0,
    "latency": 0,
    "instanceLatency": 0,
    "bandwidth": None,
    "quota": None,
    "searchLag": 0,
    "operationDelay": 0,
    "operationFailure": None,
    "operationThroughput": None,
    "maxOperations": None,
    "unloggedErrors": 0,
    "missingResource": 403,
    "emptyQido": 204,
    "duplicates": "always-conflict",
}
