"""The faults of an account that docs/troubleshooting.md tells of, each made for real."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import keys
from tests.support import token_server as answers
from tests.support.certificates import Authority
from tests.support.emulator import STORE_PATH, Emulator
from tests.support.keys import write
from tests.support.orthanc import free_port
from tests.support.proxy import Proxy
from tests.support.raw_server import Behaviour, RawServer, answer, says, stall
from tests.support.token_server import TokenServer

NOBODY = 65534


@dataclass
class Case:
    """A fault in the making: what to change, and what to undo."""

    google: Emulator
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    account: dict[str, Any]
    section: dict[str, Any]
    whole: dict[str, Any] = field(default_factory=dict)
    user: int | None = None
    closing: list[Any] = field(default_factory=list)

    def key(self, **changes: Any) -> dict[str, Any]:
        key = json.loads((self.google.credentials / "service-account.json").read_text())
        return {**key, **changes}

    def credential(self, name: str, content: Any, option: str = "ServiceAccountFile") -> None:
        path = self.folder / name
        write(path, content)
        path.chmod(0o600)
        self.account.pop("ServiceAccountFile", None)
        self.account[option] = str(path)

    def of_user(self) -> None:
        self.account.pop("ServiceAccountFile")
        self.account["AuthorizedUserFile"] = str(self.google.credentials / "authorized-user.json")
        self.account["TokenUri"] = self.google.token_uri

    def token_endpoint(self, answer: answers.Answer) -> None:
        server = TokenServer(answer)
        self.closing.append(server)
        self.account["TokenUri"] = server.url

    def tls_server(self, days: int = 1, begins: int = -9) -> Authority:
        """Something on the way that speaks TLS in the place of Google."""
        authority = Authority(self.folder)
        server = TokenServer()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("127.0.0.1", days, begins))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.closing.append(server)
        self.section["BaseUrl"] = f"https://127.0.0.1:{server.port}/v1"
        return authority

    def https(self) -> None:
        self.section["BaseUrl"] = "https://localhost:1/v1"

    def server(self, behave: Behaviour, *, tls: bool = False, name: str = "127.0.0.1") -> int:
        """The port of something that behaves so."""
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*Authority(self.folder).issue(name))
        server = RawServer(behave, context)
        self.closing.append(server)
        return server.port

    def google_is(self, said: bytes, *, tls: bool = False) -> int:
        """Something else answers where BaseUrl leads."""
        closing = said.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        port = self.server(says(closing), tls=tls)
        self.section["BaseUrl"] = f"http://127.0.0.1:{port}/v1"
        return port

    def proxy(self, said: bytes, *, tls: bool = False) -> int:
        """The port of a proxy that always says this; what it is asked for is https."""
        self.https()
        return self.server(says(said), tls=tls)

    def key_for_nobody(self) -> Path:
        """The key, with all that is read in a folder that every user may enter."""
        folder = tempfile.TemporaryDirectory()
        self.closing.append(folder)
        self.folder = Path(folder.name)
        self.folder.chmod(0o755)
        self.user = NOBODY
        file = self.folder / "keys" / "key.json"
        file.parent.mkdir()
        write(file, self.key())
        self.account["ServiceAccountFile"] = str(file)
        return file

    @contextlib.contextmanager
    def acting(self) -> Iterator[None]:
        """As the user that the fault is about."""
        if self.user is None or os.geteuid() != 0:
            yield
            return
        os.seteuid(self.user)
        try:
            yield
        finally:
            os.seteuid(0)


def account_deleted(case: Case) -> None:
    case.credential("key.json", case.key(client_email="gone@osimis-test.iam.gserviceaccount.com"))


def authority_unknown(case: Case) -> None:
    case.tls_server()


def certificate_expired(case: Case) -> None:
    case.whole["HttpsCACertificates"] = str(case.tls_server(days=-3).file)


def proxy_refuses(case: Case) -> None:
    proxy = Proxy(credentials="user:right")
    case.closing.append(proxy)
    case.https()
    case.whole["HttpProxy"] = f"http://user:wrong@127.0.0.1:{proxy.port}"


def proxy_absent(case: Case) -> None:
    case.https()
    case.whole["HttpProxy"] = f"127.0.0.1:{free_port()}"


def authorities_missing(case: Case) -> None:
    case.tls_server()
    case.whole["HttpsCACertificates"] = "nowhere.pem"


def key_old(case: Case) -> None:
    case.credential("key.json", case.key())
    long_ago = time.time() - 91 * 86400
    os.utime(case.account["ServiceAccountFile"], (long_ago, long_ago))


def file_open_to_all(case: Case) -> None:
    case.credential("key.json", case.key())
    Path(case.account["ServiceAccountFile"]).chmod(0o644)


def file_of_another_type(case: Case) -> None:
    case.credential("user.json", {"type": "authorized_user", **keys.USER})


def key_of_another_project(case: Case) -> None:
    """A stranger: only somebody else has a role on the store."""
    policy = {"bindings": [{"role": "roles/healthcare.dicomEditor", "members": ["user:other@x.y"]}]}
    case.google.call("POST", f"{STORE_PATH}:setIamPolicy", {"policy": policy})


def external(case: Case, **changes: Any) -> None:
    document = json.loads((case.google.credentials / "external-account-file.json").read_text())
    case.credential("external.json", {**document, **changes}, "CredentialsFile")


def impersonation_denied(case: Case) -> None:
    case.google.switch(deniedImpersonation=True)
    case.account["ImpersonateServiceAccount"] = "healthcare@osimis-test.iam.gserviceaccount.com"
    case.account["IamCredentialsUri"] = case.google.url


def metadata_server_absent(case: Case) -> None:
    case.account.pop("ServiceAccountFile")
    case.account["Credentials"] = "ApplicationDefault"


def file_forbidden(case: Case) -> None:
    case.key_for_nobody().chmod(0)


def folder_forbidden(case: Case) -> None:
    case.key_for_nobody().parent.chmod(0)


def encrypted_key() -> str:
    from cryptography.hazmat.primitives import serialization as s

    key = s.load_pem_private_key(keys.private_key().encode(), None)
    secret = s.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, secret)
    return pem.decode()


def key_with(change: Callable[[str], str]) -> Callable[[Case], None]:
    def make(case: Case) -> None:
        case.credential("key.json", case.key(private_key=change(case.key()["private_key"])))

    return make


def content(text: Any, option: str = "ServiceAccountFile") -> Callable[[Case], None]:
    return lambda case: case.credential("key.json", text, option)


def base_url(path: str) -> Callable[[Case], None]:
    def make(case: Case) -> None:
        case.google.switch(missingResource=404)
        case.section["BaseUrl"] = f"{case.google.url}{path}"

    return make


def proxy_of_environment(case: Case) -> None:
    case.https()
    case.monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{free_port()}")


def socks_for_all(case: Case) -> None:
    case.https()
    case.monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1080")


def kept_from_the_proxy(case: Case) -> None:
    case.https()
    case.monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    case.monkeypatch.setenv("no_proxy", "localhost")


def behind_a_proxy(case: Case) -> None:
    """A firewall shows its own certificate, to what comes through a proxy too."""
    case.tls_server()
    proxy = Proxy()
    case.closing.append(proxy)
    case.whole["HttpProxy"] = f"127.0.0.1:{proxy.port}"


def certificate_of_another_host(case: Case) -> None:
    port = case.server(says(answer()), tls=True, name="127.0.0.2")
    case.section["BaseUrl"] = f"https://127.0.0.1:{port}/v1"
    case.whole["HttpsCACertificates"] = str(case.folder / "ca.pem")


def certificate_of_its_own(case: Case) -> None:
    """A machine that vouches for itself, as many do until they are set up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(case.folder).stranger("127.0.0.1"))
    server = RawServer(says(answer()), context)
    case.closing.append(server)
    case.section["BaseUrl"] = f"https://127.0.0.1:{server.port}/v1"


