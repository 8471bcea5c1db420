"""Rows of the portal: accounts, passkeys, accesses, invitations."""

from collections.abc import Iterable

from node.crypto.passkeys import NewPasskey
from node.model.ids import PatientKey
from node.model.portal import (
    Access,
    AccessId,
    Account,
    AccountId,
    Passkey,
    PortalInvitation,
    PortalInvitationId,
    Relation,
    Scope,
)
from node.store.engine import Read, Row, Write

MAX_LISTED = 100_000  # accounts or letters in one answer
_ACCOUNT = (
    "SELECT a.account, a.sign_in_name, a.passphrase IS NOT NULL, (SELECT count(*) FROM portal_passkey p"
    " WHERE p.account = a.account), a.language, a.created_at, a.closed_at FROM portal_account a"
)
_ACCESS = (
    "SELECT access, account, issuer, patient_id, relation, scope, name, since, until, given_by, ended_at"
    " FROM portal_access"
)
_INVITATION = (
    "SELECT invitation, issuer, patient_id, relation, scope, name, access_until, account, created_at, created_by,"
    " expires_at, failures, locked_at, used_at, withdrawn_at FROM portal_invitation"
)


async def add_account(tx: Write, account: AccountId, language: str, now: int) -> None:
    """A new account without credentials; they are set in the same transaction."""
    await tx.execute(
        "INSERT INTO portal_account (account, language, created_at) VALUES (?, ?, ?)", (account.value, language, now)
    )


async def get_account(rx: Read, account: AccountId) -> Account | None:
    """An account."""
    row = await rx.fetch_one(f"{_ACCOUNT} WHERE a.account = ?", (account.value,))
    return None if row is None else _account(row)


async def accounts(rx: Read) -> list[Account]:
    """Accounts, newest first; not more than fit a list that people page through."""
    rows = await rx.fetch_all(f"{_ACCOUNT} ORDER BY a.created_at DESC, a.account LIMIT ?", (MAX_LISTED,))
    return [_account(row) for row in rows]


async def secret_of(rx: Read, name_match: str) -> tuple[AccountId, str] | None:
    """Account and passphrase (PHC form) of an open account by its folded sign-in name."""
    row = await rx.fetch_one(
        "SELECT account, passphrase FROM portal_account"
        " WHERE name_match = ? AND passphrase IS NOT NULL AND closed_at IS NULL",
        (name_match,),
    )
    return None if row is None else (AccountId(bytes(row[0])), row[1])


async def passphrase_of(rx: Read, account: AccountId) -> tuple[str, str] | None:
    """Folded sign-in name and passphrase of an account that has one."""
    row = await rx.fetch_one(
        "SELECT name_match, passphrase FROM portal_account WHERE account = ? AND passphrase IS NOT NULL",
        (account.value,),
    )
    return None if row is None else (row[0], row[1])


async def name_owner(rx: Read, name_match: str) -> AccountId | None:
    """Whose a folded sign-in name is."""
    value = await rx.fetch_value("SELECT account FROM portal_account WHERE name_match = ?", (name_match,))
    return None if value is None else AccountId(bytes(value))


async def set_passphrase(tx: Write, account: AccountId, name: str, name_match: str, stored: str) -> None:
    """Sign-in name and passphrase; ConstraintViolated if the name is another account's."""
    await tx.execute(
        "UPDATE portal_account SET sign_in_name = ?, name_match = ?, passphrase = ? WHERE account = ?",
        (name, name_match, stored, account.value),
    )


async def clear_passphrase(tx: Write, account: AccountId) -> None:
    """No passphrase, and no name to sign in by."""
    await tx.execute(
        "UPDATE portal_account SET sign_in_name = '', name_match = NULL, passphrase = NULL WHERE account = ?",
        (account.value,),
    )


async def clear_passkeys(tx: Write, account: AccountId) -> None:
    """No passkeys."""
    await tx.execute("DELETE FROM portal_passkey WHERE account = ?", (account.value,))


async def close_account(tx: Write, account: AccountId, now: int) -> None:
    """Nobody signs in any more, and the account stands for nobody."""
    await tx.execute("UPDATE portal_account SET closed_at = ? WHERE account = ?", (now, account.value))
    await tx.execute(
        "UPDATE portal_access SET ended_at = ?1 WHERE account = ?2 AND ended_at IS NULL", (now, account.value)
    )


