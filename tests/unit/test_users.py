"""Local users: roles, tokens, and being shut out."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import pwhash
from support.clocks import HandClock

from node.errors.access import (
    InvalidUserName,
    LockedOut,
    Unauthenticated,
    UnknownUser,
    UserDisabled,
    UserExists,
    WeakPassword,
    WrongCredentials,
)
from node.model.access import Caller, Role
from node.model.audit import AuditType
from node.sharing.sessions import FREE_FAILURES, STAFF_SECONDS, Sessions, wait_after
from node.sharing.users import _NAME, Users
from node.store import audit
from node.store.engine import Database

PASSWORD = b"correct horse battery staple"


def make(db: Database, clock: HandClock) -> Users:
    return Users(db, clock, Sessions(db, clock))


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with await Database.open(tmp_path / "index.db", bytes(32)) as database:
        yield database


async def test_a_token_says_who_calls(db: Database) -> None:
    users = make(db, HandClock())
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    token = await users.issue_token("anna", by="os:0")
    assert await users.by_token(token.text) == Caller("user:anna", Role.CLINICIAN)
    assert await users.by_token(token.text) == Caller("user:anna", Role.CLINICIAN), "from memory too"
    assert token.text not in repr(token)
    (anna,) = await users.list()
    assert (anna.tokens, anna.disabled_at) == (1, None)


async def test_neither_password_nor_token_is_kept(db: Database) -> None:
    users = make(db, HandClock())
    await users.add("anna", Role.CLINICIAN, PASSWORD, by="os:0")
    token = await users.issue_token("anna", by="os:0")
    async with db.read() as rx:
        stored = str(await rx.fetch_value("SELECT password FROM user"))
        digest = bytes(await rx.fetch_value("SELECT digest FROM token"))
    assert stored.startswith("$argon2id$")
    assert pwhash.argon2id.verify(stored.encode(), PASSWORD)
    assert digest not in token.text.encode()


async def test_a_disabled_user_is_out_at_once(db: Database) -> None:
    users = make(db, HandClock())
    await users.add("anna", Role.CLINICIAN, None, by="os:0")
    token = await users.issue_token("anna", by="os:0")
    await users.by_token(token.text)
    await users.disable("anna", by="os:0")
    with pytest.raises(Unauthenticated):
        await users.by_token(token.text)
    with pytest.raises(UserDisabled):
        await users.issue_token("anna", by="os:0")
    with pytest.raises(UserExists):
        await users.add("anna", Role.AUDITOR, None, by="os:0")


async def test_tokens_end(db: Database) -> None:
    clock = HandClock()
    users = make(db, clock)
    await users.add("anna", Role.CLINICIAN, None, by="os:0")
    token = await users.issue_token("anna", by="os:0", seconds=60)
    await users.by_token(token.text)
    clock.time += 60
    with pytest.raises(Unauthenticated):
        await users.by_token(token.text)


@pytest.mark.parametrize("text", ["", "lvt_", "lvt_" + "A" * 43, "x" * 10_000, "\udcff"])
async def test_foreign_tokens(db: Database, text: str) -> None:
    with pytest.raises(Unauthenticated):
        await make(db, HandClock()).by_token(text)


async def test_refusals(db: Database) -> None:
    users = make(db, HandClock())
    with pytest.raises(WeakPassword):
        await users.add("anna", Role.CLINICIAN, b"short", by="os:0")
    for name in ("", " anna", "an/na", "a" * 65, "../x", "anna\n"):
        with pytest.raises(InvalidUserName):
            await users.add(name, Role.CLINICIAN, None, by="os:0")
    for call in (users.get("nobody"), users.disable("nobody", by="os:0"), users.issue_token("nobody", by="os:0")):
        with pytest.raises(UnknownUser):
            await call
    assert await users.list() == []


async def test_changes_are_on_record(db: Database) -> None:
    users = make(db, HandClock())
    await users.add("anna", Role.CLINICIAN, None, by="os:7")
    await users.issue_token("anna", by="os:7")
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
    users, sessions = make(db, clock), Sessions(db, clock)
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
    users, sessions = make(db, clock), Sessions(db, clock)
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
    users = make(db, clock)
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
