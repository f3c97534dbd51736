"""The options, their types and defaults: one class per place in Orthanc's configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orthanc_gcp.configuration.addresses import endpoint
from orthanc_gcp.configuration.modalities import Modality
from orthanc_gcp.configuration.option_types import (
    ADC,
    AET,
    AETS,
    AMOUNT,
    ASSOCIATIONS,
    BASE_URL,
    CALLED,
    CONFLICT,
    CONNECTIONS,
    COUNT,
    DATABASE,
    DAYS,
    DELEGATES,
    EMAIL,
    ENCRYPTION,
    FILE,
    FLAG,
    HOST,
    HOUR,
    INLINE,
    KNOWN_MODALITIES,
    LEVEL,
    MAIL_PORT,
    MAILBOX,
    MAILBOXES,
    MODALITIES,
    OBJECT,
    PDU_LENGTH,
    PERCENT,
    PORT,
    PRIORS,
    PROXY,
    SCHEDULE,
    SCOPES,
    SECONDS,
    STORE_PART,
    STRINGS,
    SUBSCRIPTION,
    TAGS,
    TEXT,
    TRIGGERS,
    URL,
    VERIFY,
    WEBHOOK,
    WEBHOOK_SECRET,
    WORD,
    option,
)
from orthanc_gcp.configuration.problems import Effect, Problem

__all__ = [
    "DEFAULT_BASE_URL",
    "HEALTHCARE_SCOPE",
    "PUBSUB_SCOPES",
    "SECTION",
    "Account",
    "BackfillOptions",
    "DicomWeb",
    "GatewayOptions",
    "Globals",
    "MailOptions",
    "PrefetchRule",
    "PythonPlugin",
    "ReceiveRule",
    "Section",
    "SendRule",
    "Settings",
]

SECTION = "GoogleCloudPlatform"
_TAKES_THOSE_OF_THE_SYSTEM = (1, 12, 7)
DEFAULT_BASE_URL = "https://healthcare.googleapis.com/v1beta1/"
HEALTHCARE_SCOPE = "https://www.googleapis.com/auth/cloud-healthcare"
PUBSUB_SCOPES = (
    "https://www.googleapis.com/auth/pubsub",
    "https://www.googleapis.com/auth/cloud-platform",
)
"""A token needs one of them to pull a subscription (Pub/Sub REST reference)."""
DEFAULT_TIMEOUT = 60
DEFAULT_REFRESH_INTERVAL = 60
DEFAULT_KEY_MAX_AGE_DAYS = 90
DEFAULT_COMPARE_EVERY_SECONDS = 86400
DEFAULT_BACKLOG_AGE_SECONDS = 900
DEFAULT_PROTECT_UP_TO_PERCENT = 80
DEFAULT_MAX_QUEUED_INSTANCES = 10_000
DEFAULT_GATEWAY_PORT = 11112  # "dicom", as IANA has registered it
DEFAULT_MAX_ASSOCIATIONS = 50
DEFAULT_MAIL_PORT = 587  # submission (RFC 6409 section 3.1)
DEFAULT_COMMITMENT_TIMEOUT_SECONDS = 3600
DEFAULT_MAX_STUDIES = 3


@dataclass(frozen=True)
class Account:
    """One entry of ``GoogleCloudPlatform.Accounts``: a DICOM store and who asks for it."""

    name: str
    project: str = option(STORE_PART)
    location: str = option(STORE_PART)
    dataset: str = option(STORE_PART)
    dicom_store: str = option(STORE_PART)
    credentials: str | None = option(ADC, None)
    credentials_file: str | None = option(FILE, None)
    service_account_json: str | dict[str, Any] | None = option(INLINE, None, secret=True)
    service_account_file: str | None = option(FILE, None)
    authorized_user_file: str | None = option(FILE, None)
    authorized_user_client_id: str | None = option(WORD, None, secret=True)
    authorized_user_client_secret: str | None = option(WORD, None, secret=True)
    authorized_user_refresh_token: str | None = option(WORD, None, secret=True)
    impersonate_service_account: str | None = option(EMAIL, None)
    delegates: tuple[str, ...] = option(DELEGATES, ())
    scopes: tuple[str, ...] = option(SCOPES, (HEALTHCARE_SCOPE,))
    self_signed_jwt: bool = option(FLAG, False)
    quota_project: str | None = option(STORE_PART, None)
    key_max_age_days: int = option(DAYS, DEFAULT_KEY_MAX_AGE_DAYS)
    token_uri: str | None = option(URL, None)
    iam_credentials_uri: str | None = option(URL, None)
    server: dict[str, Any] = option(OBJECT, dict, secret=True)
    max_connections: int = option(CONNECTIONS, 20)
    max_bytes_per_second: int | None = option(AMOUNT, None)
    max_requests_per_minute: int | None = option(AMOUNT, None)
    on_conflict: str = option(CONFLICT, "Keep")
    verify: str = option(VERIFY, "Search")
    give_up_after_seconds: int | None = option(AMOUNT, None)

    @property
    def store_path(self) -> str:
        """``projects/…/dicomStores/…``, as Google names the store."""
        return (
            f"projects/{self.project}/locations/{self.location}"
            f"/datasets/{self.dataset}/dicomStores/{self.dicom_store}"
        )


@dataclass(frozen=True)
class SendRule:
    """One entry of ``GoogleCloudPlatform.Send``: what goes to an account.

    All that is given must match; in patterns ``*`` and ``?`` stand for any characters and one.
    """

    to: str = option(WORD)
    modalities: tuple[str, ...] = option(MODALITIES, ())
    called_aet: tuple[str, ...] = option(AETS, ())
    remote_aet: tuple[str, ...] = option(AETS, ())
    tags: dict[str, str] = option(TAGS, dict, secret=True)  # values may be a patient's
    level: str = option(LEVEL, "Instance")


@dataclass(frozen=True)
class ReceiveRule:
    """One entry of ``GoogleCloudPlatform.Receive``: what of a store comes by itself.

    A subscription without a slash is one of the account's project.
    """

    account: str = option(WORD)
    subscription: str = option(SUBSCRIPTION)
    modalities: tuple[str, ...] = option(MODALITIES, ())
    tags: dict[str, str] = option(TAGS, dict, secret=True)  # values may be a patient's


@dataclass(frozen=True)
class PrefetchRule:
    """One entry of ``GoogleCloudPlatform.Prefetch``: which priors of what patients are fetched.

    ``modalities`` and ``tags`` are those of the study that Orthanc receives; ``on`` has what they
    are fetched upon: ``Instance``, the first of a study, ``Query``, a C-FIND for the
    patient, ``Worklist``, an entry of Orthanc's worklist plugin.
    """

    account: str = option(WORD)
    modalities: tuple[str, ...] = option(MODALITIES, ())
    tags: dict[str, str] = option(TAGS, dict, secret=True)
    prior_modalities: tuple[str, ...] = option(MODALITIES, ())
    prior_body_parts: tuple[str, ...] = option(MODALITIES, ())  # which is a code string, too
    max_age_days: int | None = option(DAYS, None)
    max_studies: int = option(PRIORS, DEFAULT_MAX_STUDIES)
    schedule: tuple[str, ...] = option(SCHEDULE, ())
    on: tuple[str, ...] = option(TRIGGERS, ("Instance",))


@dataclass(frozen=True)
class BackfillOptions:
    """``GoogleCloudPlatform.Backfill``: how what was there before is sent."""

    schedule: tuple[str, ...] = option(SCHEDULE, ())
    max_bytes_per_second: int | None = option(AMOUNT, None)
    max_queued_instances: int = option(AMOUNT, DEFAULT_MAX_QUEUED_INSTANCES)


@dataclass(frozen=True)
class GatewayOptions:
    """``GoogleCloudPlatform.Gateway``: who is called by which AE title, and how many may."""

    aets: dict[str, str] = option(CALLED)
    port: int = option(PORT, DEFAULT_GATEWAY_PORT)
    max_associations: int = option(ASSOCIATIONS, DEFAULT_MAX_ASSOCIATIONS)
    max_answers: int = option(COUNT, 0)
    start_with_orthanc: bool = option(FLAG, True)
    answer_for_orthanc: bool = option(FLAG, False)
    commitment_timeout_seconds: int = option(AMOUNT, DEFAULT_COMMITMENT_TIMEOUT_SECONDS)


@dataclass(frozen=True)
class MailOptions:
    """``GoogleCloudPlatform.Mail``: by which server, and to whom, alarms are sent as e-mail."""

    server: str = option(HOST)
    sender: str = option(MAILBOX, name="From")
    to: tuple[str, ...] = option(MAILBOXES)
    port: int = option(MAIL_PORT, DEFAULT_MAIL_PORT)
    encryption: str = option(ENCRYPTION, "StartTls")
    user: str | None = option(WORD, None)
    password_file: str | None = option(FILE, None)


@dataclass(frozen=True)
class Section:
    """The ``GoogleCloudPlatform`` section without its accounts, rules and backfill."""

    base_url: str = option(BASE_URL, DEFAULT_BASE_URL)
    timeout: int = option(SECONDS, DEFAULT_TIMEOUT, wrong=Effect.DEFAULT)
    refresh_interval: int = option(SECONDS, DEFAULT_REFRESH_INTERVAL, wrong=Effect.DEFAULT)
    database: str = option(DATABASE, "", secret=True, wrong=Effect.NO_SENDING)
    webhook: str = option(WEBHOOK, "", secret=True, wrong=Effect.NO_WEBHOOK)
    webhook_secret: bytes = option(WEBHOOK_SECRET, b"", secret=True, wrong=Effect.NO_WEBHOOK)
    webhook_backlog_age_seconds: int = option(
        AMOUNT, DEFAULT_BACKLOG_AGE_SECONDS, wrong=Effect.DEFAULT
    )
    daily_summary_hour: int | None = option(HOUR, None, wrong=Effect.DEFAULT)
    compare_every_seconds: int = option(AMOUNT, DEFAULT_COMPARE_EVERY_SECONDS, wrong=Effect.DEFAULT)
    protect_unsent: bool | None = option(FLAG, None, wrong=Effect.DEFAULT)
    protect_up_to_percent: int = option(
        PERCENT, DEFAULT_PROTECT_UP_TO_PERCENT, wrong=Effect.DEFAULT
    )


@dataclass(frozen=True)
class Globals:
    """Options of Orthanc itself that this package follows."""

    plugins: tuple[str, ...] = option(STRINGS, (), wrong=Effect.DEFAULT)
    python_script: str = option(TEXT, "", wrong=Effect.DEFAULT)
    storage_directory: str = option(WORD, "OrthancStorage", wrong=Effect.NO_SENDING)
    https_ca_certificates: str = option(
        TEXT, "", name="HttpsCACertificates", wrong=Effect.NO_CONNECTION
    )
    https_verify_peers: bool = option(FLAG, True, wrong=Effect.NO_CONNECTION)
    http_proxy: str = option(PROXY, "", secret=True, wrong=Effect.NO_CONNECTION)
    http_verbose: bool = option(FLAG, False, wrong=Effect.DEFAULT)
    http_server_enabled: bool = option(FLAG, True, wrong=Effect.NO_SENDING)
    # The worker asks this port for images, with a password: it must be the right Orthanc's.
    http_port: int = option(PORT, 8042, wrong=Effect.NO_SENDING)
    dicom_server_enabled: bool = option(FLAG, True, wrong=Effect.DEFAULT)
    dicom_port: int = option(PORT, 4242, wrong=Effect.DEFAULT)
    dicom_check_called_aet: bool = option(FLAG, False, wrong=Effect.NO_GATEWAY)
    dicom_check_modality_host: bool = option(FLAG, False, wrong=Effect.NO_GATEWAY)
    dicom_always_allow_echo: bool = option(FLAG, True, wrong=Effect.NO_GATEWAY)
    dicom_always_allow_find: bool = option(FLAG, False, wrong=Effect.NO_GATEWAY)
    dicom_always_allow_store: bool = option(FLAG, True, wrong=Effect.NO_GATEWAY)
    dicom_always_allow_get: bool = option(FLAG, False, wrong=Effect.NO_GATEWAY)
    dicom_always_allow_move: bool = option(FLAG, False, wrong=Effect.NO_GATEWAY)
    strict_aet_comparison: bool = option(FLAG, False, wrong=Effect.NO_GATEWAY)
    dicom_modalities: tuple[Modality, ...] = option(KNOWN_MODALITIES, (), wrong=Effect.NO_GATEWAY)
    dicom_aet: str = option(AET, "ORTHANC", wrong=Effect.NO_GATEWAY)
    dicom_scu_timeout: int = option(SECONDS, 10, wrong=Effect.NO_GATEWAY)
    dicom_scp_timeout: int = option(SECONDS, 30, wrong=Effect.NO_GATEWAY)
    maximum_pdu_length: int = option(PDU_LENGTH, 16384, wrong=Effect.NO_GATEWAY)
    dicom_tls_enabled: bool = option(FLAG, False, wrong=Effect.NO_GATEWAY)
    dicom_tls_certificate: str = option(TEXT, "", wrong=Effect.NO_GATEWAY)
    dicom_tls_private_key: str = option(TEXT, "", wrong=Effect.NO_GATEWAY)
    dicom_tls_trusted_certificates: str = option(TEXT, "", wrong=Effect.NO_GATEWAY)
    dicom_tls_remote_certificate_required: bool = option(FLAG, True, wrong=Effect.NO_GATEWAY)
    ssl_enabled: bool = option(FLAG, False, wrong=Effect.NO_SENDING)
    ssl_certificate: str = option(WORD, "certificate.pem", wrong=Effect.NO_SENDING)
    remote_access_allowed: bool = option(FLAG, False)
    authentication_enabled: bool | None = option(FLAG, None)
    maximum_storage_size: int = option(COUNT, 0, wrong=Effect.DEFAULT)
    maximum_patient_count: int = option(COUNT, 0, wrong=Effect.DEFAULT)
    maximum_storage_mode: str = option(TEXT, "Recycle", wrong=Effect.DEFAULT)
    limit_find_results: int = option(COUNT, 0, wrong=Effect.NO_GATEWAY)
    limit_find_instances: int = option(COUNT, 0, wrong=Effect.NO_GATEWAY)
    overwrite_instances: bool = option(FLAG, False, wrong=Effect.DEFAULT)
    ingest_transcoding: str = option(TEXT, "", wrong=Effect.DEFAULT)


@dataclass(frozen=True)
class DicomWeb:
    """Options of the DICOMweb plugin that the server definitions depend on."""

    enable: bool = option(FLAG, True)
    root: str = option(TEXT, "/dicom-web/")
    servers_in_database: bool = option(FLAG, False)


@dataclass(frozen=True)
class PythonPlugin:
    """Options of the Python plugin, which has a section from version 4.1 on."""

    path: str = option(TEXT, "")


@dataclass(frozen=True)
class WorklistPlugin:
    """Options of Orthanc's worklist plugin."""

    database: str = option(TEXT, "", wrong=Effect.NO_PREFETCH)


