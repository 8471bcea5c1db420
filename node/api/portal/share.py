"""The pages on which patients share: with a facility, by a code, by a link; forbid; see all of it; take it back.

Nothing is shared before the patient saw, on a page of its own, exactly what the other side will see.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated
from urllib.parse import quote

import msgspec
from aiohttp import web

from node.api.cookies import CSRF_FIELD
from node.api.forms import form_fields
from node.api.rest.access import PATIENTS
from node.api.routing import Call, Route
from node.api.web.pages import Pages, see_other
from node.api.web.qr import qr_svg
from node.errors.access import NotFound
from node.errors.base import LeveretError
from node.errors.consents import InvalidDirective
from node.errors.health_links import InvalidHealthLink, LabelNamesPatient, NothingToLink
from node.errors.portal_pages import NothingChosen
from node.errors.sharing import InvalidShareCodeOrder, NothingToShare
from node.model.consent import DAY_SECONDS, MAX_CODE_DAYS, MAX_CODE_STUDIES, PurposeOfUse
from node.model.ids import PeerId
from node.sharing.health_links.keeping import HealthLinks
from node.sharing.portal.accounts import Verified
from node.sharing.portal.giving import Giving, Order, Way, link_order
from node.sharing.portal.plain_words import Words, name_of, say

SHARING = "/portal/sharing"
_DEFAULT_DAYS: Mapping[Way, int] = {Way.FACILITY: 365, Way.CODE: 30, Way.LINK: 30, Way.DENY: 0}
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_PASSCODE_DIGITS = 8
_ANY = "any"
_ONE_WAY = "{way:facility|code|link|deny}"

DURATIONS: Sequence[tuple[int, Words]] = (
    (1, say("1 day")),
    (7, say("1 week")),
    (30, say("30 days")),
    (90, say("3 months")),
    (365, say("1 year")),
)
NO_END = (0, say("until I stop it"))
PURPOSES: Mapping[str, tuple[Words, frozenset[PurposeOfUse]]] = {
    "treatment": (say("to treat me"), frozenset({PurposeOfUse.TREAT, PurposeOfUse.ETREAT})),
    "mine": (say("to treat me, or because I ask for it"), frozenset({
        PurposeOfUse.TREAT, PurposeOfUse.ETREAT, PurposeOfUse.PATRQT,
    })),
    "research": (say("for research"), frozenset({PurposeOfUse.HRESCH})),
    "everything": (say("for any purpose"), frozenset()),
}  # fmt: skip
# What is wrong with a form, by the error of the use case that refused it.
_WRONG: Mapping[type[LeveretError], Words] = {
    NothingChosen: say("Choose at least one examination."),
    NothingToShare: say("There is nothing that could be shared like this."),
    NothingToLink: say("There is nothing that could be shared like this, or you have forbidden it."),
    InvalidDirective: say("Look at the dates again: the first one must be before the last one."),
    InvalidShareCodeOrder: say("A code can be used 1 to 100 times, for 1 to 366 days."),
    InvalidHealthLink: say("Look at the dates and the passcode again. A passcode has 6 to 64 characters."),
    LabelNamesPatient: say("Choose other words: neither the title nor the passcode may contain your name or birthday."),
}

_Text = Annotated[str, msgspec.Meta(max_length=200)]


class ShareForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a patient wants to share. ``days`` 0: until it is stopped."""

    whose: _Text = ""
    scope: Annotated[str, msgspec.Meta(pattern="^(chosen|all)$")] = "chosen"
    studies: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_CODE_STUDIES)] = ()
    from_date: _Text = ""
    to_date: _Text = ""
    facility: _Text = ""
    purpose: _Text = "treatment"
    days: Annotated[int, msgspec.Meta(ge=0, le=MAX_CODE_DAYS)] | None = None
    uses: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    label: _Text = ""
    passcode: _Text = ""


class StopForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to end."""

    way: Way
    name: _Text


class AnnounceForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether other facilities may be told that something exists."""

    wanted: Annotated[str, msgspec.Meta(pattern="^(yes|no)$")]
    whose: _Text = ""


