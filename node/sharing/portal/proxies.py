"""Who acts for whom: given by staff with a letter or at the desk, seen by the patient, ended by either or by itself."""

from dataclasses import dataclass, field

from node.errors.access import NotFound
from node.errors.portal import InvalidPortalOrder, NotInvitable, UnknownAccount
from node.model.access import Session
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PatientKey
from node.model.portal import Access, AccessId, AccountId, Relation, Scope
from node.sharing.portal.accounts import Accounts
from node.sharing.portal.parts import PortalParts
from node.sharing.portal.records import Records
from node.store import audit, identity
from node.store import portal as rows
from node.store.engine import Write
from node.store.portal_records import demographics_of


@dataclass(frozen=True, slots=True)
class ActsFor:
    """Somebody who acts for a patient, as the patient sees it."""

    access: Access
    sign_in_name: str = field(repr=False)
    is_live: bool


class Proxies:
    """Accesses after enrolment."""

    def __init__(self, parts: PortalParts, records: Records, accounts: Accounts) -> None:
        self._parts = parts
        self._records = records
        self._accounts = accounts

    async def add_record(self, account: AccountId, patient: PatientKey, *, by: str) -> Access:
        """Staff say that an account's owner is this patient, too: one person under two ids of this facility.

        Raises:
            UnknownAccount: there is none, it is closed, or it stands for nobody as themselves.
            NotInvitable: nothing of the patient is held. InvalidPortalOrder: it stands for the patient already.
        """
        now = self._parts.clock.now()
        async with self._parts.db.write() as tx:
            found = await rows.get_account(tx, account)
            live = [one for one in await rows.accesses(tx, account) if one.is_live(now)]
            own = [one for one in live if one.relation is Relation.SELF]
            if found is None or found.closed_at is not None or not own:
                raise UnknownAccount
            patient = await identity.survivor(tx, patient)
            if await demographics_of(tx, patient) is None:
                raise NotInvitable
            if any(one.patient == patient for one in live):
                raise InvalidPortalOrder("the account stands for this patient already")
            access = Access(AccessId.new(), account, patient, Relation.SELF, Scope.SHARE, "", now, None, by)
            await rows.add_access(tx, access)
            await self._record(tx, AuditType.PORTAL_ACCESS_GIVEN, access, by)
        return access

    async def end(self, access: AccessId, *, by: str) -> None:
        """An account stands for a patient no more, at once. Raises NotFound."""
        async with self._parts.db.write() as tx:
            held = await rows.get_access(tx, access)
            if held is None:
                raise NotFound
            await self._end(tx, held, by)

    async def of_mine(self, session: Session) -> list[ActsFor]:
        """Who acts, or acted, for the patients that the caller is."""
        mine = [one.patient for one in await self._records.records(session.caller) if _is_self(one.access)]
        now = self._parts.clock.now()
        async with self._parts.db.read() as rx:
            found = []
            for access in await rows.accesses_to(rx, mine):
                if access.relation is Relation.PROXY:
                    account = await rows.get_account(rx, access.account)
                    found.append(ActsFor(access, account.sign_in_name if account else "", access.is_live(now)))
        return found

    async def end_mine(self, session: Session, access: AccessId) -> None:
        """The patient ends what somebody does for them; or who acts stops doing so.

        Raises:
            VerificationNeeded. NotFound: it is no access to the caller's record, and none of the caller's.
        """
        self._accounts.verified.require(session)
        mine = {one.patient for one in await self._records.records(session.caller) if _is_self(one.access)}
        async with self._parts.db.write() as tx:
            held = await rows.get_access(tx, access)
            is_mine = held is not None and f"patient:{held.account}" == session.caller.actor
            if held is None or held.relation is not Relation.PROXY or not (held.patient in mine or is_mine):
                raise NotFound
            await self._end(tx, held, session.caller.actor)

    async def _end(self, tx: Write, held: Access, by: str) -> None:
        if await rows.end_access(tx, held.access_id, self._parts.clock.now()):
            self._parts.end(tx, held.account, by)
            await self._record(tx, AuditType.PORTAL_ACCESS_ENDED, held, by)

    async def _record(self, tx: Write, kind: AuditType, access: Access, by: str) -> None:
        detail: dict[str, str | int] = {
            "access": str(access.access_id),
            "account": str(access.account),
            "relation": access.relation.value,
            "scope": access.scope.value,
            "name": access.name,
        }
        event = AuditEvent(kind, self._parts.clock.now(), by, patient=access.patient, detail=detail)
        await audit.append(tx, event)


def _is_self(access: Access) -> bool:
    return access.relation is Relation.SELF
