"""Backups, a restore that waits for a person, new epochs, and the change of the master key."""

import base64
from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.rest.access import OPERATION, OVERSIGHT
from node.api.rest.shapes.system import RestorationShown
from node.api.routing import Call, Route
from node.sharing.backups import Backups
from node.sharing.restored import Restored, RestoreView
from node.sharing.rotation import Rotation


class ManifestDigest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be signed for."""

    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    bytes: Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class BackupsResource:
    """``backups`` and ``keys`` (on the admin socket alone: who copies reads the directory), and ``restoration``."""

    def __init__(self, backups: Backups, restored: Restored, rotation: Rotation) -> None:
        self._backups = backups
        self._restored = restored
        self._rotation = rotation

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = "/api/v1/backups/{backup_id}"
        return [
            Route("POST", "/api/v1/backups", self.begin, OPERATION, "Make a snapshot to copy from", socket_only=True),
            Route(
                "GET", f"{one}/deleted", self.deleted, OPERATION, "Packs deleted since the snapshot", socket_only=True
            ),
            Route(
                "POST", f"{one}/signature", self.sign, OPERATION, "Sign for a backup", ManifestDigest, socket_only=True
            ),
            Route("POST", f"{one}/end", self.end, OPERATION, "Remove the snapshot", status=204, socket_only=True),
            Route("POST", "/api/v1/keys/rotation", self.rotate, OPERATION, "Change the master key", socket_only=True),
            Route(
                "GET",
                "/api/v1/restoration",
                self.restoration,
                OVERSIGHT,
                "Whether a restore waits for a person",
                answer=RestorationShown,
            ),
            Route(
                "POST",
                "/api/v1/restoration/review",
                self.confirm,
                OPERATION,
                "Say that a restore was looked through",
                answer=RestorationShown,
            ),
        ]

    async def begin(self, _call: Call) -> object:
        """One at a time; an older one ends."""
        begun = await self._backups.begin()
        return {
            "backup_id": begun.backup_id,
            "peer_id": begun.peer_id,
            "made_at": begun.made_at,
            "folder": str(begun.folder),
            "packs": [[pack.name.hex(), pack.sealed] for pack in begun.packs],
        }

    async def deleted(self, call: Call) -> object:
        """By name."""
        return {"deleted": [name.hex() for name in await self._backups.deleted(call.parameter("backup_id"))]}

    async def sign(self, call: Call) -> object:
        """It is on record then."""
        wanted: ManifestDigest = call.body
        signature = await self._backups.sign(
            call.parameter("backup_id"), bytes.fromhex(wanted.sha256), size=wanted.bytes, by=call.caller.actor
        )
        return {"signature": base64.b64encode(signature).decode()}

    async def end(self, call: Call) -> object:
        """Harmless when called twice."""
        await self._backups.end(call.parameter("backup_id"))
        return None

    async def rotate(self, call: Call) -> object:
        """One that was cut short goes on."""
        changed = await self._rotation.rotate(by=call.caller.actor)
        return {"master_version": self._rotation.version, "studies": changed}

    async def restoration(self, _call: Call) -> RestorationShown:
        """What to look through."""
        return {"restoration": shown_restore(await self._restored.view())}

    async def confirm(self, call: Call) -> RestorationShown:
        """From now on releases and announcements go on by themselves."""
        await self._restored.confirm(by=call.caller.actor)
        return {"restoration": shown_restore(await self._restored.view())}


def shown_restore(view: RestoreView | None) -> object:
    """A restore that waits for a person, as status and REST show it; None: none does."""
    if view is None:
        return None
    one, todo = view.restoration, view.to_review
    return {
        "restored_at": one.restored_at,
        "backup_at": one.backup_at or None,
        "codes_void": one.codes,
        "transfers_ended": one.transfers,
        "peers_asked": len(one.heard),
        "peers_answered": sum(not heard.code for heard in one.heard.values()),
        "to_review": {
            "peers": todo.peers,
            "permissions": todo.permissions,
            "patient_keys": todo.keys,
            "opt_outs": todo.opt_outs,
            "sensitive_studies": todo.sensitive,
            "users": todo.users,
        },
    }