async def set_language(tx: Write, account: AccountId, language: str) -> None:
    """In which language mails are written."""
    await tx.execute("UPDATE portal_account SET language = ? WHERE account = ?", (language, account.value))


async def add_passkey(tx: Write, account: AccountId, new: NewPasskey, *, name: str, now: int) -> None:
    """A passkey; ConstraintViolated if the credential is known."""
    await tx.execute(
        "INSERT INTO portal_passkey (credential, account, public_key, sign_count, name, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (new.credential, account.value, new.public_key, new.sign_count, name, now),
    )


async def passkeys(rx: Read, account: AccountId) -> list[Passkey]:
    """The passkeys of an account, oldest first."""
    rows = await rx.fetch_all(
        "SELECT credential, name, created_at, used_at FROM portal_passkey WHERE account = ?"
        " ORDER BY created_at, credential",
        (account.value,),
    )
    return [Passkey(bytes(row[0]), row[1], row[2], row[3]) for row in rows]


async def passkey_of(rx: Read, credential: bytes) -> tuple[AccountId, bytes, int] | None:
    """Account, public key and signature count of a passkey; none of a closed account."""
    row = await rx.fetch_one(
        "SELECT p.account, p.public_key, p.sign_count FROM portal_passkey p JOIN portal_account a"
        " ON a.account = p.account WHERE p.credential = ? AND a.closed_at IS NULL",
        (credential,),
    )
    return None if row is None else (AccountId(bytes(row[0])), bytes(row[1]), row[2])


async def passkey_used(tx: Write, credential: bytes, sign_count: int, now: int) -> None:
    """A passkey was used."""
    await tx.execute(
        "UPDATE portal_passkey SET sign_count = ?, used_at = ? WHERE credential = ?", (sign_count, now, credential)
    )


async def rename_passkey(tx: Write, account: AccountId, credential: bytes, name: str) -> bool:
    """Call a passkey otherwise; whether the account has it."""
    sql = "UPDATE portal_passkey SET name = ? WHERE credential = ? AND account = ?"
    return bool(await tx.execute(sql, (name, credential, account.value)))


async def remove_passkey(tx: Write, account: AccountId, credential: bytes) -> bool:
    """Remove a passkey; whether the account had it."""
    sql = "DELETE FROM portal_passkey WHERE credential = ? AND account = ?"
    return bool(await tx.execute(sql, (credential, account.value)))


async def add_access(tx: Write, access: Access) -> None:
    """An account stands for a patient."""
    await tx.execute(
        "INSERT INTO portal_access (access, account, issuer, patient_id, relation, scope, name, since, until, given_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            access.access_id.value,
            access.account.value,
            access.patient.issuer,
            access.patient.patient_id,
            access.relation.value,
            access.scope.value,
            access.name,
            access.since,
            access.until,
            access.given_by,
        ),
    )


async def accesses(rx: Read, account: AccountId) -> list[Access]:
    """For whom an account stands or stood, its own record first."""
    rows = await rx.fetch_all(f"{_ACCESS} WHERE account = ? ORDER BY relation DESC, since, access", (account.value,))
    return [_access(row) for row in rows]


async def all_accesses(rx: Read) -> dict[AccountId, list[Access]]:
    """For whom every account stands or stood, as :func:`accesses`."""
    found: dict[AccountId, list[Access]] = {}
    async for row in rx.iterate(f"{_ACCESS} ORDER BY account, relation DESC, since, access"):
        access = _access(row)
        found.setdefault(access.account, []).append(access)
    return found


async def accesses_to(rx: Read, patients: Iterable[PatientKey]) -> list[Access]:
    """Which accounts stand or stood for one of these patients."""
    found: list[Access] = []
    for patient in patients:
        rows = await rx.fetch_all(
            f"{_ACCESS} WHERE patient_id = ? AND issuer = ? ORDER BY relation DESC, since, access",
            (patient.patient_id, patient.issuer),
        )
        found += [_access(row) for row in rows]
    return found


async def get_access(rx: Read, access: AccessId) -> Access | None:
    """One access."""
    row = await rx.fetch_one(f"{_ACCESS} WHERE access = ?", (access.value,))
    return None if row is None else _access(row)


async def end_access(tx: Write, access: AccessId, now: int) -> bool:
    """The account stands for the patient no more; whether it did."""
    sql = "UPDATE portal_access SET ended_at = ? WHERE access = ? AND ended_at IS NULL"
    return bool(await tx.execute(sql, (now, access.value)))


