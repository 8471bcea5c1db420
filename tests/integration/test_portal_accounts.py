"""Patients at the portal of a running node: letters, passkeys, passphrases, proxies, over real HTTP."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.ct import CtStudy
from support.facility import LEVERET
from support.portal import PASSPHRASE, Browser, browser
from support.running import Running, initialised, running
from support.smtp import mail_server

from node.config import SmtpSecurity
from node.model.access import Role

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANA = CtStudy(instances=2, patient_id="ANA-1", patient_name="Garcia^Ana", birth_date="19640327", rows=32, seed=1)
BEA = CtStudy(instances=1, patient_id="BEA-2", patient_name="Berg^Bea", birth_date="19701224", rows=32, seed=2)
CHILD = CtStudy(instances=1, patient_id="KID-3", patient_name="Garcia^Luz", birth_date="20200615", rows=32, seed=3)
SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class North:
    node: Running
    make: Callable[[], Coroutine[Any, Any, Browser]]

    async def letter(self, patient_id: str = "ANA-1", **more: Any) -> Any:
        return await self.node.done("POST", "/portal/invitations", json={"patient_id": patient_id, **more})

    async def enrolled(self, name: str, patient_id: str = "ANA-1", **more: Any) -> Browser:
        one = await self.make()
        done = await one.enrol(await self.letter(patient_id, **more), name=name)
        assert done.status == 303, done.text
        return one

    async def account(self, name: str) -> Any:
        accounts = (await self.node.done("GET", "/portal/accounts"))["accounts"]
        return next(one for one in accounts if one["sign_in_name"] == name)

    async def command(self, *words: str) -> str:
        """A command of ``leveret portal``, in a process of its own; what it prints."""
        command = [str(LEVERET), "portal", *words, "--data", str(self.node.directory)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        printed, _ = await process.communicate()
        assert process.returncode == 0
        return printed.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def north(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[North]:
    async with running(tmp_path_factory.mktemp("portal") / "north") as node, AsyncExitStack() as stack:
        start = (await node.done("POST", "/imports"))["import_id"]
        headers = {"Content-Type": "application/octet-stream"}
        for study in (ANA, BEA, CHILD):
            for file in study.files():
                await node.done("POST", f"/imports/{start}/files", data=file, headers=headers)
        await node.done("POST", f"/imports/{start}/end")

        async def make() -> Browser:
            new = browser(node)
            await stack.enter_async_context(new.session)
            return new

        yield North(node, make)


async def test_from_the_letter_to_the_images_by_passphrase(north: North) -> None:
    ana = await north.make()
    given = await north.letter()
    assert given["url"] == f"{ana.api}/portal/enrol#{given['code']}"
    assert "ANA-1" not in given["url"]
    assert (await ana.get("/portal/")).status == 200
    done = await ana.enrol(given)
    assert (done.status, done.place) == (303, "/portal/")
    assert (await ana.get("/portal/")).place == "/portal/studies"
    page = await ana.get("/portal/account")
    assert "Ana Garcia" in page.text
    assert "ana@example.org" in page.text
    assert (await ana.get("/portal/enrol")).place == "/portal/account/add"
    assert (await ana.get("/portal/signin")).place == "/portal/"
    assert (await ana.post("/portal/sign-out")).place == "/portal/"
    assert (await ana.get("/portal/account")).place == "/portal/?next=/portal/account"
    assert (await ana.post("/portal/signin", csrf="", name="ANA@example.org", passphrase=PASSPHRASE,
                           next="//evil.example")).place == "/portal/"  # fmt: skip
    assert (await ana.get("/portal/account")).status == 200


async def test_from_the_letter_to_the_images_by_passkey(north: North) -> None:
    ana = await north.make()
    status, done = await ana.enrol_passkey(await north.letter())
    assert (status, done) == (200, {"next": "/portal/"})
    assert "Ana&#39;s phone" in (await ana.get("/portal/account")).text
    await ana.post("/portal/sign-out")
    assert await ana.sign_in_passkey() == (200, {"next": "/portal/"})
    assert (await ana.get("/portal/account")).status == 200
    status, asked = await ana.send("/portal/verify/passkey/options", csrf=await ana.csrf())
    answer = {"flow": asked["flow"], "credential": ana.device.get(asked["options"]), "next": "/portal/sharing"}
    assert await ana.send("/portal/verify/passkey", answer, await ana.csrf()) == (200, {"next": "/portal/sharing"})
    ana.device.verifies = False
    status, problem = await ana.sign_in_passkey()
    assert (status, problem["code"]) == (403, "passkey_refused")


async def test_the_history_tells_what_was_done_and_by_whom(north: North) -> None:
    ana = await north.enrolled("history@example.org")
    token = await north.node.token("clinician")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom+json"}
    page = await ana.get(f"/dicom-web/studies/{ANA.study_uid}/metadata", **headers)
    assert page.status == 200
    text = (await ana.get("/portal/history")).text
    for words in ("You signed in", "A doctor or nurse here looked at: CT scan", "made a letter for these pages"):
        assert words in text, text
    assert "15 January 2025" in text
    assert (await ana.get("/portal/history?before=1")).status == 200
    assert (await ana.get("/portal/history?before=x")).status == 400


async def test_failures_look_alike_and_say_nothing(north: North) -> None:
    ana = await north.make()
    await north.enrolled("alike@example.org")
    good, used = await north.letter(), await north.letter()
    await (await north.make()).enrol(used, name="used@example.org")
    pages = {
        re.sub(r'value="[^"]*"', "", (await ana.prove(code, date)).text)
        for code, date in (
            (good["code"], "19640328"), (used["code"], "19640327"), ("7K2M-9QXA-0000-0000-0000", "19640327"),
            ("nonsense", "19640327"), (good["code"], "00000000"),
        )
    }  # fmt: skip
    assert len(pages) == 1
    assert "do not go together" in pages.pop()
    answers = [
        await ana.sign_in(name, "something else entirely") for name in ("alike@example.org", "nobody@example.org")
    ]
    assert [one.status for one in answers] == [403, 403]
    assert len({re.sub(r'value="[^"]*"', "", one.text) for one in answers}) == 1
    for name in ("alike@example.org", "nobody@example.org"):
        for _ in range(4):
            await ana.sign_in(name, "something else entirely")
        locked = await ana.sign_in(name, PASSPHRASE)
        assert locked.status == 429
        assert "wait a little" in locked.text


async def test_forms_that_cannot_be_are_shown_again(north: North) -> None:
    ana = await north.make()
    given = await north.letter()
    ticket = (await ana.prove(given["code"], given["birth_date"])).field("ticket")
    way = "/portal/enrol/passphrase"
    for name, one, other, words in (
        ("ab", PASSPHRASE, PASSPHRASE, "Somebody has this name already"),
        ("again@example.org", "short", "short", "too easy to guess"),
        ("again@example.org", PASSPHRASE, "another", "are not the same"),
    ):
        page = await ana.post(way, csrf="", ticket=ticket, name=name, passphrase=one, again=other)
        assert (page.status, words in page.text) == (400, True), words
        assert PASSPHRASE not in page.text
    assert (await ana.get(way)).place == "/portal/enrol"
    page = await ana.post(way, csrf="", ticket="x", name="ok@example.org", passphrase=PASSPHRASE, again=PASSPHRASE)
    assert (page.status, "Date of birth" in page.text) == (403, True)
    status, problem = await ana.send("/portal/enrol/passkey/options", {"ticket": "x"})
    assert (status, problem["code"]) == (403, "enrolment_refused")


async def test_other_sites_and_pages_without_a_token_change_nothing(north: North) -> None:
    ana = await north.enrolled("forged@example.org")
    form = {"name": "forged@example.org", "passphrase": PASSPHRASE}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        async with ana.session.post(f"{ana.api}/portal/signin", data=form, headers=headers) as answer:
            assert answer.status == 403
    for path in ("/portal/sign-out", "/portal/account/close", "/portal/account/passphrase/remove"):
        assert (await ana.post(path, csrf="x")).status == 403
    status, problem = await ana.send("/portal/account/passkeys/options", csrf="")
    assert (status, problem["code"]) == (403, "forged_request")
    async with ana.session.get(f"{ana.api}/portal/account") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
    cookie = next(iter(ana.session.cookie_jar))
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


async def test_ways_to_sign_in_are_added_changed_and_removed(north: North) -> None:
    ana = await north.enrolled("ways@example.org")
    assert (await ana.get("/portal/account/passphrase")).status == 200
    other = "a completely different phrase"
    for name, one, two, words in (
        ("ab", other, other, "Somebody has this name already"),
        ("ways@example.org", "short", "short", "too easy to guess"),
        ("ways@example.org", other, PASSPHRASE, "are not the same"),
    ):
        page = await ana.post("/portal/account/passphrase", name=name, passphrase=one, again=two)
        assert (page.status, words in page.text) == (400, True)
    done = await ana.post("/portal/account/passphrase", name="Ways2@example.org", passphrase=other, again=other)
    assert done.place == "/portal/account?done=passphrase"
    refused = await ana.post("/portal/account/passphrase/remove")
    assert (refused.status, "only way to sign in" in refused.text) == (409, True)

    assert (await ana.get("/portal/account/passkeys/new")).status == 200
    status, asked = await ana.send("/portal/account/passkeys/options", csrf=await ana.csrf())
    assert status == 200
    answer = {"flow": asked["flow"], "credential": ana.device.create(asked["options"])}
    added = await ana.send("/portal/account/passkeys", answer, await ana.csrf())
    assert added == (200, {"next": "/portal/account?done=passkey"})
    key = (await ana.get("/portal/account")).field("key")
    assert (await ana.post("/portal/account/passkeys/rename", key=key, name="<i>mine")).status == 303
    assert "&lt;i&gt;mine" in (await ana.get("/portal/account?done=renamed")).text
    assert (await ana.post("/portal/account/passkeys/rename", key="%%", name="x")).status == 400
    assert (await ana.post("/portal/account/passphrase/remove")).place == "/portal/account?done=removed"
    assert (await ana.post("/portal/account/passkeys/remove", key=key)).status == 409
    assert (await ana.sign_in("ways2@example.org", other)).status == 403
    await ana.post("/portal/sign-out")
    assert (await ana.sign_in_passkey())[0] == 200


async def test_it_is_proved_once_more_that_it_is_them(north: North) -> None:
    ana = await north.enrolled("proof@example.org")
    page = await ana.get("/portal/verify?next=/portal/account/close")
    assert 'name="next" value="/portal/account/close"' in page.text
    assert (await ana.post("/portal/verify", passphrase="not this one at all", next="/portal/account")).status == 403
    done = await ana.post("/portal/verify", passphrase=PASSPHRASE, next="/portal/account/close")
    assert done.place == "/portal/account/close"
    assert (await ana.post("/portal/verify", passphrase=PASSPHRASE, next="https://evil.example")).place == "/portal/"
    assert "Nobody can sign in to it any more" in (await ana.get("/portal/account/close")).text


async def test_who_acts_for_a_patient_is_seen_by_the_patient_and_ended(north: North) -> None:
    ana = await north.enrolled("mother@example.org", "BEA-2")
    proxy = {"acts_for_patient": "Carla <b>Carer", "may_share": False}
    carla = await north.enrolled("carla@example.org", "BEA-2", **proxy)
    page = (await carla.get("/portal/account")).text
    assert "You act for this person." in page
    assert "You may see the images." in page
    page = (await ana.get("/portal/account")).text
    assert "Carla &lt;b&gt;Carer" in page
    access = re.findall(r'name="access" value="([^"]+)"', page)[-1]
    assert (await ana.post("/portal/account/people/end", access=access)).place == "/portal/account?done=ended"
    assert "Nobody&#39;s any more" in (await carla.get("/portal/account")).text
    assert (await carla.get("/portal/studies")).status == 200
    assert "CT scan" not in (await carla.get("/portal/studies")).text


async def test_a_second_letter_joins_the_account(north: North) -> None:
    ana = await north.enrolled("joins@example.org")
    child = await north.letter("KID-3", acts_for_patient="Ana Garcia")
    assert child["until"] is not None
    wrong = {"code": child["code"], "day": "27", "month": "3", "year": "1964"}
    assert (await ana.post("/portal/account/add", **wrong)).status == 403
    right = {"code": child["code"], "day": "15", "month": "06", "year": "2020"}
    assert (await ana.post("/portal/account/add", **right)).place == "/portal/account?done=letter"
    page = (await ana.get("/portal/account")).text
    assert "Luz Garcia" in page
    assert "15 June 2038" in page or "14 June 2038" in page


async def test_staff_reset_end_and_close(north: North) -> None:
    ana = await north.enrolled("closes@example.org")
    account = await north.account("closes@example.org")
    name = account["account_id"]
    again = await north.node.done("POST", f"/portal/accounts/{name}/reset")
    assert (await ana.get("/portal/account")).status == 303
    assert "Choose how you sign in from now on" in (await ana.prove(again["code"], again["birth_date"])).text
    await ana.enrol(again, name="closes2@example.org")
    assert (await ana.get("/portal/account")).status == 200
    second = await north.node.done("POST", f"/portal/accounts/{name}/records", json={"patient_id": "KID-3"})
    assert "Luz Garcia" in (await ana.get("/portal/account")).text
    await north.node.done("POST", f"/portal/access/{second['access_id']}/end")
    assert "Luz Garcia" not in (await ana.get("/portal/account")).text
    assert (await ana.post("/portal/account/close")).place == "/portal/"
    assert (await ana.get("/portal/account")).status == 303
    closed = next(
        one for one in (await north.node.done("GET", "/portal/accounts"))["accounts"] if one["account_id"] == name
    )
    assert closed["closed_at"] is not None
    for path, code in (
        (f"/portal/accounts/{name}/close", "unknown_account"),
        (f"/portal/accounts/{'0' * 32}/reset", "unknown_account"),
        ("/portal/accounts/x/close", "unknown_account"),
        ("/portal/invitations/x/withdraw", "unknown_portal_invitation"),
        ("/portal/access/x/end", "not_found"),
    ):
        status, problem = await north.node.call("POST", path)
        assert (status, problem["code"]) == (404, code), path


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/portal/invitations", {"patient_id": "NOBODY"}, "not_invitable"),
        ("/portal/invitations", {"patient_id": "ANA-1", "expires_in": 0}, "invalid_portal_order"),
        ("/portal/invitations", {"patient_id": "ANA-1", "until": 1}, "invalid_portal_order"),
        ("/portal/invitations", {"patient_id": "ANA-1", "acts_for_patient": ""}, "invalid_portal_order"),
        ("/portal/invitations", {}, "invalid_input"),
        ("/portal/rulings", {"study_instance_uid": "1.2.3", "ruling": "released"}, "unknown_study"),
        ("/portal/rulings", {"study_instance_uid": ANA.study_uid, "ruling": "held"}, "invalid_portal_order"),
    ],
)
async def test_orders_that_cannot_be(north: North, path: str, body: Any, code: str) -> None:
    status, problem = await north.node.call("POST", path, json=body)
    assert status >= 400
    assert problem["code"] == code
    assert "ANA-1" not in json.dumps(problem)


async def test_staff_decide_when_a_study_is_shown(north: North) -> None:
    ana = await north.enrolled("held@example.org", "KID-3")
    await north.command("hold", "--study", CHILD.study_uid, "--reason", "Dr. Who calls you first.")
    page = (await ana.get("/portal/studies")).text
    assert "Dr. Who calls you first." in page
    assert (await ana.get(f"/dicom-web/studies/{CHILD.study_uid}/metadata")).status == 404
    await north.command("release", "--study", CHILD.study_uid)
    assert (await ana.get(f"/dicom-web/studies/{CHILD.study_uid}/metadata")).status == 200
    assert [one["ruling"] for one in (await north.node.done("GET", "/portal/rulings"))["rulings"]] == ["released"]
    await north.node.done("POST", "/portal/rulings", json={"study_instance_uid": CHILD.study_uid, "ruling": None})
    assert (await north.node.done("GET", "/portal/rulings"))["rulings"] == []


async def test_the_command_line(north: North) -> None:
    given = json.loads(await north.command("invite", "--patient-id", "ANA-1", "--expires", "7d", "--json"))
    assert re.fullmatch(r"([0-9A-Z]{4}-){4}[0-9A-Z]{4}", given["code"])
    acts = ("--patient-id", "KID-3", "--name", "Otto", "--see-only", "--until", "2030-01-01", "--json")
    proxy = json.loads(await north.command("proxy", *acts))
    assert (proxy["relation"], proxy["may_share"], proxy["name"]) == ("proxy", False, "Otto")
    await north.enrolled("cli@example.org")
    account = (await north.account("cli@example.org"))["account_id"]
    printed, *_ = await asyncio.gather(
        north.command("invite", "--patient-id", "ANA-1"),
        north.command("withdraw", given["invitation_id"]),
        north.command("add", account, "--patient-id", "KID-3"),
    )
    assert "date of birth: 1964-03-27" in printed
    await north.command("end", (await north.account("cli@example.org"))["access"][1]["access_id"])
    listed = await north.command("list")
    assert "withdrawn" in listed
    assert "cli@example.org" not in listed, "it says by what one signs in, not by which name"
    await north.command("reset", account, "--json")
    assert "Closed" in await north.command("close", account)


async def test_nothing_of_a_letter_or_a_person_is_in_the_log(north: North) -> None:
    ana = await north.make()
    given = await north.letter()
    await ana.prove(given["code"], "19640328")
    await ana.enrol(given, name="log@example.org")
    await ana.get("/portal/history")
    logged = north.node.logged.getvalue()
    for secret in (given["code"], "Garcia", "ANA-1", "19640327", "log@example.org", ANA.study_uid, PASSPHRASE):
        assert secret not in logged


async def test_alerts_without_a_mail_server(north: North) -> None:
    ana = await north.enrolled("alerts@example.org")
    assert "sends no e-mail" in (await ana.get("/portal/account/alerts")).text
    stop = await (await north.make()).post("/portal/stop", csrf="", code="anything")
    assert "No more messages will come." in stop.text


async def test_alerts_are_chosen_proved_and_stopped(tmp_path: Path) -> None:
    settings = await asyncio.to_thread(initialised, tmp_path / "east", "east")
    async with mail_server() as server, AsyncExitStack() as stack:
        portal = replace(
            settings.portal,
            smtp_host="127.0.0.1",
            smtp_port=server.port,
            smtp_security=SmtpSecurity.NONE,
            mail_from="portal@east.example",
        )
        node = await stack.enter_async_context(running(tmp_path / "east", settings=replace(settings, portal=portal)))
        start = (await node.done("POST", "/imports"))["import_id"]
        headers = {"Content-Type": "application/octet-stream"}
        await node.done("POST", f"/imports/{start}/files", data=next(ANA.files()), headers=headers)
        await node.done("POST", f"/imports/{start}/end")
        ana = browser(node)
        await stack.enter_async_context(ana.session)
        await ana.enrol(await node.done("POST", "/portal/invitations", json={"patient_id": "ANA-1"}))
        alerts = "/portal/account/alerts"
        assert (await ana.post(alerts, mode="each", address="nonsense")).status == 400
        assert (await ana.post(alerts, mode="each", address="ana@mail.example")).place == alerts
        assert (await ana.post(alerts, mode="each", address="ana@mail.example")).status == 400, "not twice at once"
        assert (await ana.post(f"{alerts}/code", code="00000000")).status == 400
        async with asyncio.timeout(30):  # the daemon looks at its queue every few seconds
            await server.arrived.wait()
        code = server.mails[0].text.split("code is ")[1][:8]
        assert (await ana.post(f"{alerts}/code", code=code)).place == "/portal/account?done=alerts"
        assert 'value="each" checked' in (await ana.get(alerts)).text
        assert (await ana.post(alerts, mode="off")).place == "/portal/account?done=alerts"
        assert 'value="off" checked' in (await ana.get(alerts)).text


async def test_clinicians_and_operators_make_letters_and_others_do_not(north: North) -> None:
    for role, status in ((Role.CLINICIAN, 201), (Role.OPERATOR, 201), (Role.AUDITOR, 403)):
        token = await north.node.token(role.value, f"letters-{role.value}")
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{north.node.api}/api/v1/portal/invitations"
        async with (await north.make()).session.post(url, json={"patient_id": "ANA-1"}, headers=headers) as answer:
            assert answer.status == status


async def test_at_a_number_address_there_are_passphrases(tmp_path: Path) -> None:
    settings = await asyncio.to_thread(initialised, tmp_path / "south", "south")
    settings = replace(settings, api=replace(settings.api, public_url="http://127.0.0.1"))
    async with running(tmp_path / "south", settings=settings) as node, AsyncExitStack() as stack:
        ana = browser(node)
        await stack.enter_async_context(ana.session)
        start = (await node.done("POST", "/imports"))["import_id"]
        headers = {"Content-Type": "application/octet-stream"}
        await node.done("POST", f"/imports/{start}/files", data=next(ANA.files()), headers=headers)
        await node.done("POST", f"/imports/{start}/end")
        given = await node.done("POST", "/portal/invitations", json={"patient_id": "ANA-1"})
        assert "Passkeys cannot be used at this address" in (await ana.prove(given["code"], given["birth_date"])).text
        status, problem = await ana.send("/portal/signin/passkey/options")
        assert (status, problem["code"]) == (409, "passkeys_unavailable")
        assert (await ana.enrol(given)).status == 303
