"""A mail server of our own: SMTP (RFC 5321) with STARTTLS and AUTH PLAIN; keeps what it gets, refuses on demand."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class Received:
    sender: str
    to: list[str]
    raw: bytes
    over_tls: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        found = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found

    @property
    def text(self) -> str:
        return str(self.message.get_content())


@dataclass
class MailServer:
    tls: ssl.SSLContext | None = None
    account: tuple[str, str] | None = None
    refuse: dict[str, int] = field(default_factory=dict)  # address -> reply code
    down: bool = False
    port: int = 0
    mails: list[Received] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Dialogue(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, UnicodeDecodeError):  # hung up, or speaks TLS at once
            pass
        finally:
            writer.close()


class _Dialogue:
    def __init__(self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._tls = False
        self._user, self._sender, self._to = "", "", list[str]()

    async def run(self) -> None:
        await self._say("421 busy" if self._server.down else "220 test ESMTP")
        while not self._server.down:
            line = (await self._reader.readuntil(b"\n")).decode().strip()
            verb = line.split(":")[0].split(" ")[0].upper()
            if verb == "QUIT":
                await self._say("221 bye")
                return
            if verb == "STARTTLS":
                await self._say("220 go on")
                assert self._server.tls is not None
                await self._writer.start_tls(self._server.tls)
                self._tls = True
                continue
            await self._say(await self._answer(verb, line))

    async def _answer(self, verb: str, line: str) -> str:
        known = {"EHLO": self._ehlo, "AUTH": self._auth, "MAIL": self._mail, "RCPT": self._rcpt}
        if verb in known:
            return known[verb](line)
        if verb != "DATA":
            return "250 ok" if verb in {"NOOP", "RSET"} else "500 what"
        await self._say("354 go on")
        raw = (await self._reader.readuntil(b"\r\n.\r\n"))[:-3].replace(b"\r\n..", b"\r\n.")
        self._server.mails.append(Received(self._sender, self._to, raw, self._tls, self._user))
        self._server.arrived.set()
        return "250 kept"

    def _ehlo(self, _line: str) -> str:
        offers = ["250-test", *(["250-STARTTLS"] if self._server.tls and not self._tls else [])]
        return "\r\n".join([*offers, "250 AUTH PLAIN"])

    def _auth(self, line: str) -> str:
        _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
        if (user, password) != self._server.account:
            return "535 no"
        self._user = user
        return "235 yes"

    def _mail(self, line: str) -> str:
        self._sender, self._to = _between(line), []
        return "530 sign in first" if self._server.account and not self._user else "250 ok"

    def _rcpt(self, line: str) -> str:
        code = self._server.refuse.get(_between(line), 250)
        if code == 250:
            self._to.append(_between(line))
        return f"{code} told"

    async def _say(self, text: str) -> None:
        self._writer.write(text.encode() + b"\r\n")
        await self._writer.drain()


def _between(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]


@asynccontextmanager
async def mail_server(**options: object) -> AsyncIterator[MailServer]:
    one = MailServer(**options)  # type: ignore[arg-type]  # test's words
    listener = await asyncio.start_server(one.talk, "127.0.0.1", 0)
    one.port = listener.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        listener.close()
