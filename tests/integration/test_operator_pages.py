"""The operator's pages without a browser: forms, CSRF, roles, hostile texts, and what somebody else did meanwhile."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import StreamReader
from support.ct import CtStudy
from support.running import Running, initialised, running
from support.signed_in import SignedIn, signed_in
from support.tasks import until

from node.api.console.operator.areas import AREAS, DONE, PROBLEMS
from node.errors.base import all_codes
from node.model.access import STAFF, Role

HOSTILE = '"><script>alert(1)</script>'
ESCAPED = "&lt;script&gt;"
STUDY = CtStudy(instances=1, rows=16, patient_name="<b>Bold</b>^Ann", patient_id="P-<1>")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north", "<i>North</i>") as one:
        yield one


@pytest.fixture
async def operator(node: Running) -> AsyncIterator[SignedIn]:
    async with signed_in(node, "operator", "olga") as one:
        yield one


async def imported(node: Running, *studies: CtStudy) -> None:
    """Take studies in as ``leveret import`` does."""
    run = (await node.done("POST", "/imports"))["import_id"]
    for study in studies:
        for data in study.files():
            await node.done("POST", f"/imports/{run}/files", data=data)
    await node.done("POST", f"/imports/{run}/end")


async def test_each_role_gets_what_is_its_own(node: Running) -> None:
    """Every page of the console by every role: served or refused as its route says, and nothing in between."""
    pages = [r for r in node.node.routes if r.page and r.path.startswith("/console/") and r.roles]
    plain = [r for r in pages if "{" not in r.path and not r.path.endswith(("/events", "/offers/new"))]
    async with AsyncExitStack() as stack:
        callers = {role: await stack.enter_async_context(signed_in(node, role.value)) for role in STAFF}
        for route in plain:
            for role, caller in callers.items():
                if route.method == "GET":
                    page = await caller.get(route.path)
                else:
                    page = await caller.post(route.path, csrf="x" if role in route.roles else None)
                allowed = {200, 303, 403} if route.method == "POST" else {200}
                assert page.status in (allowed if role in route.roles else {403}), (role, route, page.status)
        for area in AREAS.values():
            for tab in area:
                route = next(r for r in pages if (r.method, r.path) == ("GET", tab.href))
                assert tab.roles <= route.roles, f"{tab.href} is shown to who may not open it"


async def test_forms_need_the_token_of_the_session_and_the_own_origin(operator: SignedIn) -> None:
    form = {"name": "mallory", "role": "operator"}
    for page in (
        await operator.post("/console/users", form, csrf=""),
        await operator.post("/console/users", form, csrf="x" * 43),
        await operator.post("/console/users", form, **{"Sec-Fetch-Site": "cross-site"}),
        await operator.post("/console/users", form, Origin="https://evil.example"),
    ):
        assert page.status == 403
    assert "mallory" not in (await operator.get("/console/users")).text


async def test_hostile_texts_are_shown_as_texts(node: Running, operator: SignedIn) -> None:
    await imported(node, STUDY)
    await node.done(
        "POST", "/consents", json={"patient_id": STUDY.patient_id, "effect": "PERMIT", "recorded_by": HOSTILE}
    )
    await node.done("POST", "/withdrawals", json={"study": STUDY.study_uid, "reason": HOSTILE})
    found = await operator.done("/console/consents", {"patient_id": STUDY.patient_id})
    assert "&lt;b&gt;Bold" in found.text or "P-&lt;1&gt;" in found.text
    for place in ("overview", "consents", "withdrawals", "audit", "storage", "peers", "settings", "transfers"):
        page = await operator.get(f"/console/{place}")
        assert page.status == 200
        assert "<script>alert" not in page.text
        assert "<b>Bold" not in page.text
        assert "<i>North" not in page.text
        assert not re.search(r"\s(?:style|on[a-z]+)=", page.text), "nothing inline"
    assert ESCAPED in (await operator.get("/console/withdrawals")).text
    page = await operator.post("/console/users", {"name": HOSTILE, "role": "auditor"})
    assert page.status == 400
    assert ESCAPED in page.text
    for query in ("done=<script>", "problem=<script>", "done=x&problem=y", "type=<script>"):
        assert "<script>alert" not in (await operator.get(f"/console/audit?{query}")).text


async def test_addresses_name_nobody(node: Running, operator: SignedIn) -> None:
    await imported(node, STUDY)
    found = await operator.post("/console/consents", {"patient_id": STUDY.patient_id})
    assert found.status == 303
    assert "P-" not in found.location
    searched = await operator.post("/console/audit", {"patient_id": STUDY.patient_id, "type": "study_stored"})
    assert re.fullmatch(r"/console/audit/found/[\w-]{22}", searched.location)
    assert "P-&lt;1&gt;" in (await operator.get(searched.location)).text
    async with signed_in(node, "auditor", "aude") as another:
        page = await another.get(searched.location)
        assert page.status in {404, 410}, "another person's search"


async def test_the_log_is_searched_by_everything_it_can_be(node: Running, operator: SignedIn) -> None:
    await imported(node, STUDY)
    await operator.post("/console/users", {"name": "nina", "role": "clinician"})
    page = await operator.done("/console/audit", {"actor": "olga", "type": "user_changed"})
    assert page.text.count("User changed<span") == 1
    page = await operator.done("/console/audit", {"study": STUDY.study_uid})
    assert "Study stored" in page.text
    assert (await operator.done("/console/audit", {"since": "2001-01-01", "until": "2001-01-02"})).text.count(
        "<tr>"
    ) == 0
    everything = await operator.done("/console/audit", {"since": "2001-01-01", "until": "2999-01-01"})
    assert "Node started" in everything.text
    for wrong in ({"since": "yesterday"}, {"study": "1..2"}, {"type": "nothing"}):
        assert (await operator.post("/console/audit", wrong)).status == 400
    event = re.search(r"/console/audit/events/(\d+)", everything.text)
    assert event is not None
    await until(lambda: proved(operator, event[0]))
    assert "Nothing was changed" in (await operator.post("/console/audit/verification")).text
    assert (await operator.get("/console/audit/events/99999999")).place.endswith("problem=no_such_event")


async def proved(operator: SignedIn, place: str) -> bool:
    return "lead, by" in (await operator.get(place)).text


async def test_users_tokens_and_passwords(operator: SignedIn) -> None:
    await operator.done("/console/users", {"name": "nina", "role": "clinician", "password": "four words are easy"})
    assert (await operator.post("/console/users", {"name": "nina", "role": "clinician"})).status == 409
    assert (await operator.post("/console/users", {"name": "pat", "role": "patient"})).status == 400
    assert (
        await operator.post("/console/users", {"name": "kim", "role": "auditor", "password": "short"})
    ).status == 400
    shown = await operator.post("/console/users/nina/tokens", {"label": "ward 3", "days": "30", "scopes": "images"})
    token = re.search(r"lvt_[\w-]+", shown.text)
    assert token is not None
    again = await operator.get("/console/users/nina")
    assert token[0] not in again.text, "shown once"
    assert "ward 3" in again.text
    both = {"password": "another few words", "again": "other few words!!"}
    assert (await operator.post("/console/users/nina/password", both)).status == 400
    both["again"] = both["password"]
    assert "The password was changed" in (await operator.done("/console/users/nina/password", both)).text
    asked = await operator.get("/console/users/nina/disable")
    assert asked.heading == "Shut nina out?"
    assert "Disabled." in (await operator.done("/console/users/nina/disable")).text
    assert (await operator.post("/console/users/nina/password", both)).status == 409
    assert "may sign in again" in (await operator.done("/console/users/nina/enable")).text
    assert (await operator.get("/console/users/nobody")).place.endswith("problem=unknown_user")


async def test_settings_say_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = await asyncio.to_thread(initialised, tmp_path / "north", "north")
    monkeypatch.setenv("LEVERET_STORE_SCRUB_DAYS", "7")
    settings = replace(settings, store=replace(settings.store, scrub_days=7))
    async with running(tmp_path / "north", settings=settings) as node, signed_in(node, "auditor", "aude") as auditor:
        page = await auditor.get("/console/settings")
        row = re.search(r"<code>scrub_days</code>.*?</tr>", page.text, re.DOTALL)
        assert row is not None
        assert "LEVERET_STORE_SCRUB_DAYS" in row[0]
        assert "Read and verify everything that is stored" in row[0], "the words of node.example.toml"
        name = re.search(r"<code>ae_title</code>.*?</tr>", page.text, re.DOTALL)
        assert name is not None
        assert ">default<" in name[0]
        listen = re.search(r"<h2 id=\"s-api\">.*?<code>listen</code>.*?</tr>", page.text, re.DOTALL)
        assert listen is not None
        assert ">file<" in listen[0]
        with (tmp_path / "north" / "leveret.toml").open("a") as file:
            file.write("\n[log]\nlevel = 'DEBUG'\n")
        assert "changed in the file" in (await auditor.get("/console/settings")).text
        with (tmp_path / "north" / "leveret.toml").open("a") as file:
            file.write("[nonsense")
        assert "cannot be read any more" in (await auditor.get("/console/settings")).text


async def test_the_overview_follows_by_itself(node: Running, operator: SignedIn) -> None:
    async with operator.http.get("/console/overview/events") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        first = await event_of(answer.content)
        assert "All is well" in first
        assert "<script" not in first
        await imported(node, STUDY)
        rival = replace(STUDY, smooth=True)
        await imported(node, rival)
        assert "1 image in quarantine" in await event_of(answer.content)


async def event_of(stream: StreamReader) -> str:
    async with asyncio.timeout(20):
        lines: list[str] = []
        while (line := (await stream.readline()).decode()) not in {"\n", ""} or not lines:
            if line.startswith("data: "):
                lines.append(line[6:])
        return "".join(lines)


async def test_a_quarantined_image_is_compared_and_decided(node: Running, operator: SignedIn) -> None:
    await imported(node, STUDY, replace(STUDY, smooth=True))
    number = re.search(r"/console/quarantine/(\d+)", (await operator.get("/console/quarantine")).text)
    assert number is not None
    page = await operator.get(number[0])
    assert page.heading == "Which one is right?"
    assert page.text.count("lv-compare--differs") >= 1
    assert (await operator.get(f"{number[0]}/discard")).heading == "Shred it?"
    assert "Accepted." in (await operator.done(f"{number[0]}/accept")).text
    for place in (number[0], f"{number[0]}/accept"):  # somebody else, a moment later
        assert (await operator.get(place)).place.endswith("/console/quarantine?problem=unknown_quarantined")
    late = await operator.done(f"{number[0]}/discard")
    assert "not in quarantine any more" in late.text


async def test_codes_consents_and_withdrawals(node: Running, operator: SignedIn) -> None:
    await imported(node, STUDY)
    assert (await operator.post("/console/share-codes", {"patient_id": "NOBODY"})).status == 404
    made = await operator.post("/console/share-codes", {"patient_id": STUDY.patient_id, "days": "7"})
    code = re.search(r'id="code">([^<]+)<', made.text)
    assert code is not None
    listed = await operator.get("/console/share-codes")
    assert code[1] not in listed.text
    revoke = re.search(r"/console/share-codes/\w+/revoke", listed.text)
    assert revoke is not None
    assert (await operator.get(revoke[0])).heading == "Take this code back?"
    assert "worthless now" in (await operator.done(revoke[0])).text

    patient = (await operator.post("/console/consents", {"patient_id": STUDY.patient_id})).location
    assert (await operator.post(patient, {"effect": "DENY", "until": "tomorrow"})).status == 400
    assert (await operator.post(patient, {"effect": "DENY", "until": "2001-01-01"})).status == 400
    added = await operator.done(patient, [("effect", "DENY"), ("modalities", "ct, mr"), ("purposes", "TREAT")])
    assert "CT, MR" in added.text
    assert "nothing of this patient is shared" in (await operator.done(f"{patient}/opt-out")).text
    assert "takes part again" in (await operator.done(f"{patient}/opt-in")).text
    one = re.search(r"/console/consents/[0-9a-f]{32}/revoke", added.text)
    assert one is not None
    assert "Nothing new is released under it" in (await operator.post(one[0])).text

    assert "No study of this facility" in (await operator.post("/console/withdrawals", {"patient_id": "NOBODY"})).text
    form = {"patient_id": STUDY.patient_id, "study": STUDY.study_uid, "reason": "wrong side"}
    assert STUDY.study_uid in (await operator.post("/console/withdrawals", {"patient_id": STUDY.patient_id})).text
    assert (await operator.post("/console/withdrawals", form)).heading == "Withdraw this study?"
    assert "Withdrawn." in (await operator.done("/console/withdrawals", {**form, "sure": "true"})).text
    assert (await operator.post("/console/withdrawals", {**form, "sure": "true"})).status == 404


async def test_storage_is_verified_protected_deleted(node: Running, operator: SignedIn) -> None:
    await imported(node, STUDY)
    place, form = "/console/storage", {"study": STUDY.study_uid}
    assert "being verified now" in (await operator.done(f"{place}/scrub")).text
    assert "Protected" in (await operator.done(f"{place}/protect", form)).text
    assert (await operator.post(f"{place}/delete", form)).heading == "Delete this study for ever?"
    sure = {**form, "sure": "true", "reason": "moved to the archive"}
    refused = await operator.done(f"{place}/delete", sure)
    assert "protected" in refused.text.lower()
    await operator.done(f"{place}/protect/end", form)
    assert "Nobody can read this study again" in (await operator.done(f"{place}/delete", sure)).text


async def test_a_pacs_is_entered_tried_removed(operator: SignedIn) -> None:
    form = {"name": "main", "ae_title": "PACS", "host": "127.0.0.1", "port": "9"}
    assert "Try it now" in (await operator.done("/console/pacs", form)).text
    assert (await operator.post("/console/pacs", form)).status == 409
    assert (await operator.post("/console/pacs", {**form, "ae_title": "TOO\\BAD"})).status == 400
    assert "Studies cannot be sent to it" in (await operator.post("/console/pacs/main/test")).text
    assert (await operator.get("/console/pacs/main/remove")).heading == "Remove main?"
    assert "removed" in (await operator.done("/console/pacs/main/remove")).text
    assert "not removed" not in (await operator.done("/console/pacs/main/remove")).text, "somebody was quicker"


@dataclass
class Paired:
    """Two nodes that trust each other, and the first one's operator."""

    north: Running
    lake: Running
    operator: SignedIn
    place: str  # of lake's page at north


