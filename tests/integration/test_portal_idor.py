"""Patient A with patient B's ids, at every route that patients reach: answered as what does not exist, without effect.

The table must name every route: one that is added and forgotten here fails the test. What is compared is the whole
answer (status and text), with B's id and with one that nobody has.
"""

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from support.ct import CtStudy
from support.portal import Browser, browser
from support.running import Running, running

from node.model.access import Role

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANA = CtStudy(instances=1, patient_id="ANA-1", patient_name="Garcia^Ana", birth_date="19640327", rows=32, seed=1)
BEA = CtStudy(instances=1, patient_id="BEA-2", patient_name="Berg^Bea", birth_date="19701224", rows=32, seed=2)
NOBODY = CtStudy(instances=1, patient_id="NIL-3", patient_name="Nemo^Nil", birth_date="19990909", rows=32, seed=3)
MARKS = ("Berg", "BEA-2", "19701224", "24 December 1970", "bea@example.org")

# Parts of paths that name nothing of anybody.
PLAIN = {
    "series": "1", "image": "1", "document": "1", "frames": "1", "page": "",
    "element:[0-9A-Fa-f/]+": "7FE00010", "page:.*": "index.html",
}  # fmt: skip
WAYS = ("facility", "code", "link", "deny")

# Routes of patients without an id of anybody's in path or body (a challenge and a letter are proved elsewhere).
WITHOUT_IDS = frozenset({
    "POST /portal/sign-out", "GET /portal/verify", "POST /portal/verify", "POST /portal/verify/passkey/options",
    "POST /portal/verify/passkey", "GET /portal/account", "GET /portal/account/passphrase",
    "POST /portal/account/passphrase", "POST /portal/account/passphrase/remove", "GET /portal/account/passkeys/new",
    "POST /portal/account/passkeys/options", "POST /portal/account/passkeys", "GET /portal/account/add",
    "POST /portal/account/add", "GET /portal/account/close", "POST /portal/account/close", "GET /portal/history",
    "GET /portal/account/alerts", "POST /portal/account/alerts", "POST /portal/account/alerts/code",
    "GET /portal/studies", "POST /portal/elsewhere", "GET /portal/sharing", "GET /portal/sharing/new",
    "GET /portal/sharing/{way:facility|code|link|deny}", "GET /portal/uploads", "GET /portal/messages",
    "GET /portal/messages/new", "GET /portal/images.zip", "GET /api/v1/session", "DELETE /api/v1/session",
    "GET /viewer", "GET /viewer/app-config.js", "GET /viewer/{page:.*}",
})  # fmt: skip


@dataclass(frozen=True)
class Ids:
    """What names something of one person."""

    study: CtStudy
    handle: str
    access: str
    key: str
    share: str
    upload: str

    def forms(self) -> dict[str, dict[str, Any]]:
        """Bodies with these ids, by route."""
        share = {"whose": self.access, "scope": "chosen", "studies": self.handle, "days": "7"}
        return {
            "POST /portal/account/passkeys/rename": {"key": self.key, "name": "mine"},
            "POST /portal/account/passkeys/remove": {"key": self.key},
            "POST /portal/account/people/end": {"access": self.access},
            "POST /portal/sharing/{way:facility|code|link|deny}": share,
            "POST /portal/sharing/{way:facility|code|link|deny}/confirm": share,
            "POST /portal/sharing/stop": {"way": "code", "name": self.share},
            "POST /portal/sharing/announcements": {"wanted": "no", "whose": self.access},
            "POST /portal/uploads": {"whose": self.access, "note": "mine"},
            "POST /portal/uploads/{upload}": {},
            "POST /portal/uploads/{upload}/files": {},
            "POST /portal/uploads/{upload}/delete": {},
            "POST /portal/messages": {"whose": self.access, "study": self.handle, "kind": "question", "text": "hello"},
        }

    def paths(self, template: str) -> list[str]:
        """The addresses of a route with these ids."""
        dicomweb = template.startswith("/dicom-web")
        values = {**PLAIN, "study": self.study.study_uid if dicomweb else self.handle, "upload": self.upload}
        if dicomweb:
            values |= {"series": self.study.series_uid, "instance": self.study.sop_uid(1)}
        filled = re.sub(r"\{([^}]+)\}", lambda part: values.get(part[1], part[0]), template)
        return [re.sub(r"\{way:[^}]+\}", way, filled) for way in (WAYS if "{way:" in filled else ("",))]

    def masked(self, text: str) -> str:
        """An answer without these ids, so that two can be compared."""
        for uid in (self.study.sop_uid(1), self.study.series_uid, self.study.study_uid):
            text = text.replace(uid, "UID")
        for word in (self.handle, self.access, self.key, self.share, self.upload):
            text = text.replace(word, "ID")
        return re.sub(r'name="(csrf|flow)" value="[^"]*"', "", text)