@dataclass(frozen=True)
class Settings:
    """Everything that the connector needs to know, and what was wrong with the rest."""

    orthanc: Globals
    dicom_web: DicomWeb
    python: PythonPlugin
    worklists: WorklistPlugin
    section: Section
    accounts: tuple[Account, ...]
    folder: Path
    rules: tuple[SendRule, ...] = ()
    receive: tuple[ReceiveRule, ...] = ()
    prefetch: tuple[PrefetchRule, ...] = ()
    backfill: BackfillOptions | None = None
    gateway: GatewayOptions | None = None
    mail: MailOptions | None = None
    problems: tuple[Problem, ...] = ()
    rejected: dict[str, tuple[Problem, ...]] = field(default_factory=dict)

    @property
    def timeout(self) -> float:
        """Seconds that one token request may take as a whole; 0 in the file means the default."""
        return float(self.section.timeout or DEFAULT_TIMEOUT)

    @property
    def refresh_interval(self) -> float:
        """Seconds between two looks at the definitions; 0 in the file means the default."""
        return float(self.section.refresh_interval or DEFAULT_REFRESH_INTERVAL)

    @property
    def python_script(self) -> str:
        """The script that Orthanc loads, as it is written; empty for none."""
        return self.python.path or self.orthanc.python_script

    @property
    def protects(self) -> bool:
        """Whether Orthanc is kept from recycling what is not sent; by default where rules are.

        One with a mistake in it is one that was meant.
        """
        said = self.section.protect_unsent
        return bool(self.rules or self.rule_problems) if said is None else said

    @property
    def has_rules(self) -> bool:
        """Whether a worker has something to do by itself: to send, to receive, to fetch priors."""
        return bool(self.rules or self.receive or self.prefetch)

    @property
    def ca_certificates(self) -> Path | None:
        """The CA file; Orthanc takes a relative one from the folder of its configuration."""
        name = self.orthanc.https_ca_certificates
        return self.folder / name if name else None

    def lacks_authorities(self, orthanc: tuple[int, ...] | None) -> bool:
        """Whether Orthanc's libcurl has nothing to judge Google's certificate by.

        Orthanc 1.10 then takes the folder of its configuration for the file; 1.12.7 takes the
        authorities of the system (both seen; those between were not tried).

        Parameters
        ----------
        orthanc
            Its version; None for one that is not known.
        """
        return (
            self.section.base_url.lower().startswith("https:")
            and self.orthanc.https_verify_peers
            and self.ca_certificates is None
            and (orthanc is None or orthanc < _TAKES_THOSE_OF_THE_SYSTEM)
        )

    @property
    def asks_for_user(self) -> bool:
        """Whether Orthanc's REST API wants a user: not said, it does when it is open to others.

        Orthanc 1.5.8 and newer, ``ConfigureHttpServer`` of its main program.
        """
        said = self.orthanc.authentication_enabled
        return self.orthanc.remote_access_allowed if said is None else said

    @property
    def storage_folder(self) -> Path:
        """Where Orthanc keeps its files; a relative one lies beside its configuration."""
        return self.folder / self.orthanc.storage_directory

    @property
    def worklist_folder(self) -> Path:
        """Where the entries of the worklist are: Orthanc's worklist plugin takes it from where
        Orthanc runs, or else it lies beside the configuration."""
        return self.credential_file(self.worklists.database)

    @property
    def servers_root(self) -> str:
        """Where the DICOMweb plugin keeps its servers, with slashes at both ends."""
        return "/".join(["", *filter(None, self.dicom_web.root.split("/")), "servers", ""])

    def credential_file(self, name: str) -> Path:
        """Where a credential file lies.

        The C++ plugin reads it from Orthanc's working directory; a file that is not there is
        looked for beside the configuration, where Orthanc looks for the files of its own options.
        """
        here = Path(name)
        # Path.exists() raises for what is in a folder that this user may not enter.
        return here if os.path.exists(here) else self.folder / name  # noqa: PTH110

    @property
    def rejections(self) -> dict[str, str]:
        """Why each account that is left out is, in words."""
        return {name: "; ".join(map(str, found)) for name, found in self.rejected.items()}

    @property
    def sending_problems(self) -> tuple[Problem, ...]:
        """Why nothing may be sent at all: where the ledger or Orthanc is would be a guess."""
        return tuple(one for one in self.problems if one.effect is Effect.NO_SENDING)

    @property
    def gateway_problems(self) -> tuple[Problem, ...]:
        """Why the gateway must not start: who may ask for what would be a guess."""
        return tuple(one for one in self.problems if one.effect is Effect.NO_GATEWAY)

    @property
    def rule_problems(self) -> tuple[Problem, ...]:
        """What is wrong with the rules: some of what was meant is not sent."""
        return tuple(one for one in self.problems if one.effect is Effect.NO_RULE)

    @property
    def endpoint(self) -> str:
        """Who answers for the stores; empty for Google."""
        return endpoint(self.section.base_url)

    def dicomweb_url(self, account: Account, version: str = "") -> str:
        """The DICOMweb root of the account's store, built as the C++ plugin does.

        Parameters
        ----------
        version
            Of the API, in place of the one in ``BaseUrl``.
        """
        base = self.section.base_url.rstrip("/")
        if version:
            base = f"{base.rpartition('/')[0]}/{version}"
        return f"{base}/{account.store_path}/dicomWeb/"
