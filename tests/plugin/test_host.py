"""The configuration of an Orthanc, and what is made of it."""

from __future__ import annotations

from pathlib import Path

from orthanc_gcp.connector.servers import MANAGED_BY
from orthanc_gcp.plugin import host
from orthanc_gcp.plugin.demanded import DemandedWorker
from orthanc_gcp.plugin.worker_client import WorkerClient
from tests.support.certificates import Authority
from tests.support.keys import user_account
from tests.support.orthanc import wait_until


def with_accounts(token_server, **section):
    return {"GoogleCloudPlatform": {"Accounts": {"a": user_account(token_server.url)}, **section}}


def test_settings_and_log(inside, token_server):
    orthanc = inside(with_accounts(token_server))
    settings = host.settings_of(orthanc)
    assert [account.name for account in settings.accounts] == ["a"]
    assert settings.folder == Path(orthanc.arguments[-1]).parent
    host.connector(orthanc, settings)


def test_where_relative_names_are_looked_for(inside, tmp_path):
    orthanc = inside({}, start=False)
    for arguments, folder in (
        (["--verbose", f"{tmp_path}/"], tmp_path),
        ([str(tmp_path / "orthanc.json"), "--trace"], tmp_path),
        ([], Path.cwd()),
    ):
        orthanc.arguments = arguments
        assert host.settings_of(orthanc).folder == folder


def test_a_connector_publishes_and_measures(inside, token_server):
    orthanc = inside(with_accounts(token_server, RefreshInterval=1))
    connector = host.connector(orthanc, host.settings_of(orthanc))
    connector.start()
    try:
        assert connector.orthanc_started()
        wait_until(lambda: orthanc.metrics.get('gcp_token_up{account="a"}') == 1)
        shown = orthanc.RestApiGet("/dicom-web/servers?expand").decode()
    finally:
        connector.stop()
    assert MANAGED_BY["ManagedBy"] in shown
    assert any("published as DICOMweb server" in text for _, text in orthanc.log)


def test_transfers_that_cannot_work_are_told(inside, token_server):
    orthanc = inside(with_accounts(token_server))
    settings = host.settings_of(orthanc)
    host.warn_of_authorities(orthanc, settings)
    assert [level for level, text in orthanc.log if "HttpsCACertificates" in text] == ["E"]
    orthanc = inside({**with_accounts(token_server), "HttpsVerifyPeers": False})
    host.warn_of_authorities(orthanc, host.settings_of(orthanc))
    assert not [text for _, text in orthanc.log if "HttpsCACertificates" in text]


def worker(orthanc, interpreter="/venv/bin/python"):
    return host.worker(orthanc, host.settings_of(orthanc), interpreter, 12.0)


def test_a_worker_is_for_rules(inside, token_server):
    assert worker(inside({})) is None
    assert isinstance(worker(inside(with_accounts(token_server))), DemandedWorker)
    assert worker(inside(with_accounts(token_server)), "") is None
    made = worker(inside(with_accounts(token_server, Send=[{"To": "a"}])))
    assert isinstance(made, WorkerClient)
    for name, entry in (("Receive", {"Subscription": "images"}), ("Prefetch", {})):
        made = worker(inside(with_accounts(token_server, **{name: [{"Account": "a", **entry}]})))
        assert isinstance(made, WorkerClient), "one has something to do by itself"


def test_a_script_of_an_older_version(inside, token_server):
    orthanc = inside(with_accounts(token_server, Send=[{"To": "a"}]))
    assert worker(orthanc, "") is None
    assert "orthanc-gcp plugin-script" in orthanc.log[-1][1]


def test_a_certificate_that_is_not_there(inside, token_server, tmp_path):
    configuration = {
        **with_accounts(token_server, Send=[{"To": "a"}]),
        "SslEnabled": True,
        "SslCertificate": "no.pem",
    }
    orthanc = inside(configuration, start=False)
    assert worker(orthanc) is None
    assert orthanc.log[-1][1].endswith("no.pem cannot be read: No such file or directory")
    certificate = Path(orthanc.arguments[-1]).parent / "no.pem"
    certificate.write_bytes(Authority(tmp_path).issue("127.0.0.1")[0].read_bytes())
    assert worker(orthanc) is not None


def test_who_answers_for_orthanc(inside, token_server):
    def made(interpreter="/venv/bin/python", answers=True, **more):
        options = {"Aets": {"G": "a"}, "AnswerForOrthanc": answers, **more.pop("gateway", {})}
        orthanc = inside({**with_accounts(token_server, Gateway=options), **more}, start=False)
        return host.dicom_callbacks(orthanc, interpreter, lambda: None), orthanc

    callbacks, orthanc = made()
    assert callbacks._local().url == f"http://127.0.0.1:{orthanc._orthanc.port}"
    assert callbacks._plain("aet ") == "AET"
    assert made(StrictAetComparison=True)[0]._plain("aet ") == "aet"
    assert made("")[0] is None
    assert made(answers=False)[0] is None
    assert made(gateway={"Port": "x"})[0] is None
    none, orthanc = made(HttpServerEnabled=False)
    assert none is None
    assert "HttpServerEnabled" in orthanc.log[-1][1]
