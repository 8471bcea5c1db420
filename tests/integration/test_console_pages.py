"""A clinician's pages without scripts, on two nodes that exchange: the whole way, and everything that can be wrong."""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData
from support.ct import CtStudy
from support.dose import dose_report
from support.running import Running, initialised, running
from support.signed_in import Page, SignedIn, signed_in
from support.tasks import until

from node.errors.sharing import ShareCodeUsed
from node.model.audit import AuditType

PRIOR = CtStudy(instances=2, rows=16, seed=11, study_date="20240316", patient_id="NG-1", patient_name="Garcia^Elena")
SECOND = replace(PRIOR, seed=12, study_date="20230105")
OWN = replace(PRIOR, seed=13, patient_id="LC-9", study_date="20260110", instances=1)
HOSTILE = replace(
    PRIOR, seed=14, patient_id="P<1>&'\"", patient_name='<script>alert("x")</script>^<b>Ann', birth_date="19800101"
)
DESCRIBED = {"family": "Garcia", "given": "Elena", "birth_date": "1961-02-03", "sex": "F"}
DLP = "412.5"
FORM = b"%PDF-1.4 the signed form"


@dataclass
class Two:
    """Northfield holds the priors; at Lakeside Ada wants them."""

    north: Running
    lake: Running
    ada: SignedIn


async def imported(node: Running, *files: Iterable[bytes]) -> None:
    """Take files in as ``leveret import`` does."""
    run = (await node.done("POST", "/imports"))["import_id"]
    for data in (data for some in files for data in some):
        await node.done("POST", f"/imports/{run}/files", data=data)
    await node.done("POST", f"/imports/{run}/end")


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    settings = await asyncio.to_thread(initialised, tmp_path / "north", "Northfield")
    settings = replace(settings, consent=replace(settings.consent, emergency_daily=5))
    async with (
        running(tmp_path / "north", settings=settings) as north,
        running(tmp_path / "lake", "Lakeside") as lake,
    ):
        await imported(north, PRIOR.files(), [dose_report(PRIOR, DLP)], SECOND.files())
        await imported(lake, OWN.files())
        made = await north.done("POST", "/peers/invitations", json={"auto_confirm": True, "expires_in": 600})
        await lake.done("POST", "/peers/joined", json={"invitation": made["invitation"]})
        await north.done("POST", "/announcements")
        async with signed_in(lake, "clinician", "ada") as ada:
            yield Two(north, lake, ada)


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "lake", "Lakeside") as one:
        await imported(one, OWN.files(), HOSTILE.files())
        yield one


@pytest.fixture
async def ada(lake: Running) -> AsyncIterator[SignedIn]:
    async with signed_in(lake, "clinician", "ada") as one:
        yield one


async def code_of(node: Running, **more: Any) -> str:
    made = await node.done("POST", "/share-codes", json={"patient_id": PRIOR.patient_id, "uses": 5, **more})
    return str(made["code"])


async def found_elsewhere(ada: SignedIn) -> Page:
    """The page of a patient who was described, every facility asked, as soon as both priors are there."""
    page = await ada.done("/console/find/elsewhere", DESCRIBED)
    asked = page.place.partition("?")[0] + "?ask=1"
    latest = page

    async def complete() -> bool:
        nonlocal latest
        latest = await ada.get(asked)
        return latest.text.count("Ask for it") == 2

    await until(complete)
    return latest


def sheet_of(page: Page) -> str:
    """The address of the form that asks Northfield."""
    found = re.search(r'href="(/console/ask/[\w-]+)\?study=', page.text)
    assert found is not None, page.text
    return found[1]


