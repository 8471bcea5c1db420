"""One list of a patient's studies, held here and elsewhere, ready to be shown: merged, ranked, with words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from node.api.web.advice import Words, words_of
from node.model.ids import PeerId, StudyInstanceUID, StudyRef
from node.model.instance import StudySummary
from node.model.label import NO_REGION, BodyRegion
from node.model.relevance import NOT_IMAGES, Examination, Rank, examination, rank, shortlist
from node.sharing.locate import MatchKind, PeerPriors, PriorStudy

SHORT = 12  # studies at a glance; the rest is one click away
MORE = 16  # less relevant ones on the same page, which stays light; all of them on demand
_REGION_WORDS = {region.name or "": (region.name or "").lower().replace("_", " ") for region in BodyRegion}
REGIONS = [("", "Any region"), *((name, words.capitalize()) for name, words in _REGION_WORDS.items())]
MODALITIES = [
    ("", "Any modality"), ("CT", "CT"), ("MR", "MR"), ("CR", "X-ray (CR)"), ("DX", "X-ray (DX)"), ("US", "Ultrasound"),
    ("MG", "Mammography"), ("PT", "PET"), ("NM", "Nuclear medicine"), ("XA", "Angiography"), ("RF", "Fluoroscopy"),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Holder:
    """A facility that was asked, and what came of it. ``words``: None if it answered."""

    peer: PeerId
    name: str
    studies: int
    words: Words | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """One study of the list. ``local``: held here. ``remote``: announced by ``peer`` (also where it is held here)."""

    local: StudySummary | None = None
    remote: PriorStudy | None = None
    peer: PeerId | None = None
    facility: str = ""  # who holds it, or whom it came from; empty: this facility's own
    underway: str = ""  # the request that is bringing it
    rank: Rank = field(default_factory=lambda: Rank(0, ()))
    is_read: bool = False  # the one that is being read

    @property
    def date(self) -> str:
        """DA, or a year, or nothing."""
        if self.local is not None:
            return self.local.date
        assert self.remote is not None, "one of both is there"
        return self.remote.study_date or str(self.remote.year or "")

    @property
    def title(self) -> str:
        """The description, else modality and region; the facility tells no more before consent."""
        if self.local is None:
            return prior_title(self.remote)
        return self.local.description or " ".join([*_imaging(self.kinds), *self.regions]) or "Study"

    @property
    def kinds(self) -> tuple[str, ...]:
        """Modalities."""
        if self.local is not None:
            return self.local.modalities
        return self.remote.modalities if self.remote is not None else ()

    @property
    def regions(self) -> list[str]:
        """Body regions in words."""
        return [_REGION_WORDS[region.name or ""] for region in self.examined.regions if region.name]

    @property
    def images(self) -> int | None:
        """How many instances; None: not told."""
        if self.local is not None:
            return self.local.instances
        return self.remote.instances if self.remote is not None else None

    @property
    def has_report(self) -> bool:
        """Whether a report is known to be there."""
        if self.local is not None:
            return self.local.has_report
        return bool(self.remote is not None and self.remote.report)

    @property
    def is_candidate(self) -> bool:
        """Found by name, birth date and sex alone."""
        return self.local is None and self.remote is not None and self.remote.match is MatchKind.CANDIDATE

    @property
    def is_arriving(self) -> bool:
        """Images are still coming."""
        return bool(self.underway) or (self.local is not None and self.local.revision_open)

    @property
    def is_newer_elsewhere(self) -> bool:
        """The holder has a later revision than the one held here."""
        held, there = self.local, self.remote
        return held is not None and there is not None and (there.revision or 0) > held.revision

    @property
    def can_be_asked(self) -> bool:
        """Whether asking would bring something."""
        return self.remote is not None and not self.underway and (self.local is None or self.is_newer_elsewhere)

    @property
    def examined(self) -> Examination:
        """For comparing it."""
        if self.local is not None:
            return examined(self.local)
        prior = self.remote
        assert prior is not None, "one of both is there"
        regions = NO_REGION
        for name in prior.regions:
            regions |= BodyRegion[name]
        return examination(
            modalities=prior.modalities,
            regions=regions,
            description=prior.description or "",
            date=self.date,
            report=prior.report,
        )


@dataclass(frozen=True, slots=True)
class Current:
    """What is being read, and which study that is, if it is held here."""

    examined: Examination
    study: StudyInstanceUID | None = None

    def is_it(self, prior: Prior) -> bool:
        """Whether it is the study that is being read, which is no prior of itself."""
        return prior.local is not None and prior.local.study_instance_uid == self.study


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows: the most relevant first, the others below, who was asked."""

    first: list[Prior]
    others: list[Prior]
    holders: list[Holder] | None  # None: nobody was asked yet
    here: int
    elsewhere: int  # studies that are not held here
    left_out: int  # the least relevant, where there are very many


