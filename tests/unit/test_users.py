"""Local users: roles, tokens, and being shut out."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import pwhash
from support.clocks import HandClock

from node.crypto.passwords import hash_password, password_is
from node.errors.access import (
    InvalidUserName,
    LockedOut,
    SignInBusy,
    Unauthenticated,
    UnknownToken,
    UnknownUser,
    UserDisabled,
    UserExists,
    WeakPassword,
    WrongCredentials,
)
from node.model.access import Caller, Role, Scope
from node.model.audit import AuditType
from node.sharing.hashing import AT_ONCE, QUEUE, PasswordHashing
from node.sharing.sessions import FREE_FAILURES, STAFF_SECONDS, Sessions, wait_after
from node.sharing.tokens import Tokens
from node.sharing.users import _NAME, Users
from node.store import audit
from node.store.engine import Database

PASSWORD = b"correct horse battery staple"


def make(db: Database, clock: HandClock, hashing: PasswordHashing | None = None) -> tuple[Users, Tokens]:
    tokens = Tokens(db, clock)
    return Users(db, clock, sessions=Sessions(db, clock), tokens=tokens, hashing=hashing or PasswordHashing()), tokens


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(tmp_path / "index.db", bytes(32)) as database:
        yield database


async def test_a_token_says_who_calls(db: Database) -> None:
    users, tokens = make(db, HandClock())
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    token = await tokens.issue("anna", by="os:0")
    assert await tokens.by_token(token.text) == Caller("user:anna", Role.CLINICIAN)
    assert await tokens.by_token(token.text) == Caller("user:anna", Role.CLINICIAN), "from memory too"
    assert token.text not in repr(token)
    (anna,) = await users.list()
    assert (anna.tokens, anna.disabled_at) == (1, None)


async def test_neither_password_nor_token_is_kept(db: Database) -> None:
    users, tokens = make(db, HandClock())
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    token = await tokens.issue("anna", by="os:0")
    async with db.read() as rx:
        stored = str(await rx.fetch_value("SELECT password FROM user"))
        digest = bytes(await rx.fetch_value("SELECT digest FROM token"))
    assert stored.startswith("$argon2id$")
    assert pwhash.argon2id.verify(stored.encode(), PASSWORD)
    assert digest not in token.text.encode()


async def test_a_disabled_user_is_out_at_once(db: Database) -> None:
    users, tokens = make(db, HandClock())
    await users.add("anna", Role.CLINICIAN, None, by="os:0")
    token = await tokens.issue("anna", by="os:0")
    await tokens.by_token(token.text)
    await users.disable("anna", by="os:0")
    with pytest.raises(Unauthenticated):
        await tokens.by_token(token.text)
    with pytest.raises(UserDisabled):
        await tokens.issue("anna", by="os:0")
    with pytest.raises(UserExists):
        await users.add("anna", Role.AUDITOR, None, by="os:0")


async def test_tokens_end(db: Database) -> None:
    clock = HandClock()
    users, tokens = make(db, clock)
    await users.add("anna", Role.CLINICIAN, None, by="os:0")
    token = await tokens.issue("anna", by="os:0", seconds=60)
    await tokens.by_token(token.text)
    clock.time += 60
    with pytest.raises(Unauthenticated):
        await tokens.by_token(token.text)


@pytest.mark.parametrize("text", ["", "lvt_", "lvt_" + "A" * 43, "x" * 10_000, "\udcff"])
async def test_foreign_tokens(db: Database, text: str) -> None:
    with pytest.raises(Unauthenticated):
        await make(db, HandClock())[1].by_token(text)


async def test_refusals(db: Database) -> None:
    users, tokens = make(db, HandClock())
    with pytest.raises(WeakPassword):
        await users.add("anna", Role.CLINICIAN, b"short", by="os:0")
    for name in ("", " anna", "an/na", "a" * 65, "../x", "anna\n"):
        with pytest.raises(InvalidUserName):
            await users.add(name, Role.CLINICIAN, None, by="os:0")
    for call in (users.get("nobody"), users.disable("nobody", by="os:0"), tokens.issue("nobody", by="os:0")):
        with pytest.raises(UnknownUser):
            await call
    assert await users.list() == []


async def test_changes_are_on_record(db: Database) -> None:
    users, tokens = make(db, HandClock())
    await users.add("anna", Role.CLINICIAN, None, by="os:7")
    await tokens.issue("anna", by="os:7")
    await users.disable("anna", by="os:7")
    async with db.read() as rx:
        rows = await audit.page(rx, before=None, limit=10)
    assert [r.event.type for r in rows] == [AuditType.USER_CHANGED, AuditType.TOKEN_ISSUED, AuditType.USER_CHANGED]
    assert {r.event.actor for r in rows} == {"os:7"}


@given(st.text(max_size=70))
def test_names_are_safe_in_paths_and_logs(name: str) -> None:
    if _NAME.fullmatch(name):
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set("/\\ :%?#")


async def test_signing_in_gives_a_session_until_it_ends(db: Database) -> None:
    clock = HandClock()
    (users, _), sessions = make(db, clock), Sessions(db, clock)
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    issued = await users.sign_in("anna", PASSWORD)
    assert issued.cookie not in repr(issued)
    found = await sessions.by_cookie(issued.cookie)
    assert found == issued.session
    assert found.caller == Caller("user:anna", Role.CLINICIAN)
    await sessions.close(issued.cookie)
    with pytest.raises(Unauthenticated):
        await sessions.by_cookie(issued.cookie)


async def test_a_session_ends_idle_at_its_end_and_with_its_user(db: Database) -> None:
    clock = HandClock()
    (users, _), sessions = make(db, clock), Sessions(db, clock)
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    idle, long, disabled = [(await users.sign_in("anna", PASSWORD)).cookie for _ in range(3)]
    for _ in range(STAFF_SECONDS // 1200):
        await sessions.by_cookie(long)
        clock.time += 1200
    for cookie in (idle, long):
        with pytest.raises(Unauthenticated):
            await sessions.by_cookie(cookie)
    disabled = (await users.sign_in("anna", PASSWORD)).cookie
    await users.disable("anna", by="os:0")
    with pytest.raises(Unauthenticated):
        await sessions.by_cookie(disabled)
    with pytest.raises(WrongCredentials):
        await users.sign_in("anna", PASSWORD)


@pytest.mark.parametrize("name", ["anna", "nobody", "not a name\n"])
async def test_failed_attempts_make_the_next_one_wait(db: Database, name: str) -> None:
    clock = HandClock()
    users, _ = make(db, clock)
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    for _ in range(FREE_FAILURES):
        with pytest.raises(WrongCredentials):
            await users.sign_in(name, b"something else entirely")
    with pytest.raises(LockedOut):
        await users.sign_in(name, PASSWORD)
    clock.time += wait_after(FREE_FAILURES)
    if name == "anna":
        await users.sign_in(name, PASSWORD)
        await users.sign_in(name, PASSWORD)  # and what failed before is forgotten


@given(st.integers(0, 10**6))
def test_the_wait_grows_and_ends(failures: int) -> None:
    assert wait_after(failures) <= wait_after(failures + 1) <= 15 * 60


async def test_every_failure_costs_the_same(db: Database) -> None:
    """Nobody learns by the clock which names there are: each attempt hashes once, whatever is wrong with it."""
    hashing = PasswordHashing()
    users, _ = make(db, HandClock(), hashing)
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    await users.add("otto", Role.OPERATOR, None, by="os:0")
    await users.add("away", Role.OPERATOR, PASSWORD, by="os:0")
    await users.disable("away", by="os:0")
    for name, password in (
        ("anna", b"something else entirely"),
        ("anna", b"x" * 100_000),
        ("anna", b""),
        ("nobody", PASSWORD),
        ("nobody", b"x" * 100_000),
        ("otto", PASSWORD),
        ("away", PASSWORD),
        ("no name at all\n", PASSWORD),
    ):
        before = hashing.worked
        with pytest.raises(WrongCredentials):
            await users.sign_in(name, password)
        assert hashing.worked == before + 1, (name, password[:20])


async def test_both_ways_of_hashing_work_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done where there is no hash has the cost that a kept hash names."""
    made: list[tuple[int, int]] = []
    real = pwhash.argon2id.str

    def spy(password: bytes, opslimit: int, memlimit: int) -> bytes:
        made.append((opslimit, memlimit))
        return real(password, opslimit=opslimit, memlimit=memlimit)

    monkeypatch.setattr(pwhash.argon2id, "str", spy)
    assert not password_is(None, PASSWORD)
    monkeypatch.undo()
    parameters = hash_password(PASSWORD).split("$")[3]
    assert parameters == f"m={made[0][1] // 1024},t={made[0][0]},p=1"


