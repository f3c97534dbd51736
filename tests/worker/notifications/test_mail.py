"""Alarms and summaries at a real mail server, and what becomes of those that misbehave."""

from __future__ import annotations

import json
import threading

import pytest

from orthanc_gcp.clock import SystemClock
from orthanc_gcp.configuration import MailOptions, read
from orthanc_gcp.errors import MailError, NetworkError
from orthanc_gcp.worker.notifications import mail as module
from orthanc_gcp.worker.notifications import notifier
from orthanc_gcp.worker.notifications.mail import Mail, message_of
from orthanc_gcp.worker.notifications.notifier import Posting
from tests.support.certificates import Authority
from tests.support.orthanc import free_port
from tests.support.smtp_server import SmtpServer

PROBLEM = {"Message": "7 instances wait: no Orthanc", "Remedy": "start it"}
ALARM = {
    "Account": "my-google",
    "Alarm": "Quarantine",
    "Raised": True,
    "Time": "2026-01-31T18:00:00.000+00:00",
    "QuarantinedInstances": 1234,
    "LostInstances": 0,
    "LostChanges": 0,
    "UnprotectedPatients": 0,
    "WaitingInstances": 7,
    "OldestUnsentSeconds": 5.0,
    "OldestAcknowledgedSeconds": 4000.0,
    "Problems": [PROBLEM],
}
DAY = {
    "Summary": "Daily",
    "Since": "2026-01-30T07:00:00.000+00:00",
    "Until": "2026-01-31T07:00:00.000+00:00",
    "Accounts": [
        {
            "Account": "my-google",
            "Received": {"Instances": 12, "Bytes": 3400},
            "Confirmed": {"Instances": 11, "Bytes": 3300},
            "NotConfirmed": [
                {
                    "State": "quarantined",
                    "Reason": "conflict",
                    "Instances": 1,
                    "Bytes": 100,
                    "OldestReceived": "2026-01-30T08:00:00.000+00:00",
                }
            ],
        }
    ],
}
OPTIONS = {"server": "127.0.0.1", "sender": "orthanc@example.org", "to": ("a@b.c", "d@e.f")}


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def start():
    servers = []

    def started(*arguments, **more):
        servers.append(SmtpServer(*arguments, **more))
        return servers[-1]

    yield started
    for one in servers:
        one.stop()


def mail(server, folder, **more):
    options = MailOptions(**{**OPTIONS, "port": server.port, "encryption": "None", **more})
    settings = read({"HttpsCACertificates": "ca.pem"}, folder)
    return Mail(settings, options, SystemClock())


def test_an_alarm_and_its_end(start, tmp_path):
    server = start()
    sent = mail(server, tmp_path)
    sent.post("msg_1", json.dumps(ALARM).encode())
    sent.post("msg_2", json.dumps({**ALARM, "Raised": False, "Problems": []}).encode())
    (sender, recipients, first), (_, _, second) = server.messages
    assert sender.startswith("mail FROM:<orthanc@example.org>")
    assert recipients == ["rcpt TO:<a@b.c>", "rcpt TO:<d@e.f>"]
    assert first["Subject"] == "[orthanc-gcp] my-google: Quarantine raised"
    assert first["Message-ID"] == "<msg_1@orthanc-gcp.invalid>"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["Date"]
    text = first.get_content().replace("\r\n", "\n")
    assert "In quarantine: 1,234 instances" in text
    assert "Oldest that was sent and not seen in the store: 4,000 seconds\n" in text
    assert "Problem: 7 instances wait: no Orthanc\nRemedy: start it" in text
    assert second["Subject"] == "[orthanc-gcp] my-google: Quarantine over"


def test_a_day():
    message = message_of(DAY, MailOptions(**OPTIONS))
    assert message["Subject"] == "[orthanc-gcp] daily summary: 11 confirmed, 1 not confirmed"
    lines = message.get_content().splitlines()
    assert "  received: 12 instances, 3,400 bytes" in lines
    assert "  confirmed: 11 instances, 3,300 bytes" in lines
    assert lines[-1] == (
        "    quarantined (conflict): 1 instance, 100 bytes, "
        "the oldest received 2026-01-30T08:00:00.000+00:00"
    )


def test_nothing_that_is_told_adds_a_header_or_a_line():
    hostile = "x\r\nBcc: a@b.c\r\n\r\n.\r\n\x1b[2J\u2028"
    message = message_of({**ALARM, "Account": hostile}, MailOptions(**OPTIONS))
    assert message["Bcc"] is None
    assert len(message.get_content().splitlines()) == len(
        message_of(ALARM, MailOptions(**OPTIONS)).get_content().splitlines()
    )
    assert len(message_of({**ALARM, "Account": "é" * 9000}, MailOptions(**OPTIONS)).as_bytes())


@pytest.mark.parametrize("encryption", ["StartTls", "Tls"])
def test_with_tls_a_password_and_authorities(start, tmp_path, authority, encryption):
    server = start(
        authority.issue("127.0.0.1"), tls=encryption == "Tls", user=("orthanc", "secret-1")
    )
    (tmp_path / "password").write_text("secret-1\n")
    more = {"encryption": encryption, "user": "orthanc"}
    mail(server, tmp_path, **more, password_file=str(tmp_path / "password")).post(
        "msg_1", json.dumps(ALARM).encode()
    )
    assert len(server.messages) == 1
    for command, secure in server.commands:
        assert secure or command.split()[0].upper() in ("EHLO", "STARTTLS"), command


def refused(sent) -> MailError:
    with pytest.raises(MailError) as raised:
        sent.post("msg_1", json.dumps(ALARM).encode())
    assert "secret-1" not in str(raised.value)
    assert "a@b.c" not in str(raised.value)
    return raised.value


