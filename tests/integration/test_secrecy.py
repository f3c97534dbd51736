"""No secret in Orthanc's log at its most talkative, in any REST answer, nor on disk."""

from __future__ import annotations

import re
import time

from tests.support import token_server as answers
from tests.support.keys import STORE, USER, private_key, service_account, user_account, write
from tests.support.token_server import token

NEEDLES = ["ya29.needle", *USER.values(), private_key().splitlines()[3], "Bearer "]

ROUTES = re.findall(
    r"\S+",
    """
/system /statistics /changes /exports /instances /jobs?expand /modalities?expand /peers?expand
/plugins /plugins/explorer.js /plugins/dicom-web /plugins/python /tools /tools/log-level
/tools/metrics /tools/metrics-prometheus /tools/default-encoding /patients /queries /series
/studies /dicom-web/info /dicom-web/servers /dicom-web/servers?expand
/dicom-web/servers/user /dicom-web/servers/service /app/explorer.html
""",
)


def test_secrets_stay_where_they_are(orthanc, token_server, tmp_path):
    token_server.answer = token("ya29.needle", lifetime=6)
    base = token_server.url.removesuffix("/token")
    token_server.answers["/echo"] = answers.error("invalid_grant", " ".join(USER.values()))
    file = write(tmp_path / "key.json", service_account(token_server.url))
    accounts = {
        "user": user_account(token_server.url),
        "service": {**STORE, "ServiceAccountFile": file},
        "refused": user_account(f"{base}/echo"),
        "wrong": {**user_account(token_server.url), "AuthorizedUserClientSecret": ["secret-0002"]},
    }
    configuration = {
        "HttpVerbose": True,
        "GoogleCloudPlatform": {
            "BaseUrl": f"{base}/v1/",
            "RefreshInterval": 1,
            "Accounts": accounts,
        },
    }
    instance = orthanc(configuration, arguments=("--trace",))
    instance.wait_for_servers("user", "service")
    instance.wait_for_log("account refused: no new token")
    instance.json("DELETE", "/dicom-web/servers/user")
    instance.wait_for_servers("user")
    time.sleep(6)
    answered = 0
    for route in ROUTES:
        answer = instance.request("GET", route)
        answered += answer.status == 200
        check(answer.data.decode(errors="replace"), route)
    assert answered >= 25
    files = [path for path in instance.folder.rglob("*") if path.is_file()]
    assert instance.log_file in files
    for path in files:
        if path != instance.configuration_file:
            check(path.read_bytes().decode(errors="replace"), str(path))
    instance.stop()
    for path in files:
        if path.exists() and path != instance.configuration_file:
            check(path.read_bytes().decode(errors="replace"), str(path))


def check(text: str, where: str) -> None:
    for needle in NEEDLES:
        assert needle not in text, f"a secret is in {where}"
