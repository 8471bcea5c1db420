"""What the pages share: rendering with a notice, going back with one, and asking again before what cannot be undone."""

import contextlib
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from node.api.console.operator.areas import AREAS, DONE, PROBLEMS
from node.api.console.operator.words import actor as said_actor
from node.api.routing import Call
from node.api.web.advice import words_of
from node.api.web.pages import Pages, see_other
from node.clock import Clock
from node.errors.base import LeveretError, all_codes
from node.errors.identifiers import InvalidPeerId
from node.model.ids import PatientKey, PeerId
from node.sharing.trust import TrustList

_SERVER_FAULT = 500


@dataclass(frozen=True, slots=True)
class Notice:
    """What a page says above its content; ``kind`` as the macro ``notice`` has it."""

    kind: str
    title: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """Asked before something that cannot be undone, or shuts somebody out. The form is sent to ``action``."""

    title: str
    says: Sequence[str]
    label: str  # of the button that does it
    action: str
    back: str
    facts: Sequence[tuple[str, str]] = ()
    reason: str = ""  # the label of a text that must be given, if one must
    hidden: Mapping[str, str] = field(default_factory=dict)
    danger: bool = True


class Desk:
    """Renders the pages of one node."""

    def __init__(self, pages: Pages, trust: TrustList, clock: Clock, issuer: str) -> None:
        """``issuer`` is this facility's Issuer of Patient ID, meant where none is said."""
        self.pages = pages
        self.clock = clock
        self.issuer = issuer
        self._trust = trust

    def page(
        self, call: Call, template: str, *, area: str, error: LeveretError | None = None, **values: Any
    ) -> web.Response:
        """A page of ``area``; with ``error`` it says what was wrong with the form that was sent."""
        notice = notice_of_query(call) if error is None else notice_of(error)
        role = call.caller.role
        tabs = [(place.href, place.label) for place in AREAS[area] if role in place.roles]
        return self.pages.page(
            call,
            f"console/operator/{template}",
            status=error.status if error else 200,
            notice=notice,
            tabs=tabs,
            role=role.value,
            now=self.clock.now(),
            facility=self.facility,
            who=self.who,
            **values,
        )

    def ask(self, call: Call, question: Question, *, area: str, error: LeveretError | None = None) -> web.Response:
        """The page that asks again."""
        return self.page(call, "confirm.html", area=area, error=error, question=question)

    def facility(self, peer: PeerId | None) -> str:
        """A facility as people call it; this one for None."""
        if peer is None:
            return "this facility"
        known = {one.peer_id: one.name for one in self._trust.peers()}
        return known.get(peer, peer.short)

    def who(self, actor: str) -> str:
        """Who did something, as people say it; facilities by their names."""
        kind, _, name = actor.partition(":")
        if kind == "peer":
            with contextlib.suppress(InvalidPeerId):
                return self.facility(PeerId.parse(name))
        return said_actor(actor)

    def patient(self, patient_id: str, issuer: str = "") -> PatientKey:
        """A patient as typed."""
        return PatientKey(issuer.strip() or self.issuer, patient_id.strip())


def notice_of(error: LeveretError) -> Notice:
    """What somebody reads of an error that is no defect."""
    title, advice = _words_of(error.code)
    return Notice("error" if error.status >= _SERVER_FAULT else "warning", title, f"{_sentence(error.fact)}{advice}")


def notice_of_query(call: Call) -> Notice | None:
    """What the address says about what was done just now; only words that this node chose are shown."""
    if (done := call.query("done")) in DONE:
        return Notice("success", DONE[done])
    if (code := call.query("problem")) in all_codes():
        title, advice = _words_of(code)
        return Notice("warning", title, advice)
    return None


def done(place: str, what: str) -> web.Response:
    """It is done: look there."""
    return see_other(f"{place}?done={what}")


def back(place: str, error: LeveretError) -> web.Response:
    """It could not be done; there it is said why."""
    return see_other(f"{place}?problem={error.code}")


async def settle(work: Awaitable[object], *, to: str, what: str, otherwise: str) -> web.Response:
    """Do ``work`` and go ``to``; where it cannot be done (somebody was quicker), go to ``otherwise`` and say so."""
    try:
        await work
    except LeveretError as error:
        if error.status >= _SERVER_FAULT:
            raise
        return back(otherwise, error)
    return done(to, what)


def _words_of(code: str) -> tuple[str, str]:
    """What is wrong, and what to do; as seen from a list, where that has words of its own."""
    words = words_of(code)
    return PROBLEMS.get(code, (words.title, words.advice))


def _sentence(fact: str) -> str:
    return f"{fact[:1].upper()}{fact[1:].rstrip('.')}. " if fact else ""