async def ask(
    ada: SignedIn, sheet: str, fields: Mapping[str, str], file: bytes | None = None, *, csrf: str | None = None
) -> Page:
    """Send the form that asks, the studies 0 and 1 unless said otherwise."""
    form = FormData()
    form.add_field("csrf", (await ada.get("/console/help")).csrf if csrf is None else csrf)
    for study in fields.get("study", "0 1").split():
        form.add_field("study", study)
    for name, value in fields.items():
        if name != "study":
            form.add_field(name, value)
    form.add_field("form", file or b"", filename="form.pdf" if file else "", content_type="application/pdf")
    async with ada.http.post(sheet, data=form, allow_redirects=False) as answer:
        return Page(answer.status, sheet, await answer.text(), answer.headers.get("Location", ""))


async def ended(ada: SignedIn, place: str, heading: str) -> Page:
    """The request's page once it says ``heading`` somewhere."""
    latest = await ada.get(place)

    async def says() -> bool:
        nonlocal latest
        latest = await ada.get(place)
        return heading in latest.text

    await until(says)
    return latest


async def test_a_prior_is_found_asked_for_watched_opened_linked_and_counted(two: Two) -> None:
    page = await found_elsewhere(two.ada)
    assert "1 study here, 2 elsewhere" in page.text
    assert "Northfield: 2 studies" in page.text
    sheet = sheet_of(page)
    form = await two.ada.get(f"{sheet}?study=1")
    assert len(re.findall(r'name="study" type="checkbox" value="\d" checked', form.text)) == 1
    sent = await ask(two.ada, sheet, {"consent": "code", "code": await code_of(two.north)})
    assert sent.status == 303, sent.text
    assert re.fullmatch(r"/console/requests/[0-9a-f]{32}", sent.location)
    done = await ended(two.ada, sent.location, "What did it change?")
    assert "5 images" in done.text
    async with two.ada.http.get(f"{sent.location}/events") as stream:
        events = (await stream.text()).split("\n\n")
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert events[0].startswith("event: piece\ndata: ")
    assert "See what came" in events[0]
    assert events[1] == "event: end\ndata: "

    studies = sorted(set(re.findall(r'href="(/console/studies/[\w-]+)"', done.text)))
    assert len(studies) == 2
    for study in studies:
        async with two.ada.http.get(f"{study}/view", allow_redirects=False) as opened:
            assert opened.headers["Location"].startswith("/viewer/viewer?StudyInstanceUIDs=")
        async with two.ada.http.get(f"{study}/thumbnail") as picture:
            assert picture.content_type in {"image/jpeg", "image/png"}

    await link_and_send(two, studies[0])
    await say_what_it_changed(two, sent.location)


async def link_and_send(two: Two, study: str) -> None:
    await imported(two.lake, HOSTILE.files())
    other = {"patient_id": HOSTILE.patient_id}  # records that contradict each other are compared first
    page = await two.ada.post(f"{study}/link", other)
    assert page.status == 409
    assert "Both records" in page.text
    assert "birth date" in page.text
    page = await two.ada.done(f"{study}/link", other | {"despite": "1"})
    assert "Take the link back" in page.text
    await two.ada.done(f"{study}/unlink")
    page = await two.ada.done(f"{study}/link", {"patient_id": OWN.patient_id})
    assert f'Belongs to <b class="lv-break">{OWN.patient_id}</b>' in page.text
    page = await two.ada.done(f"{study}/unlink")
    assert "Patient ID here" in page.text

    refused = await two.ada.post(f"{study}/send", {"pacs": "NOWHERE"})
    assert refused.status == 404
    assert "Choose one of the systems" in refused.text


async def say_what_it_changed(two: Two, request: str) -> None:
    changed = {"effect": "not_ordered", "examination": "ct_chest"}
    page = await two.ada.done(f"{request}/changed", changed)
    assert "It spared an examination: nothing was ordered." in page.text
    meter = (await two.ada.get("/console/meter")).text
    assert "CT of the chest" in meter
    assert "dose length product 412.5 mGy·cm" in meter
    assert "7 mSv (4 to 18)" in meter
    assert "World J Radiol 2016;8:902" in meter
    page = await two.ada.done(f"{request}/changed", {"effect": ""})
    assert "Only if you know it" in page.text
    assert "Nobody has confirmed one yet" in (await two.ada.get("/console/meter")).text
    said = await two.lake.done("GET", "/audit", params={"types": AuditType.REPEAT_SPARED.value})
    assert len(said["events"]) == 2


