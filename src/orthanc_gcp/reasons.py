"""Why something failed, in one short word for programs: every word that ``GcpError.reason`` can be.

Each kind of error has its own words. They reach users as ``Reason`` in a status and in a receipt,
and the doctor has a remedy for each that can reach it. Servers send words of their own: those that
are known are listed here, the others pass as ``other:WORD``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "PROXY",
    "ApiReason",
    "CredentialReason",
    "ErrorDetails",
    "LedgerReason",
    "LocalReason",
    "NetworkFault",
    "PrefetchReason",
    "RetrievalReason",
    "RpcCode",
    "SourceReason",
    "StoreReason",
    "TokenReason",
    "TransferReason",
    "general",
    "of_server",
    "of_status",
]

_LONGEST = 60

PROXY = "proxy"
"""What all faults of a proxy have in common: the reason of their errors."""


class LocalReason(StrEnum):
    """Errors of this machine, one for each class that has no other."""

    CONFIGURATION = "configuration"
    INSTALLATION = "installation"
    ORTHANC = "orthanc"
    ORTHANC_UNAVAILABLE = "orthanc_unavailable"
    ORTHANC_GONE = "orthanc_gone"
    ORTHANC_REFUSED = "orthanc_refused"
    DEFINITION = "definition"
    WORKER_UNAVAILABLE = "worker_unavailable"
    WEBHOOK = "webhook"
    MAIL = "mail"


class CredentialReason(StrEnum):
    """A credential file or value cannot be used as it is."""

    MISSING_FILE = "missing_file"
    FORBIDDEN_FILE = "forbidden_file"
    """This user may not read it."""
    FORBIDDEN_FOLDER = "forbidden_folder"
    """This user may not enter a folder above it."""
    UNREADABLE_FILE = "unreadable_file"
    """Its disk gives an error, or the like."""
    FOLDER = "folder"
    """It is a folder."""
    EMPTY_FILE = "empty_file"
    NOT_JSON = "not_json"
    NOT_JSON_VALUE = "not_json_value"
    """A value in the configuration, which is no file."""
    BASE64 = "base64"
    """JSON in Base64, where a file has to be JSON itself."""
    BARE_PEM = "bare_pem"
    P12 = "p12"
    WEB_PAGE = "web_page"
    ONLY_ACCESS_TOKEN = "only_access_token"  # noqa: S105  # a word, not a token # nosec B105
    BARE_REFRESH_TOKEN = "bare_refresh_token"  # noqa: S105 - no secret # nosec B105
    API_KEY = "api_key"
    GCLOUD_CONFIGURATION = "gcloud_configuration"
    OAUTH_CLIENT = "oauth_client"
    WRAPPED_KEY = "wrapped_key"
    """An answer of the IAM API, which has the file in ``privateKeyData``."""
    NO_KEY = "no_key"
    """A description of a service account."""
    ORTHANC_CONFIGURATION = "orthanc_configuration"
    WRONG_TYPE = "wrong_type"
    OTHER_OPTION = "other_option"
    """It is of a type that another option is for."""
    MISSING_FIELD = "missing_field"
    INCOMPLETE_FILE = "incomplete_file"
    INCOMPLETE_IMPERSONATION = "incomplete_impersonation"
    """A file of an impersonation lacks whom to impersonate, or whose credentials to use."""
    QUOTA_PROJECT = "quota_project"
    """Its quota project cannot stand in a header."""
    ESCAPED_KEY = "escaped_key"
    BROKEN_LINES = "broken_lines"
    BARE_KEY = "bare_key"
    """A private key without its first and last line."""
    UNUSABLE_KEY = "unusable_key"


class LedgerReason(StrEnum):
    """The ledger cannot be used as it is."""

    NO_LEDGER = "no_ledger"
    OLD_LEDGER = "old_ledger"
    NEW_LEDGER = "new_ledger"
    DAMAGED_LEDGER = "damaged_ledger"
    IN_USE = "in_use"
    """Another worker has the ledger, or the name that was given to this one."""
    REPLACED = "replaced"
    """The ledger's file was deleted, or another put in its place, while a worker used it."""
    SHARED_SESSION = "shared_session"
    """What is before PostgreSQL has several connections share its sessions."""


