"""Rows of alerts: mailboxes, what is to be sent, and up to where in the audit log it was looked."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from node.model.portal import AccountId, AlertMode, Mailbox
from node.store.engine import Read, Row, Write

_MAILBOX = "SELECT account, address, mode, verified_at, stop, pending, told_at FROM portal_mailbox"


@dataclass(frozen=True, slots=True)
class Proving:
    """A code that was sent to an address. Times in seconds since the epoch."""

    digest: bytes | None = field(repr=False)
    expires_at: int
    failures: int
    asked_at: int
    asked: int  # in the day before ``asked_at``


@dataclass(frozen=True, slots=True)
class Mail:
    """Something to be sent. ``code`` for a new address, else ``stop``."""

    mail_id: int
    account: AccountId
    kind: str
    address: str = field(repr=False)
    language: str
    code: str = field(repr=False)
    stop: str = field(repr=False)
    made_at: int
    attempts: int


async def mailbox_of(rx: Read, account: AccountId) -> Mailbox | None:
    """The mailbox of an account."""
    row = await rx.fetch_one(f"{_MAILBOX} WHERE account = ?", (account.value,))
    return None if row is None else _mailbox(row)


async def proving(rx: Read, account: AccountId) -> Proving | None:
    """What was sent to prove the address."""
    row = await rx.fetch_one(
        "SELECT code, coalesce(code_expires, 0), code_failures, asked_at, asked FROM portal_mailbox WHERE account = ?",
        (account.value,),
    )
    return None if row is None else Proving(None if row[0] is None else bytes(row[0]), *row[1:])


async def ask_proof(tx: Write, box: Mailbox, proof: Proving) -> None:
    """Another address, of which nothing is proved yet."""
    await tx.execute(
        "INSERT INTO portal_mailbox (account, address, mode, code, code_expires, asked_at, asked, stop)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account) DO UPDATE SET address = excluded.address,"
        " mode = excluded.mode, code = excluded.code, code_expires = excluded.code_expires, code_failures = 0,"
        " asked_at = excluded.asked_at, asked = excluded.asked, stop = excluded.stop, verified_at = NULL, pending = 0",
        (
            box.account.value,
            box.address,
            box.mode.value,
            proof.digest,
            proof.expires_at,
            proof.asked_at,
            proof.asked,
            box.stop,
        ),
    )


async def proved(tx: Write, account: AccountId, now: int) -> None:
    """The address is the account owner's."""
    await tx.execute(
        "UPDATE portal_mailbox SET code = NULL, code_expires = NULL, verified_at = ? WHERE account = ?",
        (now, account.value),
    )


async def count_wrong_code(tx: Write, account: AccountId) -> None:
    """A wrong code."""
    await tx.execute("UPDATE portal_mailbox SET code_failures = code_failures + 1 WHERE account = ?", (account.value,))


async def set_mode(tx: Write, account: AccountId, mode: AlertMode) -> None:
    """When to tell; what has piled up is dropped when nothing is to be told."""
    await tx.execute(
        "UPDATE portal_mailbox SET mode = ?1, pending = CASE WHEN ?1 = 'off' THEN 0 ELSE pending END"
        " WHERE account = ?2",
        (mode.value, account.value),
    )


async def forget_mailbox(tx: Write, account: AccountId) -> None:
    """No address."""
    await tx.execute("DELETE FROM portal_mailbox WHERE account = ?", (account.value,))
    await tx.execute("DELETE FROM portal_mail WHERE account = ?", (account.value,))


async def account_of_stop(rx: Read, stop: str) -> AccountId | None:
    """Whose mails a text in one of them ends."""
    value = await rx.fetch_value("SELECT account FROM portal_mailbox WHERE stop = ?", (stop,))
    return None if value is None else AccountId(bytes(value))


async def add_pending(tx: Write, accounts: Iterable[AccountId]) -> None:
    """Something happened that these may want to hear of."""
    await tx.execute(
        "UPDATE portal_mailbox SET pending = pending + 1 WHERE mode <> 'off' AND verified_at IS NOT NULL"
        " AND account IN (SELECT unhex(value) FROM json_each(?))",
        (msgspec.json.encode([one.value.hex() for one in accounts]).decode(),),
    )


async def ripe(rx: Read, *, each_before: int, daily_before: int) -> list[Mailbox]:
    """Mailboxes that are to be told now: nothing was told since these moments."""
    rows = await rx.fetch_all(
        f"{_MAILBOX} WHERE pending > 0 AND verified_at IS NOT NULL"
        " AND ((mode = 'each' AND told_at <= ?) OR (mode = 'daily' AND told_at <= ?))",
        (each_before, daily_before),
    )
    return [_mailbox(row) for row in rows]


async def told(tx: Write, account: AccountId, now: int) -> None:
    """A mail tells of all that was pending."""
    await tx.execute("UPDATE portal_mailbox SET pending = 0, told_at = ? WHERE account = ?", (now, account.value))


async def add_mail(
    tx: Write, account: AccountId, *, kind: str, address: str, language: str, now: int, code: str = "", stop: str = ""
) -> None:
    """Something to be sent."""
    await tx.execute(
        "INSERT INTO portal_mail (account, kind, address, language, code, stop, made_at, due_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (account.value, kind, address, language, code, stop, now, now),
    )


async def due(rx: Read, now: int, *, limit: int) -> list[Mail]:
    """What is to be sent now, oldest first."""
    rows = await rx.fetch_all(
        "SELECT id, account, kind, address, language, code, stop, made_at, attempts FROM portal_mail"
        " WHERE due_at <= ? ORDER BY due_at, id LIMIT ?",
        (now, limit),
    )
    return [Mail(row[0], AccountId(bytes(row[1])), *row[2:]) for row in rows]


async def drop_mail(tx: Write, mail_id: int) -> None:
    """It was sent, or will never be."""
    await tx.execute("DELETE FROM portal_mail WHERE id = ?", (mail_id,))


async def put_off(tx: Write, mail_id: int, due_at: int) -> None:
    """It is tried again then."""
    await tx.execute("UPDATE portal_mail SET due_at = ?, attempts = attempts + 1 WHERE id = ?", (due_at, mail_id))


async def mark(rx: Read) -> int | None:
    """From which position of the audit log on nothing was looked at yet."""
    value = await rx.fetch_value("SELECT position FROM portal_mark WHERE id = 1")
    return None if value is None else int(value)


async def set_mark(tx: Write, position: int) -> None:
    """What lies before was looked at."""
    await tx.execute(
        "INSERT INTO portal_mark (id, position) VALUES (1, ?)"
        " ON CONFLICT (id) DO UPDATE SET position = excluded.position",
        (position,),
    )


def _mailbox(row: Row) -> Mailbox:
    return Mailbox(AccountId(bytes(row[0])), row[1], AlertMode(row[2]), *row[3:7])