@pytest.fixture
async def paired(node: Running, operator: SignedIn, tmp_path: Path) -> AsyncIterator[Paired]:
    async with running(tmp_path / "lake", "lake") as lake:
        shown = await operator.post("/console/pairing/invite", {"expires_in": "3600"})
        text = re.search(r'id="invitation"[^>]*>(.*?)</pre>', shown.text, re.DOTALL)
        assert text is not None
        await lake.done("POST", "/peers/joined", json={"invitation": text[1]})
        place = re.search(r"/console/peers/[\w-]{63}", (await operator.get("/console/pairing")).text)
        assert place is not None
        assert "trusted now" in (await operator.done(f"{place[0]}/confirm")).text
        yield Paired(node, lake, operator, place[0])


async def test_trust_is_withdrawn_in_steps_and_a_policy_changed(paired: Paired) -> None:
    operator, place = paired.operator, paired.place
    policy = [("accept_share_code", "true"), ("auto_release", "true"), ("hours", "07:00-19:00"), ("max_rate", "20MB")]
    assert "The policy was changed" in (await operator.done(f"{place}/policy", policy)).text
    name = place.rpartition("/")[2]
    kept = (await paired.north.done("GET", f"/peers/{name}/policy"))["policy"]
    assert (kept["accept_share_code"], kept["accept_directive"], kept["max_rate"]) == (True, False, 20_000_000)
    wrong = await operator.post(f"{place}/policy", [("hours", HOSTILE)])
    assert wrong.status == 400
    assert "07:00-19:00" in wrong.text
    assert ESCAPED in wrong.text, "what was typed is not lost"
    assert (await operator.get(f"{place}/suspend")).heading == "Suspend lake?"
    assert "Suspended." in (await operator.done(f"{place}/suspend")).text
    assert "Resumed." in (await operator.done(f"{place}/resume")).text
    assert (await operator.get(f"{place}/revoke")).heading == "Revoke lake?"
    assert "Revoked." in (await operator.done(f"{place}/revoke")).text
    assert "as it stands now" in (await operator.done(f"{place}/resume")).text, "too late, and said so"
    async with signed_in(paired.north, "clinician", "clara") as clinician:
        assert (await clinician.get(place)).status == 200
        assert (await clinician.post(f"{place}/policy", policy)).status == 403