async def test_a_hundred_attempts_at_once_are_not_all_heard(db: Database) -> None:
    users, _ = make(db, HandClock())
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    done = await asyncio.gather(
        *(users.sign_in("anna", b"guess number %d" % n) for n in range(100)), return_exceptions=True
    )
    kinds = Counter(type(error) for error in done)
    assert kinds[SignInBusy] == 100 - AT_ONCE - QUEUE, "the queue is bounded"
    assert FREE_FAILURES <= kinds[WrongCredentials] < FREE_FAILURES + AT_ONCE, "looked again once it was their turn"
    assert kinds[LockedOut] == AT_ONCE + QUEUE - kinds[WrongCredentials]


async def test_a_changed_password_ends_what_was(db: Database) -> None:
    clock = HandClock()
    (users, tokens), sessions = make(db, clock), Sessions(db, clock)
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    token = await tokens.issue("anna", by="os:0")
    former = await users.sign_in("anna", PASSWORD)
    with pytest.raises(WrongCredentials):
        await users.change_password(former.session.caller, b"not the old one", b"another fine password")
    with pytest.raises(WeakPassword):
        await users.change_password(former.session.caller, PASSWORD, b"short")
    await sessions.by_cookie(former.cookie)
    changed = await users.change_password(former.session.caller, PASSWORD, b"another fine password")
    with pytest.raises(Unauthenticated):
        await sessions.by_cookie(former.cookie)
    assert await sessions.by_cookie(changed.cookie) == changed.session
    with pytest.raises(WrongCredentials):
        await users.sign_in("anna", PASSWORD)
    await tokens.by_token(token.text)


