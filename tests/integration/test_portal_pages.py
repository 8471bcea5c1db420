"""The portal's pages over real HTTP: what patients see, share, bring and ask; and what they never reach."""

import asyncio
import io
import re
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from aiohttp import FormData
from PIL import Image
from pydicom.uid import UID
from support.ct import CtStudy, dataset_of
from support.portal import Browser, browser
from support.running import Running, running

from node.model.access import Role
from node.sharing.portal import uploads

ANA = CtStudy(instances=3, patient_id="ANA-1", patient_name="Garcia^<b>Ana</b>", birth_date="19640327", rows=32, seed=1)
BEA = CtStudy(instances=1, patient_id="BEA-2", patient_name="Berg^Bea", birth_date="19701224", rows=32, seed=2)
CD = CtStudy(
    instances=2, patient_id="CITY-77", patient_name="Garcia^<b>Ana</b>", birth_date="19640327", rows=32, seed=3,
    study_date="20200505",
)  # fmt: skip
STRANGER = CtStudy(
    instances=1, patient_id="X-1", patient_name="Other^Otto", birth_date="19400101", sex="M", rows=32, seed=4
)
HANDLE = re.compile(r'href="(/portal/studies/[a-z0-9]{24})"')


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north") as one:
        await hold(one, ANA, BEA)
        yield one


@pytest.fixture
async def enrolled(node: Running) -> AsyncIterator[Callable[[CtStudy], Any]]:
    async with AsyncExitStack() as stack:

        async def make(study: CtStudy) -> Browser:
            new = browser(node)
            await stack.enter_async_context(new.session)
            letter = await node.done("POST", "/portal/invitations", json={"patient_id": study.patient_id})
            name = f"{study.patient_id.lower()}@example.org"
            assert (await new.enrol(letter, name=name)).status == 303
            return new

        yield make


async def hold(node: Running, *studies: CtStudy) -> None:
    run = (await node.done("POST", "/imports"))["import_id"]
    headers = {"Content-Type": "application/octet-stream"}
    for study in studies:
        for file in study.files():
            await node.done("POST", f"/imports/{run}/files", data=file, headers=headers)
    await node.done("POST", f"/imports/{run}/end")


async def staff(node: Running, stack: AsyncExitStack, role: Role = Role.CLINICIAN) -> Browser:
    """A member of staff at the console."""
    password = "correct horse battery staple"
    await node.done("POST", "/users", json={"name": f"staff-{role.value}", "role": role.value, "password": password})
    one = browser(node)
    await stack.enter_async_context(one.session)
    form = {"user": f"staff-{role.value}", "password": password}
    async with one.session.post(
        f"{one.api}/console/login", data=form, headers={"Sec-Fetch-Site": "same-origin"}, allow_redirects=False
    ) as answer:
        assert answer.status == 303, await answer.text()
    return one


def handle_of(page: str) -> str:
    found = HANDLE.search(page)
    assert found is not None, page
    return found[1]


