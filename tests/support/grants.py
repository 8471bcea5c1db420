"""Grants as a patient's device signs them, right ones and wrong ones."""

from typing import Any

import msgspec

from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws
from node.model.consent import ConsentId, PurposeOfUse
from node.model.directive import Scope
from node.model.ids import PeerId
from node.peers.proofs import GrantText, encode_grant


def grant_text(own: Identity, holder: PeerId, recipient: PeerId, now: int, **changes: Any) -> GrantText:
    """A grant of an hour, for treatment, for everything."""
    text = GrantText(
        ConsentId.new(), own.public_key, holder, recipient, now, now + 3600, frozenset({PurposeOfUse.TREAT}), Scope()
    )
    return msgspec.structs.replace(text, **changes)


def granted(
    own: Identity, holder: PeerId, recipient: PeerId, now: int, *, signer: Identity | None = None, **changes: Any
) -> str:
    """The same, signed by ``own`` unless told."""
    return sign_jws(signer or own, JwsType.GRANT, encode_grant(grant_text(own, holder, recipient, now, **changes)))
