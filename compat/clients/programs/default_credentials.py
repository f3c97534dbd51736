"""google-auth finds credentials by itself, and searches a store with them."""

import json
import sys

import google.auth
from google.auth.transport.requests import AuthorizedSession

wanted = json.load(sys.stdin)
scopes = ["https://www.googleapis.com/auth/cloud-healthcare"]
credentials, project = google.auth.default(scopes=scopes)
with AuthorizedSession(credentials) as session:
    answer = session.get(f"{wanted['dicomweb']}/studies")
kind = type(credentials).__module__.rpartition(".")[2]
print(json.dumps({"kind": kind, "project": project, "status": answer.status_code}))
