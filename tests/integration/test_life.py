"""The connector inside a real Orthanc, from its start to its stop."""

from __future__ import annotations

from tests.support.keys import user_account


def test_published(orthanc, token_server):
    o = orthanc(
        {
            "GoogleCloudPlatform": {
                "BaseUrl": "http://127.0.0.1:1/v1",
                "Accounts": {"my-google": user_account(token_server.url)},
            }
        }
    )
    o.wait_for_servers("my-google")
    print(o.servers())
    import time

    time.sleep(2)
    print(o.log)
    print(o.stop())
    print(o.log[-1500:])
    assert 0
