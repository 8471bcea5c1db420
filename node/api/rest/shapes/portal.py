"""Answers about patients' own access: the portal's accounts and letters, and links that are given out."""

from typing import TypedDict


class LetterShown(TypedDict):
    """A letter that lets somebody into the portal."""

    invitation_id: str
    patient_id: str
    issuer_of_patient_id: str
    relation: str
    name: str
    may_share: bool
    until: int | None
    account_id: str | None
    created_at: int
    expires_at: int
    failures: int
    state: str


class LetterMade(LetterShown):
    """A new letter: its code, shown this once, and whom it is for."""

    code: str
    url: str
    patient_name: str
    birth_date: str


class LetterNamed(TypedDict):
    """A letter that is void."""

    invitation_id: str


class AccessShown(TypedDict):
    """What an account may do for a patient."""

    access_id: str
    patient_id: str
    issuer_of_patient_id: str
    relation: str
    name: str
    may_share: bool
    since: int
    until: int | None
    live: bool


class AccessNamed(TypedDict):
    """An access that ended."""

    access_id: str


class AccountShown(TypedDict):
    """An account of the portal."""

    account_id: str
    sign_in_name: str | None
    passphrase: bool
    passkeys: int
    created_at: int
    closed_at: int | None
    access: list[AccessShown]


class AccountList(TypedDict):
    """Accounts, and letters, newest first; ``limit`` and ``offset`` count in each of the two lists."""

    accounts: list[AccountShown]
    invitations: list[LetterShown]
    next: str | None


class RulingShown(TypedDict):
    """When a patient sees a study; ``ruling`` null: as the settings say."""

    study_instance_uid: str
    ruling: str | None


class RulingOnRecord(RulingShown):
    """A decision, and whose."""

    reason: str
    until: int | None
    at: int
    by: str


class RulingList(TypedDict):
    """Decisions about when patients see studies."""

    rulings: list[RulingOnRecord]
    next: str | None


class HealthLinkShown(TypedDict):
    """A health link without its text, which is not kept."""

    link_id: str
    patient_id: str
    issuer_of_patient_id: str
    state: str
    studies: list[str]
    from_date: str
    to_date: str
    label: str
    purpose: str
    flags: str
    consent: str
    created_at: int
    created_by: str
    expires_at: int
    uses: int | None
    used: int
    failures: int
    remaining_attempts: int | None


class HealthLinkMade(HealthLinkShown):
    """A new health link, shown this once."""

    shlink: str
    viewer_url: str


class HealthLinkTry(TypedDict):
    """An attempt to open a link."""

    at: int
    recipient: str
    outcome: str


class HealthLinkOpened(HealthLinkShown):
    """A health link, and who opened it or tried to, last first."""

    accesses: list[HealthLinkTry]


class HealthLinkList(TypedDict):
    """Health links, newest first."""

    health_links: list[HealthLinkShown]
    next: str | None
