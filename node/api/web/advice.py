"""Errors in words for who works at the pages for staff, where commands of the shell are no help."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

from node.errors.access import (
    Forbidden,
    ForgedRequest,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    Unauthenticated,
    UnsupportedMedia,
    WrongCredentials,
)
from node.errors.base import LeveretError, all_codes
from node.errors.delivery import AlreadyLinked, LinkConflict, NotLinked, PatientNotNamed, StudyNotLinked
from node.errors.dimse import UnknownPacs
from node.errors.peers import PeerUnreachable
from node.errors.sharing import NotReleased

# What to do at a page, where that differs from the error's own advice.
_ADVICE: Mapping[str, str] = {
    Unauthenticated.code: "Sign in again; the session has ended.",
    Forbidden.code: "It belongs to another role. If you need it, ask an operator of this facility.",
    ForgedRequest.code: "Go back, load the page again and send it once more. Nothing was changed.",
    WrongCredentials.code: "Check both; an operator of this facility can set a new password.",
    NotFound.code: "It may have ended or been removed. Go back, or begin again from the navigation.",
    InvalidInput.code: "Go back, correct the form, and send it again. Nothing was changed.",
    MethodNotAllowed.code: "Go back, and use the buttons of the page.",
    UnsupportedMedia.code: "Go back, and use the form of the page.",
    AlreadyLinked.code: "Take that link back on the study's page first.",
    LinkConflict.code: "Compare both records with the patient; if it is the same person, say so and link all the same.",
    NotLinked.code: "Open the study's page to see whom it belongs to.",
    StudyNotLinked.code: "Link the study to the local patient first; what waits for that is then sent by itself.",
    PatientNotNamed.code: "Ask without sending it on, and send the study when it is here and linked.",
    UnknownPacs.code: "Choose one of the systems in the list; an operator enters others.",
    NotReleased.code: "Check the patient's details and the consent: ask the patient for a code, or call the facility.",
    PeerUnreachable.code: "Try again later; if it is urgent, call the facility.",
}


@dataclass(frozen=True, slots=True)
class Words:
    """An error in words: what happened, what to do."""

    title: str
    advice: str
    code: str


def words_of(code: str) -> Words:
    """What a code means to a person."""
    error: type[LeveretError] = all_codes().get(code, LeveretError)
    title = (inspect.getdoc(error) or "").split("\n", 1)[0].rstrip(".")
    return Words(title, _ADVICE.get(code, error.advice), code)


def words_of_error(error: LeveretError) -> Words:
    """The same for an error that was just raised, with the fact that goes with it."""
    words = words_of(error.code)
    return Words(f"{words.title} ({error.fact})" if error.fact else words.title, words.advice, words.code)