class NetworkFault(StrEnum):
    """What went wrong below HTTP; the first part of each is what the trouble is with."""

    ADDRESS = "address"
    DNS = "dns"
    DNS_ONE = "dns_one"
    """One name cannot be resolved, others can."""
    CONNECTION = "connection"
    ENCRYPTED = "encrypted"
    """The server speaks https where http was expected."""
    TIMEOUT = "timeout"
    TIMEOUT_CONNECT = "timeout_connect"
    TRUNCATED = "truncated"
    PROTOCOL = "protocol"
    TLS = "tls"
    TLS_PLAIN = "tls_plain"
    """The server does not speak TLS."""
    TLS_EARLY = "tls_early"
    """Its certificate is not valid yet."""
    TLS_EXPIRED = "tls_expired"
    TLS_AUTHORITY = "tls_authority"
    TLS_NAME = "tls_name"
    CA_CERTIFICATES = "ca_certificates"
    """The file of ``HttpsCACertificates`` cannot be used."""
    PROXY_ADDRESS = "proxy_address"
    PROXY_AUTHENTICATION = "proxy_authentication"
    PROXY_CONNECTION = "proxy_connection"
    PROXY_DNS = "proxy_dns"
    PROXY_DNS_ONE = "proxy_dns_one"
    PROXY_ENCRYPTED = "proxy_encrypted"
    PROXY_PLAIN = "proxy_plain"
    PROXY_PROTOCOL = "proxy_protocol"
    PROXY_REFUSED = "proxy_refused"
    PROXY_SILENT = "proxy_silent"
    """It can be connected to and opens no way."""
    PROXY_TIMEOUT = "proxy_timeout"
    PROXY_TLS = "proxy_tls"


class TokenReason(StrEnum):
    """A token endpoint refused, or what it answered is no token."""

    # RFC 6749 §5.2 and RFC 8693 §2.2.2
    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_GRANT = "invalid_grant"
    UNAUTHORIZED_CLIENT = "unauthorized_client"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    INVALID_SCOPE = "invalid_scope"
    INVALID_TARGET = "invalid_target"
    # Google's own words for an OAuth client
    DELETED_CLIENT = "deleted_client"
    DISABLED_CLIENT = "disabled_client"
    REAUTHENTICATION = "reauthentication"
    """A refresh token is good, and its user has to log in again (Google Cloud session control)."""
    # What was answered with 200 and is no token
    NOT_JSON = "not_json"
    ID_TOKEN = "id_token"  # noqa: S105 - no secret # nosec B105
    ACCESS_TOKEN = "access_token"  # noqa: S105 - no secret # nosec B105
    EXPIRES_IN = "expires_in"
    EXPIRE_TIME = "expire_time"
    EXPIRED = "expired"
    # What google-auth raises by itself, and what nobody expects
    GOOGLE_AUTH = "google_auth"
    UNEXPECTED = "unexpected"


class RpcCode(StrEnum):
    """The code of a ``google.rpc.Status``: why one of Google's APIs refused (AIP-193)."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    ABORTED = "ABORTED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"


class ApiReason(StrEnum):
    """What says more of an answer of Google's APIs than a code.

    The reason of its ``google.rpc.ErrorInfo`` (AIP-193), or what is found out here.
    """

    ACCESS_TOKEN_EXPIRED = "ACCESS_TOKEN_EXPIRED"  # noqa: S105 - no secret # nosec B105
    ACCESS_TOKEN_SCOPE_INSUFFICIENT = "ACCESS_TOKEN_SCOPE_INSUFFICIENT"  # noqa: S105 - no secret # nosec B105
    CONSUMER_INVALID = "CONSUMER_INVALID"
    IAM_PERMISSION_DENIED = "IAM_PERMISSION_DENIED"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    RESOURCE_USAGE_RESTRICTION_VIOLATED = "RESOURCE_USAGE_RESTRICTION_VIOLATED"
    """A policy of the organization does not allow the service."""
    SECURITY_POLICY_VIOLATED = "SECURITY_POLICY_VIOLATED"
    """A perimeter of VPC Service Controls does not let the request through."""
    SERVICE_DISABLED = "SERVICE_DISABLED"
    USER_PROJECT_DENIED = "USER_PROJECT_DENIED"
    # Found out here
    NO_QUOTA_PROJECT = "no_quota_project"
    """A user's request counts for the project of gcloud, where no API is enabled."""
    NOT_GOOGLE = "not_google"
    WEB_PAGE = "web_page"
    ROUND_TRIP = "round_trip"
    """What came back from the store is not what was sent."""


