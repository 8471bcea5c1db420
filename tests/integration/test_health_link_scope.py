"""What a link shows is asked anew each time: of whoever made it, of the index, and of the patient."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.clocks import HandClock
from support.ct import CtStudy
from support.sharing_node import SharingNode, sharing_node
from support.tasks import in_background, until

from node.errors.access import Unauthenticated
from node.errors.health_links import NoSuchHealthLink, NothingToLink, TooManyOpenings
from node.model.access import Caller, Role
from node.model.directive import Scope
from node.model.health_link import HealthLinkId, LinkOrder
from node.model.ids import PatientKey, StudyInstanceUID
from node.sharing.hashing import PasswordHashing
from node.sharing.health_links.keeping import HealthLinks, LinkParts, link_actor
from node.sharing.health_links.slots import AT_ONCE, QUEUE, Slots
from node.sharing.health_links.tickets import MAX_TICKETS, TICKET_SECONDS, Tickets
from node.sharing.sessions import Sessions
from node.store import feeds, restored
from node.store import health_links as rows

FIRST = CtStudy(instances=1, rows=16, seed=1, patient_id="P-1", study_date="20240102")
SECOND = CtStudy(instances=1, rows=16, seed=2, patient_id="P-1", study_date="20250304")
STAFF, PATIENT = "user:clin", "patient:elena"


@dataclass
class Case:
    """A node with two studies of one patient, and what somebody in the portal may give to others."""

    node: SharingNode
    links: HealthLinks
    sharable: set[StudyInstanceUID] = field(default_factory=set)
    asked: list[Caller] = field(default_factory=list)
    ended: list[HealthLinkId] = field(default_factory=list)

    @property
    def patient(self) -> PatientKey:
        return self.node.patient(FIRST)

    async def shown(self, link_id: HealthLinkId) -> set[str]:
        return {str(uid) for uid in await self.links.visible(Caller(link_actor(link_id), Role.RECIPIENT))}


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    async with sharing_node("north", tmp_path) as node:
        await node.hold(FIRST, SECOND)

        async def sharable(caller: Caller) -> frozenset[StudyInstanceUID]:
            one.asked.append(caller)
            return frozenset(one.sharable)

        sessions = Sessions(node.db, node.clock)
        parts = LinkParts(
            node.db,
            node.store,
            sessions,
            PasswordHashing(),
            node.clock,
            lambda: "https://node.example",
            5,
            sharable,
            node.log,
        )
        one = Case(node, HealthLinks(parts))
        one.links.on_ended(one.ended.append)
        yield one


async def test_a_patients_link_shows_what_the_patient_may_give_now(case: Case) -> None:
    order = LinkOrder(case.patient)
    with pytest.raises(NothingToLink):
        await case.links.create(order, by=PATIENT)
    case.sharable = {StudyInstanceUID(FIRST.study_uid)}
    assert [str(one.study_instance_uid) for one in await case.links.preview(order, by=PATIENT)] == [FIRST.study_uid]
    made = await case.links.create(order, by=PATIENT)
    assert await case.shown(made.link.link_id) == {FIRST.study_uid}
    case.sharable.add(StudyInstanceUID(SECOND.study_uid))
    assert await case.shown(made.link.link_id) == {FIRST.study_uid, SECOND.study_uid}
    case.sharable.clear()
    assert await case.shown(made.link.link_id) == set(), "an access that ended, or a study that is held back"
    assert set(case.asked) == {Caller(PATIENT, Role.PATIENT)}


async def test_staffs_link_asks_nobody_in_the_portal(case: Case) -> None:
    made = await case.links.create(LinkOrder(case.patient), by=STAFF)
    assert await case.shown(made.link.link_id) == {FIRST.study_uid, SECOND.study_uid}
    assert case.asked == []


async def test_sensitive_studies_are_shown_only_if_they_are_named(case: Case) -> None:
    async with case.node.db.write() as tx:
        await feeds.set_sensitive(tx, StudyInstanceUID(FIRST.study_uid), 1)
    every = await case.links.create(LinkOrder(case.patient), by=STAFF)
    named = await case.links.create(
        LinkOrder(case.patient, Scope(frozenset({StudyInstanceUID(FIRST.study_uid)}))), by=STAFF
    )
    assert await case.shown(every.link.link_id) == {SECOND.study_uid}
    assert await case.shown(named.link.link_id) == {FIRST.study_uid}


async def test_one_patient_cannot_touch_anothers_link(case: Case) -> None:
    made = await case.links.create(LinkOrder(case.patient), by=STAFF)
    other = PatientKey(case.patient.issuer, "P-2")
    for act in (
        case.links.get(made.link.link_id, patient=other),
        case.links.accesses(made.link.link_id, patient=other),
        case.links.revoke(made.link.link_id, by="patient:olaf", patient=other),
    ):
        with pytest.raises(NoSuchHealthLink):
            await act
    assert await case.links.page(other) == []
    assert (await case.links.get(made.link.link_id)).revoked_at is None


async def test_nobody_else_sees_by_a_link(case: Case) -> None:
    for actor in ("link:", "link:x", f"link:{'0' * 32}", "user:clin", "patient:elena"):
        assert await case.links.visible(Caller(actor, Role.RECIPIENT)) == frozenset()
        with pytest.raises(Unauthenticated):
            await case.links.sign_in(Caller(actor, Role.RECIPIENT))
    for token in ("", "lvl_", "lvl_" + "A" * 43, "lvl_" + "x" * 5000, "lvl_\udcff"):
        with pytest.raises(Unauthenticated):
            await case.links.by_token(token)


async def test_what_opens_a_link_is_forgotten_with_it(case: Case) -> None:
    made = await case.links.create(LinkOrder(case.patient), by=STAFF)
    link_id = made.link.link_id
    async with case.node.db.read() as rx:
        assert await rows.key_of(rx, link_id) is not None
    await asyncio.gather(*(case.links.revoke(link_id, by=STAFF) for _ in range(5)))
    async with case.node.db.read() as rx:
        assert await rows.key_of(rx, link_id) is None
    assert case.ended == [link_id], "once"
    short = await case.links.create(LinkOrder(case.patient, lifetime=60), by=STAFF)
    case.node.clock.offset += 61
    assert await case.shown(short.link.link_id) == set()
    async with in_background(case.links.run()):
        await until(lambda: key_is_gone(case, short.link.link_id))


async def key_is_gone(case: Case, link_id: HealthLinkId) -> bool:
    async with case.node.db.read() as rx:
        return await rows.key_of(rx, link_id) is None


async def test_a_restored_backup_opens_no_link_again(case: Case) -> None:
    """A link that was taken back after the backup was made stands in it as if it were open."""
    made = await case.links.create(LinkOrder(case.patient), by=STAFF)
    async with case.node.db.write() as tx:
        await restored.mark(tx, now=case.node.clock.now())
    assert (await case.links.get(made.link.link_id)).revoked_at is not None
    assert await case.shown(made.link.link_id) == set()


async def test_the_list_of_attempts_is_bounded(case: Case) -> None:
    made = await case.links.create(LinkOrder(case.patient), by=STAFF)
    async with case.node.db.write() as tx:
        for number in range(rows.ACCESSES_KEPT + 5):
            access = rows.LinkAccess(number, str(number), rows.AccessOutcome.OVER)
            await rows.add_access(tx, made.link.link_id, access)
    kept = await case.links.accesses(made.link.link_id)
    assert [one.at for one in kept] == list(range(rows.ACCESSES_KEPT + 4, 4, -1))


def test_addresses_of_files_are_few_short_lived_and_good_once() -> None:
    clock = HandClock()
    tickets, link, other = Tickets(clock), HealthLinkId(bytes(16)), HealthLinkId(bytes(15) + b"1")
    first = tickets.issue(link, "a/b", "Dr. Wong")
    found = tickets.redeem(first)
    assert found is not None
    assert (found.link_id, found.content_type) == (link, "a/b")
    assert tickets.redeem(first) is None
    late, dead, good = tickets.issue(link, "a/b", ""), tickets.issue(other, "a/b", ""), tickets.issue(link, "a/b", "")
    tickets.end(other)
    assert tickets.redeem(dead) is None
    clock.time += TICKET_SECONDS - 1
    assert tickets.redeem(good) is not None
    clock.time += 1
    assert tickets.redeem(late) is None
    oldest = tickets.issue(link, "a/b", "")
    for _ in range(MAX_TICKETS):
        tickets.issue(link, "a/b", "")
    assert tickets.redeem(oldest) is None
    assert tickets.redeem("\udcff") is None


async def test_few_bundles_are_in_memory_at_once() -> None:
    """The others wait, and beyond those nobody is let in; who gives up leaves its place."""
    slots, let_go = Slots(), asyncio.Event()
    inside = 0

    async def hold() -> None:
        nonlocal inside
        async with slots.one():
            inside += 1
            await let_go.wait()
            inside -= 1

    holders = [asyncio.create_task(hold()) for _ in range(AT_ONCE + QUEUE)]
    await asyncio.sleep(0)
    assert inside == AT_ONCE
    with pytest.raises(TooManyOpenings):
        async with slots.one():
            pass
    holders[-1].cancel()
    await asyncio.wait({holders.pop()})
    let_go.set()
    await asyncio.gather(*holders)
    async with slots.one():
        assert inside == 0
