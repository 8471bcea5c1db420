"""The portal's accounts as staff manage them: letters, accounts, who acts for whom, and when a study is shown."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import MAX_OFFSET, Window, cut
from node.api.rest.access import CLINICAL
from node.api.rest.shapes.portal import (
    AccessNamed,
    AccessShown,
    AccountList,
    AccountShown,
    LetterMade,
    LetterNamed,
    LetterShown,
    RulingList,
    RulingOnRecord,
    RulingShown,
)
from node.api.routing import Call, Route
from node.clock import Clock
from node.errors.access import NotFound
from node.errors.portal import UnknownAccount, UnknownInvitation
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.portal import (
    Access,
    AccessId,
    AccountId,
    PortalInvitation,
    PortalInvitationId,
    Relation,
    Ruling,
    RulingKind,
    Scope,
)
from node.sharing.portal.accounts import Accounts, Held
from node.sharing.portal.enrolment import MAX_NAME, Enrolment, Letter, Order
from node.sharing.portal.proxies import Proxies
from node.sharing.portal.records import MAX_REASON, Records

_SHORT = msgspec.Meta(min_length=1, max_length=64)  # DICOM's LO
Moment = Annotated[int, msgspec.Meta(ge=0, le=MAX_OFFSET)]  # seconds


class NewLetter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to invite. With ``acts_for_patient``, a proxy of that name, until a moment; ``expires_in`` in seconds."""

    patient_id: Annotated[str, _SHORT]
    issuer: Annotated[str, _SHORT] | None = None
    acts_for_patient: Annotated[str, msgspec.Meta(max_length=MAX_NAME)] | None = None
    may_share: bool = True
    until: Moment | None = None
    expires_in: Moment | None = None


class Patient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A patient of this facility."""

    patient_id: Annotated[str, _SHORT]
    issuer: Annotated[str, _SHORT] | None = None


class NewRuling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Release at once, hold with a reason that the patient reads (``until`` a moment), or go by the settings."""

    study_instance_uid: Annotated[str, msgspec.Meta(max_length=64)]
    ruling: RulingKind | None
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""
    until: Moment | None = None