async def raw(one: Browser, path: str) -> tuple[int, str, bytes]:
    async with one.session.get(one.api + path, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Content-Type", ""), await answer.read()


# Seeing


async def test_a_patient_sees_their_own_studies_and_nothing_that_names_them_in_an_address(enrolled: Any) -> None:
    ana: Browser = await enrolled(ANA)
    page = await ana.get("/portal/studies")
    assert "CT scan of the chest" in page.text
    assert "15 January 2025" in page.text
    assert len(HANDLE.findall(page.text)) == 1
    study = handle_of(page.text)
    assert ANA.study_uid not in page.text
    opened = (await ana.get(study)).text
    assert "&lt;b&gt;Ana&lt;/b&gt; Garcia" in opened
    assert "<b>Ana" not in opened
    assert ANA.study_uid not in opened
    spanish = await ana.get("/portal/studies", **{"Accept-Language": "es-MX"})
    assert 'lang="es"' in spanish.text
    assert "Tomografía (TC) del tórax" in spanish.text
    assert handle_of((await ana.get("/portal/studies")).text) == study, "an address stays what it is"


async def test_images_are_drawn_one_by_one(enrolled: Any) -> None:
    ana: Browser = await enrolled(ANA)
    study = handle_of((await ana.get("/portal/studies")).text)
    pictures = {}
    for query in ("?size=512", "?size=512&look=lung", "?size=160"):
        status, kind, body = await raw(ana, f"{study}/series/1/images/2{query}")
        assert (status, kind) == (200, "image/jpeg")
        with Image.open(io.BytesIO(body)) as picture:
            pictures[query] = picture.size
            assert len(picture.convert("L").getcolors() or range(99)) > 20, "not blank"
    assert max(pictures["?size=512"]) == 512
    assert max(pictures["?size=160"]) == 160
    assert (await raw(ana, f"{study}/thumbnail"))[0] == 200
    viewer = (await ana.get(f"{study}/series/1?image=2&look=bone")).text
    assert 'data-at="2"' in viewer
    assert 'rel="prev"' in viewer
    assert 'rel="next"' in viewer
    for wrong, status in (
        ("/series/1/images/4", 404), ("/series/1/images/0", 404), ("/series/2/images/1", 404), ("/series/x", 404),
        ("/series/1/images/1?size=513", 400), ("/series/1/images/1?look=x", 404), ("/series/1?image=0", 404),
        ("/series/1/images/99999999999999999999", 404), ("/documents/1", 404), ("/documents/1/file", 404),
    ):  # fmt: skip
        assert (await raw(ana, study + wrong))[0] == status, wrong


async def test_no_page_of_a_patient_opens_for_another(enrolled: Any) -> None:
    ana, bea = await enrolled(ANA), await enrolled(BEA)
    theirs = handle_of((await ana.get("/portal/studies")).text)
    upload = (await ana.post("/portal/uploads", whose=await record_of(ana), note="x")).place
    code = await make_code(ana, theirs)
    name = field(code, "name")
    for path in (
        "", "/series/1", "/series/1/images/1", "/thumbnail", "/documents/1", "/documents/1/file", "/images.zip",
    ):  # fmt: skip
        status, _, body = await raw(bea, theirs + path)
        assert status == 404, path
        assert b"Garcia" not in body
    nobody = (await bea.get("/portal/studies/" + "a" * 24)).text
    assert (await bea.get(theirs)).text.replace(theirs, "") == nobody.replace("/portal/studies/" + "a" * 24, "")
    handle = theirs.rsplit("/", 1)[1]
    assert (await bea.post("/portal/sharing/code", studies=handle, days="7")).status == 404
    assert (await bea.post("/portal/sharing/link/confirm", studies=handle, days="7")).status == 404
    assert (await bea.post("/portal/sharing/code", whose=await record_of(ana), days="7")).status == 404
    assert (await bea.post("/portal/sharing/stop", way="code", name=name)).status == 404
    assert (await bea.post("/portal/messages", study=handle, kind="QUESTION", text="hi")).status == 404
    assert (await bea.post("/portal/messages", whose=await record_of(ana), kind="QUESTION", text="hi")).status == 404
    assert (await bea.post("/portal/uploads", whose=await record_of(ana))).status == 404
    for path in ("", "/files", "/delete"):
        answer = await bea.post(upload + path)
        assert answer.status in {404, 415}, path
    assert (await bea.get(upload)).status == 404
    assert "Garcia" not in (await bea.get("/portal/studies")).text


@pytest.mark.parametrize("role", [None, Role.CLINICIAN, Role.OPERATOR])
async def test_who_is_no_patient_is_not_let_in(node: Running, role: Role | None) -> None:
    async with AsyncExitStack() as stack:
        one = browser(node)
        if role is None:
            await stack.enter_async_context(one.session)
        else:
            await one.session.close()
            one = await staff(node, stack, role)
        for path in ("/portal/studies", "/portal/sharing", "/portal/uploads", "/portal/messages", "/portal/images.zip"):
            answer = await one.get(path)
            assert answer.status == (303 if role is None else 403), path
        for path in ("/portal/sharing/stop", "/portal/uploads", "/portal/messages"):
            assert (await one.post(path, csrf="")).status in {401, 403}, path


async def test_a_study_that_waits_is_named_with_the_reason(tmp_path: Path) -> None:
    from support.running import initialised  # noqa: PLC0415 - a helper that blocks, for this test alone

    settings = await asyncio.to_thread(initialised, tmp_path / "north", "north")
    settings = replace(settings, portal=replace(settings.portal, release_delays=("CT=72",)))
    async with running(tmp_path / "north", settings=settings) as node, AsyncExitStack() as stack:
        await hold(node, ANA)
        ana = browser(node)
        await stack.enter_async_context(ana.session)
        letter = await node.done("POST", "/portal/invitations", json={"patient_id": "ANA-1"})
        await ana.enrol(letter)
        page = (await ana.get("/portal/studies")).text
        assert "Not ready yet" in page
        assert "Opens for you on" in page
        assert not HANDLE.findall(page)
        assert (await raw(ana, "/portal/images.zip"))[0] == 404


# Sharing


async def record_of(one: Browser) -> str:
    return field((await one.get("/portal/sharing/code")).text, "whose")


def field(text: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found is not None, f"no {name} in {text[-2000:]}"
    return found[1]


async def make_code(one: Browser, study: str) -> str:
    """A code for the study; the list of what is shared then."""
    handle = study.rsplit("/", 1)[1]
    preview = await one.post("/portal/sharing/code", studies=handle, days="7", uses="2")
    assert "This is what they will see" in preview.text
    assert "CT scan of the chest" in preview.text
    assert "7K2M" not in preview.text
    made = await one.post("/portal/sharing/code/confirm", studies=handle, days="7", uses="2")
    assert re.search(r'id="code">([0-9A-Z]{4}-){4}[0-9A-Z]{4}<', made.text), made.text
    return (await one.get("/portal/sharing")).text


async def test_what_is_shared_is_seen_before_listed_and_stopped(node: Running, enrolled: Any) -> None:
    ana: Browser = await enrolled(ANA)
    study = handle_of((await ana.get("/portal/studies")).text)
    handle = study.rsplit("/", 1)[1]
    listed = await make_code(ana, study)
    assert "Used 0 of 2 times" in listed
    assert "Given by you on" in listed
    codes = (await node.done("GET", "/share-codes"))["share_codes"]
    assert [one["state"] for one in codes] == ["OPEN"]
    assert codes[0]["studies"] == [ANA.study_uid]

    link = await ana.post("/portal/sharing/link", studies=handle, days="30", passcode="4711-0815", label="For Otto")
    assert "and the passcode" in link.text
    assert "Use:" not in link.text
    made = await ana.post(
        "/portal/sharing/link/confirm", studies=handle, days="30", passcode="4711-0815", label="For Otto"
    )
    assert "shlink:/" in made.text
    (known,) = (await node.done("GET", "/health-links"))["health_links"]
    assert (known["state"], known["flags"], known["created_by"][:8]) == ("ACTIVE", "P", "patient:")

    denied = await ana.post("/portal/sharing/deny", scope="all", facility="any", days="0")
    assert "No other facility may have these examinations" in denied.text
    await ana.post("/portal/sharing/deny/confirm", scope="all", facility="any", days="0")
    consents = (await node.done("GET", "/consents"))["consents"]
    assert {(one["kind"], one["effect"]) for one in consents} == {("directive", "DENY"), ("share_code", "PERMIT")}
    assert all(one["recorded_by"].startswith("patient:") for one in consents)

    page = (await ana.get("/portal/sharing")).text
    for form in re.findall(r'action="/portal/sharing/stop">.*?</form>', page, re.DOTALL):
        ended = await ana.post("/portal/sharing/stop", way=field(form, "way"), name=field(form, "name"))
        assert ended.status == 200
    page = (await ana.get("/portal/sharing")).text
    assert "Nothing is shared." in page
    assert "Nothing is forbidden." in page
    assert (await node.done("GET", "/health-links"))["health_links"][0]["state"] == "REVOKED"
    assert (await node.done("GET", "/share-codes"))["share_codes"][0]["state"] == "REVOKED"


async def test_a_form_that_cannot_be_says_why(enrolled: Any) -> None:
    ana: Browser = await enrolled(ANA)
    study = handle_of((await ana.get("/portal/studies")).text).rsplit("/", 1)[1]
    cases: list[tuple[str, dict[str, str], str]] = [
        ("code", {"days": "7"}, "Choose at least one examination"),
        ("code", {"days": "0", "studies": study}, "for 1 to 366 days"),
        ("link", {"days": "7", "passcode": "1234", "studies": study}, "6 to 64 characters"),
        ("link", {"days": "7", "label": "Garcia", "studies": study}, "neither the title nor the passcode"),
        ("deny", {"scope": "all", "from_date": "2026-01-01", "to_date": "2025-01-01"}, "the first one must be before"),
        ("deny", {"scope": "all", "from_date": "yesterday"}, "Look at the dates again"),
    ]
    for way, form, words in cases:
        answer = await ana.post(f"/portal/sharing/{way}", **form)
        assert answer.status == 400, form
        assert words in answer.text


async def test_opting_out_is_recorded_and_can_be_taken_back(enrolled: Any) -> None:
    ana: Browser = await enrolled(ANA)
    done = await ana.post("/portal/sharing/announcements", wanted="no")
    assert done.place == "/portal/sharing?done=silent"
    assert "Nobody is told that there is anything here" in (await ana.get("/portal/sharing")).text
    await ana.post("/portal/sharing/announcements", wanted="yes")
    assert "Facilities that treat you can find them" in (await ana.get("/portal/sharing")).text


# Bringing


def archive(study: CtStudy, *more: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for number, data in enumerate(study.files()):
            file.writestr(f"CD/IM{number}", data)
        for name, data in more:
            file.writestr(name, data)
    return out.getvalue()


async def bring(one: Browser, *files: bytes, note: str = "knee <i>City</i>") -> str:
    """An upload by a browser without scripts; its id."""
    begun = await one.post("/portal/uploads", whose=await record_of(one), note=note)
    assert begun.status == 303, begun.text
    form = FormData()
    form.add_field("csrf", await one.csrf())
    for number, data in enumerate(files):
        form.add_field("files", data, filename=f"{number}.bin", content_type="application/octet-stream")
    async with one.session.post(
        one.api + begun.place, data=form, headers={"Sec-Fetch-Site": "same-origin"}, allow_redirects=False
    ) as answer:
        assert answer.status == 303, await answer.text()
        assert answer.headers["Location"] == "/portal/uploads?done=sent"
    return begun.place.rsplit("/", 1)[1]


async def test_what_a_patient_brings_is_seen_after_staff_have_compared_it(node: Running, enrolled: Any) -> None:
    ana: Browser = await enrolled(ANA)
    upload = await bring(ana, archive(CD, ("CD/VIEWER.EXE", b"MZ"), ("CD/README.TXT", b"hi")))
    mine = (await ana.get("/portal/uploads")).text
    assert "Waits for somebody to look at it" in mine
    assert "knee &lt;i&gt;City&lt;/i&gt;" in mine
    assert len(HANDLE.findall((await ana.get("/portal/studies")).text)) == 1
    studies = (await node.done("GET", "/studies"))["studies"]
    assert CD.study_uid not in {one["study_instance_uid"] for one in studies}, "nobody sees it yet"
    async with AsyncExitStack() as stack:
        desk = await staff(node, stack)
        waiting = (await desk.get("/console/uploads")).text
        assert "knee &lt;i&gt;City&lt;/i&gt;" in waiting
        beside = await desk.get(f"/console/uploads/{upload}")
        assert "CITY-77" in beside.text
        csrf = beside.field("csrf")
        done = await desk.post(f"/console/uploads/{upload}/accept", csrf=csrf, patient_id="ANA-1")
        assert done.place == "/console/uploads?done=accepted"
        again = await desk.post(f"/console/uploads/{upload}/accept", csrf=csrf, patient_id="ANA-1")
        assert again.status == 409
    (kept,) = [
        one for one in (await node.done("GET", "/studies"))["studies"] if one["study_instance_uid"] == CD.study_uid
    ]
    assert (kept["linked_patient_id"], kept["patient_id"]) == ("ANA-1", "CITY-77")
    assert kept["issuer_of_patient_id"].startswith("UPLOAD-"), "a medium's numbers never become this facility's"
    page = (await ana.get("/portal/studies")).text
    assert "Brought by you" in page
    assert len(HANDLE.findall(page)) == 2
    assert "5 May 2020" not in (await ana.get("/portal/sharing/code")).text, "it is not this facility's to hand on"
    gone = await ana.post(f"/portal/uploads/{upload}/delete")
    assert gone.place == "/portal/uploads?done=deleted"
    assert len(HANDLE.findall((await ana.get("/portal/studies")).text)) == 1
    studies = (await node.done("GET", "/studies"))["studies"]
    assert CD.study_uid not in {one["study_instance_uid"] for one in studies}


async def test_images_of_somebody_else_are_not_stored_by_mistake(node: Running, enrolled: Any) -> None:
    ana: Browser = await enrolled(ANA)
    upload = await bring(ana, *STRANGER.files())
    async with AsyncExitStack() as stack:
        desk = await staff(node, stack, Role.OPERATOR)
        page = await desk.get(f"/console/uploads/{upload}")
        assert "The images name another person" in page.text
        assert "another name" in page.text
        assert "another birth date" in page.text
        csrf = page.field("csrf")
        tried = await desk.post(f"/console/uploads/{upload}/accept", csrf=csrf, patient_id="ANA-1")
        assert tried.status == 400
        tried = await desk.post(f"/console/uploads/{upload}/accept", csrf=csrf, patient_id="a\\b", sure="true")
        assert tried.status == 400
        assert (await desk.post(f"/console/uploads/{upload}/refuse", csrf=csrf, reason=" ")).status == 400
        done = await desk.post(f"/console/uploads/{upload}/refuse", csrf=csrf, reason="It is Mr. Otto's <b>CD</b>.")
        assert done.place == "/console/uploads?done=refused"
    mine = (await ana.get("/portal/uploads")).text
    assert "Not accepted" in mine
    assert "It is Mr. Otto&#39;s &lt;b&gt;CD&lt;/b&gt;." in mine
    assert (await ana.post(f"/portal/uploads/{upload}/delete")).status == 404


async def test_a_medium_that_claims_this_facilitys_own_study_changes_nothing(node: Running, enrolled: Any) -> None:
    """BEA's study under its own UIDs, with other pixels, brought by ANA."""
    ana: Browser = await enrolled(ANA)
    forged = pydicom.dcmread(io.BytesIO(next(BEA.files())))
    forged.PatientID, forged.PatientName, forged.PatientBirthDate = "ANA-1", ANA.patient_name, ANA.birth_date
    forged.SOPInstanceUID = forged.file_meta.MediaStorageSOPInstanceUID = UID(BEA.sop_uid(99))
    out = io.BytesIO()
    pydicom.dcmwrite(out, forged, enforce_file_format=True)
    upload = await bring(ana, out.getvalue())
    async with AsyncExitStack() as stack:
        desk = await staff(node, stack)
        csrf = (await desk.get(f"/console/uploads/{upload}")).field("csrf")
        done = await desk.post(f"/console/uploads/{upload}/accept", csrf=csrf, patient_id="ANA-1", sure="true")
        assert done.status == 303
    assert "Berg" not in (await ana.get("/portal/studies")).text
    assert len(HANDLE.findall((await ana.get("/portal/studies")).text)) == 1
    await ana.post(f"/portal/uploads/{upload}/delete")
    held = {one["study_instance_uid"]: one for one in (await node.done("GET", "/studies"))["studies"]}
    assert held[BEA.study_uid]["instances"] == 1, "what this facility made stays, whoever deletes what they brought"


async def send_file(one: Browser, upload: str, data: bytes) -> tuple[int, Any]:
    headers = {
        "X-CSRF-Token": await one.csrf(), "Content-Type": "application/octet-stream", "Sec-Fetch-Site": "same-origin",
    }  # fmt: skip
    async with one.session.post(f"{one.api}{upload}/files", data=io.BytesIO(data), headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


def bomb() -> bytes:
    """A megabyte that unpacks to more than a thousand."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("bomb", "w", force_zip64=True) as member,
    ):
        for _ in range(1100):
            member.write(bytes(1 << 20))
    return out.getvalue()


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_hostile_files_are_counted_and_nothing_else(enrolled: Any, tmp_path: Path) -> None:
    ana: Browser = await enrolled(ANA)
    upload = (await ana.post("/portal/uploads", whose=await record_of(ana))).place
    climbing = archive(CD, ("../../../etc/cron.d/x", b"* * * * *"), ("/etc/passwd", b"root"))
    whole = next(CD.files())
    for data, wanted in (
        (b"", {"taken": 0, "refused": 1}),
        (b"MZ" + bytes(1000), {"taken": 0, "refused": 1}),
        (whole[:200], {"taken": 0, "refused": 1}),
        (b"PK\x03\x04" + bytes(100), {"taken": 0, "refused": 1}),
        (bomb(), {"taken": 0, "refused": 1}),
        (climbing, {"taken": 2, "refused": 2}),
        (climbing[:-30], {"taken": 0, "refused": 1}),
        (whole, {"taken": 1, "refused": 0}),
    ):
        status, answer = await send_file(ana, upload, data)
        assert (status, answer) == (200, wanted), data[:20]
    on_disk = await asyncio.to_thread(files_below, tmp_path)
    assert not [name for name in on_disk if name.endswith(("/x", "passwd"))]
    assert not [name for name, data in on_disk.items() if b"Garcia" in data or CD.study_uid.encode() in data]
    assert (await ana.post(upload)).status == 415, "the form of the page is one with files"
    headers = {"Content-Type": "application/octet-stream"}
    async with ana.session.post(f"{ana.api}{upload}/files", data=whole, headers=headers) as forged:
        assert forged.status == 403, "no token of the page"


async def test_a_large_file_waits_in_a_scratch_file_and_a_second_one_for_the_first(
    node: Running, enrolled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_HELD_BYTES", 4000)
    ana: Browser = await enrolled(ANA)
    upload = (await ana.post("/portal/uploads", whose=await record_of(ana))).place
    whole, other = CD.files()
    headers = {"X-CSRF-Token": await ana.csrf(), "Content-Type": "application/octet-stream"}
    first_half, rest = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield whole[:5000]
        first_half.set()
        await rest.wait()
        yield whole[5000:]

    async def send() -> Any:
        async with ana.session.post(f"{ana.api}{upload}/files", data=slowly(), headers=headers) as answer:
            return answer.status, await answer.json()

    sending = asyncio.create_task(send())
    await first_half.wait()
    while (busy := await send_file(ana, upload, other))[0] == 200:  # until the first one has arrived there
        assert len(busy) == 2
    assert (busy[0], busy[1]["code"]) == (409, "upload_busy")
    rest.set()
    assert await sending == (200, {"taken": 1, "refused": 0})
    assert await send_file(ana, upload, whole[:132] + bytes(5000)) == (200, {"taken": 0, "refused": 1})
    async with AsyncExitStack() as stack:
        form = FormData()
        form.add_field("csrf", await ana.csrf())
        form.add_field("files", b"", filename="", content_type="application/octet-stream")
        await (await ana.session.post(ana.api + upload, data=form, allow_redirects=False)).read()
        desk = await staff(node, stack)
        name = upload.rsplit("/", 1)[1]
        csrf = (await desk.get(f"/console/uploads/{name}")).field("csrf")
        await desk.post(f"/console/uploads/{name}/accept", csrf=csrf, patient_id="ANA-1")
    token = await node.token("clinician")
    async with ana.session.get(
        f"{node.api}/dicom-web/studies/{CD.study_uid}/series/{CD.series_uid}/instances/{CD.sop_uid(1)}",
        headers={"Authorization": f"Bearer {token}", "Accept": "application/dicom; transfer-syntax=*"},
    ) as answer:
        assert dataset_of(await answer.read()) == dataset_of(whole)


async def test_an_account_has_few_uploads_at_a_time(enrolled: Any) -> None:
    ana: Browser = await enrolled(ANA)
    whose = await record_of(ana)
    for _ in range(3):
        assert (await ana.post("/portal/uploads", whose=whose)).status == 303
    refused = await ana.post("/portal/uploads", whose=whose)
    assert refused.status == 409
    assert "still being looked at" in refused.text
    listed = (await ana.get("/portal/uploads")).text
    one = re.search(r"/portal/uploads/[0-9a-f]{32}/delete", listed)
    assert one is not None
    assert (await ana.post(one[0])).status == 303
    assert (await ana.post("/portal/uploads", whose=whose)).status == 303


# Asking


async def test_a_question_is_answered_once_and_read(node: Running, enrolled: Any) -> None:
    ana: Browser = await enrolled(ANA)
    study = handle_of((await ana.get("/portal/studies")).text).rsplit("/", 1)[1]
    for text in ("", " ", "x" * 4001, "a\x00b"):
        assert (await ana.post("/portal/messages", study=study, kind="CORRECTION", text=text)).status == 400
    sent = await ana.post("/portal/messages", study=study, kind="CORRECTION", text="Left,\nnot <b>right</b>.")
    assert sent.place == "/portal/messages?done=sent"
    assert "Left,\nnot &lt;b&gt;right&lt;/b&gt;." in (await ana.get("/portal/messages")).text
    async with AsyncExitStack() as stack:
        desk = await staff(node, stack)
        page = await desk.get("/console/amendments")
        assert "not &lt;b&gt;right&lt;/b&gt;." in page.text
        assert "ANA-1" in page.text
        place = re.search(r"/console/amendments/[0-9a-f]{32}", page.text)
        assert place is not None
        csrf = page.field("csrf")
        assert (await desk.post(place[0], csrf=csrf, outcome="DONE", text=" ")).status == 400
        done = await desk.post(place[0], csrf=csrf, outcome="DONE", text="Corrected <i>today</i>.")
        assert done.status == 303
        assert (await desk.post(place[0], csrf=csrf, outcome="DECLINED", text="No.")).status == 409
    answered = (await ana.get("/portal/messages")).text
    assert "Corrected &lt;i&gt;today&lt;/i&gt;." in answered
    for _ in range(10):
        await ana.post("/portal/messages", whose=await record_of(ana), kind="QUESTION", text="again")
    full = await ana.post("/portal/messages", whose=await record_of(ana), kind="QUESTION", text="again")
    assert full.status == 409


async def test_the_language_that_was_chosen_stays_and_leads_nowhere_else(enrolled: Any) -> None:
    ana: Browser = await enrolled(ANA)
    chosen = await ana.post("/portal/language", language="es", next="/portal/messages")
    assert chosen.place == "/portal/messages"
    assert "Mensajes" in (await ana.get("/portal/messages")).text
    for place in ("//evil.example", "https://evil.example/", "/console/users", "/portal/\\evil", "/portal//evil"):
        assert (await ana.post("/portal/language", language="en", next=place)).place == "/portal/", place
    assert (await ana.post("/portal/language", language="xx")).status == 400


async def test_the_first_page_is_small(node: Running) -> None:
    async with AsyncExitStack() as stack:
        one = browser(node)
        await stack.enter_async_context(one.session)
        _, _, page = await raw(one, "/portal/")
        total = len(page)
        for asset in set(re.findall(rb'(?:href|src)="(/assets/[^"]+)"', page)):
            headers = {"Accept-Encoding": "identity"}
            async with one.session.get(one.api + asset.decode(), headers=headers) as answer:
                total += len(await answer.read())
        assert total < 100_000, "not even packed"