def certificate_of_tomorrow(case: Case) -> None:
    case.whole["HttpsCACertificates"] = str(case.tls_server(days=2, begins=1).file)


def authorities(content: bytes) -> Callable[[Case], None]:
    def make(case: Case) -> None:
        case.tls_server()
        (case.folder / "authorities").write_bytes(content)
        case.whole["HttpsCACertificates"] = "authorities"

    return make


def authorities_der(case: Case) -> None:
    pem = case.tls_server().file.read_text()
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    (case.folder / "ca.der").write_bytes(der)
    case.whole["HttpsCACertificates"] = "ca.der"


def quota_project_denied(case: Case) -> None:
    case.google.switch(deniedQuotaProjects=["billing"])
    case.account["QuotaProject"] = "billing"


def impersonated_account_missing(case: Case) -> None:
    case.account["ImpersonateServiceAccount"] = "gone@osimis-test.iam.gserviceaccount.com"
    case.account["IamCredentialsUri"] = case.google.url


def dataset_missing(case: Case) -> None:
    message = "dataset not found: projects/p/locations/l/datasets/test"
    body = {"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}
    said = answer(json.dumps(body).encode(), "404 Not Found", kind="application/json")
    case.google_is(said)


def store_of_the_google_api(case: Case, status: str, body: Any) -> None:
    case.google_is(answer(json.dumps(body).encode(), status, kind="application/json"))


def refusal(name: str) -> Callable[[Case], None]:
    return lambda case: case.google.switch(refusal=name)


def refused_user(name: str) -> Callable[[Case], None]:
    return lambda case: (case.of_user(), case.google.switch(refusal=name))


def refused_workload(name: str) -> Callable[[Case], None]:
    return lambda case: (external(case), case.google.switch(refusal=name))


def on_gke(name: str) -> Callable[[Case], None]:
    """google-auth reads the server's address from the environment when it is imported."""

    def make(case: Case) -> None:
        case.account.pop("ServiceAccountFile")
        case.account["Credentials"] = "ApplicationDefault"
        host = "google.auth.compute_engine._metadata._GCE_METADATA_HOST"
        case.monkeypatch.setattr(host, f"127.0.0.1:{case.google.port}")
        case.google.switch(refusal=name)

    return make


SAYS_HTML = answer(b"<html>Log in</html>", kind="text/html")
WANTS_USER = answer(b"", "407 Proxy Authentication Required")
FORBIDS = answer(b"", "403 Forbidden")
OAUTH_CLIENT = {"installed": {"client_id": "x", "client_secret": "y"}}

MAKERS: dict[str, Callable[[Case], Any]] = {
    "option-missing": lambda case: case.account.pop("Dataset"),
    "option-of-all-wrong": lambda case: case.whole.update(HttpProxy="socks5://127.0.0.1:1080"),
    "option-wrong": lambda case: case.account.update(Server={"Timeout": "5"}),
    "base-url-without-version": base_url("/"),
    "base-url-of-a-store": base_url(f"/v1/{STORE_PATH}/dicomWeb"),
    "two-credentials": lambda case: case.account.update(Credentials="ApplicationDefault"),
    "file-in-a-home": lambda case: case.account.update(ServiceAccountFile="~/key.json"),
    "file-missing": lambda case: case.account.update(ServiceAccountFile="/nowhere/key.json"),
    "file-forbidden": file_forbidden,
    "folder-forbidden": folder_forbidden,
    "file-unreadable": lambda case: case.account.update(ServiceAccountFile=str(case.folder)),
    "file-open-to-all": file_open_to_all,
    "file-not-json": content("my key"),
    "file-empty": content(""),
    "file-cut": content('{"type": "service_account", "pri'),
    "file-a-web-page": content("<!DOCTYPE html><html>Sign in</html>"),
    "file-a-pem": content("-----BEGIN PRIVATE KEY-----"),
    "file-a-pfx": lambda case: (
        content("")(case),
        Path(case.account["ServiceAccountFile"]).write_bytes(b"\x30\x82\x09\x80" + bytes(99)),
    ),
    "file-still-encoded": lambda case: content(
        base64.b64encode(json.dumps(case.key()).encode()).decode()
    )(case),
    "file-a-token": content("ya29.a0AfH6\n"),
    "file-an-api-key": content("AIzaSyD-0123456789\n"),
    "file-of-gcloud": content("[core]\naccount = me@x.y\n"),
    "file-an-oauth-client": content(OAUTH_CLIENT, "AuthorizedUserFile"),
    "file-a-description": content({"email": "a@b", "uniqueId": "1", "name": "x"}),
    "file-of-the-api": content({"name": "projects/x", "privateKeyData": "e30="}),
    "file-of-another-type": file_of_another_type,
    "file-with-a-bare-token": lambda case: case.credential(
        "user.json", {"token": "ya29.x"}, "AuthorizedUserFile"
    ),
    "key-damaged": key_with(lambda pem: pem[:100] + pem[101:]),
    "file-of-unknown-type": content({"type": "gdch_service_account"}, "CredentialsFile"),
    "key-unusable": lambda case: case.credential("key.json", case.key(private_key="-----BEGIN")),
    "key-escaped": key_with(lambda pem: pem.replace("\n", "\\n")),
    "key-in-wrong-lines": key_with(lambda pem: pem.replace("\n", "\n\n")),
    "key-without-frame": key_with(lambda pem: "".join(pem.splitlines()[1:-1])),
    "key-with-password": key_with(lambda _: encrypted_key()),
    "key-old": key_old,
    "dns-failure": lambda case: case.section.update(BaseUrl="https://no-such-host.invalid/v1"),
    "proxy-name": lambda case: (
        case.https(),
        case.whole.update(HttpProxy="no-such-proxy.invalid:3128"),
    ),
    "proxy-absent": proxy_absent,
    "proxy-of-environment": proxy_of_environment,
    "proxy-refuses": proxy_refuses,
    "proxy-wants-user": lambda case: case.whole.update(
        HttpProxy=f"127.0.0.1:{case.proxy(WANTS_USER)}"
    ),
    "proxy-wants-user-for-http": lambda case: case.whole.update(
        HttpProxy=f"127.0.0.1:{case.server(says(WANTS_USER))}"
    ),
    "proxy-forbids": lambda case: case.whole.update(HttpProxy=f"127.0.0.1:{case.proxy(FORBIDS)}"),
    "proxy-of-environment-forbids": lambda case: case.monkeypatch.setenv(
        "HTTPS_PROXY", f"http://127.0.0.1:{case.proxy(FORBIDS)}"
    ),
    "proxy-speaks-http": lambda case: (
        case.https(),
        case.whole.update(HttpProxy=f"https://127.0.0.1:{case.google.port}"),
    ),
    "proxy-speaks-https": lambda case: case.whole.update(
        HttpProxy=f"http://127.0.0.1:{case.proxy(answer(), tls=True)}"
    ),
    "proxy-of-another-kind": lambda case: (
        case.section.update(Timeout=1),
        case.whole.update(HttpProxy=f"127.0.0.1:{case.proxy(b'SSH-2.0-OpenSSH_9.2')}"),
    ),
    "proxy-silent": lambda case: (
        case.section.update(Timeout=1),
        case.https(),
        case.whole.update(HttpProxy=f"127.0.0.1:{case.server(lambda at, _: stall(at))}"),
    ),
    "proxy-socks": socks_for_all,
    "no-proxy": kept_from_the_proxy,
    "google-refused": lambda case: case.section.update(
        BaseUrl=f"http://127.0.0.1:{free_port()}/v1"
    ),
    "base-url-http": lambda case: case.google_is(answer(), tls=True),
    "base-url-https": lambda case: (
        case.section.update(BaseUrl=case.google.url.replace("http:", "https:") + "/v1"),
    ),
    "authority-unknown": authority_unknown,
    "authority-unknown-behind-proxy": behind_a_proxy,
    "certificate-of-another-host": certificate_of_another_host,
    "certificate-of-its-own": certificate_of_its_own,
    "certificate-of-tomorrow": certificate_of_tomorrow,
    "certificate-expired": certificate_expired,
    "authorities-missing": authorities_missing,
    "authorities-a-folder": lambda case: (
        case.tls_server(),
        case.whole.update(HttpsCACertificates="."),
    ),
    "authorities-empty": authorities(b""),
    "authorities-der": authorities_der,
    "authorities-a-key": authorities(b"-----BEGIN PRIVATE KEY-----"),
    "clock-ahead": lambda case: case.google.switch(dateOffset=-600),
    "clock-behind": lambda case: case.google.switch(dateOffset=600),
    "key-deleted": lambda case: case.google.switch(deletedKeys=[case.key()["private_key_id"]]),
    "key-disabled": refusal("key-disabled"),
    "account-deleted": account_deleted,
    "refresh-token-revoked": lambda case: (
        case.of_user(),
        case.google.switch(revokedRefreshTokens=[case.google.user["refresh_token"]]),
    ),
    "user-deleted": refused_user("user-deleted"),
    "reauth": refused_user("reauth"),
    "client-unknown": lambda case: case.token_endpoint(
        answers.error("invalid_client", "The OAuth client was not found.", 401)
    ),
    "token-bad-request": lambda case: case.token_endpoint(answers.error("invalid_scope", "Bad")),
    "token-forbidden": lambda case: case.token_endpoint(answers.raw(b"", 403)),
    "token-quota": lambda case: case.token_endpoint(answers.raw(b"", 429)),
    "token-server-error": lambda case: case.token_endpoint(answers.raw(b"", 500)),
    "token-web-page": lambda case: case.token_endpoint(answers.raw(b"<html>Log in</html>")),
    "token-garbage": lambda case: case.token_endpoint(answers.raw(b"\x00\x01", kind="x/y")),
    "token-truncated": lambda case: case.token_endpoint(answers.raw(b'{"a', length=99)),
    "token-without-token": lambda case: case.token_endpoint(answers.fields({"ok": True})),
    "token-redirects": lambda case: case.token_endpoint(answers.raw(b"", 302, Location="/login")),
    "token-host": lambda case: case.account.update(TokenUri="https://no-such-host.invalid/token"),
    "token-http": lambda case: case.account.update(
        TokenUri=f"http://127.0.0.1:{case.server(says(answer()), tls=True)}/token"
    ),
    "token-https": lambda case: case.account.update(
        TokenUri=case.google.token_uri.replace("http:", "https:")
    ),
    "token-authority-unknown": lambda case: case.account.update(
        TokenUri=f"https://127.0.0.1:{case.server(says(answer()), tls=True)}/token"
    ),
    "token-slow": lambda case: (
        case.token_endpoint(answers.hanging),
        case.section.update(Timeout=1),
    ),
    "token-refused": lambda case: case.account.update(
        TokenUri=f"http://127.0.0.1:{free_port()}/token"
    ),
    "sts-refused": lambda case: external(case, token_url=f"http://127.0.0.1:{free_port()}/v1"),
    "audience-wrong": lambda case: external(
        case, audience="//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/x"
    ),
    "sts-attribute-condition": refused_workload("sts-attribute-condition"),
    "sts-issuer-unreachable": refused_workload("sts-issuer-unreachable"),
    "sts-token-stale": refused_workload("sts-token-stale"),
    "subject-token-missing": lambda case: external(
        case, credential_source={"file": str(case.folder / "no-subject-token.jwt")}
    ),
    "impersonation-denied": impersonation_denied,
    "impersonated-account-missing": impersonated_account_missing,
    "metadata-server-absent": metadata_server_absent,
    "gke-account-not-bound": on_gke("gke-account-not-bound"),
    "gke-account-not-bound-old": on_gke("gke-account-not-bound-old"),
    "gke-account-unknown": on_gke("gke-account-unknown"),
    "scope-missing": lambda case: case.google.switch(
        grantedScopes=["https://www.googleapis.com/auth/devstorage.read_only"]
    ),
    "token-not-taken": lambda case: (
        case.account.update(SelfSignedJwt=True),
        case.google.switch(deletedKeys=[case.key()["private_key_id"]]),
    ),
    "store-server-error": lambda case: case.google_is(answer(b"", "502 Bad Gateway")),
    "api-disabled": refusal("api-disabled"),
    "quota-project-missing": refused_user("quota-project-missing"),
    "quota-project-missing-gcloud": refused_user("quota-project-missing-gcloud"),
    "org-policy-service-usage": refusal("org-policy-service-usage"),
    "vpc-service-controls": refusal("vpc-service-controls"),
    "quota-dicom-ops": refusal("quota-dicom-ops"),
    "quota-dicom-store-ops": refusal("quota-dicom-store-ops"),
    "quota-project-denied": quota_project_denied,
    "base-url-of-another-version": base_url("/v2/"),
    "base-url-of-another-server": lambda case: store_of_the_google_api(
        case, "404 Not Found", {"detail": "Not Found"}
    ),
    "base-url-of-another-api": lambda case: store_of_the_google_api(
        case,
        "404 Not Found",
        {"error": {"code": 404, "message": "Method not found.", "status": "NOT_FOUND"}},
    ),
    "base-url-redirects": lambda case: case.google_is(answer(b"", "302 Found", Location="/x")),
    "base-url-web-page": lambda case: case.google_is(SAYS_HTML),
    "project-missing": lambda case: store_of_the_google_api(
        case,
        "403 Forbidden",
        {
            "error": {
                "message": "Permission denied on resource project osimis-test.",
                "status": "PERMISSION_DENIED",
            }
        },
    ),
    "dataset-missing": dataset_missing,
    "store-missing": lambda case: case.account.update(DicomStore="no-such-store"),
    "no-read": lambda case: case.google.switch(
        deniedPermissions=["healthcare.dicomStores.dicomWebRead"]
    ),
    "no-write": lambda case: case.google.switch(
        deniedPermissions=["healthcare.dicomStores.dicomWebWrite"]
    ),
    "no-delete": lambda case: case.google.switch(
        deniedPermissions=["healthcare.dicomStores.dicomWebDelete"]
    ),
    "key-of-another-project": key_of_another_project,
    "project-of-another-key": lambda case: case.account.update(Project="hospital-b"),
    "store-unseen": lambda case: case.account.update(Location="europe-west1"),
    "quota-dicom-web-ops": refusal("quota-dicom-web-ops"),
}
