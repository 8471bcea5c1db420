"""Letters and what they open: one use, one person, the same answer to everybody who has not both code and date."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.portal_desk import ANA, BEA, PASSPHRASE, PEOPLE, STAFF, Desk, desk

from node.crypto.sharecode import RANDOM_CHARACTERS
from node.errors.access import LockedOut, Unauthenticated, WeakPassword
from node.errors.portal import (
    EnrolmentRefused,
    InvalidPortalOrder,
    InvalidSignInName,
    NotInvitable,
    SignInNameTaken,
    SignInRefused,
    UnknownAccount,
)
from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.model.portal import AccountId, InvitationState, Relation, Scope, birthday
from node.sharing.portal.enrolment import ADULT_PROXY_DAYS, DAY, TICKET_SECONDS, account_of
from node.sharing.portal.pending import PATIENCE, SECONDS_EACH
from node.store import portal as rows
from node.store.engine import Read


@pytest.fixture
async def north(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr("node.sharing.portal.enrolment.REFUSAL_GRID", 0.001)  # the clock stands still here
    async with desk(tmp_path) as one:
        yield one


async def refused(north: Desk, code: str, date: str, place: str = "10.0.0.9") -> None:
    with pytest.raises(EnrolmentRefused) as caught:
        await north.enrolment.prove(code, date, place=place)
    assert caught.value.fact == "", "nobody learns why"


async def test_a_letter_has_a_code_that_cannot_be_guessed_and_stands_nowhere(north: Desk) -> None:
    letter = await north.letter()
    assert RANDOM_CHARACTERS * 5 >= 80
    assert letter.url.endswith(f"/portal/enrol#{letter.code.text}"), "in the fragment, which no server is told"
    assert letter.code.text not in repr(letter)
    async with north.db.read() as rx:
        stored = str(await rx.fetch_all("SELECT * FROM portal_invitation"))
    assert letter.code.text not in stored
    assert letter.code.text.replace("-", "") not in stored
    assert all(letter.code.text not in str(event) for event in await north.events())


async def test_code_and_date_open_the_account_once(north: Desk) -> None:
    letter = await north.letter()
    proof = await north.enrolment.prove(letter.code.text.lower().replace("-", " "), "19640327", place="::1")
    assert (proof.first_name, proof.relation, proof.is_reset) == ("Ana", Relation.SELF, False)
    issued = await north.accounts.enrol(proof.ticket, "Ana@Example.org", PASSPHRASE, language="es")
    account = await north.accounts.held(account_of(issued.session.caller))
    assert (account.account.sign_in_name, account.account.language) == ("Ana@Example.org", "es")
    assert [(one.patient, one.relation, one.scope) for one in account.accesses] == [(ANA, Relation.SELF, Scope.SHARE)]
    await refused(north, letter.code.text, "19640327")
    with pytest.raises(EnrolmentRefused):
        await north.accounts.enrol(proof.ticket, "other@example.org", PASSPHRASE, language="en")


async def test_two_who_race_for_one_letter_get_one_account(north: Desk) -> None:
    letter = await north.letter()
    proofs = [await north.enrolment.prove(letter.code.text, "19640327", place="::1") for _ in range(2)]
    done = await asyncio.gather(
        *(
            north.accounts.enrol(p.ticket, f"ana{n}@example.org", PASSPHRASE, language="en")
            for n, p in enumerate(proofs)
        ),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in done) == ["EnrolmentRefused", "IssuedSession"]
    async with north.db.read() as rx:
        assert len(await rows.accounts(rx)) == 1


async def test_a_wrong_date_or_what_is_no_code_opens_nothing(north: Desk) -> None:
    letters = [await north.letter() for _ in range(2)]
    for n, date in enumerate(("", "19640328", "1964", "19701224", "19640327 ", "\udcff")):
        await refused(north, letters[n % 2].code.text, date)
    for code in ("", "x", "7K2M-9QXA-0000-0000-0000", "0" * 20, "A" * 500, "\udcff"):
        await refused(north, code, "19640327")
        await refused(north, code, "")
    assert (await north.enrolment.prove(letters[0].code.text, "19640327", place="::1")).first_name == "Ana"


async def test_a_letter_is_locked_after_some_wrong_dates_and_says_the_same(north: Desk) -> None:
    letter = await north.letter()
    for _ in range(north.settings.birth_date_failures):
        await refused(north, letter.code.text, "19640328")
    await refused(north, letter.code.text, "19640327")
    _, (held,) = await north.accounts.page(by=STAFF)
    assert (held.state(north.clock.now()), held.failures) == (InvitationState.LOCKED, 6)


async def test_a_letter_ends_and_can_be_taken_back(north: Desk) -> None:
    old, void = await north.letter(lifetime=60), await north.letter()
    await north.enrolment.withdraw(void.invitation.invitation_id, by=STAFF)
    north.clock.time += 60
    for letter in (old, void):
        await refused(north, letter.code.text, "19640327")


async def test_a_letter_taken_back_after_the_proof_is_void(north: Desk) -> None:
    letter = await north.letter()
    proof = await north.enrolment.prove(letter.code.text, "19640327", place="::1")
    await north.enrolment.withdraw(letter.invitation.invitation_id, by=STAFF)
    with pytest.raises(EnrolmentRefused):
        await north.accounts.enrol(proof.ticket, "ana@example.org", PASSPHRASE, language="en")


async def test_a_ticket_ends(north: Desk) -> None:
    letter = await north.letter()
    proof = await north.enrolment.prove(letter.code.text, "19640327", place="::1")
    north.clock.time += TICKET_SECONDS
    with pytest.raises(EnrolmentRefused):
        await north.accounts.enrol(proof.ticket, "ana@example.org", PASSPHRASE, language="en")


async def test_one_place_is_slowed_and_others_are_not(north: Desk) -> None:
    letter = await north.letter()
    for n in range(PATIENCE):
        await refused(north, f"{n}", "19640327", place="2001:db8::" + f"{n:x}")
    with pytest.raises(LockedOut):
        await north.enrolment.prove(letter.code.text, "19640327", place="2001:db8::ffff")
    await north.enrolment.prove(letter.code.text, "19640327", place="2001:db8:0:1::1")
    for _ in range(PATIENCE):
        north.parts.patience.failed("::ffff:192.0.2.7")
    with pytest.raises(LockedOut):
        await north.enrolment.prove(letter.code.text, "19640327", place="192.0.2.7")
    await north.enrolment.prove(letter.code.text, "19640327", place="192.0.2.8")
    for place in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):  # a proxy on this machine: everybody comes from there
        for _ in range(PATIENCE + 1):
            north.parts.patience.failed(place)
        await north.enrolment.prove(letter.code.text, "19640327", place=place)
    north.clock.time += SECONDS_EACH
    await north.enrolment.prove(letter.code.text, "19640327", place="2001:db8::ffff")


async def test_every_failure_costs_the_same(north: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many statements, whatever is wrong: an unknown code is no quicker than a wrong date."""
    used, locked, good = [await north.letter() for _ in range(3)]
    await north.enrol(used)
    for _ in range(north.settings.birth_date_failures):
        await refused(north, locked.code.text, "")
    done: list[object] = []
    original = Read._do

    async def counted(self: Read, work: object) -> object:
        done.append(work)
        return await original(self, work)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(Read, "_do", counted)
    counts = []
    for code, date in (
        ("not a code", "19640327"),
        ("7K2M-9QXA-0000-0000-0000", "19640327"),
        (good.code.text, "19640328"),
        (used.code.text, "19640327"),
        (locked.code.text, "19640327"),
    ):
        done.clear()
        await refused(north, code, date)
        counts.append(len(done))
    assert len(set(counts)) == 1, counts
    assert counts[0] > 5


