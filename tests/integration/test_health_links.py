"""SMART Health Links, opened by an application that knows HL7's specification and nothing of this node."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from aiohttp import ClientError
from support.ct import CtStudy
from support.health_link import (
    ACCESS,
    CONSENT,
    ELSEWHERE,
    FHIR,
    JOSE,
    LATER,
    MINE,
    OTHER,
    Linking,
    Receiver,
    ask,
    linking,
    report_of,
)
from support.viewer import pdf

from node.model.health_link import MAX_RECIPIENT
from node.sharing.health_links.opening import GRID, LINK_BURST

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSCODE = "482913"
HOUR, DAY = 3600, 86_400


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def links(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Linking]:
    async with linking(tmp_path_factory.mktemp("links") / "node") as one:
        yield one


@asynccontextmanager
async def later(links: Linking, seconds: int) -> AsyncIterator[None]:
    """The same, so many seconds on."""
    links.clock.offset += seconds
    try:
        yield
    finally:
        links.clock.offset -= seconds


async def studies_by(links: Linking, token: str) -> list[str]:
    answer = await links.get("/dicom-web/studies", token)
    return sorted(one["0020000D"]["Value"][0] for one in answer.json) if answer.status == 200 else []


async def test_a_link_is_what_the_specification_says(links: Linking) -> None:
    link, made = await links.make(passcode=PASSCODE, label="CT of the chest", studies=[MINE.study_uid])
    said = link.payload
    assert set(said) == {"url", "key", "exp", "flag", "label", "v"}
    assert len(said["url"]) <= 128
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", said["url"].rpartition("/")[2]), "256 bits"
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", said["key"])
    assert (said["flag"], said["label"], said["v"]) == ("P", "CT of the chest", 1)
    assert abs(said["exp"] - time.time() - 30 * DAY) < HOUR
    viewer = urlsplit(made["viewer_url"])
    assert viewer.fragment == link.shlink, "after the #, which browsers send nowhere"
    evolving, _ = await links.make(from_date="20240101")
    assert evolving.payload["flag"] == "L", "later studies come along"


async def test_what_is_behind_a_link(links: Linking) -> None:
    link, _ = await links.make(passcode=PASSCODE, studies=[MINE.study_uid])
    wrong = await link.manifest(passcode="000000")
    assert (wrong.status, wrong.json) == (401, {"remainingAttempts": 4})
    unasked = await link.manifest()
    assert (unasked.status, unasked.json) == (401, {"remainingAttempts": 4}), "no passcode is no attempt"
    right = await link.manifest(passcode=PASSCODE, unknownMember=1)
    assert (right.status, right.headers["Content-Type"]) == (200, "application/json")
    assert [(f["contentType"], f.get("fhirVersion")) for f in right.json["files"]] == [(FHIR, "4.0.1"), (ACCESS, None)]
    files = await link.files(passcode=PASSCODE)
    kinds = [entry["resource"]["resourceType"] for entry in files[FHIR]["entry"]]
    assert kinds == [
        "Patient", "Organization", "Endpoint", "ImagingStudy",
        *["Binary", "DiagnosticReport", "DocumentReference"] * 2,
    ]  # fmt: skip
    access = files[ACCESS]
    assert (access["token_type"], access["aud"]) == ("Bearer", f"{origin(link)}/dicom-web")
    assert 0 < access["expires_in"] <= HOUR


def origin(link: Receiver) -> str:
    parts = urlsplit(link.payload["url"])
    return f"{parts.scheme}://{parts.netloc}"


async def test_the_token_shows_the_linked_studies_alone(links: Linking) -> None:
    link, _ = await links.make(studies=[MINE.study_uid])
    token = (await link.files())[ACCESS]["access_token"]
    assert await studies_by(links, token) == [MINE.study_uid]
    assert (await links.get(f"/dicom-web/studies/{MINE.study_uid}", token)).status == 200
    for other in (OTHER, LATER):
        theirs = await links.get(f"/dicom-web/studies/{other.study_uid}/metadata", token)
        none = await links.get("/dicom-web/studies/1.2.3.4/metadata", token)
        assert (theirs.status, theirs.body) == (none.status, none.body) == (404, none.body)
    assert (await links.get("/dicom-web/studies?PatientID=P-2", token)).json == []
    for path in ("/api/v1/health-links", "/api/v1/status", "/console/", "/portal/studies"):
        assert (await links.get(path, token)).status in {403, 404}, path


async def test_a_link_may_cover_a_period_and_what_comes_later(links: Linking) -> None:
    link, _ = await links.make(from_date="20250101")
    assert await studies_by(links, (await link.files())[ACCESS]["access_token"]) == [LATER.study_uid]
    new = CtStudy(instances=1, rows=32, seed=9, patient_id="P-1", patient_name="García^Elena", study_date="20260505")
    await links.keep(*new.files())
    bundle = (await link.files())[FHIR]
    uids = {
        entry["resource"]["identifier"][0]["value"].removeprefix("urn:oid:")
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] == "ImagingStudy"
    }
    assert uids == {LATER.study_uid, new.study_uid}


async def test_files_that_are_too_long_have_addresses_good_once(links: Linking) -> None:
    link, _ = await links.make(passcode=PASSCODE)
    small = (await link.manifest(passcode=PASSCODE, embeddedLengthMax=1200)).json["files"]
    assert ["embedded" in file for file in small] == [False, True]
    assert len(small[1]["embedded"]) <= 1200
    files = (await link.manifest(passcode=PASSCODE, embeddedLengthMax=0)).json["files"]
    assert all(set(file) >= {"location"} and "embedded" not in file for file in files)
    places = {file["contentType"]: file["location"] for file in files}
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", place.rpartition("/")[2]) for place in places.values())
    first = await ask(link.http, "GET", places[ACCESS], headers=ELSEWHERE)
    again = await ask(link.http, "GET", places[ACCESS], headers=ELSEWHERE)
    assert (first.status, first.headers["Content-Type"], again.status) == (200, JOSE, 404)
    token = link.decrypt(first.body.decode())[1]["access_token"]
    assert MINE.study_uid in await studies_by(links, token)
    async with later(links, HOUR):
        assert (await ask(link.http, "GET", places[FHIR])).status == 404, "an hour at most"


async def test_other_sites_may_ask(links: Linking) -> None:
    link, _ = await links.make(passcode=PASSCODE)
    url = link.payload["url"]
    asked = {**ELSEWHERE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = await ask(link.http, "OPTIONS", url, headers=asked)
    assert preflight.status == 204
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert preflight.headers["Access-Control-Allow-Headers"].lower() == "content-type"
    location = (await link.manifest(passcode=PASSCODE, embeddedLengthMax=0)).json["files"][0]["location"]
    answers = [
        preflight,
        await link.manifest(passcode=PASSCODE),
        await link.manifest(passcode="000000"),
        await ask(link.http, "GET", location, headers=ELSEWHERE),
        await ask(link.http, "GET", location, headers=ELSEWHERE),
        await ask(link.http, "POST", url, data=b"{", headers={**ELSEWHERE, "Content-Type": "application/json"}),
        await ask(link.http, "POST", url + "x", json={"recipient": "x"}, headers=ELSEWHERE),
    ]
    assert [a.status for a in answers] == [204, 200, 401, 200, 404, 400, 404]
    assert all(a.headers["Access-Control-Allow-Origin"] == "*" for a in answers)
    assert all("Set-Cookie" not in a.headers and "Access-Control-Allow-Credentials" not in a.headers for a in answers)
    for path in ("/links/view", "/api/v1/openapi.json", "/healthz"):
        answer = await ask(links.http, "GET", links.node.api + path, headers=ELSEWHERE)
        assert "Access-Control-Allow-Origin" not in answer.headers, path


async def test_wrong_passcodes_are_counted_over_the_links_whole_life(links: Linking) -> None:
    link, made = await links.make(passcode=PASSCODE)
    token = (await link.files(passcode=PASSCODE))[ACCESS]["access_token"]
    assert (await link.manifest(passcode="x" * 5000)).json == {"remainingAttempts": 4}
    async with later(links, 20 * DAY):
        assert (await link.manifest(passcode="111111")).json == {"remainingAttempts": 3}
    assert (await link.manifest(passcode=PASSCODE)).status == 200, "the right one takes no attempt back"
    at_once = await asyncio.gather(*(link.manifest(passcode=f"2{n:05}") for n in range(10)))
    counted = sorted(a.json["remainingAttempts"] for a in at_once if a.status == 401)
    assert counted == [0, 1, 2], "ten at once are no more than ten in a row"
    assert sorted(a.status for a in at_once) == [401] * 3 + [404] * 7
    assert (await link.manifest(passcode=PASSCODE)).status == 404, "not even the right one"
    assert (await links.get("/dicom-web/studies", token)).status == 401, "what was handed out dies with it"
    shown = await links.node.done("GET", f"/health-links/{made['link_id']}")
    assert (shown["state"], shown["failures"], shown["remaining_attempts"]) == ("LOCKED", 5, 0)
    refused = [e for e in await links.events("link_refused") if e["detail"]["link_id"] == made["link_id"]]
    assert [e["code"] for e in refused][-5:] == ["wrong_passcode"] * 5


async def test_a_link_that_is_taken_back_is_dead_at_once(links: Linking) -> None:
    link, made = await links.make()
    location = (await link.manifest(embeddedLengthMax=0)).json["files"][0]["location"]
    token = (await link.files())[ACCESS]["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    session = await ask(link.http, "POST", f"{links.node.api}/links/session", headers=headers)
    cookie = {"Cookie": session.headers["Set-Cookie"].partition(";")[0]}
    links.http.cookie_jar.clear()
    mine = f"{links.node.api}/dicom-web/studies/{MINE.study_uid}/metadata"
    assert (await ask(link.http, "GET", mine, headers=cookie)).status == 200
    await links.node.done("POST", f"/health-links/{made['link_id']}/revoke")
    assert (await link.manifest()).status == 404
    assert (await ask(link.http, "GET", location)).status == 404
    assert (await ask(link.http, "GET", mine, headers=headers)).status == 401
    assert (await ask(link.http, "GET", mine, headers=cookie)).status == 401
    assert (await ask(link.http, "GET", f"{links.node.api}/links/images.zip", headers=cookie)).status in {303, 401}
    again = await links.node.done("POST", f"/health-links/{made['link_id']}/revoke")
    assert again["state"] == "REVOKED"
    assert len([e for e in await links.events("link_revoked") if e["detail"]["link_id"] == made["link_id"]]) == 1


async def test_what_is_on_its_way_is_cut_off(links: Linking) -> None:
    """Images, the archive of images and a file of the link, each in the middle of its download."""
    large = CtStudy(instances=40, seed=7, patient_id="P-7", patient_name="Large^Lara", study_date="20240102")
    scanned = pdf()
    noise = b"%PDF-1.4\n" + random.Random(7).randbytes(8_000_001)
    scanned.EncapsulatedDocument, scanned.EncapsulatedDocumentLength = noise, len(noise)
    await links.keep(*large.files(), report_of(large, scanned, "large pdf"))
    link, made = await links.make("P-7", studies=[large.study_uid])
    token = (await link.files())[ACCESS]["access_token"]
    location = (await link.manifest(embeddedLengthMax=0)).json["files"][0]["location"]
    headers = {"Authorization": f"Bearer {token}"}
    images = {**headers, "Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    running = [
        await links.http.get(f"{links.node.api}/dicom-web/studies/{large.study_uid}", headers=images),
        await links.http.get(f"{links.node.api}/links/images.zip", headers=headers),
        await links.http.get(location),
    ]
    for answer in running:
        assert answer.status == 200
        assert await answer.content.readany()
    await links.node.done("POST", f"/health-links/{made['link_id']}/revoke")
    for answer in running:
        with pytest.raises(ClientError):
            await answer.read()


async def test_a_link_ends_by_itself(links: Linking) -> None:
    link, made = await links.make(expires_in=DAY)
    token = (await link.files())[ACCESS]["access_token"]
    async with later(links, DAY - 60):
        fresh = (await link.files())[ACCESS]
        assert fresh["expires_in"] <= 60, "a token never outlives its link"
    async with later(links, DAY):
        assert (await link.manifest()).status == 404
        assert (await links.get("/dicom-web/studies", fresh["access_token"])).status == 401
        assert (await links.node.done("GET", f"/health-links/{made['link_id']}"))["state"] == "EXPIRED"
    async with later(links, HOUR):
        assert (await links.get("/dicom-web/studies", token)).status == 401, "an hour"


async def test_a_link_may_be_opened_a_number_of_times(links: Linking) -> None:
    link, made = await links.make(uses=2)
    answers = await asyncio.gather(*(link.manifest() for _ in range(6)))
    assert sorted(a.status for a in answers) == [200, 200, 404, 404, 404, 404]
    (good, *_) = [a for a in answers if a.status == 200]
    token = link.decrypt(good.json["files"][1]["embedded"])[1]["access_token"]
    assert await studies_by(links, token), "who opened it in time goes on"
    assert (await links.node.done("GET", f"/health-links/{made['link_id']}"))["state"] == "USED"


async def test_a_link_to_one_file(links: Linking) -> None:
    link, made = await links.make(direct=True, studies=[MINE.study_uid])
    url = link.payload["url"]
    assert link.payload["flag"] == "U"
    answer = await ask(link.http, "GET", url, params={"recipient": "Dr. Wong"}, headers=ELSEWHERE)
    assert (answer.status, answer.headers["Content-Type"]) == (200, JOSE)
    header, bundle = link.decrypt(answer.body.decode())
    assert header["cty"] == FHIR
    kinds = {entry["resource"]["resourceType"] for entry in bundle["entry"]}
    assert {"Patient", "ImagingStudy", "DiagnosticReport", "Binary"} <= kinds
    assert "Endpoint" not in kinds, "there is no token for it"
    assert (await ask(link.http, "GET", url)).status == 400, "the recipient is required"
    assert (await link.manifest()).status == 404
    other, _ = await links.make()
    assert (await ask(link.http, "GET", other.payload["url"], params={"recipient": "x"})).status == 404
    shown = await links.node.done("GET", f"/health-links/{made['link_id']}")
    assert [one["recipient"] for one in shown["accesses"]] == ["Dr. Wong"]


async def test_who_knows_no_link_hears_the_same_as_who_has_a_dead_one(links: Linking) -> None:
    """Words, headers, and the grid of time on which they come: invented, revoked, expired, used up, of another kind."""
    revoked, made = await links.make(passcode=PASSCODE)
    await links.node.done("POST", f"/health-links/{made['link_id']}/revoke")
    expired, _ = await links.make(expires_in=1)
    used, _ = await links.make(uses=1)
    assert (await used.manifest()).status == 200
    direct, _ = await links.make(direct=True)
    invented = Receiver(revoked.shlink, await links.place())
    seen = []
    async with later(links, 2):
        for url in (
            invented.payload["url"][:-43] + "A" * 43,
            *(one.payload["url"] for one in (revoked, expired, used, direct)),
        ):
            began = time.monotonic()
            answer = await ask(
                links.http, "POST", url, json={"recipient": "x", "passcode": PASSCODE}, headers=ELSEWHERE
            )
            assert time.monotonic() - began >= GRID * 0.9, "never sooner than the grid"
            headers = {name: value for name, value in answer.headers.items() if name != "Date"}
            seen.append((answer.status, headers, answer.body))
    assert seen[0][0] == 404
    assert all(one == seen[0] for one in seen)


async def test_openings_are_limited(links: Linking) -> None:
    link, _ = await links.make()
    answers = [await link.manifest() for _ in range(LINK_BURST + 2)]
    assert {a.status for a in answers[:LINK_BURST]} == {200}
    assert answers[-1].status == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
    none = link.payload["url"][:-43] + "B" * 43
    statuses = [(await ask(link.http, "POST", none, json={"recipient": "x"})).status for _ in range(LINK_BURST + 2)]
    assert statuses[-1] == 429, "an invented one fills its bucket too"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 400),
        (b'{"recipient": ""}', "application/json", 400),
        (b'{"recipient": " \\u0007 "}', "application/json", 400),
        (b'{"recipient": 7}', "application/json", 400),
        (b'{"recipient": "x", "embeddedLengthMax": -1}', "application/json", 400),
        (b'{"recipient": "x", "embeddedLengthMax": "1"}', "application/json", 400),
        (b'{"recipient": "x"}', "text/plain", 415),
        (b'{"recipient": "' + b"x" * 70_000 + b'"}', "application/json", 413),
        (b"[[[[", "application/json", 400),
    ],
)
async def test_requests_that_are_none(links: Linking, body: bytes, kind: str, status: int) -> None:
    link, made = await links.make()
    answer = await ask(link.http, "POST", link.payload["url"], data=body, headers={"Content-Type": kind})
    assert answer.status == status
    assert (await links.node.done("GET", f"/health-links/{made['link_id']}"))["used"] == 0


async def test_who_opened_it_is_kept_as_data(links: Linking) -> None:
    link, made = await links.make(studies=[MINE.study_uid])
    evil = "<script>alert(1)</script>\r\nX: y \u202e" + "x" * 500
    assert (await link.manifest(recipient=evil)).status == 200
    shown = await links.node.done("GET", f"/health-links/{made['link_id']}")
    (access,) = shown["accesses"]
    assert access["recipient"].startswith("<script>alert(1)</script> X: y x")
    assert len(access["recipient"]) == MAX_RECIPIENT
    assert access["outcome"] == "opened"
    events = [e for e in await links.events("link_created", "link_opened") if e["detail"]["link_id"] == made["link_id"]]
    assert [e["type"] for e in events] == ["link_opened", "link_created"]
    assert events[0]["detail"]["recipient"] == access["recipient"]
    assert (events[0]["actor"], events[0]["patient"]["id"]) == (f"link:{made['link_id']}", "P-1")
    assert events[1]["detail"]["consent"] == CONSENT
    reads = [e for e in await links.events("study_read") if e["actor"] == f"link:{made['link_id']}"]
    assert [e["study_instance_uid"] for e in reads] == [MINE.study_uid]
    logged = links.node.logged.getvalue()
    assert "alert" not in logged
    assert link.payload["url"].rpartition("/")[2] not in logged, "no address stands in a log"


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"patient_id": "NOBODY"}, "nothing_to_link"),
        ({"studies": [OTHER.study_uid]}, "nothing_to_link"),
        ({"studies": [MINE.study_uid, "1.2.3"]}, "nothing_to_link"),
        ({"from_date": "20990101"}, "nothing_to_link"),
        ({"studies": ["../../x"]}, "invalid_uid"),
        ({"label": "Elena's chest"}, "label_names_patient"),
        ({"passcode": "19610203"}, "label_names_patient"),
        ({"passcode": "123"}, "invalid_health_link"),
        ({"passcode": PASSCODE, "direct": True}, "invalid_health_link"),
        ({"expires_in": 0}, "invalid_health_link"),
        ({"consent": " "}, "invalid_health_link"),
        ({"from_date": "yesterday"}, "invalid_input"),
        ({"purpose": "FUN"}, "invalid_input"),
        ({"consent": ""}, "invalid_input"),
    ],
)
async def test_links_that_cannot_be_made(links: Linking, order: dict[str, Any], code: str) -> None:
    body = {"patient_id": "P-1", "consent": CONSENT, **order}
    _, problem = await links.node.call("POST", "/health-links", json=body)
    assert problem["code"] == code
    assert "Elena" not in str(problem)


async def test_what_the_patient_denies_to_everybody_no_link_shows(links: Linking) -> None:
    link, _ = await links.make(studies=[MINE.study_uid, LATER.study_uid])
    token = (await link.files())[ACCESS]["access_token"]
    denial = await links.node.done(
        "POST", "/consents", json={"patient_id": "P-1", "effect": "DENY", "studies": [MINE.study_uid]}
    )
    try:
        assert await studies_by(links, token) == [LATER.study_uid]
        body = {"patient_id": "P-1", "consent": CONSENT, "studies": [MINE.study_uid]}
        assert (await links.node.call("POST", "/health-links", json=body))[1]["code"] == "nothing_to_link"
    finally:
        await links.node.done("POST", f"/consents/{denial['consent_id']}/revoke")
    assert await studies_by(links, token) == sorted([MINE.study_uid, LATER.study_uid])