class StoreReason(StrEnum):
    """Why a DICOM store did not do what its client asked."""

    ABORTED = "aborted"
    """The caller has stopped it."""
    BAD_REQUEST = "bad_request"
    CA_CERTIFICATES = "ca_certificates"
    CONFLICT = "conflict"
    FORBIDDEN = "forbidden"
    LENGTH_REQUIRED = "length_required"
    NETWORK = "network"
    NO_TOKEN = "no_token"  # noqa: S105 - no secret # nosec B105
    NOT_FOUND = "not_found"
    PRECONDITION = "precondition"
    """The project or the store is in a state that forbids it, whatever is asked."""
    PROTOCOL = "protocol"
    """The answer is not one of a DICOM store, or not the one that was asked for."""
    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    TLS = "tls"
    TOO_LARGE = "too_large"
    TRUNCATED = "truncated"
    UID = "uid"
    """A UID of the instance cannot stand in the path of a request, so that none was made."""
    UNAUTHORIZED = "unauthorized"
    UNAVAILABLE = "unavailable"


class SourceReason(StrEnum):
    """Why an instance could not be sent as announced, where the source gives no other reason."""

    DAMAGED_FILE = "damaged_file"
    """Its bytes do not have the MD5 that they had when Orthanc received them."""
    SIZE = "size"
    UNREADABLE = "unreadable"


class TransferReason(StrEnum):
    """Why an instance is in its state, as the ledger has it beside the reasons of a StoreError."""

    COMPARED = "compared"
    """The store had it already, and its bytes there were read and are the same."""
    ABSENT = "absent"
    """Orthanc does not have it just now."""
    CLOSED = "closed"
    """A person has said that it is not to be sent any more by this Orthanc."""
    CONFLICT = "conflict"
    """The store has other bytes under its UIDs."""
    DAMAGED = "damaged"
    """Its row in the ledger had values that are not what their columns are for."""
    DAMAGED_FILE = "damaged_file"
    """Orthanc's file is damaged: it has not the MD5 that it had when it was received."""
    DELETED = "deleted"
    """It was deleted in Orthanc before it was sent."""
    DIFFERENT = "different"
    """The store gave back other bytes than were sent."""
    GAVE_UP = "gave_up"
    """``GiveUpAfterSeconds`` have passed."""
    HANDED_OVER = "handed_over"
    """A person has handed it over to another Orthanc or account, which has it, too."""
    INVALID = "invalid"
    """The store cannot read the file."""
    LOST = "lost"
    """The store acknowledged it and lost it, and Orthanc has deleted it."""
    MISSING = "missing"
    """The store acknowledged it, and a search did not find it."""
    ORTHANC = "orthanc"
    """Orthanc could not give its bytes."""
    RECYCLED = "recycled"
    """Orthanc does not have it any more, and may have deleted it by itself before it was sent."""
    REFUSED = "refused"
    """The store does not store it, for a reason that is not known to this program."""
    RESTORED = "restored"
    """Orthanc's index was restored from a backup of before it was received, and it was not sent."""
    REPLACING = "replacing"
    """Other bytes are replaced by the next try."""
    RETRIEVED = "retrieved"
    """It came from this very store, which has it, and was not sent."""
    SUPERSEDED = "superseded"
    """A newer version of it, with the same UIDs, was received."""
    UNCOMPARED = "uncompared"
    """The store has something under its UIDs that could not be compared."""
    UNEXPECTED = "unexpected"
    """This program failed at it, or Orthanc answered as no Orthanc does."""
    UNREADABLE_FILE = "unreadable_file"
    """Orthanc has it in its index and cannot give its file."""