async def add_invitation(tx: Write, one: PortalInvitation, lookup: bytes) -> None:
    """A letter whose code has the digest ``lookup``."""
    await tx.execute(
        "INSERT INTO portal_invitation (invitation, lookup, issuer, patient_id, relation, scope, name, access_until,"
        " account, created_at, created_by, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            one.invitation_id.value,
            lookup,
            one.patient.issuer,
            one.patient.patient_id,
            one.relation.value,
            one.scope.value,
            one.name,
            one.access_until,
            None if one.account is None else one.account.value,
            one.created_at,
            one.created_by,
            one.expires_at,
        ),
    )


async def invitation_by(rx: Read, lookup: bytes) -> PortalInvitation | None:
    """The letter whose code has this digest."""
    row = await rx.fetch_one(f"{_INVITATION} WHERE lookup = ?", (lookup,))
    return None if row is None else _invitation(row)


async def get_invitation(rx: Read, invitation: PortalInvitationId) -> PortalInvitation | None:
    """One letter."""
    row = await rx.fetch_one(f"{_INVITATION} WHERE invitation = ?", (invitation.value,))
    return None if row is None else _invitation(row)


async def invitations(rx: Read, *, patient: PatientKey | None = None) -> list[PortalInvitation]:
    """Letters, newest first; of one patient or of all."""
    issuer, patient_id = (None, None) if patient is None else (patient.issuer, patient.patient_id)
    rows = await rx.fetch_all(
        f"{_INVITATION} WHERE ?1 IS NULL OR (issuer = ?1 AND patient_id = ?2)"
        " ORDER BY created_at DESC, invitation LIMIT ?3",
        (issuer, patient_id, MAX_LISTED),
    )
    return [_invitation(row) for row in rows]


async def count_failure(tx: Write, lookup: bytes, *, at: int, limit: int) -> None:
    """A wrong date of birth; the letter is locked at the ``limit``-th. As much work where there is no such letter."""
    await tx.execute(
        "UPDATE portal_invitation SET failures = failures + 1,"
        " locked_at = CASE WHEN failures + 1 >= ?1 THEN coalesce(locked_at, ?2) ELSE locked_at END WHERE lookup = ?3",
        (limit, at, lookup),
    )


async def use_invitation(tx: Write, invitation: PortalInvitationId, now: int) -> bool:
    """Use a letter up; whether it was still good."""
    return bool(
        await tx.execute(
            "UPDATE portal_invitation SET used_at = ?1 WHERE invitation = ?2 AND used_at IS NULL"
            " AND withdrawn_at IS NULL AND locked_at IS NULL AND expires_at > ?1",
            (now, invitation.value),
        )
    )


async def withdraw_invitation(tx: Write, invitation: PortalInvitationId, now: int) -> bool:
    """Take a letter back; whether it was neither used nor taken back."""
    sql = (
        "UPDATE portal_invitation SET withdrawn_at = ?"
        " WHERE invitation = ? AND used_at IS NULL AND withdrawn_at IS NULL"
    )
    return bool(await tx.execute(sql, (now, invitation.value)))


async def withdraw_invitations_of(tx: Write, account: AccountId, now: int) -> None:
    """Take back the letters that would give an account new credentials."""
    await tx.execute(
        "UPDATE portal_invitation SET withdrawn_at = ? WHERE account = ? AND used_at IS NULL AND withdrawn_at IS NULL",
        (now, account.value),
    )


def _account(row: Row) -> Account:
    return Account(AccountId(bytes(row[0])), row[1], bool(row[2]), row[3], row[4], row[5], row[6])


def _access(row: Row) -> Access:
    return Access(
        AccessId(bytes(row[0])),
        AccountId(bytes(row[1])),
        PatientKey(row[2], row[3]),
        Relation(row[4]),
        Scope(row[5]),
        *row[6:11],
    )


def _invitation(row: Row) -> PortalInvitation:
    account = None if row[7] is None else AccountId(bytes(row[7]))
    return PortalInvitation(
        PortalInvitationId(bytes(row[0])),
        PatientKey(row[1], row[2]),
        Relation(row[3]),
        Scope(row[4]),
        row[5],
        row[6],
        account,
        *row[8:15],
    )