@dataclass
class World:
    node: Running
    ana: Browser
    bea: Browser
    hers: Ids
    nobodys: Ids


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("idor")
    async with running(folder / "north") as node, AsyncExitStack() as stack:
        run = (await node.done("POST", "/imports"))["import_id"]
        kind = {"Content-Type": "application/octet-stream"}
        for study in (ANA, BEA):
            for file in study.files():
                await node.done("POST", f"/imports/{run}/files", data=file, headers=kind)
        await node.done("POST", f"/imports/{run}/end")
        people = []
        for patient in ("ANA-1", "BEA-2"):
            one = browser(node)
            await stack.enter_async_context(one.session)
            letter = await node.done("POST", "/portal/invitations", json={"patient_id": patient})
            status, _ = await one.enrol_passkey(letter)
            assert status == 200
            people.append(one)
        ana, bea = people
        yield World(node, ana, bea, await ids_of(node, bea), nobody(await ids_of(node, bea)))


async def ids_of(node: Running, bea: Browser) -> Ids:
    """Everything that Bea's own pages name."""
    handle = found(r'/portal/studies/([^"/?]+)"', (await bea.get("/portal/studies")).text)
    await bea.post("/portal/sharing/code/confirm", studies=handle, scope="chosen", days="7")
    share = found(r'name="name" value="([^"]+)"', (await bea.get("/portal/sharing")).text)
    accounts = (await node.done("GET", "/portal/accounts"))["accounts"]
    access = next(a["access"][0] for a in accounts if a["access"][0]["patient_id"] == "BEA-2")
    key = found(r'name="key" value="([^"]+)"', (await bea.get("/portal/account")).text)
    made = await bea.post("/portal/uploads", whose=access["access_id"], note="my CD")
    upload = found(r"/portal/uploads/([^/?]+)", made.place)
    return Ids(BEA, handle, access["access_id"], key, share, upload)


def nobody(like: Ids) -> Ids:
    """Ids of the same form that nobody has."""
    other = {
        name: "".join(secrets.choice("0123456789abcdef") if c.isalnum() else c for c in getattr(like, name))
        for name in ("handle", "access", "share", "upload")
    }
    return Ids(NOBODY, key="A" * 43 + "=", **other)


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, f"{pattern}: {text[:3000]}"
    return match[1]


async def test_every_route_of_patients_is_in_the_table(world: World) -> None:
    forms = world.hers.forms()
    for route in world.node.node.routes:
        if Role.PATIENT not in route.roles:
            continue
        name = f"{route.method} {route.path}"
        in_path = route.method == "GET" and "{" in route.path
        searches = route.path.startswith("/dicom-web") or route.path == "/viewer/arriving"
        assert name in WITHOUT_IDS or name in forms or in_path or searches, f"{name}: say here which ids it takes"
    known = {f"{route.method} {route.path}" for route in world.node.node.routes}
    assert WITHOUT_IDS | set(forms) <= known, "gone"


