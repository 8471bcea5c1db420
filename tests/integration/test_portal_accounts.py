"""Patients at the portal of a running node: letters, passkeys, passphrases, proxies, over real HTTP."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from support.ct import CtStudy
from support.portal import Browser, browser
from support.running import Running, running

ANA = CtStudy(instances=2, patient_id="ANA-1", patient_name="Garcia^Ana", birth_date="19640327", rows=32, seed=1)
BEA = CtStudy(instances=1, patient_id="BEA-2", patient_name="Berg^Bea", birth_date="19701224", rows=32, seed=2)
CHILD = CtStudy(instances=1, patient_id="KID-3", patient_name="Garcia^Luz", birth_date="20200615", rows=32, seed=3)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north") as one:
        await hold(one, ANA, BEA, CHILD)
        yield one


@pytest.fixture
async def people(node: Running) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def make() -> Browser:
            new = browser(node)
            await stack.enter_async_context(new.session)
            return new

        yield make


async def hold(node: Running, *studies: CtStudy) -> None:
    run = (await node.done("POST", "/imports"))["import_id"]
    headers = {"Content-Type": "application/octet-stream"}
    for study in studies:
        for file in study.files():
            await node.done("POST", f"/imports/{run}/files", data=file, headers=headers)
    await node.done("POST", f"/imports/{run}/end")


async def letter(node: Running, patient_id: str = "ANA-1", **more: Any) -> Any:
    return await node.done("POST", "/portal/invitations", json={"patient_id": patient_id, **more})


async def test_from_the_letter_to_the_images_by_passphrase(node: Running, people: Any) -> None:
    ana: Browser = await people()
    given = await letter(node)
    assert given["url"] == f"{ana.api}/portal/enrol#{given['code']}"
    assert (await ana.get("/portal/")).status == 200
    done = await ana.enrol(given)
    assert (done.status, done.place) == (303, "/portal/")
    assert (await ana.get("/portal/")).place == "/portal/studies"
    page = await ana.get("/portal/account")
    assert "Ana Garcia" in page.text
    assert "ana@example.org" in page.text
    assert (await ana.post("/portal/sign-out")).place == "/portal/"
    assert (await ana.get("/portal/account")).status == 303
    assert (await ana.sign_in()).place == "/portal/"
    assert (await ana.get("/portal/account")).status == 200


async def test_from_the_letter_to_the_images_by_passkey(node: Running, people: Any) -> None:
    ana: Browser = await people()
    status, done = await ana.enrol_passkey(await letter(node))
    assert (status, done) == (200, {"next": "/portal/"})
    assert "Ana&#39;s phone" in (await ana.get("/portal/account")).text
    await ana.post("/portal/sign-out")
    assert await ana.sign_in_passkey() == (200, {"next": "/portal/"})
    assert (await ana.get("/portal/account")).status == 200
