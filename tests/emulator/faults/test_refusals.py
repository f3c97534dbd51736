"""Refusals by name: each one's words, where it is played, and what goes on as ever."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from orthanc_gcp.emulator.api_methods import DATASET_METHODS, LOCATION_METHODS
from orthanc_gcp.emulator.faults.fault_settings import FaultSettings, SettingError
from orthanc_gcp.emulator.faults.refusals import (
    LONG_RUNNING,
    REFUSALS,
    Call,
    CallRefusal,
    GrantRefusal,
    QuotaName,
    quota_of,
)
from orthanc_gcp.emulator.server import Emulator
from tests.emulator.auth.token_endpoint import Endpoint
from tests.emulator.auth.token_exchange import Service
from tests.emulator.client import STORE, Client, make_dicom, path_of, read
from tests.support.listing import assert_same

GUIDE = Path(__file__).parents[3] / "docs" / "emulator.md"
DATASET = STORE.rpartition("/dicomStores/")[0]
METADATA = "/computeMetadata/v1/instance/service-accounts/default/"
NOT_BOUND = (
    "This error could be caused by a missing IAM policy binding on the target IAM service account."
)
TYPES = "type.googleapis.com/google.rpc"


def error_of(answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(answer.data)["error"]
    assert error["code"] == answer.status
    return error


@pytest.fixture
def number(emulator: Emulator) -> str:
    return emulator.identities.pools.project_number


@pytest.fixture
def play(emulator: Emulator) -> Callable[[str], None]:
    return lambda name: emulator.fault_settings.change(refusal=name)


@pytest.mark.parametrize("name", ["", "no-such-refusal", 1, True, [], ["reauth"], {}])
def test_a_name_that_is_none(name: Any) -> None:
    settings = FaultSettings()
    with pytest.raises(SettingError, match="refusal is one of gke-account-not-bound, "):
        settings.change(refusal=name)
    assert settings.current.refusal is None


def test_each_is_documented() -> None:
    section = GUIDE.read_text().partition("\n## Refusals by name\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    place = {"page": "docs/emulator.md", "place": 'the table below "## Refusals by name"'}
    assert_same(rows, REFUSALS, source="emulator/faults/refusals.py", **place)
    assert rows == list(REFUSALS), (
        f"docs/emulator.md: bring the refusals into the order {list(REFUSALS)}"
    )
    for refusal in REFUSALS.values():
        if isinstance(refusal, GrantRefusal):
            assert refusal.description.replace("{issued}", "N") in section


# -- The metadata server ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "first"),
    [
        (
            "gke-account-not-bound",
            403,
            "Unable to generate access token; IAM returned 403 Forbidden: Permission "
            "'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
        ),
        (
            "gke-account-not-bound-old",
            403,
            "Unable to generate access token; IAM returned 403 Forbidden: The caller does not "
            "have permission",
        ),
        (
            "gke-account-unknown",
            404,
            "Unable to generate access token; IAM returned 404 Not Found: Not found; Gaia id not "
            "found for email orthanc@osimis-test.iam.gserviceaccount.com",
        ),
    ],
)
def test_only_the_token_is_refused_by_the_metadata_server(
    emulator: Emulator, play: Callable[[str], None], name: str, status: int, first: str
) -> None:
    play(name)
    flavor = {"Metadata-Flavor": "Google"}
    with urllib3.PoolManager(retries=False) as pool:
        root = f"http://{emulator.metadata_host}{METADATA}"
        answer = pool.request("GET", f"{root}token", headers=flavor)
        assert answer.status == status
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["metadata-flavor"] == "Google"
        lines = answer.data.decode().splitlines()
        assert lines[0] == first
        assert status == 404 or lines[1] == NOT_BOUND
        assert pool.request("GET", f"{root}token").status == 403  # and says why it is
        email = pool.request("GET", f"{root}email", headers=flavor)
        assert (email.status, email.data) == (200, b"orthanc@osimis-test.iam.gserviceaccount.com")
        account = pool.request("GET", f"{root}?recursive=true", headers=flavor)
        assert account.json()["email"] == email.data.decode()
    assert Endpoint(emulator).refresh()[0] == 200


# -- Token endpoints --------------------------------------------------------------------------


def test_the_security_token_service(emulator: Emulator, play: Callable[[str], None]) -> None:
    service = Service(emulator)
    token = service.subject_token(iat=1_700_000_000)
    for name, error, description in (
        (
            "sts-attribute-condition",
            "unauthorized_client",
            "The given credential is rejected by the attribute condition.",
        ),
        (
            "sts-issuer-unreachable",
            "invalid_grant",
            "Error connecting to the given credential's issuer.",
        ),
        (
            "sts-token-stale",
            "invalid_grant",
            "ID Token issued at 1700000000 is stale to sign-in.",
        ),
    ):
        play(name)
        refused = {"error": error, "error_description": description}
        assert service.exchange(token) == (400, refused)
        assert Endpoint(emulator).refresh()[0] == 200
        # What is wrong before that step is refused as ever.
        assert service.refuses(audience="//iam.googleapis.com/x")[0] == "invalid_target"


def test_the_token_endpoint(emulator: Emulator, play: Callable[[str], None]) -> None:
    endpoint = Endpoint(emulator)
    for name, description in (
        ("key-disabled", "Invalid JWT Signature."),
        ("account-deleted", "Invalid grant: account not found"),
    ):
        play(name)
        refused = {"error": "invalid_grant", "error_description": description}
        assert endpoint.bearer(endpoint.assertion()) == (400, refused)
        assert endpoint.refresh()[0] == 200
    for name, more in (
        ("user-deleted", {"error_description": "The account has been deleted"}),
        (
            "reauth",
            {
                "error_description": "reauth related error (invalid_rapt)",
                "error_subtype": "invalid_rapt",
            },
        ),
    ):
        play(name)
        assert endpoint.refresh() == (400, {"error": "invalid_grant", **more})
        assert endpoint.bearer(endpoint.assertion())[0] == 200


@pytest.mark.parametrize("name", ["key-disabled", "account-deleted"])
def test_a_self_signed_token_is_refused_and_one_that_was_issued_is_not(
    emulator: Emulator, own_client: Client, play: Callable[[str], None], name: str
) -> None:
    play(name)
    assert own_client.get("/studies").status == 204
    audience = "https://healthcare.googleapis.com/"
    endpoint = Endpoint(emulator)
    own = endpoint.assertion(aud=audience, scope=None, sub=endpoint.key["client_email"])
    own_client.token = own
    answer = own_client.get("/studies")
    assert (answer.status, error_of(answer)["status"]) == (401, "UNAUTHENTICATED")


# -- The Healthcare API -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "client"),
    [("quota-project-missing", "764086051850"), ("quota-project-missing-gcloud", "32555940559")],
)
def test_users_need_a_quota_project_and_others_do_not(
    own_client: Client, play: Callable[[str], None], name: str, client: str
) -> None:
    user = own_client.as_owner()
    play(name)
    answer = user.get("/studies")
    error = error_of(answer)
    assert (answer.status, error["status"]) == (403, "PERMISSION_DENIED")
    info, localized = error["details"]
    assert info == {
        "@type": f"{TYPES}.ErrorInfo",
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": {"service": "healthcare.googleapis.com", "consumer": f"projects/{client}"},
    }
    assert localized == {
        "@type": f"{TYPES}.LocalizedMessage",
        "locale": "en-US",
        "message": error["message"],
    }
    assert error["message"].startswith(
        "Your application is authenticating by using local Application Default Credentials. The "
        "healthcare.googleapis.com API requires a quota project, which is not set by default. "
    )
    assert user.request("GET", "/studies", x_goog_user_project="billing").status == 204
    assert own_client.get("/studies").status == 204


def test_a_perimeter_of_vpc_service_controls(
    own_client: Client, play: Callable[[str], None]
) -> None:
    play("vpc-service-controls")
    for answer in (own_client.get("/studies"), own_client.store(make_dicom())):
        error = error_of(answer)
        assert (answer.status, error["status"]) == (403, "PERMISSION_DENIED")
        precondition, info = error["details"]
        (violation,) = precondition["violations"]
        assert violation["type"] == "VPC_SERVICE_CONTROLS"
        assert info["reason"] == "SECURITY_POLICY_VIOLATED"
        assert set(info["metadata"]) == {"uid", "service", "troubleshootToken"}
        uid = info["metadata"]["uid"]
        assert violation["description"] == uid
        assert error["message"] == (
            "Request is prohibited by organization's policy. "
            f"vpcServiceControlsUniqueIdentifier: {uid}"
        )
    own_client.token = "none"
    assert own_client.get("/studies").status == 401, "a credential is looked at first"
    play("api-disabled")


def test_policies_of_the_organization(
    own_client: Client, play: Callable[[str], None], number: str
) -> None:
    play("org-policy-service-usage")
    error = error_of(own_client.get("/studies"))
    assert error["message"] == (
        "Request is disallowed by organization's constraints/gcp.restrictServiceUsage constraint "
        f"for 'projects/{number}' attempting to use service 'healthcare.googleapis.com'."
    )
    (info,) = error["details"]
    assert info["reason"] == "RESOURCE_USAGE_RESTRICTION_VIOLATED"

    play("org-policy-resource-locations")
    assert own_client.get("/studies").status == 204
    url = f"{own_client.url}/v1/{DATASET.rpartition('/')[0]}?datasetId=new"
    answer = own_client.request("POST", url, b"{}")
    error = error_of(answer)
    assert (answer.status, error["status"]) == (400, "FAILED_PRECONDITION")
    assert "attempting to create a dataset in [europe-west2]." in error["message"]
    (precondition,) = error["details"]
    assert precondition["violations"] == [
        {
            "type": "constraints/gcp.resourceLocations",
            "subject": f"orgpolicy:projects/{number}",
            "description": error["message"],
        }
    ]


def test_an_api_that_is_not_enabled_in_the_own_project(
    emulator: Emulator, own_client: Client, play: Callable[[str], None], number: str
) -> None:
    play("api-disabled")
    named = own_client.get("/studies").data
    emulator.fault_settings.change(refusal=None, disabledApi=True)
    assert own_client.get("/studies").data == named
    assert json.loads(named)["error"]["details"][0]["metadata"]["consumer"] == f"projects/{number}"


def test_each_quota_is_for_its_own_methods(
    own_client: Client, play: Callable[[str], None], number: str
) -> None:
    content = make_dicom()
    assert own_client.store(content).status == 200
    study = path_of(read(content)).partition("/series/")[0]
    store = f"{own_client.url}/v1/{STORE}"

    def statuses(quota: QuotaName) -> dict[str, int]:
        play(f"quota-{quota.replace('_', '-')}")
        answers = {
            "search": own_client.get("/studies"),
            "store": own_client.request("GET", store),
            "dataset": own_client.request("GET", f"{own_client.url}/v1/{DATASET}"),
            "operation": own_client.request("DELETE", f"{study}/series/1.2.3"),
        }
        for answer in answers.values():
            if answer.status == 429:
                error = error_of(answer)
                assert error["status"] == "RESOURCE_EXHAUSTED"
                info = error["details"][0]
                assert info["reason"] == "RATE_LIMIT_EXCEEDED"
                metadata = info["metadata"]
                assert metadata["quota_metric"] == f"healthcare.googleapis.com/{quota}"
                assert metadata["consumer"] == f"projects/{number}"
                assert metadata["quota_location"] == "europe-west2"
                assert f"and limit '{metadata['quota_limit']}' of" in error["message"]
        return {name: answer.status for name, answer in answers.items()}

    as_ever = {"search": 200, "store": 200, "dataset": 200, "operation": 403}
    assert statuses(QuotaName.DICOM) == {**as_ever, "search": 429, "store": 429}
    assert statuses(QuotaName.DICOM_WEB) == {**as_ever, "search": 429}
    assert statuses(QuotaName.DICOM_STORE) == {**as_ever, "store": 429}
    assert statuses(QuotaName.DICOM_STORE_LRO) == {**as_ever, "operation": 429}


def test_every_method_about_dicom_counts_for_a_quota() -> None:
    rpcs = {f"google.cloud.healthcare.v1.{m.rpc}" for m in (*DATASET_METHODS, *LOCATION_METHODS)}
    calls = [Call(rpc, "", "1") for rpc in rpcs]
    free = {call.service for call in calls if not quota_of(call)}
    assert free == {"DatasetService", "Locations", "OperationsService", "IamPolicyService"}
    assert {call.method for call in calls} >= LONG_RUNNING


def test_a_refusal_without_a_place_has_no_effect(own_client: Client, emulator: Emulator) -> None:
    """Of those for token endpoints and the metadata server, calls of the API see nothing."""
    for name, refusal in REFUSALS.items():
        if not isinstance(refusal, CallRefusal):
            emulator.fault_settings.change(refusal=name)
            assert own_client.get("/studies").status == 204