class PortalResource:
    """``portal``."""

    def __init__(
        self,
        *,
        enrolment: Enrolment,
        accounts: Accounts,
        proxies: Proxies,
        records: Records,
        issuer: str,
        clock: Clock,
    ) -> None:
        """``issuer`` is this facility's Issuer of Patient ID, meant where none is said."""
        self._enrolment = enrolment
        self._accounts = accounts
        self._proxies = proxies
        self._records = records
        self._issuer = issuer
        self._clock = clock

    def routes(self) -> Iterable[Route]:
        """The routes."""
        portal = "/api/v1/portal"
        letters, accounts, account = f"{portal}/invitations", f"{portal}/accounts", f"{portal}/accounts/{{account_id}}"
        rulings = f"{portal}/rulings"
        return [
            Route(
                "POST",
                letters,
                self.invite,
                CLINICAL,
                "Make a letter for the portal",
                NewLetter,
                201,
                answer=LetterMade,
            ),
            Route(
                "POST",
                f"{letters}/{{invitation_id}}/withdraw",
                self.withdraw,
                CLINICAL,
                "Take a letter back",
                answer=LetterNamed,
            ),
            Route(
                "GET",
                accounts,
                self.list,
                CLINICAL,
                "Accounts and letters of the portal, newest first",
                query=Window,
                answer=AccountList,
            ),
            Route(
                "POST",
                f"{account}/reset",
                self.reset,
                CLINICAL,
                "Void credentials; a letter for new ones",
                status=201,
                answer=LetterMade,
            ),
            Route("POST", f"{account}/close", self.close, CLINICAL, "Close an account at once", answer=AccountShown),
            Route(
                "POST",
                f"{account}/records",
                self.add,
                CLINICAL,
                "It is this patient, too",
                Patient,
                201,
                answer=AccessShown,
            ),
            Route(
                "POST",
                f"{portal}/access/{{access_id}}/end",
                self.end,
                CLINICAL,
                "End what somebody does for a patient",
                answer=AccessNamed,
            ),
            Route(
                "GET",
                rulings,
                self.rulings,
                CLINICAL,
                "Decisions about when patients see studies",
                query=Window,
                answer=RulingList,
            ),
            Route(
                "POST",
                rulings,
                self.rule,
                CLINICAL,
                "Release or hold a study for its patient",
                NewRuling,
                answer=RulingShown,
            ),
        ]

    async def invite(self, call: Call) -> LetterMade:
        """A letter; its code is shown this once."""
        new: NewLetter = call.body
        order = Order(
            PatientKey(new.issuer or self._issuer, new.patient_id),
            Relation.SELF if new.acts_for_patient is None else Relation.PROXY,
            Scope.SHARE if new.may_share else Scope.SEE,
            new.acts_for_patient or "",
            new.until,
            new.expires_in,
        )
        return self._letter(await self._enrolment.invite(order, by=call.caller.actor))

    async def withdraw(self, call: Call) -> LetterNamed:
        """The letter is void."""
        try:
            invitation = PortalInvitationId.parse(call.parameter("invitation_id"))
        except ValueError as exc:
            raise UnknownInvitation from exc
        await self._enrolment.withdraw(invitation, by=call.caller.actor)
        return {"invitation_id": str(invitation)}

    async def list(self, call: Call) -> AccountList:
        """All of them, for staff."""
        all_accounts, all_letters = await self._accounts.page(by=call.caller.actor)
        (accounts, more), (letters, also) = cut(call, all_accounts), cut(call, all_letters)
        return {
            "accounts": [self._account(held) for held in accounts],
            "invitations": [self._invitation(letter) for letter in letters],
            "next": more or also,
        }

    async def reset(self, call: Call) -> LetterMade:
        """Nothing signs in any more until the letter is used."""
        held = await self._accounts.held(_account_id(call))
        return self._letter(await self._enrolment.reset(held.account, by=call.caller.actor))

    async def close(self, call: Call) -> AccountShown:
        """For good."""
        account = _account_id(call)
        await self._accounts.close(account, by=call.caller.actor)
        return self._account(await self._accounts.held(account))

    async def add(self, call: Call) -> AccessShown:
        """One more record of the same person."""
        who: Patient = call.body
        patient = PatientKey(who.issuer or self._issuer, who.patient_id)
        return self._access(await self._proxies.add_record(_account_id(call), patient, by=call.caller.actor))

    async def end(self, call: Call) -> AccessNamed:
        """At once."""
        try:
            access = AccessId.parse(call.parameter("access_id"))
        except ValueError as exc:
            raise NotFound from exc
        await self._proxies.end(access, by=call.caller.actor)
        return {"access_id": str(access)}

    async def rulings(self, call: Call) -> RulingList:
        """What staff decided."""
        found, more = cut(call, await self._records.rulings())
        return {"rulings": [_ruling(one) for one in found], "next": more}

    async def rule(self, call: Call) -> RulingShown:
        """Decide."""
        new: NewRuling = call.body
        study = StudyInstanceUID.parse(new.study_instance_uid)
        await self._records.rule(study, new.ruling, by=call.caller.actor, reason=new.reason, until=new.until)
        return {"study_instance_uid": study, "ruling": new.ruling}

    def _letter(self, letter: Letter) -> LetterMade:
        return {
            "code": letter.code.text,
            "url": letter.url,
            "patient_name": letter.patient.name,
            "birth_date": letter.patient.birth_date,
            **self._invitation(letter.invitation),
        }

    def _invitation(self, one: PortalInvitation) -> LetterShown:
        return {
            "invitation_id": str(one.invitation_id),
            "patient_id": one.patient.patient_id,
            "issuer_of_patient_id": one.patient.issuer,
            "relation": one.relation,
            "name": one.name,
            "may_share": one.scope is Scope.SHARE,
            "until": one.access_until,
            "account_id": str(one.account) if one.account else None,
            "created_at": one.created_at,
            "expires_at": one.expires_at,
            "failures": one.failures,
            "state": one.state(self._clock.now()),
        }

    def _account(self, held: Held) -> AccountShown:
        account = held.account
        return {
            "account_id": str(account.account_id),
            "sign_in_name": account.sign_in_name,
            "passphrase": account.has_passphrase,
            "passkeys": account.passkeys,
            "created_at": account.created_at,
            "closed_at": account.closed_at,
            "access": [self._access(one) for one in held.accesses],
        }

    def _access(self, one: Access) -> AccessShown:
        return {
            "access_id": str(one.access_id),
            "patient_id": one.patient.patient_id,
            "issuer_of_patient_id": one.patient.issuer,
            "relation": one.relation,
            "name": one.name,
            "may_share": one.scope is Scope.SHARE,
            "since": one.since,
            "until": one.until,
            "live": one.is_live(self._clock.now()),
        }


def _account_id(call: Call) -> AccountId:
    try:
        return AccountId.parse(call.parameter("account_id"))
    except ValueError as exc:
        raise UnknownAccount from exc


def _ruling(one: Ruling) -> RulingOnRecord:
    return {
        "study_instance_uid": one.study,
        "ruling": one.kind,
        "reason": one.reason,
        "until": one.until,
        "at": one.at,
        "by": one.by,
    }
