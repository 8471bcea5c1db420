"""Share codes: made for a patient, listed, revoked."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import MAX_OFFSET, Window, cut
from node.api.rest.access import CLINICAL
from node.api.rest.shapes.sharing import ShareCodeList, ShareCodeMade, ShareCodeShown
from node.api.routing import Call, Route
from node.clock import Clock
from node.errors.sharing import NoSuchShareCode
from node.model.consent import DAY_SECONDS, DEFAULT_CODE_DAYS, MAX_CODE_STUDIES, CodeConsent, ConsentId, code_state
from node.model.ids import PatientKey, StudyInstanceUID
from node.sharing.share_codes import ShareCodes

_SHORT = msgspec.Meta(min_length=1, max_length=64)  # DICOM's LO


class NewShareCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code to make; ``expires_in`` in seconds, ``studies`` empty for all of the patient."""

    patient_id: Annotated[str, _SHORT]
    issuer: Annotated[str, _SHORT] | None = None
    studies: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_CODE_STUDIES)] = ()
    expires_in: Annotated[int, msgspec.Meta(le=MAX_OFFSET)] = DEFAULT_CODE_DAYS * DAY_SECONDS
    uses: Annotated[int, msgspec.Meta(le=MAX_OFFSET)] = 1


class ShareCodesResource:
    """``share-codes``."""

    def __init__(self, codes: ShareCodes, *, issuer: str, clock: Clock) -> None:
        """``issuer`` is this facility's Issuer of Patient ID, meant where none is said."""
        self._codes = codes
        self._issuer = issuer
        self._clock = clock

    def routes(self) -> Iterable[Route]:
        """The routes."""
        codes = "/api/v1/share-codes"
        return [
            Route("POST", codes, self.create, CLINICAL, "Make a share code", NewShareCode, 201, answer=ShareCodeMade),
            Route(
                "GET",
                codes,
                self.list,
                CLINICAL,
                "Share codes that were made, newest first",
                query=Window,
                answer=ShareCodeList,
            ),
            Route(
                "POST",
                f"{codes}/{{code_id}}/revoke",
                self.revoke,
                CLINICAL,
                "Take a share code back",
                answer=ShareCodeShown,
            ),
        ]

    async def create(self, call: Call) -> ShareCodeMade:
        """A code, shown this once."""
        new: NewShareCode = call.body
        made = await self._codes.create(
            PatientKey(new.issuer or self._issuer, new.patient_id),
            by=call.caller.actor,
            studies=[StudyInstanceUID.parse(uid) for uid in new.studies],
            lifetime=new.expires_in,
            uses=new.uses,
        )
        return {"code": made.code.text, "qr": made.code.url, **self._shown(made.consent)}

    async def list(self, call: Call) -> ShareCodeList:
        """All codes, without their text, which is not kept."""
        found, more = cut(call, await self._codes.page())
        return {"share_codes": [self._shown(consent) for consent in found], "next": more}

    async def revoke(self, call: Call) -> ShareCodeShown:
        """Nothing new under it, and running transfers end."""
        try:
            consent_id = ConsentId.parse(call.parameter("code_id"))
        except ValueError as exc:
            raise NoSuchShareCode from exc
        return self._shown(await self._codes.revoke(consent_id, by=call.caller.actor))

    def _shown(self, consent: CodeConsent) -> ShareCodeShown:
        return {
            "code_id": str(consent.consent_id),
            "patient_id": consent.patient.patient_id,
            "issuer_of_patient_id": consent.patient.issuer,
            "studies": sorted(consent.studies),
            "created_at": consent.created_at,
            "expires_at": consent.expires_at,
            "uses": consent.uses,
            "used": consent.used,
            "failures": consent.failures,
            "state": code_state(consent, self._clock.now()),
        }
