"""Every account's access token, always fresh.

A token is renewed ahead of its end by a lead that grows with its lifetime, so that an outage of
the token endpoint that is shorter than the lead goes unnoticed. After a failure the old token
stays in use until it dies, and the next try comes after a growing pause.
"""

from orthanc_gcp.tokens.keeper import Keeper
from orthanc_gcp.tokens.token import Token, lead, pause

__all__ = ["Keeper", "Token", "lead", "pause"]
