"""The places of the operator's console, who may go there, and the words that pages say after something was done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.api.rest.access import CLINICAL, EVERYBODY, OPERATION, OVERSIGHT
from node.model.access import Role


@dataclass(frozen=True, slots=True)
class Place:
    """A tab: where it leads, what it is called, who sees it."""

    href: str
    label: str
    roles: frozenset[Role]


AREAS: Mapping[str, Sequence[Place]] = {
    "overview": (),
    "inbox": (
        Place("/console/inbox", "Requests", CLINICAL),
        Place("/console/operator/offers", "Offers", OPERATION),
        Place("/console/quarantine", "Quarantine", OPERATION),
        Place("/console/emergencies", "Break-glass", OVERSIGHT),
    ),
    "peers": (
        Place("/console/peers", "Facilities", EVERYBODY),
        Place("/console/pairing", "Pair with another", OPERATION),
    ),
    "transfers": (
        Place("/console/transfers", "Transfers", EVERYBODY),
        Place("/console/operator/deliveries", "Sent to PACS", OPERATION),
    ),
    "patients": (
        Place("/console/consents", "Consents", CLINICAL),
        Place("/console/share-codes", "Share codes", CLINICAL),
        Place("/console/withdrawals", "Withdrawals", CLINICAL),
    ),
    "system": (
        Place("/console/storage", "Storage", OVERSIGHT),
        Place("/console/pacs", "PACS", CLINICAL),
        Place("/console/users", "Users", OVERSIGHT),
        Place("/console/settings", "Settings", OVERSIGHT),
    ),
    "audit": (),
}

DONE: Mapping[str, str] = {
    "restore-reviewed": "Releases and announcements go on.",
    "released": "Released. The other facility fetches it now.",
    "refused": "Refused. The other facility is told.",
    "confirmed": "This facility is trusted now.",
    "suspended": "Suspended. Nothing passes to or from this facility until it is resumed.",
    "resumed": "Resumed. What was under way goes on.",
    "revoked": "Revoked. This facility is shut out for good; everything that was under way has ended.",
    "policy": "The policy was changed.",
    "invitation-withdrawn": "The invitation is closed. Nobody can use it any more.",
    "quarantine-accepted": "Accepted. The study has a new revision, and whoever has it is told.",
    "quarantine-discarded": "Shredded. Nobody can read it again.",
    "consent-added": "Recorded.",
    "consent-revoked": "Revoked. Nothing new is released under it, and what was under way has ended.",
    "code-revoked": "The code is worthless now, and what was being sent under it has ended.",
    "opted-out": "Recorded: nothing of this patient is shared without being asked.",
    "opted-in": "Recorded: the patient takes part again.",
    "withdrawn": "Withdrawn. Nobody here sees it any more; every recipient is being told.",
    "reviewed": "Your verdict is on record.",
    "user-added": "The user was added.",
    "user-disabled": "Disabled. Sessions and tokens of this user have ended.",
    "user-enabled": "The user may sign in again. Tokens that were made before stay gone.",
    "token-revoked": "The token is void.",
    "password-set": "The password was changed; sessions of this user have ended.",
    "pacs-added": "The system was entered. Try it now.",
    "pacs-removed": "The system was removed.",
    "cancelled": "Cancelled, at both ends.",
    "delivery-cancelled": "Given up. What the PACS has already, it keeps.",
    "scrub-begun": "Everything that is stored is being verified now.",
    "protected": "Protected: nobody may delete this study until that is ended.",
    "unprotected": "The study may be deleted again.",
    "deleted": "Deleted. Nobody can read this study again.",
    "offer-accepted": "Accepted. The images are on their way.",
    "offer-refused": "Refused. The other facility is told.",
}

# What errors mean to whoever is led back to a list by them, beyond what `web.advice` says.
PROBLEMS: Mapping[str, tuple[str, str]] = {
    "invalid_input": ("Something in the form is not right", "Correct it, then send it again."),
    "request_not_pending": (
        "This request is decided already",
        "Somebody else was quicker, or the other facility gave up. The audit log says who, and how.",
    ),
    "no_such_request": ("There is no such request any more", "What still waits is listed here."),
    "review_changed": (
        "Something changed while you were looking",
        "Nothing was released. Look at the reasons and the studies as they stand now, then decide.",
    ),
    "emergency_reviewed": ("Somebody else has judged this already", "The verdict stands; it is listed here."),
    "no_such_emergency": ("There is no such release by break-glass", "All of them are listed here."),
    "unknown_quarantined": (
        "This is not in quarantine any more",
        "Somebody else has decided about it. The audit log says who, and how.",
    ),
    "offer_not_pending": ("This offer is decided already", "What became of it is listed here."),
    "no_such_offer": ("There is no such offer", "All of them are listed here."),
    "illegal_trust_change": (
        "That cannot be done with this facility as it stands now",
        "Somebody else may have changed its state a moment ago: look at it again.",
    ),
    "unknown_peer": ("There is no such facility", "All that this one ever paired with are listed here."),
    "no_such_consent": ("There is no such consent", "Look it up by its patient."),
    "no_such_share_code": ("There is no such share code", "All codes are listed here."),
    "unknown_user": ("There is no such user", "All users are listed here."),
    "user_disabled": ("This user is disabled", "Add another user instead; names stay taken, because the log has them."),
    "unknown_pacs": ("There is no such system any more", "Somebody else may have removed it. All are listed here."),
    "no_such_transfer": ("There is no such transfer", "All transfers are listed here."),
    "no_such_delivery": ("There is no such delivery", "All deliveries are listed here."),
    "nothing_to_share": (
        "No study of that patient is held here as this facility's own",
        "Check the patient id and the issuer.",
    ),
    "nothing_to_review": ("No restore waits any more", "Somebody else was quicker; releases and announcements go on."),
    "no_such_event": ("There is no such event in the log", "Choose one from the list."),
}