async def test_what_is_asked_by_address(world: World) -> None:
    """Every page, picture, file, search and viewer request with an id in its path or query."""
    asked = 0
    for route in world.node.node.routes:
        if Role.PATIENT not in route.roles or route.method != "GET" or route.path == "/viewer/{page:.*}":
            continue
        if "{study}" not in route.path and "{upload}" not in route.path:
            continue
        for hers, nobodys in zip(world.hers.paths(route.path), world.nobodys.paths(route.path), strict=True):
            one, other = await world.ana.get(hers), await world.ana.get(nobodys)
            assert (one.status, world.hers.masked(one.text), one.place) == (
                other.status, world.nobodys.masked(other.text), other.place,
            ), route.path  # fmt: skip
            assert one.status == 404 or (one.status == 200 and one.text in {"", "[]"}) or one.status == 204, route.path
            assert_silent(one.text, route.path)
            asked += 1
    assert asked > 25


async def test_searches_and_their_parameters(world: World) -> None:
    queries = (
        f"StudyInstanceUID={BEA.study_uid}", f"0020000D={BEA.study_uid}", "PatientID=BEA-2", "PatientName=Berg*",
        "PatientBirthDate=19701224", f"SeriesInstanceUID={BEA.series_uid}", f"SOPInstanceUID={BEA.sop_uid(1)}",
        "includefield=all&limit=1000", "PatientID=*", "ModalitiesInStudy=CT", "fuzzymatching=true&PatientName=Berg",
    )  # fmt: skip
    for level in ("studies", "series", "instances"):
        for query in queries:
            answer = await world.ana.get(f"/dicom-web/{level}?{query}")
            assert answer.status in {200, 204}, query
            assert_silent(answer.text, query)
    for page in ("/portal/studies", "/portal/history", "/portal/sharing", "/portal/messages", "/portal/uploads",
                 "/portal/account", "/portal/images.zip", "/viewer/arriving"):  # fmt: skip
        assert_silent((await world.ana.get(page)).text, page)
    arriving = await world.ana.get(f"/viewer/arriving?study={BEA.study_uid}")
    other = await world.ana.get(f"/viewer/arriving?study={NOBODY.study_uid}")
    assert (arriving.status, arriving.text) == (other.status, other.text)


async def test_what_is_changed_by_forms(world: World) -> None:
    before = await hers(world)
    theirs, nobodys = world.hers.forms(), world.nobodys.forms()
    for name in theirs:
        template = name.split(" ", 1)[1]
        for mine, other in zip(world.hers.paths(template), world.nobodys.paths(template), strict=True):
            one = await world.ana.post(mine, **theirs[name])
            two = await world.ana.post(other, **nobodys[name])
            assert (one.status, world.hers.masked(one.text), one.place) == (
                two.status, world.nobodys.masked(two.text), two.place,
            ), name  # fmt: skip
            assert_silent(one.text, name)
    assert await hers(world) == before, "nothing of hers has changed"


async def test_her_session_is_hers(world: World) -> None:
    token = await world.ana.csrf()
    for path in ("/portal/account/close", "/portal/sharing/stop", "/portal/sign-out"):
        page = await world.bea.post(path, csrf=token, way="code", name=world.hers.share)
        assert page.status == 403, path
    assert (await world.bea.get("/portal/account")).status == 200


async def hers(world: World) -> tuple[Any, ...]:
    """What Bea has, as staff see it and as she does."""
    accounts = (await world.node.done("GET", "/portal/accounts"))["accounts"]
    codes = (await world.node.done("GET", "/share-codes"))["share_codes"]
    keys = re.findall(r"Passkey: [^<]*", (await world.bea.get("/portal/account")).text)
    uploads = re.findall(r"/portal/uploads/[^\"/?]+", (await world.bea.get("/portal/uploads")).text)
    messages = (await world.bea.get("/portal/messages")).text.count("hello")
    return [a for a in accounts if a["access"][0]["patient_id"] == "BEA-2"], codes, keys, uploads, messages


def assert_silent(text: str, where: str) -> None:
    for mark in (*MARKS, BEA.series_uid, BEA.sop_uid(1)):
        assert mark not in text, f"{where} tells of her: {mark}"