class SharePages:
    """``/portal/sharing`` and what is below it."""

    def __init__(
        self,
        pages: Pages,
        giving: Giving,
        links: HealthLinks,
        verified: Verified,
        *,
        facility_of: Callable[[PeerId], str],
    ) -> None:
        self._pages = pages
        self._giving = giving
        self._links = links
        self._verified = verified
        self._facility_of = facility_of

    def routes(self) -> Iterable[Route]:
        """The routes."""
        way = f"{SHARING}/{_ONE_WAY}"
        stop, announce = f"{SHARING}/stop", f"{SHARING}/announcements"
        return [
            Route("GET", SHARING, self.current, PATIENTS, "What a patient shares", page=True),
            Route("GET", f"{SHARING}/new", self.begin, PATIENTS, "Ways to share", page=True),
            Route("GET", way, self.ask, PATIENTS, "Choose what to share, or to forbid", page=True),
            Route("POST", way, self.preview, PATIENTS, "See what the other side will see", ShareForm, page=True),
            Route("POST", f"{way}/confirm", self.confirm, PATIENTS, "Share it, or forbid it", ShareForm, page=True),
            Route("POST", stop, self.stop, PATIENTS, "Stop sharing something", StopForm, page=True),
            Route("POST", announce, self.announce, PATIENTS, "Opt in or out of announcements", AnnounceForm, page=True),
        ]

    async def current(self, call: Call) -> object:
        """Everything that is shared or forbidden, and what others are told."""
        records = await self._giving.records(call.caller)
        names = {
            one.study.study_instance_uid: (one.name, one.study.date)
            for record in records
            for one in await self._giving.sharable(call.caller, record)
        }
        opted = {record.access.access_id: await self._giving.opted_out(record.patient) for record in records}
        return self._pages.page(
            call, "portal/sharing.html", given=await self._giving.current(call.caller), names=names, records=records,
            opted=opted, facility_of=self._facility_of, purposes=purposes_in_words, done=call.query("done"),
        )  # fmt: skip

    async def begin(self, call: Call) -> object:
        """The ways."""
        await self._giving.record(call.caller, "")
        study = call.query("study")
        return self._pages.page(call, "portal/share_new.html", study=study if study.isalnum() else "")

    async def ask(self, call: Call) -> object:
        """The form of one way."""
        if not self._verified.is_fresh(call.session):
            return self._verify(call.request.path_qs)
        chosen = call.query("study")
        form = ShareForm(whose=call.query("whose"), studies=(chosen,) if chosen else ())
        if _way(call) is Way.LINK:
            form = msgspec.structs.replace(form, passcode=new_passcode())
        return await self._form(call, form)

    async def preview(self, call: Call) -> object:
        """What the other side will see, before anything is shared."""
        form, way = call.body, _way(call)
        try:
            order = await self._order(call, form, way)
            self._giving.check(order, way)
            if way is Way.LINK:
                seen = await self._links.preview(link_order(order), by=call.caller.actor)
            else:
                seen = await self._giving.seen(order, call.caller)
            if not seen and way in {Way.CODE, Way.LINK}:
                raise NothingToShare
        except tuple(_WRONG) as error:
            return await self._form(call, form, error)
        kept = [(name, value) for name, value in await form_fields(call.request) if name != CSRF_FIELD]
        recipient = self._facility_of(order.recipient) if order.recipient else ""
        return self._pages.page(
            call, "portal/share_preview.html", way=way.value, order=order, form=form, seen=seen, kept=kept,
            recipient=recipient, name_of=name_of, purpose=PURPOSES[form.purpose][0], ends=_duration(form, way),
        )  # fmt: skip

    async def confirm(self, call: Call) -> object:
        """Do it."""
        form, way = call.body, _way(call)
        if not self._verified.is_fresh(call.session):
            return self._verify(f"{SHARING}/{way.value}")
        try:
            order = await self._order(call, form, way)
            return await self._give(call, order, way)
        except tuple(_WRONG) as error:
            return await self._form(call, form, error)

    async def _give(self, call: Call, order: Order, way: Way) -> web.StreamResponse:
        match way:
            case Way.FACILITY:
                await self._giving.permit(call.caller, order)
                return see_other(f"{SHARING}?done=shared")
            case Way.DENY:
                recorded = await self._giving.deny(call.caller, order)
                copies = [self._facility_of(peer) for peer in recorded.effects.copies]
                return self._pages.page(call, "portal/share_ended.html", way=way.value, copies=copies)
            case Way.CODE:
                made = await self._giving.code(call.caller, order)
                t = self._pages.languages.of(call.request)
                return self._pages.page(
                    call, "portal/share_code.html", order=order, code=made.code.text, until=made.consent.expires_at,
                    uses=made.consent.uses, qr=qr_svg(made.code.url, title=t("The code as a picture")),
                )  # fmt: skip
            case Way.LINK:
                link = await self._giving.link(call.caller, order)
                t = self._pages.languages.of(call.request)
                return self._pages.page(
                    call, "portal/share_link.html", order=order, url=link.viewer_url, until=link.link.expires_at,
                    qr=qr_svg(link.viewer_url, title=t("The link as a picture"), error="m"),
                )  # fmt: skip

    async def stop(self, call: Call) -> object:
        """End it; what that did is said on a page of its own."""
        form: StopForm = call.body
        given, effects = await self._giving.stop(call.caller, form.way, form.name)
        copies = [self._facility_of(peer) for peer in effects.copies]
        return self._pages.page(
            call, "portal/share_ended.html", way="allowed" if given.way is Way.DENY else "stopped", copies=copies
        )

    async def announce(self, call: Call) -> object:
        """Opt in or out."""
        form: AnnounceForm = call.body
        record = await self._giving.record(call.caller, form.whose)
        await self._giving.announce(call.caller, record, wanted=form.wanted == "yes")
        return see_other(f"{SHARING}?done={'announced' if form.wanted == 'yes' else 'silent'}")

    async def _order(self, call: Call, form: ShareForm, way: Way) -> Order:
        """The form as an order; raises one of ``_WRONG``, or NotFound for what no page of this account offers."""
        record = await self._giving.record(call.caller, form.whose)
        if form.purpose not in PURPOSES:
            raise NotFound
        every = form.scope == "all" and way is not Way.CODE
        chosen = () if every else await self._giving.choose(call.caller, record, form.studies)
        days = _DEFAULT_DAYS[way] if form.days is None else form.days
        if not days and way in {Way.CODE, Way.LINK}:
            raise InvalidShareCodeOrder("days") if way is Way.CODE else InvalidHealthLink("days")
        recipient = None
        if way is Way.FACILITY or (way is Way.DENY and form.facility not in {"", _ANY}):
            recipient = self._giving.facility(form.facility).peer_id
        return Order(
            record,
            chosen,
            _da(form.from_date) if every else "",
            _da(form.to_date) if every else "",
            recipient,
            PURPOSES[form.purpose][1] if way is Way.FACILITY else frozenset(),
            days * DAY_SECONDS or None,
            form.uses if way is Way.CODE else None,
            form.label.strip(),
            form.passcode.strip(),
        )

    async def _form(self, call: Call, form: ShareForm, error: LeveretError | None = None) -> web.StreamResponse:
        way = _way(call)
        record = await self._giving.record(call.caller, form.whose)
        records = await self._giving.records(call.caller)
        sharable = await self._giving.sharable(call.caller, record)
        return self._pages.page(
            call, f"portal/share_{way.value}_form.html", form=form, record=record, records=records, sharable=sharable,
            facilities=self._giving.facilities(), durations=DURATIONS, no_end=NO_END, purposes=PURPOSES, way=way.value,
            days=_DEFAULT_DAYS[way] if form.days is None else form.days,
            wrong=None if error is None else _WRONG[type(error)], status=200 if error is None else 400,
        )  # fmt: skip

    @staticmethod
    def _verify(place: str) -> web.StreamResponse:
        return see_other(f"/portal/verify?next={quote(place)}")


def _way(call: Call) -> Way:
    return Way(call.parameter("way"))


def _duration(form: ShareForm, way: Way) -> Words:
    days = _DEFAULT_DAYS[way] if form.days is None else form.days
    return next((words for number, words in (*DURATIONS, NO_END) if number == days), say("{n} days", n=days))


def _da(text: str) -> str:
    """The date of a form as DICOM writes it; raises InvalidDirective."""
    if not text:
        return ""
    match = _ISO_DATE.fullmatch(text)
    if match is None:
        raise InvalidDirective("a date")
    return "".join(match.groups())


def purposes_in_words(purposes: frozenset[PurposeOfUse]) -> Words:
    """What something may be used for."""
    for words, meant in PURPOSES.values():
        if meant == purposes:
            return words
    return say("for what was agreed")


def new_passcode() -> str:
    """Digits that a person can say on the telephone."""
    return "".join(secrets.choice("0123456789") for _ in range(_PASSCODE_DIGITS))