async def test_only_known_patients_with_a_birth_date_are_invited(north: Desk) -> None:
    nobody = PatientKey("NORTH", "NOBODY")
    with pytest.raises(NotInvitable):
        await north.letter(nobody)
    for study, date in ((11, ""), (12, "1964"), (13, "19640230")):
        half = PatientKey("NORTH", f"HALF-{study}")
        await north.hold(study, half, demographics=Demographics("Half^Known", date, "F"))
        with pytest.raises(NotInvitable):
            await north.letter(half)
    foreign = PatientKey("SOUTH", "ANA-9")
    await north.receive(14, foreign, linked=None)
    with pytest.raises(NotInvitable):
        await north.letter(foreign)


async def test_the_date_that_counts_is_the_one_of_today(north: Desk) -> None:
    letter = await north.letter()
    async with north.db.write() as tx:
        await tx.execute("UPDATE study SET birth_date = '19640328' WHERE patient_id = 'ANA-1'")
    await refused(north, letter.code.text, "19640327")
    assert (await north.enrolment.prove(letter.code.text, "19640328", place="::1")).first_name == "Ana"


async def test_names_and_passphrases_that_cannot_be(north: Desk) -> None:
    await north.enrolled(BEA, "bea@example.org")
    letter = await north.letter()
    proof = await north.enrolment.prove(letter.code.text, "19640327", place="::1")
    for name, passphrase, error in (
        ("ab", PASSPHRASE, InvalidSignInName),
        ("ana garcia", PASSPHRASE, InvalidSignInName),
        ("ana\u202e@example.org", PASSPHRASE, InvalidSignInName),
        ("BEA@Example.org", PASSPHRASE, SignInNameTaken),
        ("\uff22ea@example.org", PASSPHRASE, SignInNameTaken),
        ("ana@example.org", "short", WeakPassword),
        ("ana@example.org", "a" * 30, WeakPassword),
        ("ana@example.org", "ANA@example.org", WeakPassword),
        ("ana@example.org", "x" * 2000, WeakPassword),
    ):
        with pytest.raises(error):
            await north.accounts.enrol(proof.ticket, name, passphrase, language="en")
    await north.accounts.enrol(proof.ticket, "ana@example.org", PASSPHRASE, language="en")


