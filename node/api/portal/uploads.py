"""The pages on which patients bring images: a CD, a folder or a ZIP, file by file or as one form."""

from collections.abc import AsyncIterator, Iterable
from typing import Annotated

import msgspec
from aiohttp import web

from node.api.bodies import read_piece
from node.api.multipart import parts, pieces
from node.api.rest.access import PATIENTS
from node.api.routing import Call, Route
from node.api.web.pages import Pages, see_other
from node.errors.access import NotFound
from node.errors.base import LeveretError
from node.errors.portal_pages import EmptyUpload, TooManyUploads, UploadTooLarge
from node.errors.retention import StudyInUse, StudyProtected
from node.model.upload import UploadState
from node.sharing.portal.plain_words import Words, say
from node.sharing.portal.reviewing import UploadDesk
from node.sharing.portal.uploads import MAX_NOTE, MAX_UPLOAD_BYTES, Uploads

UPLOADS = "/portal/uploads"
_WRONG: dict[type[LeveretError], Words] = {
    TooManyUploads: say("Some of what you sent before is still being looked at. Please wait, or delete one of them."),
    EmptyUpload: say("No medical image was among these files. Choose the whole folder of the CD, or a ZIP of it."),
    UploadTooLarge: say("That is too much at once. Send it in several parts, or bring the CD to us."),
    StudyProtected: say("The facility has to keep these images. Write a message if you want to know why."),
    StudyInUse: say("These images are in use at this moment. Please try again later."),
}
STATES: dict[UploadState, tuple[Words, str]] = {
    UploadState.OPEN: (say("Not sent yet"), "wait"),
    UploadState.WAITING: (say("Waits for somebody to look at it"), "wait"),
    UploadState.ACCEPTED: (say("Accepted"), "ok"),
    UploadState.REFUSED: (say("Not accepted"), "bad"),
}


class NewUpload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For whom, and what the patient says of the images."""

    whose: Annotated[str, msgspec.Meta(max_length=64)]
    note: Annotated[str, msgspec.Meta(max_length=MAX_NOTE)] = ""


class UploadPages:
    """``/portal/uploads`` and what is below it."""

    def __init__(self, pages: Pages, uploads: Uploads, desk: UploadDesk) -> None:
        self._pages = pages
        self._uploads = uploads
        self._desk = desk

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{UPLOADS}/{{upload}}"
        return [
            Route("GET", UPLOADS, self.list, PATIENTS, "What a patient brought", page=True),
            Route("POST", UPLOADS, self.begin, PATIENTS, "Begin to bring images", NewUpload, page=True),
            Route("GET", one, self.show, PATIENTS, "Choose the files of an upload", page=True),
            Route("POST", f"{one}/files", self.file, PATIENTS, "One file of an upload, as the body", quiet=True),
            Route("POST", one, self.send, PATIENTS, "Files as a form, and that was all", page=True),
            Route("POST", f"{one}/delete", self.delete, PATIENTS, "Delete what was brought", page=True),
        ]

    async def list(self, call: Call) -> web.StreamResponse:
        """The list, and the form to begin."""
        return await self._page(call)

    async def begin(self, call: Call) -> web.StreamResponse:
        """A new one."""
        new: NewUpload = call.body
        try:
            upload = await self._uploads.begin(call.caller, new.whose, new.note)
        except TooManyUploads as error:
            return await self._page(call, error)
        return see_other(f"{UPLOADS}/{upload.upload_id}")

    async def show(self, call: Call) -> web.StreamResponse:
        """The form for the files."""
        return await self._form(call)

    async def file(self, call: Call) -> object:
        """A file that the page's script sends; how many images were in it."""
        name = call.parameter("upload")
        taken = await self._uploads.take(call.caller, name, _body(call.request), call.request.content_length)
        return {"taken": taken.taken, "refused": taken.refused}

    async def send(self, call: Call) -> web.StreamResponse:
        """What stands in the form, if a browser without scripts sends it; then it is the staff's turn."""
        name = call.parameter("upload")
        await self._uploads.get(call.caller, name)
        try:
            async for part in parts(call.request):
                if part.filename:
                    await self._uploads.take(call.caller, name, pieces(part, MAX_UPLOAD_BYTES))
                else:
                    async for _ in pieces(part, MAX_NOTE):
                        pass
            sent = await self._uploads.send(call.caller, name)
            if sent.state is UploadState.OPEN:
                raise EmptyUpload
        except (EmptyUpload, UploadTooLarge) as error:
            return await self._form(call, error)
        return see_other(f"{UPLOADS}?done=sent")

    async def delete(self, call: Call) -> web.StreamResponse:
        """Gone."""
        try:
            await self._desk.delete(call.caller, call.parameter("upload"))
        except (StudyProtected, StudyInUse) as error:
            return await self._page(call, error)
        return see_other(f"{UPLOADS}?done=deleted")

    async def _page(self, call: Call, error: LeveretError | None = None) -> web.StreamResponse:
        return self._pages.page(
            call, "portal/uploads.html", uploads=await self._uploads.mine(call.caller), states=STATES,
            records=await self._uploads.records(call.caller), done=call.query("done"),
            wrong=None if error is None else _WRONG[type(error)], status=200 if error is None else error.status,
        )  # fmt: skip

    async def _form(self, call: Call, error: LeveretError | None = None) -> web.StreamResponse:
        upload = await self._uploads.get(call.caller, call.parameter("upload"))
        if upload.state is not UploadState.OPEN:
            raise NotFound
        return self._pages.page(
            call, "portal/upload.html", upload=upload, most=MAX_UPLOAD_BYTES,
            wrong=None if error is None else _WRONG[type(error)], status=200 if error is None else error.status,
        )  # fmt: skip


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    while piece := await read_piece(request):
        yield piece
