"""What surrounds the portal's pages: the choice of the language."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.routing import ANONYMOUS, Call, Route
from node.api.web.languages import COOKIE, COOKIE_SECONDS
from node.api.web.pages import Pages, see_other
from node.errors.access import InvalidInput

HOME = "/portal/"
_ROOMS = ("/portal/", "/links/", "/s/")  # where patients and those they share with may be sent back to


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A language, and the page on which it was chosen."""

    language: Annotated[str, msgspec.Meta(max_length=8)]
    next: Annotated[str, msgspec.Meta(max_length=400)] = HOME


class LanguageResource:
    """``/portal/language``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> Iterable[Route]:
        """The route."""
        return [Route("POST", "/portal/language", self.choose, ANONYMOUS, "Choose a language", Choice, page=True)]

    async def choose(self, call: Call) -> object:
        """Remember it, and go back."""
        choice: Choice = call.body
        if choice.language not in self._pages.languages:
            raise InvalidInput("language")
        answer = see_other(safe_place(choice.next))
        answer.set_cookie(
            COOKIE,
            choice.language,
            max_age=COOKIE_SECONDS,
            path="/",
            secure=call.request.secure,
            httponly=True,
            samesite="Lax",
        )
        return answer


def safe_place(place: str) -> str:
    """``place`` if it is a page for patients on this node, else the portal's first page: never another site's."""
    plain = place.isascii() and place.isprintable() and "\\" not in place
    return place if plain and place.startswith(_ROOMS) and "//" not in place else HOME