async def test_refusals_in_words_and_the_word_of_this_facility(two: Two) -> None:
    sheet = sheet_of(await found_elsewhere(two.ada))
    code = await code_of(two.north, uses=1)
    sent = await ask(two.ada, sheet, {"study": "0", "consent": "code", "code": code})
    await ended(two.ada, sent.location, "What did it change?")
    again = await ask(two.ada, sheet, {"study": "1", "consent": "code", "code": code})
    page = await ended(two.ada, again.location, "share_code_used")
    assert "lv-notice--error" in page.text
    assert "This share code was used as often as it may be" in page.text
    assert ShareCodeUsed.advice in html.unescape(page.text)
    refused = await ask(two.ada, sheet, {"study": "1", "consent": "attest", "staff": "Nurse Joy"}, FORM)
    page = await ended(two.ada, refused.location, "not_released")
    assert "The other facility does not release this" in page.text

    # Where the other facility takes this one's word, a person there sees what was said.
    peer = (await two.north.done("GET", "/peers"))["peers"][0]["peer_id"]
    policy = {"accept_attested": "true", "accept_emergency": "true", "auto_release": "false"}
    await two.north.done("POST", f"/peers/{peer}/policy", json={"settings": policy})
    sent = await ask(two.ada, sheet, {"study": "0", "consent": "attest", "staff": "Nurse Joy"}, FORM)
    page = await ended(two.ada, sent.location, "A person at Northfield decides")
    assert "http-equiv" not in page.text, "it is settled until a person decides"
    shown = (await two.north.done("GET", "/inbox"))["requests"][0]
    assert shown["word"] == "Nurse Joy"
    assert shown["consent"] == "attested"
    sent = await ask(two.ada, sheet, {"study": "1", "consent": "emergency", "reason": "unconscious"})
    await ended(two.ada, sent.location, "A person at Northfield decides")
    waiting = (await two.north.done("GET", "/inbox"))["requests"]
    assert {entry["purpose"] for entry in waiting} == {"TREAT", "ETREAT"}
    # What is on its way is marked so, and not asked for again.
    page = await found_again(two.ada)
    assert page.text.count(">Follow<") == 1
    assert "Ask for it" not in page.text
    stopped = await two.ada.done(f"{sent.location}/cancel")
    assert "transfer_cancelled" in stopped.text


async def found_again(ada: SignedIn) -> Page:
    page = await ada.done("/console/find/elsewhere", DESCRIBED)
    return await ada.get(page.place.partition("?")[0] + "?ask=1")


MISSING: tuple[tuple[dict[str, str], str], ...] = (
    ({"study": "", "consent": "code", "code": "x"}, "Choose at least one study"),
    ({"study": "99", "consent": "on_file"}, "Choose at least one study"),
    ({}, "Choose the consent that you have"),
    ({"consent": "trust me"}, "Choose the consent that you have"),
    ({"consent": "code"}, "Enter the patient's code"),
    ({"consent": "attest", "staff": "N"}, "Choose the signed form"),
    ({"consent": "attest"}, "Enter who saw the patient sign"),
    ({"consent": "emergency"}, "Say why the patient cannot be asked"),
    ({"consent": "emergency", "reason": "x" * 501}, "Use 500 characters at most"),
    ({"consent": "code", "code": "NOT-A-CODE"}, "20 letters and digits"),
    ({"consent": "on_file", "deliver": "nowhere"}, "Choose one of the systems in the list"),
)


