"""Finding a patient's earlier studies: here, and at the peers, who never learn whom it was about.

A patient becomes linkage tokens; each token is blinded, evaluated by the peer, unblinded; what comes out finds and
opens the entries of that peer's feed, which lie here already. What a peer answered once is kept until its epoch ends,
so that the same question is not asked twice and a peer that is away is still known by what it announced before.
"""

import asyncio
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.clock import Clock
from node.config import AnnounceSettings
from node.crypto.announce import entry_keys, open_entry
from node.crypto.oprf import OUTPUT_BYTES, Question
from node.errors.announce import AnswerRefused, EpochOver, FeedBehind, PatientNotSearchable, UnknownPatient
from node.errors.base import LeveretError
from node.errors.feeds import EntryMalformed
from node.errors.peers import RemoteBusy, RemoteRefusal
from node.log import Logger
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.consent import PurposeOfUse
from node.model.feed_chain import Position
from node.model.ids import PatientKey, PeerId, StudyInstanceUID, StudyRef
from node.model.instance import Demographics, StudySummary
from node.model.label import Label
from node.model.linkage import LinkageToken, TokenKind, linkage_tokens, normalise_birth_date
from node.model.trust import Peer, TrustState
from node.peers.client import PeerClients
from node.peers.handlers_feed import EVALUATE, Answers, Questions
from node.sharing.answers import QUESTIONS_PER_PATIENT
from node.sharing.feeds import FeedReader
from node.sharing.trust import TrustList
from node.store import audit, followed
from node.store.engine import Database, Read
from node.store.study_queries import StudyQuery, find_studies

PULL_SECONDS = 10.0  # a clinician waits; what is known already is shown after that
ASK_SECONDS = 10.0
WINDOW = 32  # numbers under a token that are looked up at once
MAX_NUMBERS = 4096  # of one token: thousands of studies of one person are a fault or an attack
LOCAL_LIMIT = 1000  # studies by birth date that are compared by name


class MatchKind(StrEnum):
    """How a prior was found."""

    IDENTIFIER = "identifier"  # by an identifier that both facilities share
    CANDIDATE = "candidate"  # by name, birth date and sex: the holder confirms it against the full demographics


@dataclass(frozen=True, slots=True)
class PriorStudy:
    """One study that a peer announced. What the peer does not tell before consent is None."""

    ref: StudyRef
    study_instance_uid: StudyInstanceUID | None
    study_date: str | None
    year: int | None
    modalities: tuple[str, ...]
    regions: tuple[str, ...]
    description: str | None
    instances: int | None
    report: bool | None
    revision: int | None
    match: MatchKind
    consent_on_file: bool
    held: bool


@dataclass(frozen=True, slots=True)
class PeerPriors:
    """What one peer announced of the patient; ``status`` is ``ok`` or the code of what went wrong on the way.

    With another status than ``ok`` the studies are those known from before.
    """

    peer_id: PeerId
    name: str
    status: str
    studies: tuple[PriorStudy, ...]


@dataclass(frozen=True, slots=True)
class PriorsResult:
    """Studies held here, and studies at the peers."""

    local: tuple[StudySummary, ...]
    peers: tuple[PeerPriors, ...]


@dataclass(frozen=True, slots=True)
class _Search:
    """Whom it is about, who asks, and why."""

    patient: PatientKey | None
    tokens: tuple[LinkageToken, ...]
    actor: str
    purpose: PurposeOfUse


