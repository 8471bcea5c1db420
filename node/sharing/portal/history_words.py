"""Entries of the history in plain words: one sentence each, and the facts that stand below it."""

from collections.abc import Mapping

from node.model.access import Role
from node.model.consent import ConsentKind, PurposeOfUse
from node.model.release import Verdict
from node.sharing.portal.history import Entry, Kind, Who, WhoKind
from node.sharing.portal.plain_words import Day, Value, Words, name_of, say

_ROLES: Mapping[Role, Words] = {
    Role.CLINICIAN: say("A doctor or nurse here"),
    Role.OPERATOR: say("An administrator here"),
    Role.AUDITOR: say("A privacy officer here"),
}
_NAMED_ROLES: Mapping[Role, Words] = {
    Role.CLINICIAN: say("{name} (doctor or nurse here)"),
    Role.OPERATOR: say("{name} (administrator here)"),
    Role.AUDITOR: say("{name} (privacy officer here)"),
}
_PEOPLE: Mapping[WhoKind, Words] = {
    WhoKind.YOU: say("You"),
    WhoKind.PATIENT: say("The patient"),
    WhoKind.LINK: say("Somebody with your link"),
    WhoKind.NODE: say("This facility's system"),
    WhoKind.UNKNOWN: say("Somebody"),
    WhoKind.STAFF: say("Somebody who works here"),
}
_PURPOSES: Mapping[str, Words] = {
    PurposeOfUse.TREAT: say("treatment"),
    PurposeOfUse.ETREAT: say("an emergency"),
    PurposeOfUse.PATRQT: say("the patient asked for it"),
    PurposeOfUse.HOPERAT: say("the facility's own work"),
    PurposeOfUse.HPAYMT: say("payment"),
    PurposeOfUse.HRESCH: say("research"),
}
_CONSENTS: Mapping[str, Words] = {
    ConsentKind.SHARE_CODE: say("a share code"),
    ConsentKind.PATIENT_KEY: say("a permission that the patient signed"),
    ConsentKind.DIRECTIVE: say("a permission on file"),
    ConsentKind.ATTESTED: say("a signed form, as the other facility says"),
    ConsentKind.EMERGENCY: say("an emergency, without asking"),
}
_SENTENCES: Mapping[Kind, Words] = {
    Kind.LOOKED: say("{who} looked at: {study}."),
    Kind.TAKEN: say("A system of this facility fetched: {study}."),
    Kind.CAME: say("{facility} sent images to this facility: {study}."),
    Kind.STORED: say("Images were stored here: {study}."),
    Kind.ASKED: say("{facility} asked for images."),
    Kind.SENT: say("{facility} was allowed to have: {study}."),
    Kind.ARRIVED: say("{facility} confirmed that it has: {study}."),
    Kind.CODE_MADE: say("{who} made a share code."),
    Kind.CODE_ENDED: say("{who} took a share code back."),
    Kind.CODE_LOCKED: say("A share code was locked: somebody tried it too often."),
    Kind.CONSENT_GIVEN: say("{who} wrote down a decision about sharing."),
    Kind.CONSENT_ENDED: say("{who} took back a decision about sharing."),
    Kind.OPTED_OUT: say("{who} switched sharing off: nothing is announced to others."),
    Kind.OPTED_IN: say("{who} switched sharing on again."),
    Kind.LINK_MADE: say("{who} made a link to images."),
    Kind.LINK_OPENED: say("Somebody opened the link."),
    Kind.LINK_REFUSED: say("Somebody tried the link and was refused."),
    Kind.LINK_ENDED: say("{who} took the link back."),
    Kind.LINKED: say("{who} added images from elsewhere to this record: {study}."),
    Kind.UNLINKED: say("{who} took images from elsewhere out of this record: {study}."),
    Kind.WITHDRAWN: say("Images were withdrawn: {study}."),
    Kind.DELETED: say("Images were deleted: {study}."),
    Kind.CORRECTED: say("{who} corrected what is written about the patient."),
    Kind.RULED: say("{who} decided when you see: {study}."),
    Kind.INVITED: say("{who} made a letter for these pages."),
    Kind.ENROLLED: say("{who} opened the letter and chose how to sign in."),
    Kind.ENROLMENT_FAILED: say("Somebody tried a letter and did not know the date of birth, or it was no longer good."),
    Kind.SIGNED_IN: say("{who} signed in."),
    Kind.SIGN_IN_FAILED: say("Somebody tried to sign in to your account and failed."),
    Kind.CREDENTIALS: say("{who} changed how your account is signed in to."),
    Kind.ACCESS_GIVEN: say("{who} gave somebody access to this record."),
    Kind.ACCESS_ENDED: say("{who} ended somebody's access to this record."),
    Kind.RESET: say("{who} made all ways to sign in void, and a letter for new ones."),
    Kind.CLOSED: say("{who} closed an account."),
    Kind.ALERTS: say("{who} changed what is told by e-mail."),
}
_TO_READER: Mapping[Kind, Words] = {
    Kind.ACCESS_GIVEN: say("{who} gave you access to this record."),
    Kind.ACCESS_ENDED: say("{who} ended your access to this record."),
    Kind.RESET: say("{who} made all your ways to sign in void, and a letter for new ones."),
}
_ANSWERS: Mapping[str, Words] = {
    Verdict.PERMIT.value: say("allowed"),
    Verdict.REFUSE.value: say("refused"),
    Verdict.REVIEW.value: say("waits for a person"),
}


def sentence(entry: Entry) -> Words:
    """What happened."""
    study = say("images that are not shown") if entry.study is None else name_of(entry.study)
    facility = entry.facility or say("Another facility")
    said = _TO_READER.get(entry.kind) if entry.is_about_reader else None
    values: dict[str, Value] = {"who": person(entry.who), "study": study, "facility": facility}
    return Words((said or _SENTENCES[entry.kind]).text, values)


def facts(entry: Entry) -> list[tuple[Words, Words]]:
    """What else is known: label and words."""
    found: list[tuple[Words, Words]] = []
    if entry.study is not None and entry.study.date:
        found.append((say("Of"), say("{day}", day=Day(entry.study.date))))
    answer = _ANSWERS.get(str(entry.detail.get("verdict", "")))
    if answer is not None:
        found.append((say("Answer"), answer))
    if entry.purpose in _PURPOSES:
        found.append((say("For"), _PURPOSES[entry.purpose]))
    if entry.consent in _CONSENTS:
        found.append((say("Because of"), _CONSENTS[entry.consent]))
    if entry.kind is Kind.RULED and entry.detail.get("reason"):
        found.append((say("Reason"), say("{words}", words=str(entry.detail["reason"]))))
    return found


def person(who: Who) -> Words:
    """Somebody."""
    if who.kind is WhoKind.STAFF and who.role is not None:
        if who.name and who.role in _NAMED_ROLES:
            return Words(_NAMED_ROLES[who.role].text, {"name": who.name})
        return _ROLES.get(who.role, _PEOPLE[WhoKind.STAFF])
    if who.kind is WhoKind.PROXY:
        return say("{name} (acts for the patient)", name=who.name)
    if who.kind is WhoKind.FACILITY:
        return say("{name}", name=who.name) if who.name else say("Another facility")
    if who.kind is WhoKind.SYSTEM:
        return say("A system of this facility ({name})", name=who.name)
    return _PEOPLE[who.kind]