async def test_what_is_missing_is_said_and_nothing_is_sent_without_the_token_first(two: Two) -> None:
    sheet = sheet_of(await found_elsewhere(two.ada))
    for fields, words in MISSING:
        page = await ask(two.ada, sheet, fields)
        assert 400 <= page.status < 500, (fields, page.location)
        summary = re.search(r'role="alert".*?</ul>', page.text, re.DOTALL)
        assert summary is not None, fields
        assert words in html.unescape(summary[0])
        assert "NOT-A-CODE" not in page.text, "a code is a secret of the patient: it is not shown again"

    page = await ask(two.ada, sheet, {"consent": "on_file"}, csrf="")
    assert page.status == 403
    late = FormData()
    late.add_field("consent", "on_file")
    late.add_field("csrf", (await two.ada.get("/console/help")).csrf)
    late.add_field("form", b"", filename="")
    async with two.ada.http.post(sheet, data=late, allow_redirects=False) as answer:
        assert answer.status == 403
    kind = {"Content-Type": "multipart/form-data"}  # without a boundary
    async with two.ada.http.post(sheet, data=b"--x", headers=kind) as answer:
        assert answer.status == 400
    cut = {"Content-Type": "multipart/form-data; boundary=b"}
    async with two.ada.http.post(sheet, data=b"--b\r\nContent-Disposition: form-data", headers=cut) as answer:
        assert answer.status in {400, 403}
    assert "Nothing has been asked for yet" in (await two.ada.get("/console/requests")).text


async def test_hostile_names_are_shown_as_text_and_no_address_names_anybody(ada: SignedIn) -> None:
    found = await ada.post("/console/find", {"q": HOSTILE.patient_id})
    assert re.fullmatch(r"/console/patients/[\w-]{22}", found.location)
    page = await ada.get(found.location)
    assert "&lt;script&gt;alert" in page.text
    study = re.search(r'href="(/console/studies/[\w-]+)"', page.text)
    assert study is not None
    pages = [page, await ada.get(study[1])]
    pages.append(await ada.get(f"/console/offers/new?study={study[1].rpartition('/')[2]}"))
    pages.append(await ada.done("/console/find", {"q": '<script>alert("x")'}))
    pages.append(await ada.post("/console/login", {"user": '"><script>alert(1)</script>', "password": "x"}))
    for one in pages:
        assert "<script>alert" not in one.text
        assert "<b>Ann" not in one.text
        assert not re.search(r"\s(?:style|on[a-z]+)=", one.text), "nothing inline"
        for address in re.findall(r'(?:href|src|action|hx-get)="([^"]*)"', one.text):
            assert not re.search(r"script|Ann|P%3C|1\.2\.826|%3Cb", address), address


async def test_addresses_are_good_for_one_person(lake: Running, ada: SignedIn) -> None:
    found = await ada.post("/console/find", {"q": OWN.patient_id})
    page = await ada.get(found.location)
    study = re.search(r'href="(/console/studies/[\w-]+)"', page.text)
    assert study is not None
    async with signed_in(lake, "clinician", "ben") as ben:
        for place in (
            found.location,
            f"{found.location}/priors",
            study[1],
            f"{study[1]}/view",
            f"{study[1]}/thumbnail",
        ):
            answer = await ben.get(place)
            assert answer.status == 404, place
    assert (await ada.get("/console/patients/AAAAAAAAAAAAAAAAAAAAAA")).status == 404
    assert "Find the patient again" in (await ada.get("/console/studies/x")).text


