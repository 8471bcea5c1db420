"""Patients who have an account, and the sessions of their browsers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, ClientSession

from node.api.cookies import COOKIE
from node.model.access import IssuedSession, Session
from node.model.ids import PatientKey
from node.model.portal import Relation, Scope
from node.sharing.portal.enrolment import Order
from support.running import Running

PASSPHRASE = "four words nobody guesses easily"


@dataclass(frozen=True)
class Patient:
    """A signed-in patient: ``cookie`` for a browser, ``web`` for requests as its browser would make them."""

    cookie: str
    session: Session
    api: str
    web: ClientSession

    async def get(self, path: str, status: int = 200, **options: Any) -> str:
        """The text of a page."""
        async with self.web.get(self.api + path, **options) as answer:
            text = await answer.text()
            assert answer.status == status, (path, answer.status, text[:800])
            return text

    async def read(self, path: str, **options: Any) -> tuple[ClientResponse, bytes]:
        """An answer that is no page."""
        async with self.web.get(self.api + path, **options) as answer:
            return answer, await answer.read()

    async def post(self, path: str, status: int = 303, **fields: Any) -> tuple[str, str]:
        """Send a form as its page would; where it leads, and the answer's text."""
        data: list[tuple[str, str]] = [("csrf", self.session.csrf)]
        for name, value in fields.items():
            data += [(name, str(one)) for one in (value if isinstance(value, list | tuple) else [value])]
        async with self.web.post(self.api + path, data=data, allow_redirects=False) as answer:
            text = await answer.text()
            assert answer.status == status, (path, answer.status, text[:800])
            return answer.headers.get("Location", ""), text


async def enrol(
    north: Running,
    patient_id: str,
    birth_date: str,
    *,
    relation: Relation = Relation.SELF,
    scope: Scope = Scope.SHARE,
    name: str = "",
    language: str = "en",
) -> IssuedSession:
    """A letter for the patient, an account by it, a session."""
    portal = north.node.exchange.portal
    patient = PatientKey(north.node.basis.issuer, patient_id)
    letter = await portal.enrolment.invite(Order(patient, relation, scope, name), by="user:desk")
    proof = await portal.enrolment.prove(letter.code.text, birth_date, place="test")
    sign_in = f"{patient_id.lower()}-{relation}-{name.lower() or 'self'}@example.org".replace(" ", "-")
    return await portal.accounts.enrol(proof.ticket, sign_in, PASSPHRASE, language=language)


@asynccontextmanager
async def as_patient(north: Running, issued: IssuedSession, **headers: str) -> AsyncIterator[Patient]:
    """A browser that holds the session's cookie."""
    async with ClientSession(cookies={COOKIE: issued.cookie}, headers=headers) as web:
        yield Patient(issued.cookie, issued.session, north.api, web)
