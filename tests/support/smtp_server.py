"""A mail server (RFC 5321) that takes what comes, or misbehaves as a test wants."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path


class SmtpServer:
    """One that listens on 127.0.0.1.

    Parameters
    ----------
    certificate
        Certificate and key files; without them it offers no TLS.
    tls
        Whether TLS is there from the first byte.
    user
        Who may send, and the password; without it, everybody may.
    answers
        Command -> what is answered in place of the usual.
    banner
        What is said first.
    taken
        What is said when a message was taken; a function of a test may wait before.

    Attributes
    ----------
    messages
        What was taken: sender, recipients, message.
    commands
        All commands, with whether they came by TLS.
    """

    def __init__(
        self,
        certificate: tuple[Path, Path] | None = None,
        *,
        tls: bool = False,
        user: tuple[str, str] | None = None,
        answers: dict[str, bytes] | None = None,
        banner: bytes | None = b"220 mail.example ESMTP\r\n",
        taken: Callable[[], bytes] = lambda: b"250 taken\r\n",
    ) -> None:
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self._tls, self._user, self._banner, self._taken = tls, user, banner, taken
        self.answers = answers or {}
        self.messages: list[tuple[str, list[str], EmailMessage]] = []
        self.commands: list[tuple[str, bool]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._connections:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError):
            is_secure = self._tls
            if is_secure:
                connection = self._secured(connection)
            if self._banner is None:
                return  # it stays silent, and open
            connection.sendall(self._banner)
            while self._speak(connection, secure=is_secure):
                is_secure = True
                connection = self._secured(connection)

    def _secured(self, connection: socket.socket) -> socket.socket:
        assert self._context is not None
        secured = self._context.wrap_socket(connection, server_side=True)
        self._connections.append(secured)
        return secured

    def _speak(self, connection: socket.socket, *, secure: bool) -> bool:
        """Until the connection ends, or TLS is to begin."""
        file, sender, recipients = connection.makefile("rb", 0), "", list[str]()
        for line in iter(file.readline, b""):
            text = line.decode().strip()
            verb = text.split()[0].upper() if text else ""
            self.commands.append((text, secure))
            if verb == "MAIL":
                sender, recipients = text, []
            elif verb == "RCPT":
                recipients.append(text)
            answer = self.answers[verb] if verb in self.answers else self._answer(text, secure)
            connection.sendall(answer)
            if answer.startswith(b"354"):
                content = b"".join(iter(file.readline, b".\r\n"))
                message = message_from_bytes(content, policy=policy.default)
                assert isinstance(message, EmailMessage)
                self.messages.append((sender, recipients, message))
                connection.sendall(self._taken())
            if verb in ("STARTTLS", "QUIT"):
                return verb == "STARTTLS"
        return False

    def _answer(self, text: str, secure: bool) -> bytes:
        verb = text.split()[0].upper() if text else ""
        if verb == "EHLO":
            offered = [b"250-mail.example"]
            if self._context is not None and not secure:
                offered.append(b"250-STARTTLS")
            if self._user is not None:
                offered.append(b"250-AUTH PLAIN")
            return b"\r\n".join([*offered, b"250 HELP", b""])
        if verb == "AUTH":
            given = base64.b64decode(text.split()[-1]).decode().split("\0")[1:]
            is_right = tuple(given) == self._user
            return b"235 welcome\r\n" if is_right else b"535 not you, secret-1\r\n"
        return {"STARTTLS": b"220 go on\r\n", "DATA": b"354 go on\r\n", "QUIT": b"221 bye\r\n"}.get(
            verb, b"250 ok\r\n"
        )
