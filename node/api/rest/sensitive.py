"""Studies that no other facility is told of."""

from collections.abc import Iterable
from typing import Annotated, TypedDict

import msgspec

from node.api.rest.access import CLINICAL
from node.api.routing import Call, Route
from node.model.ids import StudyInstanceUID
from node.sharing.sensitivity import Sensitivity


class SensitiveMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A study, and whether it is sensitive."""

    study: Annotated[str, msgspec.Meta(max_length=64)]
    sensitive: bool = True


class MarkShown(TypedDict):
    """A study, and whether it is sensitive now."""

    study_instance_uid: str
    sensitive: bool


class SensitiveShown(TypedDict):
    """A study that is sensitive."""

    study_instance_uid: str
    at: int


class SensitiveList(TypedDict):
    """Studies that are not announced, newest first."""

    studies: list[SensitiveShown]


class SensitiveResource:
    """``sensitive-studies``."""

    def __init__(self, sensitivity: Sensitivity) -> None:
        self._sensitivity = sensitivity

    def routes(self) -> Iterable[Route]:
        """The routes."""
        path = "/api/v1/sensitive-studies"
        return [
            Route("GET", path, self.show, CLINICAL, "Studies that no other facility is told of", answer=SensitiveList),
            Route(
                "POST", path, self.mark, CLINICAL, "Mark a study sensitive, or not any more", SensitiveMark,
                answer=MarkShown,
            ),
        ]  # fmt: skip

    async def show(self, _call: Call) -> object:
        """Newest first."""
        found = await self._sensitivity.page()
        return {"studies": [{"study_instance_uid": one.study, "at": one.at} for one in found]}

    async def mark(self, call: Call) -> object:
        """What was announced is withdrawn with the next batch."""
        wanted: SensitiveMark = call.body
        study = StudyInstanceUID.parse(wanted.study)
        change = self._sensitivity.mark if wanted.sensitive else self._sensitivity.unmark
        await change(study, by=call.caller.actor)
        return {"study_instance_uid": study, "sensitive": wanted.sensitive}
