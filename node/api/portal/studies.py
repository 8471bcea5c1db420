"""The pages on which patients find their studies: the list, one study, and what other facilities announced."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from node.api.dicomweb.reads import Reads
from node.api.rest.access import PATIENTS
from node.api.routing import Call, Route
from node.api.web.pages import Pages
from node.model.consent import PurposeOfUse
from node.model.ids import PatientKey, PeerId
from node.model.instance import StudySummary
from node.sharing.locate import Locator, PeerPriors
from node.sharing.portal.gallery import Gallery, Held
from node.sharing.portal.plain_words import Words, say, study_name
from node.sharing.portal.records import Record

STUDIES = "/portal/studies"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A study that another facility announced. ``year`` is all that is known of its date if ``date`` is empty."""

    name: Words
    date: str
    year: str
    has_report: bool


class StudiesPages:
    """``/portal/studies`` and what is below it."""

    def __init__(
        self,
        pages: Pages,
        gallery: Gallery,
        locator: Locator,
        reads: Reads,
        *,
        me: PeerId,
        facility: str,
        facility_of: Callable[[PeerId], str],
    ) -> None:
        """``facility_of`` names the facility that a study came from; ``me`` is this one, called ``facility``."""
        self._me = me
        self._facility = facility
        self._pages = pages
        self._gallery = gallery
        self._locator = locator
        self._reads = reads
        self._facility_of = facility_of

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{STUDIES}/{{study}}"
        return [
            Route("GET", STUDIES, self.list, PATIENTS, "A patient's studies", page=True),
            Route("GET", one, self.study, PATIENTS, "One study of a patient", page=True),
            Route("POST", "/portal/elsewhere", self.elsewhere, PATIENTS, "What others hold of a patient", page=True),
        ]

    async def list(self, call: Call) -> object:
        """All studies, newest first, by whose they are."""
        held, waiting = await self._gallery.page(call.caller)
        await self._reads.searched(call.caller, len(held), "portal")
        people = _by_person(held)
        return self._pages.page(call, "portal/studies.html", people=people, waiting=waiting, origin=self.origin)

    async def study(self, call: Call) -> object:
        """What is in one study."""
        contents = await self._gallery.open(call.caller, call.parameter("study"))
        study = contents.held.study
        await self._reads.read(call.caller, study.study_instance_uid, study.patient, "contents")
        return self._pages.page(call, "portal/study.html", contents=contents, held=contents.held, origin=self.origin)

    async def elsewhere(self, call: Call) -> object:
        """Ask the other facilities what they announced about the people whose records the caller may see."""
        found: list[PeerPriors] = []
        for patient in dict.fromkeys(held.record.patient for held in await self._gallery.studies(call.caller)):
            priors = await self._locator.priors(
                demographics=None, patient=patient, actor=call.caller.actor, purpose=PurposeOfUse.PATRQT
            )
            found += priors.peers
        facilities = [(peer.name, peer.status == "ok", _announced(peer)) for peer in found]
        return self._pages.page(call, "portal/elsewhere.html", facilities=facilities)

    def origin(self, study: StudySummary) -> Words:
        """Where a study came from."""
        if study.origin is None:
            return say("Made at {facility}", facility=self._facility)
        if study.origin == self._me:
            return say("Brought by you")
        return say("Sent by {facility}", facility=self._facility_of(study.origin) or say("another facility"))


def _by_person(held: Sequence[Held]) -> list[tuple[Record, list[Held]]]:
    """Studies by whose they are."""
    people: dict[PatientKey, list[Held]] = {}
    for one in held:
        people.setdefault(one.record.patient, []).append(one)
    return [(found[0].record, found) for found in people.values()]


def _announced(peer: PeerPriors) -> list[Elsewhere]:
    return [
        Elsewhere(study_name(one.modalities, one.regions), one.study_date or "", str(one.year or ""), bool(one.report))
        for one in peer.studies
        if not one.held
    ]