def examined(study: StudySummary) -> Examination:
    """A study held here, for comparing it."""
    return examination(
        modalities=study.modalities,
        body_parts=study.body_parts,
        description=study.description,
        date=study.date,
        report=study.has_report,
    )


def show(
    local: Sequence[StudySummary],
    peers: Sequence[PeerPriors] | None,
    current: Current,
    *,
    today: str,
    names: Mapping[PeerId, str],
    underway: Mapping[tuple[PeerId, StudyInstanceUID | StudyRef], str],
    every: bool = False,
) -> Shown:
    """Merge and rank, ``every`` one or those that a light page holds.

    ``underway`` tells which request brings which study of which facility.
    """
    everything = list(_merged(local, peers or (), names, underway))
    read = [prior for prior in everything if current.is_it(prior)]
    priors = [prior for prior in everything if not current.is_it(prior)]
    ranked = shortlist(rank([prior.examined for prior in priors], current.examined, today), SHORT)
    holders = None if peers is None else [_holder(peer) for peer in peers]
    shown = [[replace(priors[one.index], rank=one.rank) for one in part] for part in ranked]
    others = shown[1] if every else shown[1][:MORE]
    elsewhere = sum(prior.local is None for prior in priors)
    top = [*(replace(prior, is_read=True) for prior in read), *shown[0]]
    return Shown(top, others, holders, len(local), elsewhere, len(shown[1]) - len(others))


def prior_title(prior: PriorStudy | None) -> str:
    """What to call a study that another facility announced."""
    if prior is None:
        return ""
    words = [*_imaging(prior.modalities), *(_REGION_WORDS.get(name, "") for name in prior.regions)]
    return prior.description or " ".join(words) or "Study of an undisclosed kind"


def _imaging(modalities: Sequence[str]) -> Sequence[str]:
    """Without reports and the like, unless there is nothing else."""
    return [kind for kind in modalities if kind not in NOT_IMAGES] or modalities


def _merged(
    local: Iterable[StudySummary],
    peers: Iterable[PeerPriors],
    names: Mapping[PeerId, str],
    underway: Mapping[tuple[PeerId, StudyInstanceUID | StudyRef], str],
) -> Iterable[Prior]:
    announced: dict[StudyInstanceUID, tuple[PeerPriors, PriorStudy]] = {}
    elsewhere: list[tuple[PeerPriors, PriorStudy]] = []
    held = {study.study_instance_uid: study for study in local}
    for peer in peers:
        for prior in peer.studies:
            if prior.study_instance_uid in held:
                announced.setdefault(prior.study_instance_uid, (peer, prior))
            elif not prior.held:  # held, but of another patient: the local record is the one that counts
                elsewhere.append((peer, prior))
    for uid, study in held.items():
        peer_and_prior = announced.get(uid)
        origin = names.get(study.origin, study.origin.short) if study.origin else ""
        yield Prior(
            local=study,
            remote=peer_and_prior[1] if peer_and_prior else None,
            peer=peer_and_prior[0].peer_id if peer_and_prior else study.origin,
            facility=origin,
        )
    for peer, prior in elsewhere:
        target = underway.get((peer.peer_id, prior.ref), "")
        if not target and prior.study_instance_uid is not None:
            target = underway.get((peer.peer_id, prior.study_instance_uid), "")
        yield Prior(remote=prior, peer=peer.peer_id, facility=peer.name, underway=target)


def _holder(peer: PeerPriors) -> Holder:
    words = None if peer.status == "ok" else words_of(peer.status)
    return Holder(peer.peer_id, peer.name, len(peer.studies), words)