async def test_a_patient_is_found_by_id_accession_or_the_words_of_a_name(lake: Running, ada: SignedIn) -> None:
    await imported(lake, SECOND.files())
    for text in ("LC-9", " LC-9 ", f"ACC{OWN.seed}"):
        found = await ada.post("/console/find", {"q": text})
        assert found.location.startswith("/console/patients/"), text
    for text in ("garcia", "Elena GARCIA", "garcía, elena", "Garcia^Elena"):
        page = await ada.done("/console/find", {"q": text})
        assert "2 patients found" in page.text, text
        assert "LC-9" in page.text
        assert "LC-9" not in page.place
    for text in ("*", "??", "nobody of this name", "Garcia Otto", "[a-z]*"):
        page = await ada.done("/console/find", {"q": text})
        assert "Nobody found here" in page.text, text
    assert (await ada.post("/console/find", {"q": "  "})).location == "/console/find"
    wrong = await ada.post("/console/find/elsewhere", {"family": "", "birth_date": "yesterday", "sex": "F"})
    assert wrong.status == 422
    assert "Enter the family name" in wrong.text
    assert "Enter the birth date" in wrong.text


async def test_studies_are_offered_taken_and_refused(two: Two) -> None:
    async with signed_in(two.north, "clinician", "nora") as nora:
        found = await nora.post("/console/find", {"q": PRIOR.patient_id})
        page = await nora.get(found.location)
        handles = re.findall(r'href="/console/studies/([\w-]+)"', page.text)
        empty = await nora.post("/console/offers/new", {"first": handles[0]})
        assert empty.status == 422
        assert "Say why" in empty.text
        peer = (await two.north.done("GET", "/peers"))["peers"][0]["peer_id"]
        for handle, reason in zip(dict.fromkeys(handles), ("Transfer", "Second opinion"), strict=True):
            offer = [("first", handle), ("study", handle), ("to", peer), ("reason", f"<i>{reason}")]
            assert (await nora.post("/console/offers/new", offer)).status == 303
    page = await ended(two.ada, "/console/offers", "&lt;i&gt;Second opinion")
    page = await ended(two.ada, "/console/offers", "&lt;i&gt;Transfer")
    accept, refuse = (
        re.findall(rf'action="(/console/offers/[0-9a-f]{{32}}/{what})"', page.text) for what in ("accept", "refuse")
    )
    assert (await two.ada.post(refuse[0], {"reason": " "})).status == 400
    assert (await two.ada.post(refuse[0], {"reason": "not ours"})).status == 303
    taken = await two.ada.post(accept[1])
    await ended(two.ada, taken.location, "What did it change?")
    page = await two.ada.get("/console/offers")
    assert "Refused: not ours" in page.text
    again = await two.ada.post(accept[0])
    assert again.status == 409
    assert "This offer does not wait for a decision" in again.text


async def test_what_has_not_come_has_changed_nothing(ada: SignedIn) -> None:
    nothing = "0" * 32
    for effect, status in (("not_ordered", 409), ("before_order", 409), ("cured", 400)):
        page = await ada.post(f"/console/requests/{nothing}/changed", {"effect": effect, "examination": "mr"})
        assert page.status == status
    for place in (f"/console/requests/{nothing}", f"/console/requests/{nothing}/events", "/console/requests/x"):
        assert (await ada.get(place)).status == 404
    assert (await ada.get("/console/deliveries/zz")).status == 404


async def test_signing_in_and_out(ada: SignedIn) -> None:
    out = await ada.post("/console/logout")
    assert out.location == "/console/login"
    page = await ada.get("/console/find")
    assert page.place == "/console/login?next=/console/find"
    for place in ("/console/find", "//evil.example", "/portal/"):
        form = {"user": "ada", "password": "correct horse battery staple", "next": place}
        async with ada.http.post("/console/login", data=form, allow_redirects=False) as answer:
            assert answer.headers["Location"] == (place if place == "/console/find" else "/console/")
    foreign = {"Sec-Fetch-Site": "cross-site"}
    async with ada.http.post("/console/login", data=form, headers=foreign) as answer:
        assert answer.status == 403
    for _ in range(6):
        page = await ada.post("/console/login", {"user": "nobody", "password": "wrong"}, csrf="")
    assert page.status == 429
    assert "Signing in failed too often" in page.text
