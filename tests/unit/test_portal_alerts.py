"""Alerts by e-mail, against a mail server of our own: who is told, what, how often, and what cannot be sent."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority
from support.portal_desk import ANA, BEA, SOUTH, STAFF, Desk, desk
from support.smtp import MailServer, mail_server
from support.store import study_uid

from node.api.web.languages import Languages
from node.config import PortalSettings, SmtpSecurity
from node.errors.access import InvalidInput, LockedOut
from node.errors.portal import InvalidMailSettings, MailUnavailable
from node.metrics import Metrics
from node.model.access import IssuedSession
from node.model.audit import AuditEvent, AuditType
from node.model.portal import AccountId, AlertMode
from node.sharing.portal.alerts import BETWEEN_CODES, CODE_SECONDS, CODE_TRIES, CODES_A_DAY, Alerts
from node.sharing.portal.enrolment import account_of
from node.sharing.portal.mail import FIRST_WAIT, GIVE_UP_SECONDS, Mailer, MailQueue
from node.store import audit, feeds

ADDRESS = "ana@mail.example"
LANGUAGES = Languages()
HOUR = 3600


@dataclass
class Post:
    """A portal that sends e-mail."""

    north: Desk
    server: MailServer
    alerts: Alerts
    queue: MailQueue

    async def flush(self) -> int:
        await self.alerts.follow()
        await self.alerts.queue()
        return await self.queue.flush()

    async def subscribe(
        self, who: IssuedSession, mode: AlertMode = AlertMode.EACH, address: str = ADDRESS
    ) -> AccountId:
        account = account_of(who.session.caller)
        assert await self.alerts.choose(account, address, mode)
        await self.flush()
        assert await self.alerts.confirm(account, self.code())
        self.server.mails.clear()
        return account

    def code(self) -> str:
        return self.server.mails[-1].text.split("code is ")[1][:8]

    async def happens(self, kind: AuditType = AuditType.RELEASED, **event: Any) -> None:
        values: dict[str, Any] = {"patient": ANA, "study": study_uid(1), "peer": SOUTH, **event}
        async with self.north.db.write() as tx:
            await audit.append(tx, AuditEvent(kind, self.north.clock.now(), **{"actor": "node", **values}))


Open = Callable[..., Any]


@pytest.fixture
def post(tmp_path: Path) -> Open:
    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[Post]:
        authority = Authority(tmp_path, "hospital")
        pair = authority.sign("mail", options.pop("host", "localhost"))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair.certificate, pair.key)
        password = tmp_path / "password"
        password.write_text("s3cret\nnot this\n")
        async with desk(tmp_path) as north, mail_server(tls=tls, account=("node", "s3cret")) as server:
            values = {
                "smtp_host": "localhost",
                "smtp_port": server.port,
                "smtp_user": "node",
                "smtp_password_file": str(password),
                "smtp_ca": str(authority.path),
                "mail_from": "portal@north.example",
                **options,
            }
            settings = PortalSettings(**values)
            parts = replace(north.parts, settings=settings)
            mailer = await asyncio.to_thread(Mailer, settings, "Klinik Süd, Haus 2")  # as it reads a file at the start
            queue = MailQueue(parts, mailer, lambda language, words: LANGUAGES.named(language)(words), Metrics())
            yield Post(north, server, Alerts(parts, mailer, queue), queue)

    return opened


async def test_an_address_is_proved_and_then_told_without_a_word_about_anybody(post: Open) -> None:
    async with post() as p:
        ana = await p.north.enrolled()
        await p.flush()  # what was before is no news
        account = account_of(ana.session.caller)
        assert await p.alerts.choose(account, ADDRESS, AlertMode.EACH)
        await p.happens()
        assert await p.flush() == 1, "the code alone: nothing is told to an address that may be anybody's"
        (mail,) = p.server.mails
        assert (mail.over_tls, mail.user, mail.sender, mail.to) == (True, "node", "portal@north.example", [ADDRESS])
        assert await p.alerts.confirm(account, f" {p.code()[:4]} {p.code()[4:]} ")
        p.server.mails.clear()
        await p.happens()
        assert await p.flush() == 1
        (mail,) = p.server.mails
        text = f"{mail.message['Subject']} {mail.text}"
        assert "https://images.north.example/portal/history" in text
        assert mail.message["Auto-Submitted"] == "auto-generated"
        assert str(mail.message["From"]) == '"Klinik Süd, Haus 2" <portal@north.example>'
        for secret in ("Ana", "Garcia", "ANA-1", "1964", str(study_uid(1)), "CT", "South", "release", str(account)):
            assert secret not in text.replace("portal@north.example", ""), secret
        assert await p.flush() == 0


async def test_it_is_said_in_the_language_of_the_account(post: Open) -> None:
    async with post() as p:
        letter = await p.north.letter()
        proof = await p.north.enrolment.prove(letter.code.text, "19640327", place="::1")
        ana = await p.north.accounts.enrol(proof.ticket, "ana", "correct horse battery", language="es")
        await p.alerts.choose(account_of(ana.session.caller), ADDRESS, AlertMode.EACH)
        await p.flush()
        assert p.server.mails[0].message["Subject"].startswith("Su código para ")


async def test_not_more_often_than_allowed_and_once_a_day_for_who_wants_that(post: Open) -> None:
    async with post() as p:
        ana, bea = await p.north.enrolled(), await p.north.enrolled(BEA, "bea@example.org")
        await p.flush()
        await p.subscribe(ana)
        p.north.clock.time += HOUR
        await p.subscribe(bea, AlertMode.DAILY, "bea@mail.example")
        told: dict[str, int] = {ADDRESS: 0, "bea@mail.example": 0}
        for _ in range(48):
            for _ in range(3):
                await p.happens()
                await p.happens(patient=BEA, study=study_uid(2))
                await p.flush()
            p.north.clock.time += HOUR // 2
        for mail in p.server.mails:
            told[mail.to[0]] += 1
        assert told == {ADDRESS: 24, "bea@mail.example": 1}


async def test_who_is_told_of_what(post: Open) -> None:
    async with post() as p:
        ana, bea = await p.north.enrolled(), await p.north.enrolled(BEA, "bea@example.org")
        carer = await p.north.enrol(await p.north.proxy_letter(ANA), "carla@example.org")
        await p.flush()
        for who, address in ((ana, "ana@x.example"), (bea, "bea@x.example"), (carer, "carla@x.example")):
            await p.subscribe(who, AlertMode.EACH, address)

        async def told(kind: AuditType = AuditType.RELEASED, **event: Any) -> set[str]:
            p.north.clock.time += 2 * HOUR
            p.server.mails.clear()
            await p.happens(kind, **event)
            await p.flush()
            return {mail.to[0].split("@")[0] for mail in p.server.mails}

        assert await told() == {"ana", "carla"}
        assert await told(AuditType.STUDY_READ, actor=STAFF) == set(), "who treats her here looks every day"
        assert await told(AuditType.CONSENT_RECORDED, actor=ana.session.caller.actor, study=None) == {"carla"}
        failed = {"patient": None, "study": None, "actor": ana.session.caller.actor}
        assert await told(AuditType.SIGN_IN_FAILED, **failed) == {"ana"}
        assert await told(AuditType.PORTAL_CREDENTIALS_CHANGED, **failed) == {"ana"}
        assert await told(AuditType.STUDY_WITHDRAWN, patient=None, study=study_uid(2)) == {"bea"}
        assert await told(AuditType.LINK_OPENED, patient=BEA, study=None) == {"bea"}
        async with p.north.db.write() as tx:
            await feeds.set_sensitive(tx, study_uid(1), 1)
        assert await told() == {"ana"}, "a proxy is not told of what a proxy does not see"
        await p.north.accounts.close(account_of(ana.session.caller), by=STAFF)
        assert await told() == set()


async def test_what_cannot_be_sent_is_sent_later_or_given_up(post: Open) -> None:
    async with post() as p:
        ana = await p.north.enrolled()
        await p.flush()
        await p.subscribe(ana)
        p.north.clock.time += 2 * HOUR
        p.server.down = True
        await p.happens()
        assert await p.flush() == 0
        p.server.down = False
        assert await p.flush() == 0, "not at once"
        p.north.clock.time += FIRST_WAIT
        assert await p.flush() == 1
        p.server.refuse[ADDRESS] = 450
        p.north.clock.time += 2 * HOUR
        await p.happens()
        for _ in range(60):
            await p.flush()
            p.north.clock.time += HOUR
        p.server.refuse.clear()
        assert GIVE_UP_SECONDS["alert"] < 60 * HOUR
        assert await p.flush() == 0
        p.server.refuse[ADDRESS] = 550
        await p.happens()
        assert await p.flush() == 0
        async with p.north.db.read() as rx:
            assert await rx.fetch_value("SELECT count(*) FROM portal_mail") == 0, "refused for good"
        counted = p.queue._metrics.render().decode()
        assert 'leveret_portal_mails_total{outcome="sent"} 2.0' in counted  # the code, and what was late
        assert 'leveret_portal_mails_total{outcome="given_up"} 2.0' in counted


async def test_a_restart_neither_loses_an_alert_nor_tells_it_twice(post: Open) -> None:
    async with post() as p:
        ana = await p.north.enrolled()
        await p.flush()
        await p.subscribe(ana)
        p.north.clock.time += 2 * HOUR
        await p.happens()
        await p.alerts.follow()
        again = Alerts(p.queue._parts, p.queue._mailer, p.queue)
        await again.follow()
        await again.queue()
        await again.queue()
        assert await p.queue.flush() == 1


async def test_codes_are_few_short_lived_and_not_guessed(post: Open) -> None:
    async with post() as p:
        ana = await p.north.enrolled()
        account = account_of(ana.session.caller)
        for address in ("", "ana", "ana@", "a\nb@x.example", "x" * 300 + "@x.example"):
            with pytest.raises(InvalidInput):
                await p.alerts.choose(account, address, AlertMode.EACH)
        await p.alerts.choose(account, ADDRESS, AlertMode.EACH)
        with pytest.raises(LockedOut):
            await p.alerts.choose(account, "other@mail.example", AlertMode.EACH)
        await p.flush()
        for _ in range(CODE_TRIES):
            assert not await p.alerts.confirm(account, "00000000")
        assert not await p.alerts.confirm(account, p.code()), "guessed at too often"
        for _ in range(CODES_A_DAY - 1):
            p.north.clock.time += BETWEEN_CODES
            await p.alerts.choose(account, ADDRESS, AlertMode.EACH)
        with pytest.raises(LockedOut):
            await p.alerts.choose(account, ADDRESS, AlertMode.EACH)
        await p.flush()
        p.north.clock.time += CODE_SECONDS
        assert not await p.alerts.confirm(account, p.code())
        assert not (await p.alerts.wish(account)).waits


async def test_stopped_by_the_link_in_the_mail_or_in_the_account(post: Open) -> None:
    async with post() as p:
        ana = await p.north.enrolled()
        await p.flush()
        account = await p.subscribe(ana)
        p.north.clock.time += 2 * HOUR
        await p.happens()
        await p.flush()
        stop = p.server.mails[0].text.split("/portal/stop#")[1].split()[0]
        await p.alerts.stop("nothing")
        await p.happens()
        await p.alerts.stop(stop)
        p.north.clock.time += 2 * HOUR
        assert await p.flush() == 0
        assert not await p.alerts.choose(account, ADDRESS, AlertMode.DAILY), "proved already"
        assert not await p.alerts.choose(account, "", AlertMode.OFF)
        mailbox = (await p.alerts.wish(account)).mailbox
        assert mailbox is not None
        assert mailbox.mode is AlertMode.OFF


@pytest.mark.parametrize(
    "options",
    [{"host": "elsewhere.example"}, {"smtp_ca": ""}, {"smtp_user": "other"}, {"smtp_security": SmtpSecurity.TLS}],
)
async def test_nothing_is_sent_to_a_server_that_is_not_the_one(post: Open, options: dict[str, Any]) -> None:
    async with post(**options) as p:
        ana = await p.north.enrolled()
        await p.alerts.choose(account_of(ana.session.caller), ADDRESS, AlertMode.EACH)
        assert await p.flush() == 0
        assert p.server.mails == []


async def test_starttls_is_not_optional(post: Open) -> None:
    async with post() as p:
        p.server.tls = None  # somebody on the way cuts it out
        ana = await p.north.enrolled()
        await p.alerts.choose(account_of(ana.session.caller), ADDRESS, AlertMode.EACH)
        assert await p.flush() == 0
        assert p.server.mails == []


@pytest.mark.parametrize(
    "settings",
    [
        {"mail_from": ""},
        {"mail_from": "no address"},
        {"mail_from": "a@b", "smtp_security": SmtpSecurity.NONE, "smtp_host": "mail.example.org"},
        {"mail_from": "a@b.example", "smtp_password_file": "/nonexistent"},
        {"mail_from": "a@b.example", "smtp_ca": "/nonexistent"},
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidMailSettings):
        Mailer(PortalSettings(**{"smtp_host": "mail.example.org", **settings}), "North")


async def test_a_facility_without_a_mail_server_says_so(tmp_path: Path) -> None:
    async with desk(tmp_path) as north:
        mailer = Mailer(north.settings, "North")
        alerts = Alerts(
            north.parts, mailer, MailQueue(north.parts, mailer, lambda _language, words: words.text, Metrics())
        )
        assert not alerts.available
        with pytest.raises(MailUnavailable):
            await alerts.choose(AccountId.new(), ADDRESS, AlertMode.EACH)
