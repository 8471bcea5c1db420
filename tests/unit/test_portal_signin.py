"""Signing in: passkeys by the protocol, passphrases at one price for all, lock-out, and a fresh proof of who it is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.authenticator import Authenticator, base64url, cbor
from support.portal_desk import ANA, BEA, PASSPHRASE, STAFF, URL, Desk, desk

from node.crypto.passkeys import RelyingParty, credential_of
from node.errors.access import InvalidInput, LockedOut, Unauthenticated, WeakPassword
from node.errors.portal import (
    EnrolmentRefused,
    LastCredential,
    PasskeyRefused,
    PasskeysUnavailable,
    SignInNameTaken,
    SignInRefused,
    VerificationNeeded,
)
from node.model.access import IssuedSession, Role
from node.model.audit import AuditType
from node.sharing.portal.accounts import FORGOTTEN_SECONDS, FRESH_SECONDS
from node.sharing.portal.credentials import fold_name
from node.sharing.portal.enrolment import account_of
from node.sharing.portal.passkeys import CHALLENGE_SECONDS
from node.sharing.sessions import FREE_FAILURES, wait_after


@pytest.fixture
async def north(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as one:
        yield one


async def ticket(north: Desk) -> str:
    letter = await north.letter()
    return (await north.enrolment.prove(letter.code.text, "19640327", place="::1")).ticket


async def with_passkey(north: Desk) -> IssuedSession:
    given = await ticket(north)
    asked = await north.passkeys.ask_enrolment(given)
    answer = north.device.create(asked.options)
    return await north.passkeys.enrol(given, asked.flow, answer, name="Ana's phone", language="en")


async def test_a_passkey_signs_in_and_says_who_it_is(north: Desk) -> None:
    first = await with_passkey(north)
    assert first.session.caller.role is Role.PATIENT
    asked = await north.passkeys.ask_sign_in()
    assert "allowCredentials" not in asked.options or asked.options["allowCredentials"] == []
    again = await north.passkeys.sign_in(asked.flow, north.device.get(asked.options), place="::1")
    assert again.session.caller == first.session.caller
    assert again.cookie != first.cookie
    (key,) = (await north.accounts.held(account_of(first.session.caller))).passkeys
    assert (key.name, key.used_at) == ("Ana's phone", north.clock.now())


async def test_no_answer_but_the_right_one_signs_in(north: Desk) -> None:
    await with_passkey(north)
    await north.enrolled(BEA, "bea@example.org")

    async def attempt(change: Any = None, *, device: Authenticator = north.device, **how: Any) -> None:
        asked = await north.passkeys.ask_sign_in()
        answer = device.get(asked.options, **how)
        if change is not None:
            change(answer)
        with pytest.raises(PasskeyRefused):
            await north.passkeys.sign_in(asked.flow, answer, place="::1")

    def other_signature(answer: dict[str, Any]) -> None:
        answer["response"]["signature"] = base64url(b"\x30\x06\x02\x01\x01\x02\x01\x01")

    def no_signature(answer: dict[str, Any]) -> None:
        del answer["response"]["signature"]

    def other_id(answer: dict[str, Any]) -> None:
        answer["id"] = answer["rawId"] = base64url(bytes(32))

    def half_an_id(answer: dict[str, Any]) -> None:
        answer["id"] = "!!"

    for change in (other_signature, no_signature, other_id, half_an_id, dict.clear):
        await attempt(change)
    await attempt(origin="https://images.north.example.evil.example")
    await attempt(origin="http://images.north.example")
    north.device.verifies = False  # somebody holds the phone and cannot unlock it
    await attempt()
    north.device.verifies = True
    (held,) = north.device.credentials.values()
    held.count = 10
    asked = await north.passkeys.ask_sign_in()
    await north.passkeys.sign_in(asked.flow, north.device.get(asked.options), place="::1")
    held.count = 3  # a copy of the authenticator, made earlier
    await attempt()
    assert {e.actor for e in await north.events() if e.type is AuditType.SIGN_IN_FAILED} == {"patient:?"}


async def test_a_challenge_is_good_once_for_its_purpose_and_for_a_while(north: Desk) -> None:
    session = (await with_passkey(north)).session
    asked = await north.passkeys.ask_sign_in()
    answer = north.device.get(asked.options)
    await north.passkeys.sign_in(asked.flow, answer, place="::1")
    with pytest.raises(PasskeyRefused):
        await north.passkeys.sign_in(asked.flow, answer, place="::1")
    other = await north.passkeys.ask_verification(session)
    with pytest.raises(PasskeyRefused):
        await north.passkeys.sign_in(other.flow, north.device.get(other.options), place="::1")
    late = await north.passkeys.ask_sign_in()
    north.clock.time += CHALLENGE_SECONDS
    with pytest.raises(PasskeyRefused):
        await north.passkeys.sign_in(late.flow, north.device.get(late.options), place="::1")
    with pytest.raises(PasskeyRefused):
        await north.passkeys.sign_in("x" * 10_000, {}, place="::1")


async def test_registration_needs_the_ticket_it_was_asked_with(north: Desk) -> None:
    mine, other = await ticket(north), await ticket(north)
    asked = await north.passkeys.ask_enrolment(mine)
    answer = north.device.create(asked.options)
    with pytest.raises(PasskeyRefused):
        await north.passkeys.enrol(other, asked.flow, answer, name="x", language="en")
    asked = await north.passkeys.ask_enrolment(mine)
    foreign = north.device.create(asked.options, origin="https://evil.example")
    with pytest.raises(PasskeyRefused):
        await north.passkeys.enrol(mine, asked.flow, foreign, name="x", language="en")
    with pytest.raises(EnrolmentRefused):
        await north.passkeys.ask_enrolment("nothing")


async def test_a_passkey_belongs_to_one_account(north: Desk) -> None:
    await with_passkey(north)
    letter = await north.letter(BEA)
    given = (await north.enrolment.prove(letter.code.text, "19701224", place="::1")).ticket
    asked = await north.passkeys.ask_enrolment(given)
    name, held = next(iter(north.device.credentials.items()))
    answer = north.device.create(asked.options)
    clone = answer["response"]["attestationObject"]
    north.device.credentials = {name: held}
    first = await north.passkeys.enrol(given, asked.flow, answer, name="Bea", language="en")
    session = first.session
    asked = await north.passkeys.ask_addition(session)
    stolen = Authenticator(URL).create(asked.options)
    stolen["response"]["attestationObject"] = clone  # the same credential once more
    with pytest.raises(PasskeyRefused):
        await north.passkeys.add(session, asked.flow, stolen, name="x")


@settings(max_examples=50, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda v: st.dictionaries(st.text(max_size=9), v)))
def test_whatever_a_browser_says_is_an_answer_or_refused(value: Any) -> None:
    party = RelyingParty.of(URL, "North")
    answer = value if isinstance(value, dict) else {"id": value, "response": value}
    for check in (
        lambda: party.verify_registration(answer, b"c"),
        lambda: party.verify_assertion(answer, b"c", public_key=cbor({1: 2, 3: -7}), sign_count=0),
        lambda: credential_of(answer),
    ):
        try:
            check()
        except PasskeyRefused:
            continue
        assert check() is not None


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_hostile_bytes_in_an_answer_are_refused(client: bytes, data: bytes) -> None:
    party = RelyingParty.of(URL, "North")
    said = {"clientDataJSON": base64url(client), "attestationObject": base64url(data)}
    answer = {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": said}
    with pytest.raises(PasskeyRefused):
        party.verify_registration(answer, b"c")
    signed = said | {"authenticatorData": base64url(data), "signature": base64url(client)}
    with pytest.raises(PasskeyRefused):
        party.verify_assertion(answer | {"response": signed}, b"c", public_key=data, sign_count=0)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://images.example.org", "https://images.example.org"),
        ("https://images.example.org:8443", "https://images.example.org:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://images.example.org", None),
        ("https://192.0.2.7", None),
        ("https://[2001:db8::1]:443", None),
        ("http://127.0.0.1:8080", None),
    ],
)
def test_passkeys_need_a_name_and_tls(url: str, origin: str | None) -> None:
    if origin is None:
        with pytest.raises(PasskeysUnavailable):
            RelyingParty.of(url, "North")
    else:
        assert RelyingParty.of(url, "North").origin == origin


async def test_unknown_names_cost_what_wrong_passphrases_cost(north: Desk) -> None:
    await north.enrolled()
    await with_passkey(north)
    for name in ("ana@example.org", "nobody@example.org", "", "x" * 10_000, "\udcff"):
        before = north.hashing.worked
        with pytest.raises(SignInRefused) as caught:
            await north.accounts.sign_in(name, "something else entirely", place="::1")
        assert north.hashing.worked == before + 1, "one argon2id each"
        assert caught.value.fact == ""
    with pytest.raises(SignInRefused):
        await north.accounts.sign_in("ana@example.org", "x" * 5000, place="::1")


@pytest.mark.parametrize("name", ["ana@example.org", "nobody@example.org"])
async def test_names_are_locked_out_known_or_not(north: Desk, name: str) -> None:
    await north.enrolled()
    for _ in range(FREE_FAILURES):
        with pytest.raises(SignInRefused):
            await north.accounts.sign_in(name.upper(), "something else entirely", place="::1")
    with pytest.raises(LockedOut):
        await north.accounts.sign_in(name, PASSPHRASE, place="::1")
    async with north.db.read() as rx:
        assert name not in str(await rx.fetch_all("SELECT * FROM login_failure"))
    north.clock.time += wait_after(FREE_FAILURES)
    if name.startswith("ana"):
        await north.accounts.sign_in("Ana@Example.ORG ", PASSPHRASE, place="::1")
        await north.accounts.sign_in(name, PASSPHRASE, place="::1")


async def test_names_that_nobody_has_do_not_pile_up(north: Desk) -> None:
    for n in range(3):
        with pytest.raises(SignInRefused):
            await north.accounts.sign_in(f"nobody-{n}", "something else entirely", place="::1")
        north.clock.time += FORGOTTEN_SECONDS + 1
    async with north.db.read() as rx:
        assert await rx.fetch_value("SELECT count(*) FROM login_failure") == 1


async def test_what_changes_an_account_needs_a_fresh_proof(north: Desk) -> None:
    issued = await north.enrolled()
    session, account = issued.session, account_of(issued.session.caller)
    other = await north.accounts.sign_in("ana@example.org", PASSPHRASE, place="::1")
    north.clock.time += FRESH_SECONDS
    with pytest.raises(VerificationNeeded):
        await north.accounts.set_passphrase(session, "new@example.org", "another fine passphrase")
    with pytest.raises(VerificationNeeded):
        await north.passkeys.ask_addition(session)
    with pytest.raises(SignInRefused):
        await north.accounts.verify(session, "something else entirely")
    assert not north.accounts.verified.is_fresh(session)
    await north.accounts.verify(session, PASSPHRASE)
    assert not north.accounts.verified.is_fresh(other.session), "another browser's proof is none"
    with pytest.raises(LastCredential):
        await north.accounts.remove_passphrase(session)
    with pytest.raises(WeakPassword):
        await north.accounts.set_passphrase(session, "new@example.org", "weak")
    await north.accounts.set_passphrase(session, "new@example.org", "another fine passphrase")
    assert await north.sessions.by_cookie(issued.cookie)
    with pytest.raises(Unauthenticated):
        await north.sessions.by_cookie(other.cookie)
    with pytest.raises(SignInRefused):
        await north.accounts.sign_in("ana@example.org", PASSPHRASE, place="::1")
    assert (await north.accounts.held(account)).account.sign_in_name == "new@example.org"


async def test_passkeys_are_added_renamed_and_removed_but_for_the_last_way_in(north: Desk) -> None:
    issued = await north.enrolled()
    session, account = issued.session, account_of(issued.session.caller)
    for name in ("phone", "laptop"):
        asked = await north.passkeys.ask_addition(session)
        await north.passkeys.add(session, asked.flow, Authenticator(URL).create(asked.options), name=name)
    await north.accounts.remove_passphrase(session)
    phone, laptop = (await north.accounts.held(account)).passkeys
    await north.passkeys.rename(session, phone.credential, " my phone ")
    with pytest.raises(InvalidInput):
        await north.passkeys.rename(session, phone.credential, " ")
    bea = await north.enrolled(BEA, "bea@example.org")
    for change in (
        north.passkeys.rename(bea.session, phone.credential, "hers"),
        north.passkeys.remove(bea.session, phone.credential),
        north.passkeys.remove(session, b"nothing"),
    ):
        with pytest.raises(PasskeyRefused):
            await change
    await north.passkeys.remove(session, laptop.credential)
    with pytest.raises(LastCredential):
        await north.passkeys.remove(session, phone.credential)
    assert [one.name for one in (await north.accounts.held(account)).passkeys] == ["my phone"]
    with pytest.raises(SignInNameTaken):
        await north.accounts.set_passphrase(session, "bea@example.org", "another fine passphrase")


async def test_only_ones_own_passkey_verifies(north: Desk) -> None:
    ana, bea = await with_passkey(north), await north.enrolled(BEA, "bea@example.org")
    asked = await north.passkeys.ask_addition(bea.session)
    hers = Authenticator(URL)
    await north.passkeys.add(bea.session, asked.flow, hers.create(asked.options), name="hers")
    north.clock.time += FRESH_SECONDS
    asked = await north.passkeys.ask_verification(ana.session)
    (mine,) = north.device.credentials
    challenge = asked.options | {"allowCredentials": []}
    with pytest.raises(PasskeyRefused):
        await north.passkeys.verify(ana.session, asked.flow, hers.get(challenge))
    asked = await north.passkeys.ask_verification(ana.session)
    await north.passkeys.verify(ana.session, asked.flow, north.device.get(asked.options, name=mine))
    assert north.accounts.verified.is_fresh(ana.session)
    assert not north.accounts.verified.is_fresh(bea.session)
    assert not north.accounts.verified.is_fresh(None)


async def test_staff_see_accounts_and_that_is_on_record(north: Desk) -> None:
    await north.enrolled()
    (held,), letters = await north.accounts.page(by=STAFF)
    assert held.account.sign_in_name == "ana@example.org"
    assert [one.patient for one in letters] == [ANA]
    found, _ = await north.accounts.of_patient((ANA,), by=STAFF)
    assert [access.patient for _, access in found] == [ANA]
    read = [e for e in await north.events() if e.type is AuditType.PORTAL_ACCOUNTS_READ]
    assert [(e.actor, e.patient) for e in read] == [(STAFF, ANA), (STAFF, None)]


@given(st.text(max_size=20))
def test_folding_a_name_twice_changes_nothing(name: str) -> None:
    assert fold_name(fold_name(name)) == fold_name(name)
