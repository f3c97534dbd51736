"""Alarms and summaries by e-mail (RFC 5321, RFC 5322), through the server that is configured."""

from __future__ import annotations

import json
import logging
import smtplib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from orthanc_gcp.clock import Clock
from orthanc_gcp.configuration import MailOptions, Settings
from orthanc_gcp.errors import MailError

__all__ = ["Mail", "message_of"]

_log = logging.getLogger(__name__)

_SILENCE, _TAKEN_WITHIN = 10.0, 600.0
"""Seconds for each answer; and, after all of a message, for that it was taken (RFC 5321 section
4.5.3.2.6): who waits for less sends it again to a server that has it."""
_MOST_BYTES = 64 * 1024
"""Of all that a server says to one message."""
_LONGEST_SUBJECT = 150


class Mail:
    """Sends documents to the people whom the configuration names.

    Parameters
    ----------
    options
        The server, and who writes to whom.
    """

    def __init__(self, settings: Settings, options: MailOptions, clock: Clock) -> None:
        self._options, self._clock = options, clock
        self._authorities = settings.ca_certificates
        self._folder = settings.credential_file
        self._refused: dict[str, int] = {}

    def post(self, identifier: str, document: bytes) -> None:
        """Send a document as words.

        Raises
        ------
        MailError
            The server did not take it, or there is no password.
        """
        message = message_of(json.loads(document), self._options)
        message["Message-ID"] = f"<{identifier}@orthanc-gcp.invalid>"
        message["Date"] = format_datetime(self._clock.utc())
        error = self._sent(message)
        if error is not None:
            raise error

    def _sent(self, message: EmailMessage) -> MailError | None:
        """What became of it: whatever a server says is not repeated, as it may repeat secrets."""
        try:
            self._send(message)
        except smtplib.SMTPAuthenticationError as error:
            return MailError("the server refuses user and password", status=error.smtp_code)
        except smtplib.SMTPRecipientsRefused:
            return MailError("the server refuses all recipients")
        except smtplib.SMTPResponseException as error:
            return MailError(f"the server answered {error.smtp_code}", status=error.smtp_code)
        except smtplib.SMTPNotSupportedError:
            return MailError("the server offers no encryption (STARTTLS), or no authentication")
        except ssl.SSLError as error:
            return MailError(f"TLS with the server fails: {error.reason or type(error).__name__}")
        except (OSError, smtplib.SMTPException) as error:
            words = getattr(error, "strerror", None) or type(error).__name__
            return MailError(f"the server cannot be reached: {words}")
        except MailError as error:
            return error
        except Exception as error:
            return MailError(f"unexpected {type(error).__name__}")
        return None

    def _send(self, message: EmailMessage) -> None:
        options = self._options
        password = self._password()
        connection = self._connection()
        try:
            if options.encryption == "StartTls":
                connection.starttls(context=self._context())
            if options.user is not None and password is not None:
                connection.login(options.user, password)
            self._note_refused(connection.send_message(message, options.sender, list(options.to)))
        finally:
            # Whatever becomes of this says nothing of the message.
            with suppress(OSError, smtplib.SMTPException):
                connection.quit()
            connection.close()

    def _note_refused(self, answers: Mapping[str, tuple[int, bytes]]) -> None:
        """Say who does not get it, once: it was taken for the others, and is not sent again."""
        refused = {name: code for name, (code, _) in answers.items()}
        for name, code in refused.items():
            if self._refused.get(name) != code:
                number = self._options.to.index(name)
                words = "the server refuses the recipient Mail.To[%d] (%d), who is told nothing"
                _log.error(words, number, code)
        for name in self._refused.keys() - refused:
            _log.warning("the server takes Mail.To[%d] again", self._options.to.index(name))
        self._refused = refused

    def _connection(self) -> smtplib.SMTP:
        server, port = self._options.server, self._options.port
        if self._options.encryption == "Tls":
            return _BoundedTls(server, port, timeout=_SILENCE, context=self._context())
        return _Bounded(server, port, timeout=_SILENCE)

    def _context(self) -> ssl.SSLContext:
        """Who the server has to show that it is: also where Orthanc does not check that."""
        return ssl.create_default_context(cafile=self._authorities)

    def _password(self) -> str | None:
        """Read each time: it may have been changed."""
        if self._options.password_file is None:
            return None
        try:
            content = self._folder(self._options.password_file).read_text("utf-8")
        except (OSError, ValueError):
            raise MailError("PasswordFile cannot be read") from None
        return content.rstrip("\r\n")


