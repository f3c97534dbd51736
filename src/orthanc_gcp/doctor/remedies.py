"""The remedy of each error: by its fault, the option that names what is wrong, and the identity."""

from __future__ import annotations

from orthanc_gcp.doctor.address_options import is_google
from orthanc_gcp.doctor.examination import Examination
from orthanc_gcp.doctor.file_remedies import of_file
from orthanc_gcp.doctor.network_remedies import is_metadata_server, of_network
from orthanc_gcp.doctor.policy_remedies import POLICIES
from orthanc_gcp.doctor.remedy_templates import (
    LOGIN,
    NEW_KEY,
    SET_CLOCK,
    WAIT,
    Remedy,
    fill_in,
    grant,
    select,
)
from orthanc_gcp.errors import CredentialError, GcpError, NetworkError, StoreError, TokenError
from orthanc_gcp.reasons import ApiReason, RpcCode, TokenReason, of_status

__all__ = ["BASE_URL", "remedy_for"]

BASE_URL = (
    "correct BaseUrl: it is the address of the Healthcare API with its version and nothing behind "
    "it, https://healthcare.googleapis.com/v1beta1/ (its default) or "
    "https://healthcare.googleapis.com/v1/; Project, Location, Dataset and DicomStore are options "
    "of their own"
)
_WAIT_AT_FIRST = "wait: the connector tries again; if it lasts"
_QUOTA = "wait: the connector tries again; ask for more quota if it lasts"
_POOL = "gcloud iam workload-identity-pools providers describe"


def remedy_for(error: GcpError, examination: Examination) -> str:
    """The command or option that is the remedy of an error.

    Each reason of ``orthanc_gcp.reasons`` that can reach the check of an account has one.
    """
    if isinstance(error, NetworkError):
        text = of_network(error, examination)
    elif isinstance(error, TokenError):
        text = _of_tokens(error, examination)
    elif isinstance(error, StoreError):
        text = _of_store(error, examination)
    elif isinstance(error, CredentialError):
        text = of_file(error)
    else:
        text = WAIT
    return fill_in(text, examination)


# -- Tokens -----------------------------------------------------------------------------------


def _of_tokens(error: TokenError, examination: Examination) -> str:
    """The remedy of a refusal of the token endpoint, or an answer of it that is no token."""
    if is_metadata_server(error.url):
        return _METADATA.get(error.status or 0, WAIT)
    if error.reason in POLICIES:
        return POLICIES[error.reason](error.details, examination)
    choices = _TOKENS.get(error.reason)
    option = examination.option_of(error.url)
    if choices is None:
        elsewhere = option is not None and not is_google(error.url)
        return (
            f"{_WAIT_AT_FIRST}, see what is wrong at the server of {option.name}"
            if elsewhere and option
            else WAIT
        )
    text = select(choices, str(error), examination)
    name = option.name if option else "TokenUri"
    hint = option.hint if option else ""
    return text.replace("{option}", name).replace("{hint}", hint)


_METADATA = {
    403: "let the machine's identity use the service account: gcloud iam service-accounts "
    "add-iam-policy-binding {email} --role=roles/iam.workloadIdentityUser "
    '--member="serviceAccount:PROJECT.svc.id.goog[NAMESPACE/ACCOUNT]"',
    404: "give the machine a service account (on GKE, correct the annotation "
    "iam.gke.io/gcp-service-account of the Kubernetes service account), or use CredentialsFile",
}


def _refused_grant(_: str, examination: Examination) -> str:
    """An ``invalid_grant`` or ``unauthorized_client`` whose description says no more."""
    kind = examination.identity.kind if examination.identity else ""
    if "external account" in kind:
        return "see who vouches for this identity (" + _POOL + ")"
    if kind.endswith("service account"):
        return (
            "see that the key in use is enabled and of this account: gcloud iam service-accounts "
            "keys list --iam-account={email}; if not, {again}"
        )
    return "log in again: " + LOGIN


