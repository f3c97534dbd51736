"""What mends what: by the reason of an error and, where one reason has several, by its words."""

from __future__ import annotations

from orthanc_gcp.configuration import Account
from orthanc_gcp.errors import GcpError

__all__ = ["NEW_KEY", "SET_CLOCK", "mend"]

NEW_KEY = "gcloud iam service-accounts keys create KEY.json --iam-account={email}"
SET_CLOCK = "correct this machine's clock: timedatectl set-ntp true"
_LOGIN = "gcloud auth application-default login"
_POOL = "gcloud iam workload-identity-pools providers describe"

# Reason -> (words in the message -> remedy); the empty word stands for any other message.
_REMEDIES: dict[str, dict[str, str]] = {
    "missing_file": {
        "": "put the file there, or correct the option's path (a relative one starts at Orthanc's "
        "working directory, then at the configuration's folder)"
    },
    "unreadable_file": {
        "Permission denied": "let the user that runs Orthanc read it: chown orthanc FILE && "
        "chmod 600 FILE",
        "": "name a file that can be read",
    },
    "not_json": {
        "captive portal": "log in to the network, or let HttpProxy name the way out",
        "": "replace the file by the one that Google handed out: " + NEW_KEY,
    },
    "wrong_type": {"": "use the option that the message names, or CredentialsFile for any type"},
    "missing_field": {"": "replace the file by a complete one: " + NEW_KEY},
    "incomplete_file": {
        "": "have gcloud write the file again: gcloud iam workload-identity-pools "
        "create-cred-config"
    },
    "unusable_key": {"": "make a new key: " + NEW_KEY},
    "only_access_token": {"": _LOGIN + ", then name the file that it writes"},
    "ca_certificates": {
        "": "let HttpsCACertificates name a PEM file that can be read, on Debian "
        "/etc/ssl/certs/ca-certificates.crt"
    },
    "dns": {
        "metadata": "this machine is not on Google Cloud: " + _LOGIN + ", or use CredentialsFile",
        "": "correct the name server in /etc/resolv.conf, or let HttpProxy name a proxy",
    },
    "connection": {
        "metadata": "this machine is not on Google Cloud: " + _LOGIN + ", or use CredentialsFile",
        "": "open the firewall for HTTPS to *.googleapis.com, or let HttpProxy name a proxy",
    },
    "proxy": {
        "": "correct HttpProxy (host:port, user and password), or have the proxy let "
        "*.googleapis.com through"
    },
    "tls": {
        "expired": "have the server's certificate renewed; if it is right, correct this machine's "
        "clock",
        "": "add the authority that signed the certificate to the file that HttpsCACertificates "
        "names",
    },
    "timeout": {"": "see what holds up the connection (firewall, proxy), or raise Timeout"},
    "truncated": {
        "": "see what breaks the connection (proxy, firewall); the connector tries again"
    },
    "protocol": {"": "see what breaks the connection (proxy, firewall); the connector tries again"},
    "invalid_grant": {
        "clock is": SET_CLOCK,
        "short-lived": SET_CLOCK,
        "account not found": "the service account was deleted: make another one and a key for it: "
        + NEW_KEY,
        "Signature": "the key was deleted or disabled: make a new one: " + NEW_KEY,
        "expired or revoked": "log in again: " + _LOGIN,
        "": "see who vouches for this identity (" + _POOL + ")",
    },
    "invalid_client": {"": "the OAuth client is gone or its secret is wrong: " + _LOGIN},
    "unauthorized_client": {"": "the client may not use this grant: " + _LOGIN},
    "invalid_scope": {"": "correct Scopes; the default is right for the Healthcare API"},
    "id_token": {"": "correct Scopes; the default is right for the Healthcare API"},
    "invalid_target": {
        "": "correct the audience in the credential file; the pool and provider "
        "must exist and be enabled: " + _POOL
    },
    "PERMISSION_DENIED": {
        "": "allow the impersonation: gcloud iam service-accounts "
        "add-iam-policy-binding {target} --member=serviceAccount:{email} "
        "--role=roles/iam.serviceAccountTokenCreator"
    },
    "round_trip": {
        "": "see what changes requests or answers on the way (a proxy, a firewall); the store may "
        "also be slow to show what it took: try again"
    },
    "google_auth": {
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "allow the command in Orthanc's environment: "
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1",
        "": "correct the credential file",
    },
    "http_401": {"": "log in again, or make a new key: " + NEW_KEY},
    "http_403": {"": "see that nothing between here and Google (proxy, firewall) refuses"},
    "http_404": {"": "correct TokenUri, or on a machine outside Google Cloud use CredentialsFile"},
    "http_429": {"": "wait: the connector tries again; ask for more quota if it lasts"},
}
_OTHER = "wait: the connector tries again; see https://status.cloud.google.com if it lasts"


def mend(error: GcpError, account: Account, email: str | None) -> str:
    """The command or option that mends what an error tells of."""
    message = str(error)
    choices = _REMEDIES.get(error.reason, {"": _OTHER})
    words = next((words for words in choices if words and words in message), "")
    text = choices.get(words, _OTHER)
    target = account.impersonate_service_account or "TARGET"
    return text.replace("{email}", email or "ACCOUNT").replace("{target}", target)