class Locator:
    """Looks patients up, here and at the peers."""

    def __init__(
        self,
        *,
        db: Database,
        me: PeerId,
        trust: TrustList,
        clients: PeerClients,
        reader: FeedReader,
        clock: Clock,
        settings: AnnounceSettings,
        log: Logger,
    ) -> None:
        self._db = db
        self._me = me
        self._trust = trust
        self._clients = clients
        self._reader = reader
        self._clock = clock
        self._settings = settings
        self._log = log

    async def priors(
        self,
        *,
        demographics: Demographics | None = None,
        patient: PatientKey | None = None,
        actor: str,
        purpose: PurposeOfUse = PurposeOfUse.TREAT,
    ) -> PriorsResult:
        """Earlier studies of a patient, given by name, birth date and sex, or as a local patient, or both.

        ``actor`` is who asks, as the audit log writes it; a peer sees a pseudonym of it.

        Raises:
            UnknownPatient: only a local patient was named, and nothing of such a one is held.
            PatientNotSearchable: nothing was given to search by.
        """
        if demographics is None and patient is None:
            raise PatientNotSearchable
        async with self._db.read() as rx:
            local, who = await self._local(rx, demographics, patient)
        tokens = linkage_tokens(who, patient or PatientKey("", ""), self._settings.shared_issuers)
        if demographics is None and not local and not tokens:
            raise UnknownPatient
        search = _Search(patient, tokens, actor, purpose)
        about = {} if patient else {"name": who.name, "birth_date": who.birth_date}
        await self._record(search, detail={"local": len(local), **about})
        peers = [peer for peer in self._trust.peers() if peer.state is TrustState.TRUSTED]
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._of_peer(peer, search)) for peer in peers]
        return PriorsResult(tuple(local), tuple(task.result() for task in asked))

    async def held(
        self, *, demographics: Demographics | None = None, patient: PatientKey | None = None, actor: str
    ) -> tuple[list[StudySummary], Demographics]:
        """What is held here of a patient, newest first, and who the patient is said to be; no peer is asked.

        Raises:
            PatientNotSearchable: nothing was given to search by.
        """
        if demographics is None and patient is None:
            raise PatientNotSearchable
        async with self._db.read() as rx:
            local, who = await self._local(rx, demographics, patient)
        async with self._db.write() as tx:
            found = AuditEvent(
                AuditType.STUDIES_SEARCHED, self._clock.now(), actor, patient=patient, detail={"found": len(local)}
            )
            await audit.append(tx, found)
        return local, who

    # Here ---------------------------------------------------------------------------------------------------------

    async def _local(
        self, rx: Read, demographics: Demographics | None, patient: PatientKey | None
    ) -> tuple[list[StudySummary], Demographics]:
        """The studies held of the patient, under any issuer, and who the patient is said to be."""
        own = await find_studies(rx, StudyQuery(patients=(patient,))) if patient else []
        linked = await find_studies(rx, StudyQuery(patients=(patient,), linked=True)) if patient else []
        who = demographics or next((study.demographics for study in own if study.demographics.name), Demographics())
        names = _names(who)
        found = {study.study_instance_uid: study for study in (*own, *linked)}
        if names:
            born = normalise_birth_date(who.birth_date).replace("-", "")
            for study in await find_studies(rx, StudyQuery(birth_date=born, limit=LOCAL_LIMIT)):
                if names & _names(study.demographics):
                    found.setdefault(study.study_instance_uid, study)
        return sorted(found.values(), key=lambda study: study.date, reverse=True), who

    # At a peer ----------------------------------------------------------------------------------------------------

    async def _of_peer(self, peer: Peer, search: _Search) -> PeerPriors:
        """What ``peer`` announced; whatever goes wrong becomes the status, and what is known already is shown."""
        trouble: LeveretError | None = None
        studies: tuple[PriorStudy, ...] = ()
        try:
            if not search.tokens:
                raise PatientNotSearchable
            await self._refresh(peer.peer_id, search)
        except LeveretError as error:
            trouble = error
        try:
            studies, faults = await self._known(peer.peer_id, search.tokens)
            trouble = trouble or faults
        except LeveretError as error:
            trouble = error
        if trouble is not None:
            self._log.info("priors of a peer not complete", peer=peer.peer_id.log, code=_code(trouble))
        return PeerPriors(peer.peer_id, peer.name, _code(trouble) if trouble else "ok", studies)

    async def _refresh(self, peer: PeerId, search: _Search) -> None:
        """Pull the feed of ``peer`` and have its answers for every token; asks once, or twice if the epoch ends."""
        behind = await self._pull(peer)
        try:
            await self._ask(peer, search)
        except RemoteRefusal as error:
            if error.remote_code != EpochOver.code:
                raise
            behind = await self._pull(peer)  # the epoch ended between the pull and the question
            await self._ask(peer, search)
        if behind is not None:
            raise behind

    async def _pull(self, peer: PeerId) -> FeedBehind | None:
        """Pull, but not for longer than somebody may be kept waiting."""
        try:
            async with asyncio.timeout(PULL_SECONDS):
                await self._reader.pull(peer)
        except TimeoutError:
            return FeedBehind()
        return None

    async def _ask(self, peer: PeerId, search: _Search) -> None:
        """Ask about all tokens unless every answer is known; always the same number of questions for a patient."""
        values = [token.value for token in search.tokens]
        async with self._db.read() as rx:
            feed = await followed.followed(rx, peer)
            known = await followed.answers(rx, peer, values)
        if feed is None or len(known) == len(values):
            return  # nothing announced, or nothing to ask
        position = feed.position
        padding = [secrets.token_bytes(OUTPUT_BYTES) for _ in range(QUESTIONS_PER_PATIENT - len(values))]
        questions = await asyncio.to_thread(lambda: [Question.blind(value) for value in (*values, *padding)])
        user = await self._record(search, peer, detail={"questions": len(questions)})
        message = Questions(
            position.incarnation, position.epoch, search.purpose.value, user, [q.blinded for q in questions]
        )
        try:
            outputs = await self._answers(peer, message, questions, position)
        except LeveretError as error:
            await self._record(search, peer, code=_code(error))
            raise
        async with self._db.write() as tx:
            await followed.keep_answers(tx, peer, position, dict(zip(values, outputs, strict=False)))

    async def _answers(
        self, peer: PeerId, message: Questions, questions: Sequence[Question], position: Position
    ) -> list[bytes]:
        """What the peer answers, each proved to come from the key in its signed feed; one false proof refuses all."""
        client = self._clients.get(peer)
        reply = await client.call("POST", EVALUATE, body=message, response_type=Answers, seconds=ASK_SECONDS)
        if len(reply.answers) != len(questions):
            raise AnswerRefused
        pairs = list(zip(questions, reply.answers, strict=True))
        return await asyncio.to_thread(lambda: [q.finish(answer, position.voprf_key) for q, answer in pairs])

    async def _record(
        self,
        search: _Search,
        peer: PeerId | None = None,
        *,
        code: str = "",
        detail: Mapping[str, str | int] | None = None,
    ) -> str:
        """Put the search on record before it happens; returns the asker's pseudonym towards ``peer``."""
        async with self._db.write() as tx:
            user = ""
            if peer is not None:
                key = await followed.pseudonym_key(tx, peer)
                user = hmac.digest(key, search.actor.encode(), "sha256")[:16].hex()
            event = AuditEvent(
                AuditType.PRIORS_ASKED,
                self._clock.now(),
                actor=search.actor,
                outcome=Outcome.FAILURE if code else Outcome.SUCCESS,
                peer=peer,
                patient=search.patient,
                purpose=search.purpose.value,
                code=code,
                detail={**(detail or {}), **({"user": user} if user else {})},
            )
            await audit.append(tx, event)
        return user

    # What lies here -----------------------------------------------------------------------------------------------

    async def _known(
        self, peer: PeerId, tokens: Sequence[LinkageToken]
    ) -> tuple[tuple[PriorStudy, ...], EntryMalformed | None]:
        """What the feed of ``peer`` says under the tokens whose answers are known, and the first entry that is none.

        Each study is there once, with its surest match.
        """
        faults: list[EntryMalformed] = []
        async with self._db.read() as rx:
            feed = await followed.followed(rx, peer)
            if feed is None:
                return (), None
            outputs = await followed.answers(rx, peer, [token.value for token in tokens])
            found: dict[StudyRef, tuple[Label, TokenKind]] = {}
            for token in tokens:  # in the order of their kinds: the surest first
                if token.value in outputs:
                    for label in await self._labels(rx, peer, feed.position, outputs[token.value], faults):
                        found.setdefault(label.ref, (label, token.kind))
            learned = await followed.learned_refs(rx, peer, found)
            uids = {ref: learned.get(ref) or _uid(label) for ref, (label, _) in found.items()}
            held = await followed.held(rx, [uid for uid in uids.values() if uid])
        studies = [_prior(label, kind, uid=uids[ref], held=uids[ref] in held) for ref, (label, kind) in found.items()]
        studies.sort(key=lambda s: (s.study_date or str(s.year or ""), s.ref.value), reverse=True)
        return tuple(studies), faults[0] if faults else None

    async def _labels(
        self, rx: Read, peer: PeerId, position: Position, output: bytes, faults: list[EntryMalformed]
    ) -> list[Label]:
        """The announcements that stand under one token: of each ref the latest, unless it withdraws."""
        latest: dict[StudyRef, Label] = {}
        for start in range(0, MAX_NUMBERS, WINDOW):
            keys = [
                entry_keys(
                    output,
                    holder=peer,
                    peer=self._me,
                    incarnation=position.incarnation,
                    epoch=position.epoch,
                    index=number,
                )
                for number in range(start, start + WINDOW)
            ]
            entries = await followed.find_entries(rx, peer, [key.tag for key in keys])
            for key in keys:
                if key.tag not in entries:
                    return [label for label in latest.values() if not label.withdrawn]
                try:
                    label = open_entry(key, entries[key.tag])
                except EntryMalformed as error:
                    faults.append(error)
                else:
                    latest[label.ref] = label
        return [label for label in latest.values() if not label.withdrawn]


def _names(who: Demographics) -> set[bytes]:
    """The token of the full name; empty where it cannot be relied on."""
    tokens = linkage_tokens(who, PatientKey("", ""), ())
    return {token.value for token in tokens if token.kind is TokenKind.NAME}


def _uid(label: Label) -> StudyInstanceUID | None:
    return label.detail.study_instance_uid if label.detail else None


def _code(error: LeveretError) -> str:
    return error.remote_code if isinstance(error, RemoteRefusal | RemoteBusy) else error.code


def _prior(label: Label, kind: TokenKind, *, uid: StudyInstanceUID | None, held: bool) -> PriorStudy:
    detail, told = label.detail, not label.existence_only
    return PriorStudy(
        ref=label.ref,
        study_instance_uid=uid,
        study_date=(detail.study_date or None) if detail else None,
        year=label.year or None,
        modalities=label.modalities,
        regions=tuple(region.name or "" for region in label.regions),
        description=(detail.description or None) if detail else None,
        instances=label.instances if told else None,
        report=label.report if told else None,
        revision=label.revision if told else None,
        match=MatchKind.IDENTIFIER if kind is TokenKind.IDENTIFIER else MatchKind.CANDIDATE,
        consent_on_file=label.consent,
        held=held,
    )