class RetrievalReason(StrEnum):
    """Why an instance does not come back, or all of them, beside the reasons of a StoreError."""

    DIFFERENT = "different"
    """Orthanc has it with other bytes than the store, and is left as it is."""
    FILTERED = "filtered"
    """Orthanc does not take it: a filter, a script or a plugin of its own refuses it."""
    FULL = "full"
    """Orthanc's storage is full, or all patients in it are protected."""
    GONE = "gone"
    """Orthanc had it, and has deleted or recycled it before all had come."""
    INVALID = "invalid"
    """Orthanc cannot read what the store gave."""
    NOT_GIVEN = "not_given"
    """The store lists it, and did not give it with the others."""
    NOT_LISTED = "not_listed"
    """The store lists no such study, series or instance."""
    ORTHANC = "orthanc"
    """Orthanc failed at it."""
    OTHER_INSTANCE = "other_instance"
    """The store gave another instance in its place."""
    OTHER_STORE = "other_store"
    """The account has another store by now than when it was asked for."""
    UID = "uid"
    """One of its UIDs cannot stand in the path of a request."""
    UNEXPECTED = "unexpected"
    """This program failed at it."""
    UNSTABLE = "unstable"
    """The store lists new instances, however often it is asked."""


class PrefetchReason(StrEnum):
    """Why no priors are brought of a study that Orthanc has received."""

    BROUGHT_BACK = "brought_back"
    """It came from a store itself."""
    GONE = "gone"
    """Orthanc has deleted it before its priors were looked for."""
    NO_RULE = "no_rule"
    """No rule wants priors of such a study."""
    ODD_PATIENT_ID = "odd_patient_id"
    """A search could take its PatientID for more than one."""
    NO_PATIENT_ID = "no_patient_id"
    SCHEDULE = "schedule"
    """It is not the time for it."""
    TOO_LATE = "too_late"
    """It was waited for too long."""
    UNEXPECTED = "unexpected"
    """This program failed at it."""
    UNREADABLE = "unreadable"
    """Orthanc does not give its attributes."""


@dataclass(frozen=True)
class ErrorDetails:
    """What the details of an error of Google's say beside its reason (AIP-193), harmless to show.

    Attributes
    ----------
    consumer : str
        Whose request it was, ``projects/123``; this and the others are empty where nothing is said.
    quota_metric : str
        The quota that is used up.
    unique_identifier : str
        By which an administrator finds a refusal by VPC Service Controls in the audit log.
    activation_url : str
        Where an API is enabled.
    service : str
        The API that refuses, ``healthcare.googleapis.com``.
    """

    consumer: str = ""
    quota_metric: str = ""
    unique_identifier: str = ""
    activation_url: str = ""
    service: str = ""

    @property
    def project(self) -> str:
        """The ID or number of the consumer."""
        return self.consumer.removeprefix("projects/")


def general(fault: NetworkFault) -> str:
    """What the trouble is with: ``proxy`` for ``proxy_dns``, ``tls`` for ``tls_expired``."""
    kind = fault.partition("_")[0]
    families = (NetworkFault.DNS, PROXY, NetworkFault.TIMEOUT, NetworkFault.TLS)
    return kind if kind in families else str(fault)


def of_status(status: int) -> str:
    """``http_503``: an answer that says no more than its HTTP status."""
    return f"http_{status}"


_SENT = frozenset(
    {
        TokenReason.INVALID_REQUEST,
        TokenReason.INVALID_CLIENT,
        TokenReason.INVALID_GRANT,
        TokenReason.UNAUTHORIZED_CLIENT,
        TokenReason.UNSUPPORTED_GRANT_TYPE,
        TokenReason.INVALID_SCOPE,
        TokenReason.INVALID_TARGET,
        TokenReason.DELETED_CLIENT,
        TokenReason.DISABLED_CLIENT,
        *RpcCode,
        *(reason for reason in ApiReason if reason.isupper()),
    }
)
"""What servers are known to send; the other words are found out here."""


def of_server(word: str) -> str:
    """A word that a server sent: one of those that are known, or marked as another."""
    if word in _SENT:
        return word
    bounded = re.sub("[^A-Za-z0-9_.-]", "_", word[:_LONGEST])
    return f"other:{bounded}"
