"""Sending e-mail: queued in the index, by the facility's own mail server, in TLS that is verified.

A mail says that something happened and where to sign in. It names no patient, no study, no person and no kind of event,
for e-mail is read by many. It comes from the facility's address, which its recipient gave this address to.
"""

import asyncio
import contextlib
import ipaddress
import smtplib
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from pathlib import Path

from node.config import PortalSettings, SmtpSecurity
from node.errors.portal import InvalidMailSettings, MailUndeliverable
from node.metrics import Metrics
from node.sharing.portal.parts import PortalParts
from node.sharing.portal.plain_words import Words, say
from node.store import portal_mail as rows
from node.store.engine import Write
from node.store.portal_mail import Mail

CONNECT_SECONDS = 20.0
BATCH = 50
FIRST_WAIT, LONGEST_WAIT = 60, 3600  # seconds between attempts; doubles each time
GIVE_UP_SECONDS = {"code": 30 * 60, "alert": 2 * 86400}
CODE, ALERT = "code", "alert"
_UNAVAILABLE = 421  # RFC 5321 section 4.2.3: service not available
_PERMANENT = 500  # SMTP replies of 5yz (RFC 5321 section 4.2.1)

Speak = Callable[[str, Words], str]  # language, what -> text


class Mailer:
    """The mail server as the portal uses it."""

    def __init__(self, settings: PortalSettings, facility: str) -> None:
        """Raises InvalidMailSettings."""
        self._settings = settings
        self.enabled = bool(settings.smtp_host)
        if not self.enabled:
            return
        try:
            self._sender = Address(facility, addr_spec=settings.mail_from)
        except (ValueError, IndexError, MessageError) as exc:
            raise InvalidMailSettings("mail_from") from exc
        if settings.smtp_security is SmtpSecurity.NONE and not _is_here(settings.smtp_host):
            raise InvalidMailSettings("smtp_security")
        self._password = _password(settings)
        self._tls = _tls(settings)

    def message(self, to: str, subject: str, text: str, now: int) -> EmailMessage:
        """A mail; raises MailUndeliverable if the address is none."""
        message = EmailMessage(policy=SMTP)
        try:
            message["From"] = self._sender
            message["To"] = Address(addr_spec=to)
        except (ValueError, IndexError, MessageError) as exc:
            raise MailUndeliverable("not an address") from exc
        message["Subject"] = subject
        message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
        message["Message-ID"] = make_msgid(domain=self._sender.domain)
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no machine answers
        message.set_content(text)
        return message

    async def send(self, messages: Sequence[EmailMessage]) -> list[int]:
        """Send over one connection; for each 0, or the reply code that refused it (4yz or 5yz).

        Raises:
            MailUndeliverable: the server cannot be reached, or shows no certificate that holds.
        """
        return await asyncio.to_thread(self._send, messages)

    def _send(self, messages: Sequence[EmailMessage]) -> list[int]:
        try:
            with self._connected() as server:
                return [_hand_over(server, message) for message in messages]
        except (OSError, smtplib.SMTPException, ssl.SSLError) as exc:
            raise MailUndeliverable(type(exc).__name__) from exc

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        where = (settings.smtp_host, settings.smtp_port)
        if settings.smtp_security is SmtpSecurity.TLS:
            server: smtplib.SMTP = smtplib.SMTP_SSL(*where, timeout=CONNECT_SECONDS, context=self._tls)
        else:
            server = smtplib.SMTP(*where, timeout=CONNECT_SECONDS)
        try:
            if settings.smtp_security is SmtpSecurity.STARTTLS:
                server.starttls(context=self._tls)  # SMTPNotSupportedError unless it is offered
            if settings.smtp_user:
                server.login(settings.smtp_user, self._password)
        except BaseException:
            server.close()
            raise
        return server


class MailQueue:
    """What is to be sent, kept until it is."""

    def __init__(self, parts: PortalParts, mailer: Mailer, speak: Speak, metrics: Metrics) -> None:
        self._parts = parts
        self._metrics = metrics
        self._mailer = mailer
        self._speak = speak

    async def flush(self) -> int:
        """Send what is due; how many were taken. What is not is tried again later, for a while."""
        if not self._mailer.enabled:
            return 0
        now = self._parts.clock.now()
        async with self._parts.db.read() as rx:
            mails = await rows.due(rx, now, limit=BATCH)
        if not mails:
            return 0
        messages = []
        for mail in mails:
            with contextlib.suppress(MailUndeliverable):  # an address that is none any more
                messages.append((mail, self._written(mail, now)))
        codes = await self._send([message for _, message in messages])
        replies = dict(zip((mail.mail_id for mail, _ in messages), codes, strict=True))
        async with self._parts.db.write() as tx:
            for mail in mails:
                await self._settle(tx, mail, replies.get(mail.mail_id, _PERMANENT), now)
        sent = sum(reply == 0 for reply in replies.values())
        self._parts.log.info("mails", component="portal-mail", count=sent, total=len(mails))
        return sent

    async def _send(self, messages: Sequence[EmailMessage]) -> list[int]:
        try:
            return await self._mailer.send(messages)
        except MailUndeliverable as error:
            self._parts.log.warning("mail server", component="portal-mail", code=error.code, error=error.fact)
            return [_UNAVAILABLE] * len(messages)

    async def _settle(self, tx: Write, mail: Mail, reply: int, now: int) -> None:
        """Sent, given up, or put off."""
        wait = min(FIRST_WAIT << min(mail.attempts, 10), LONGEST_WAIT)
        is_hopeless = reply >= _PERMANENT or now + wait - mail.made_at > GIVE_UP_SECONDS[mail.kind]
        if reply == 0 or is_hopeless:
            await rows.drop_mail(tx, mail.mail_id)
            outcome = "given_up" if reply else "sent"
        else:
            await rows.put_off(tx, mail.mail_id, now + wait)
            outcome = "put_off"
        tx.after_commit(lambda: self._metrics.mails.labels(outcome).inc())

    def _written(self, mail: Mail, now: int) -> EmailMessage:
        url, facility = self._parts.url(), self._parts.facility
        if mail.kind == CODE:
            subject = say("Your code for {facility}", facility=facility)
            body = say(
                "Your code is {code}. Type it on the page that asked for it; it is good for half an hour.\n\nIf you did"
                " not ask for it, ignore this message.",
                code=mail.code,
            )
        else:
            subject = say("Something happened on your record at {facility}", facility=facility)
            body = say(
                "Something happened on your record. Sign in to see what it was:\n{url}\n\nThis message says no more on"
                " purpose: e-mail can be read by others.\n\nYou asked for these messages. To stop them:\n{stop}",
                url=f"{url}/portal/history",
                stop=f"{url}/portal/stop#{mail.stop}",
            )
        text = self._speak(mail.language, body)
        return self._mailer.message(mail.address, self._speak(mail.language, subject), text + "\n", now)


def _hand_over(server: smtplib.SMTP, message: EmailMessage) -> int:
    try:
        server.send_message(message)
    except smtplib.SMTPRecipientsRefused as exc:
        return max(code for code, _ in exc.recipients.values())
    except smtplib.SMTPResponseException as exc:
        with contextlib.suppress(smtplib.SMTPException):
            server.rset()
        return exc.smtp_code
    return 0


def _password(settings: PortalSettings) -> str:
    if not settings.smtp_password_file:
        return ""
    try:
        return Path(settings.smtp_password_file).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidMailSettings("smtp_password_file") from exc


def _tls(settings: PortalSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.smtp_ca or None)
    except (OSError, ssl.SSLError) as exc:
        raise InvalidMailSettings("smtp_ca") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
