"""What is known of an account while it is checked."""

from __future__ import annotations

from orthanc_gcp.doctor.network import Target

EMAIL = "orthanc@osimis-test.iam.gserviceaccount.com"


def test_who_the_account_is(examination):
    found = examination()
    assert found.email == found.own_email == EMAIL
    assert found.member == found.source == f"serviceAccount:{EMAIL}"
    assert found.key_project == "osimis-test"


def test_before_and_after_an_impersonation(examination):
    target = "target@other.iam.gserviceaccount.com"
    found = examination(ImpersonateServiceAccount=target)
    assert (found.email, found.own_email) == (target, EMAIL)
    assert (found.member, found.source) == (f"serviceAccount:{target}", f"serviceAccount:{EMAIL}")
    assert found.key_project == "other"


def test_a_user_and_somebody_who_is_not_known(examination):
    found = examination()
    found.identity = None
    assert (found.email, found.own_email, found.key_project) == (None, None, "")
    assert found.member == found.source == "MEMBER"
    named = examination(key={"client_email": "somebody@example.com"})
    assert named.member == "user:somebody@example.com"
    assert named.key_project == ""


def test_how_an_address_is_reached(examination):
    url = "https://healthcare.googleapis.com/v1/"
    direct = examination(whole={"HttpProxy": ""}).target("http://127.0.0.1:1/")
    assert direct == Target("http://127.0.0.1:1/", None, 5.0)
    target = examination(whole={"HttpProxy": "http://me:pw-1@proxy.example:3128"}).target(url)
    assert target.proxy is not None
    assert (target.proxy.parts.hostname, target.proxy.port) == ("proxy.example", 3128)
    assert "pw-1" not in str(target.proxy)


def test_the_options_of_its_addresses(examination):
    found = examination(TokenUri="https://t.example/token")
    names = [option.name for option in found.address_options()]
    assert names[:2] == ["BaseUrl", "TokenUri"]
    assert names[2].startswith("token_uri in ServiceAccountFile")
    assert found.option_of("https://t.example/token").name == "TokenUri"
    assert found.option_of("https://elsewhere.example/") is None