def test_a_certificate_that_is_not_to_be_trusted(start, tmp_path, authority):
    other = tmp_path / "other"
    other.mkdir()
    certificate = Authority(other).issue("127.0.0.1")
    for encryption in ("StartTls", "Tls"):
        server = start(certificate, tls=encryption == "Tls")
        error = refused(mail(server, tmp_path, encryption=encryption))
        assert "TLS with the server fails: CERTIFICATE_VERIFY_FAILED" in str(error)
        assert server.messages == []


def test_a_server_without_encryption_gets_nothing(start, tmp_path, authority):
    server = start(user=("orthanc", "secret-1"))
    (tmp_path / "password").write_text("secret-1")
    more = {"user": "orthanc", "password_file": str(tmp_path / "password")}
    error = refused(mail(server, tmp_path, encryption="StartTls", **more))
    assert "offers no encryption" in str(error)
    assert not [command for command, _ in server.commands if command.startswith("AUTH")]
    assert server.messages == []


def test_a_password_that_is_wrong_or_cannot_be_read(start, tmp_path, authority):
    server = start(authority.issue("127.0.0.1"), user=("orthanc", "another"))
    file = tmp_path / "password"
    sent = mail(server, tmp_path, encryption="StartTls", user="orthanc", password_file=str(file))
    assert str(refused(sent)) == "PasswordFile cannot be read"
    file.write_bytes(b"\xff\xfe")
    assert str(refused(sent)) == "PasswordFile cannot be read"
    file.write_text("secret-1")
    error = refused(sent)
    assert (str(error), error.status) == ("the server refuses user and password", 535)
    file.write_text("another")
    sent.post("msg_1", json.dumps(ALARM).encode())
    assert len(server.messages) == 1, "it is read each time"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"answers": {"MAIL": b"550 a@b.c secret-1\r\n"}}, "the server answered 550"),
        ({"answers": {"RCPT": b"550 a@b.c secret-1\r\n"}}, "the server refuses all recipients"),
        ({"answers": {"DATA": b"451 secret-1\r\n"}}, "the server answered 451"),
        ({"answers": {"EHLO": b"250-secret-1\r\n" * 9999 + b"250 x\r\n"}}, "cannot be reached"),
        ({"banner": b"220-" + b"x" * 100_000 + b"\r\n"}, "the server answered 500"),
        ({"banner": b"\xff\x00\r\n"}, "the server"),
        ({"banner": b"554 no secret-1\r\n"}, "the server answered 554"),
    ],
    ids=range(7),
)
def test_servers_that_refuse_or_say_nonsense(start, tmp_path, authority, how, words):
    assert words in str(refused(mail(start(**how), tmp_path)))


def test_some_recipients_are_refused(start, tmp_path, caplog):
    """The others have it; nobody else would say that one is told nothing."""
    server = start()
    (nobody, good) = (b"550 nobody secret-1\r\n", b"250 ok\r\n")
    server.answers = RcptAnswers(iter([nobody, good, nobody, good, good, good]))
    sent = mail(server, tmp_path)
    for number in range(3):
        sent.post(f"msg_{number}", json.dumps(ALARM).encode())
    assert len(server.messages) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "the server refuses the recipient Mail.To[0] (550), who is told nothing",
        "the server takes Mail.To[0] again",
    ]


class RcptAnswers(dict):
    """Another answer for each recipient."""

    def __init__(self, answers):
        self._answers = answers

    def __contains__(self, verb):
        return verb == "RCPT"

    def __getitem__(self, verb):
        return next(self._answers)


def test_nobody_listens(tmp_path):
    class Nobody:
        port = free_port()

    assert "the server cannot be reached: " in str(refused(mail(Nobody, tmp_path)))


def test_a_server_that_never_answers_is_left_behind(start, tmp_path, monkeypatch):
    monkeypatch.setattr(notifier, "WITHIN", 0.2)
    sent = Posting(mail(start(banner=None), tmp_path).post)
    with pytest.raises(NetworkError, match=r"has not answered for more than 0\.2 s"):
        sent.post("msg_1", json.dumps(ALARM).encode())
    threads = threading.active_count()
    with pytest.raises(NetworkError, match="has not answered"):
        sent.post("msg_1", json.dumps(ALARM).encode())
    assert threading.active_count() <= threads, "no second one was begun"


@pytest.mark.parametrize("answer", [b"421 too many\r\n", b"nonsense\r\n", b""])
def test_what_was_taken_is_not_sent_again_as_the_end_fails(start, tmp_path, monkeypatch, answer):
    """RFC 5321 section 4.1.1.10: QUIT says nothing of the message before."""
    monkeypatch.setattr(module, "_SILENCE", 0.3)
    server = start(answers={"QUIT": answer})
    mail(server, tmp_path).post("msg_1", json.dumps(ALARM).encode())
    assert len(server.messages) == 1


def test_what_is_taken_late_is_not_sent_again(start, tmp_path, monkeypatch):
    """RFC 5321 section 4.5.3.2.6: who does not wait for that makes duplicates."""
    monkeypatch.setattr(notifier, "WITHIN", 0.2)
    monkeypatch.setattr(module, "_SILENCE", 0.5)
    go_on = threading.Event()

    def taken():
        go_on.wait(20)
        return b"250 taken\r\n"

    server = start(taken=taken)
    sent = Posting(mail(server, tmp_path).post)
    document = json.dumps(ALARM).encode()
    for _ in range(6):
        with pytest.raises(NetworkError, match="has not answered"):
            sent.post("msg_1", document)
    go_on.set()
    sent._running.thread.join(20)
    sent.post("msg_1", document)
    assert len(server.messages) == 1
    sent.post("msg_2", document)
    assert len(server.messages) == 2