async def test_staff_reset_and_the_old_way_in_is_void_at_once(north: Desk) -> None:
    issued = await north.enrolled()
    account = (await north.accounts.held(account_of(issued.session.caller))).account
    letter = await north.enrolment.reset(account, by=STAFF)
    with pytest.raises(Unauthenticated):
        await north.sessions.by_cookie(issued.cookie)
    with pytest.raises(SignInRefused):
        await north.accounts.sign_in("ana@example.org", PASSPHRASE, place="::1")
    proof = await north.enrolment.prove(letter.code.text, "19640327", place="::1")
    assert proof.is_reset
    again = await north.accounts.enrol(proof.ticket, "ana2@example.org", PASSPHRASE, language="en")
    assert again.session.caller == issued.session.caller, "the same account"
    assert len((await north.accounts.held(account.account_id)).accesses) == 1
    second = await north.enrolment.reset(account, by=STAFF)
    await north.enrolment.reset(account, by=STAFF)
    await refused(north, second.code.text, "19640327")


async def test_a_closed_account_is_closed(north: Desk) -> None:
    issued = await north.enrolled()
    account = account_of(issued.session.caller)
    await north.accounts.close(account, by=STAFF)
    with pytest.raises(Unauthenticated):
        await north.sessions.by_cookie(issued.cookie)
    with pytest.raises(SignInRefused):
        await north.accounts.sign_in("ana@example.org", PASSPHRASE, place="::1")
    assert await north.visible(issued) == set()
    with pytest.raises(UnknownAccount):
        await north.accounts.close(account, by=STAFF)
    with pytest.raises(UnknownAccount):
        await north.enrolment.reset((await north.accounts.held(account)).account, by=STAFF)
    with pytest.raises(UnknownAccount):
        await north.accounts.held(AccountId.new())
    await north.enrolled()  # the name is free again


async def test_who_acts_for_a_child_does_so_until_it_is_grown_up(north: Desk) -> None:
    child = PatientKey("NORTH", "KID-3")
    await north.hold(3, child, demographics=Demographics("Garcia^Luz", "20200615", "F"))
    young, adult = await north.proxy_letter(child), await north.proxy_letter(BEA)
    assert young.invitation.access_until == birthday("20200615", 18)
    assert adult.invitation.access_until == north.clock.now() + ADULT_PROXY_DAYS * DAY
    until = north.clock.now() + 5 * DAY
    assert (await north.proxy_letter(child, until=until)).invitation.access_until == until
    for order in (
        {"relation": Relation.PROXY, "name": " "},
        {"relation": Relation.PROXY, "name": "x" * 121},
        {"relation": Relation.PROXY, "name": "Carla", "until": north.clock.now()},
        {"until": until},
        {"lifetime": 0},
        {"lifetime": 366 * DAY},
    ):
        with pytest.raises(InvalidPortalOrder):
            await north.letter(child, **order)


async def test_a_letter_adds_somebody_to_an_account_that_is_there(north: Desk) -> None:
    issued = await north.enrolled()
    letter = await north.proxy_letter(BEA, Scope.SEE)
    with pytest.raises(EnrolmentRefused):
        await north.enrolment.join(account_of(issued.session.caller), letter.code.text, "19640327", place="::1")
    await north.enrolment.join(account_of(issued.session.caller), letter.code.text, "19701224", place="::1")
    records = await north.records.records(issued.session.caller)
    assert [(one.patient, one.may_share) for one in records] == [(ANA, True), (BEA, False)]
    assert PEOPLE[BEA] == records[1].demographics
    account = (await north.accounts.held(account_of(issued.session.caller))).account
    reset = await north.enrolment.reset(account, by=STAFF)
    other = await north.enrolled(BEA, "bea@example.org")
    with pytest.raises(EnrolmentRefused):
        await north.enrolment.join(account_of(other.session.caller), reset.code.text, "19640327", place="::1")