async def test_an_enabled_user_needs_the_password_and_new_tokens(db: Database) -> None:
    users, tokens = make(db, HandClock())
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    token = await tokens.issue("anna", by="os:0")
    await users.disable("anna", by="os:0")
    await users.enable("anna", by="os:0")
    await users.enable("anna", by="os:0")  # again: nothing to do, and no event
    await users.sign_in("anna", PASSWORD)
    with pytest.raises(Unauthenticated):
        await tokens.by_token(token.text)
    async with db.read() as rx:
        rows = await audit.page(rx, before=None, limit=10, types=(AuditType.USER_CHANGED,))
    assert [r.event.detail["change"] for r in rows] == ["enabled", "disabled", "added"]


async def test_single_tokens_are_listed_and_revoked(db: Database) -> None:
    clock = HandClock()
    users, tokens = make(db, clock)
    await users.add("anna", Role.CLINICIAN, None, by="os:0")
    await users.add("otto", Role.OPERATOR, None, by="os:0")
    scopes = frozenset({Scope.READ, Scope.IMAGES})
    viewer = await tokens.issue("anna", by="os:0", scopes=scopes, label="viewer in room 3")
    other = await tokens.issue("anna", by="os:0")
    assert await tokens.by_token(viewer.text) == Caller("user:anna", Role.CLINICIAN, scopes)
    assert await tokens.by_token(other.text) == Caller("user:anna", Role.CLINICIAN)
    listed = {token.token_id: token for token in await tokens.of("anna")}
    assert listed[viewer.token.token_id].label == "viewer in room 3"
    assert listed[viewer.token.token_id].used_at == clock.time
    clock.time += 3600
    await tokens.by_token(viewer.text)
    assert {token.used_at for token in await tokens.of("anna")} == {clock.time, clock.time - 3600}
    with pytest.raises(UnknownToken):
        await tokens.revoke("otto", viewer.token.token_id, by="os:0")  # another user's
    await tokens.revoke("anna", viewer.token.token_id, by="os:0")
    with pytest.raises(Unauthenticated):
        await tokens.by_token(viewer.text)
    await tokens.by_token(other.text)
    with pytest.raises(UnknownToken):
        await tokens.revoke("anna", viewer.token.token_id, by="os:0")