_NOT_GOOGLE: Remedy = (
    "something else answers there: correct {option}{hint}, or see what is on the way"
)
_IMPERSONATE: Remedy = (
    "allow the impersonation: gcloud iam service-accounts add-iam-policy-binding {target} "
    "--member={source} --role=roles/iam.serviceAccountTokenCreator"
)
_TOKENS: dict[str, dict[str, Remedy]] = {
    TokenReason.INVALID_GRANT: {
        "clock is": SET_CLOCK,
        "short-lived": SET_CLOCK,
        "account not found": "the service account was deleted: make another one and a key for it: "
        + NEW_KEY,
        "Signature": "the key was deleted or disabled: make a new one: " + NEW_KEY,
        "expired or revoked": "log in again: " + LOGIN,
        "has been deleted": "the account of the user was deleted: log in as another one ("
        + LOGIN
        + "), or use a service account: "
        + NEW_KEY,
        "audience": "leave TokenUri out: Google only takes what is signed for its own",
        "stale to sign-in": "have the subject token renewed: it is too old when it is read",
        "credential's issuer": "see that Google can reach the issuer, or upload its keys to the "
        "provider (" + _POOL + ")",
        "": _refused_grant,
    },
    TokenReason.REAUTHENTICATION: {
        "": "log in again: "
        + LOGIN
        + "; the organization ends the sessions of users after some hours: what runs alone needs a "
        "service account: " + NEW_KEY
    },
    TokenReason.INVALID_CLIENT: {"": "the OAuth client is gone or its secret is wrong: " + LOGIN},
    TokenReason.DELETED_CLIENT: {"": "the OAuth client was deleted: " + LOGIN},
    TokenReason.DISABLED_CLIENT: {"": "the OAuth client is disabled: use another one, or " + LOGIN},
    TokenReason.UNAUTHORIZED_CLIENT: {
        "attribute condition": "let the attribute condition of the provider admit this identity ("
        + _POOL
        + ")",
        "": _refused_grant,
    },
    TokenReason.INVALID_SCOPE: {"": "correct Scopes; the default is right for the Healthcare API"},
    TokenReason.ID_TOKEN: {"": "correct Scopes; the default is right for the Healthcare API"},
    TokenReason.INVALID_TARGET: {
        "": "correct the audience in the credential file; the pool and provider "
        "must exist and be enabled: " + _POOL
    },
    RpcCode.PERMISSION_DENIED: {
        "disabled": "gcloud services enable iamcredentials.googleapis.com --project=PROJECT, with "
        "the project that the message names",
        "": _IMPERSONATE,
    },
    ApiReason.IAM_PERMISSION_DENIED: {"": _IMPERSONATE},
    RpcCode.NOT_FOUND: {
        "": "there is no service account {target}: correct ImpersonateServiceAccount or Delegates "
        "(gcloud iam service-accounts list)"
    },
    RpcCode.INVALID_ARGUMENT: {"": "correct Scopes, Delegates and ImpersonateServiceAccount"},
    RpcCode.UNAUTHENTICATED: {"": "the token of {source} is not taken: {again}"},
    TokenReason.NOT_JSON: {
        "captive portal": "log in to the network, or let HttpProxy name the way out",
        "": _NOT_GOOGLE,
    },
    TokenReason.ACCESS_TOKEN: {"": _NOT_GOOGLE},
    TokenReason.EXPIRES_IN: {"": _NOT_GOOGLE},
    TokenReason.EXPIRE_TIME: {"": _NOT_GOOGLE},
    TokenReason.GOOGLE_AUTH: {
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "allow the command in Orthanc's environment: "
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1",
        "was not found": "have the subject token written to that file, or correct the credential "
        "file (credential_source)",
        "": "correct the credential file",
    },
    of_status(400): {"": _NOT_GOOGLE},
    of_status(401): {"": "log in again, or {again}"},
    of_status(403): {"": "see that nothing between here and Google (proxy, firewall) refuses"},
    of_status(404): {
        "": "correct {option}{hint}, or on a machine outside Google Cloud use CredentialsFile"
    },
    of_status(405): {"": _NOT_GOOGLE},
    of_status(407): {"": "let HttpProxy name the proxy with its user and password"},
    of_status(429): {"": _QUOTA},
    **{
        of_status(status): {
            "": "something redirects: log in to the network, or correct {option}{hint}"
        }
        for status in (301, 302, 303, 307, 308)
    },
    TokenReason.EXPIRED: {"": SET_CLOCK},
    TokenReason.INVALID_REQUEST: {"": _NOT_GOOGLE},
    TokenReason.UNSUPPORTED_GRANT_TYPE: {"": _NOT_GOOGLE},
}


# -- The store --------------------------------------------------------------------------------


def _of_store(error: StoreError, examination: Examination) -> str:
    if error.reason in POLICIES:
        return POLICIES[error.reason](error.details, examination)
    if error.reason in (RpcCode.PERMISSION_DENIED, ApiReason.IAM_PERMISSION_DENIED):
        return grant(examination, "roles/healthcare.dicomEditor")
    if error.status is not None and 300 <= error.status < 400:
        return "something redirects: log in to the network, or " + BASE_URL
    if error.reason in (ApiReason.NOT_GOOGLE, of_status(404), of_status(405)):
        return BASE_URL
    if error.reason == RpcCode.UNAUTHENTICATED and examination.account.self_signed_jwt:
        return (
            "the key may be deleted or disabled: leave SelfSignedJwt out, and the token endpoint "
            "says why; or {again}"
        )
    if error.reason.startswith("http_5"):
        return f"{_WAIT_AT_FIRST}, see what answers in the place of Google (BaseUrl, a proxy)"
    return _STORE.get(error.reason, WAIT)


_STORE: dict[str, str] = {
    ApiReason.ROUND_TRIP: "see what changes requests or answers on the way (a proxy, a firewall); "
    "the store may also be slow to show what it took: try again",
    ApiReason.WEB_PAGE: "log in to the network, or let HttpProxy name the way out; if there is no "
    "such page, correct BaseUrl",
    RpcCode.UNAUTHENTICATED: "the token is not taken: see that TokenUri is Google's (leave it out) "
    "and that nothing on the way removes the header Authorization; if so, {again}",
    ApiReason.ACCESS_TOKEN_EXPIRED: SET_CLOCK,
    of_status(
        401
    ): "see that nothing on the way removes the header Authorization, and correct BaseUrl",
    of_status(403): "see that nothing between here and Google (proxy, firewall) refuses",
    of_status(407): "let HttpProxy name the proxy with its user and password",
    ApiReason.USER_PROJECT_DENIED: "correct QuotaProject, or allow its use: gcloud projects "
    "add-iam-policy-binding {quota} --member={source} "
    "--role=roles/serviceusage.serviceUsageConsumer",
    RpcCode.RESOURCE_EXHAUSTED: _QUOTA,
    RpcCode.NOT_FOUND: "correct Project, Location, Dataset and DicomStore",
    RpcCode.INVALID_ARGUMENT: "correct Project, Location, Dataset and DicomStore: Google takes one "
    "of them for no name",
    ApiReason.ACCESS_TOKEN_SCOPE_INSUFFICIENT: "leave Scopes at its default; on GCE or GKE, give "
    "the machine the scope https://www.googleapis.com/auth/cloud-platform",
    ApiReason.CONSUMER_INVALID: "correct Project, it is the project's ID, not its title",
}