async def test_an_offer_is_decided(paired: Paired) -> None:
    operator = paired.operator
    await imported(paired.lake, STUDY, replace(STUDY, seed=5, patient_id="P-2"))
    north = (await paired.north.done("GET", "/status"))["peer_id"]
    for seed in (1, 5):
        study = replace(STUDY, seed=seed).study_uid
        await paired.lake.done("POST", "/offers", json={"to": north, "studies": [study], "reason": HOSTILE})

    async def both_came() -> bool:
        return (await operator.get("/console/operator/offers")).text.count("/accept") == 2

    await until(both_came)
    page = await operator.get("/console/operator/offers")
    assert ESCAPED in page.text
    first, second = re.findall(r"/console/operator/offers/[0-9a-f]{32}/accept", page.text)
    assert "on their way" in (await operator.done(first)).text
    assert "decided already" in (await operator.done(first)).text
    refusal = second.replace("accept", "refuse")
    assert (await operator.get(refusal)).heading == "Refuse this offer?"
    assert (await operator.post(refusal, {"reason": " "})).heading == "Refuse this offer?"
    assert "Refused." in (await operator.done(refusal, {"reason": "not expected"})).text

    async def is_complete() -> bool:
        return "complete" in (await operator.get("/console/transfers")).text

    await until(is_complete)
    transfer = re.search(r"/console/transfers/[0-9a-f]{32}", (await operator.get("/console/transfers")).text)
    assert transfer is not None
    assert "1 / 1" in (await operator.get(transfer[0])).text
    assert (await operator.done(f"{transfer[0]}/cancel")).status == 200, "an ended one stays as it is"


def test_words_for_what_was_done_and_what_went_wrong() -> None:
    assert set(PROBLEMS) <= set(all_codes()), "no words for errors that there are not"
    assert all(text.endswith(".") for text in DONE.values())
    assert {role for area in AREAS.values() for tab in area for role in tab.roles} <= set(STAFF) | {Role.PATIENT}