class _BoundedReplies(smtplib.SMTP):
    """A connection on which a server cannot speak for ever."""

    _said = 0

    def data(self, msg: Any) -> tuple[int, bytes]:
        """As smtplib has it, with the time that a server may take to take it."""
        if self.sock is not None:
            self.sock.settimeout(_TAKEN_WITHIN)
        try:
            return super().data(msg)
        finally:
            if self.sock is not None:
                self.sock.settimeout(_SILENCE)

    def getreply(self) -> tuple[int, bytes]:
        """As smtplib has it, of so many bytes at most."""
        if self.file is None and self.sock is not None:
            self.file = _BoundedFile(self.sock.makefile("rb"), self._heard)
        return super().getreply()

    def _heard(self, count: int) -> None:
        self._said += count
        if self._said > _MOST_BYTES:
            raise OSError(None, "it says too much")


class _Bounded(_BoundedReplies):
    """Plain at first."""


class _BoundedTls(_BoundedReplies, smtplib.SMTP_SSL):
    """TLS from the first byte (RFC 8314 section 3.3)."""


class _BoundedFile:
    """What a server says, line by line."""

    def __init__(self, file: Any, heard: Callable[[int], None]) -> None:
        self._file, self._heard = file, heard

    def readline(self, limit: int) -> bytes:
        """A line, or as much of it."""
        line: bytes = self._file.readline(limit)
        self._heard(len(line))
        return line

    def close(self) -> None:
        """Read no more."""
        self._file.close()


def message_of(document: Mapping[str, Any], options: MailOptions) -> EmailMessage:
    """A document of alarms, or of a day, in words."""
    is_summary = "Summary" in document
    subject = _subject_of_day(document) if is_summary else _subject(document)
    lines = _lines_of_day(document) if is_summary else _lines(document)
    message = EmailMessage()
    message["From"] = options.sender
    message["To"] = ", ".join(options.to)
    message["Subject"] = _one_line(f"[orthanc-gcp] {subject}")[:_LONGEST_SUBJECT]
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5: nobody answers by itself
    message.set_content("\n".join(map(_one_line, lines)) + "\n")
    return message


def _subject(document: Mapping[str, Any]) -> str:
    state = "raised" if document["Raised"] else "over"
    return f"{document['Account']}: {document['Alarm']} {state}"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"Account: {document['Account']}"
    yield f"Alarm: {document['Alarm']}, {'raised' if document['Raised'] else 'over'}"
    yield f"Time: {document['Time']}"
    yield f"In quarantine: {_instances(document['QuarantinedInstances'])}"
    yield f"Lost: {_instances(document['LostInstances'])}, {document['LostChanges']:,} changes"
    yield f"Not protected: {document['UnprotectedPatients']:,} patients"
    yield f"Waiting: {_instances(document['WaitingInstances'])}"
    if document["OldestUnsentSeconds"] is not None:
        yield f"Oldest unsent: {document['OldestUnsentSeconds']:,.0f} seconds"
    if document["OldestAcknowledgedSeconds"] is not None:
        age = document["OldestAcknowledgedSeconds"]
        yield f"Oldest that was sent and not seen in the store: {age:,.0f} seconds"
    for one in document["Problems"]:
        yield ""
        yield f"Problem: {one['Message']}"
        yield f"Remedy: {one['Remedy']}"


def _subject_of_day(document: Mapping[str, Any]) -> str:
    lacking = sum(_lacking(one) for one in document["Accounts"])
    confirmed = sum(one["Confirmed"]["Instances"] for one in document["Accounts"])
    return f"daily summary: {confirmed:,} confirmed, {lacking:,} not confirmed"


def _lacking(account: Mapping[str, Any]) -> int:
    return sum(one["Instances"] for one in account["NotConfirmed"])


def _lines_of_day(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"From {document['Since']} to {document['Until']}"
    for account in document["Accounts"]:
        yield ""
        yield f"Account {account['Account']}"
        for name in ("Received", "Confirmed"):
            yield f"  {name.lower()}: {_amount(account[name])}"
        yield f"  not confirmed by now: {_instances(_lacking(account))}"
        for one in account["NotConfirmed"]:
            reason = f" ({one['Reason']})" if one["Reason"] else ""
            since = f"the oldest received {one['OldestReceived']}"
            yield f"    {one['State']}{reason}: {_amount(one)}, {since}"


def _amount(one: Mapping[str, int]) -> str:
    return f"{_instances(one['Instances'])}, {one['Bytes']:,} bytes"


def _instances(number: int) -> str:
    return f"{number:,} {'instance' if number == 1 else 'instances'}"


def _one_line(text: str) -> str:
    """A text that ends no header and no line."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
