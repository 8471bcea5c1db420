"""What clinicians do with a patient's portal at the console: letters, accounts, people who act, what is shown when."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from support.ct import CtStudy
from support.portal import PASSPHRASE, Browser, Page, browser
from support.running import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANA = CtStudy(instances=1, patient_id="ANA-1", patient_name="Garcia^Ana", birth_date="19640327", rows=32, seed=1)


@dataclass
class Desk:
    """A clinician at a patient's page."""

    browser: Browser
    place: str

    async def page(self) -> Page:
        return await self.browser.get(self.place)

    async def post(self, below: str = "", **form: Any) -> Page:
        token = (await self.page()).field("csrf")
        return await self.browser.post(self.place + below, csrf=token, **form)

    async def letter(self, **form: Any) -> tuple[str, str]:
        """The code of a letter, and the whole page."""
        page = await self.post(**form)
        assert page.status == 200, page.text
        found = re.search(r"([0-9A-Z]{4}-){4}[0-9A-Z]{4}", page.text)
        assert found is not None
        return found[0], page.text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(tmp_path_factory.mktemp("console") / "north") as one:
        start = (await one.done("POST", "/imports"))["import_id"]
        headers = {"Content-Type": "application/octet-stream"}
        await one.done("POST", f"/imports/{start}/files", data=next(ANA.files()), headers=headers)
        await one.done("POST", f"/imports/{start}/end")
        yield one


async def at_the_desk(node: Running, stack: AsyncExitStack, name: str) -> Desk:
    await node.done("POST", "/users", json={"name": name, "role": "clinician", "password": PASSPHRASE})
    one = browser(node)
    await stack.enter_async_context(one.session)
    assert (await one.post("/console/login", csrf="", user=name, password=PASSPHRASE)).status == 303
    token = (await one.get("/console/find")).field("csrf")
    opened = await one.post("/console/find", csrf=token, q="ANA-1")
    assert opened.place.startswith("/console/patients/")
    return Desk(one, f"{opened.place}/portal")


async def test_letters_accounts_and_what_is_shown(node: Running) -> None:
    async with AsyncExitStack() as stack:
        desk = await at_the_desk(node, stack, "cara")
        assert "Nobody yet." in (await desk.page()).text
        assert "ANA-1" not in desk.place

        code, text = await desk.letter()
        assert 'lang="en"' in text
        assert 'lang="es"' in text
        assert "1964" not in text, "whoever finds the letter does not find the date"
        assert "<svg" in text
        ana = browser(node)
        await stack.enter_async_context(ana.session)
        await ana.enrol({"code": code, "birth_date": "19640327"})
        assert code not in (await desk.page()).text

        refused = await desk.post(proxy="true", scope="see", until="2035-06-15")
        assert refused.status == 400, "a letter for a carer needs a name, and is never one for the patient"
        assert (await desk.post(proxy="true", name="Otto", until="15.6.2035")).status == 400
        await desk.letter(proxy="true", name="Otto <Onkel>", scope="see", until="2035-06-15")
        assert "Otto &lt;Onkel&gt;" in (await desk.page()).text
        otto = browser(node)
        await stack.enter_async_context(otto.session)
        code, text = await desk.letter(proxy="true", name="Carla Carer")
        assert "You act for Ana Garcia" in text
        await otto.enrol({"code": code, "birth_date": "19640327"}, name="carla@example.org")

        page = (await desk.page()).text
        letters = re.findall(r'name="id" value="([^"]+)">\s*<button[^>]*value="withdraw"', page)
        assert len(letters) == 1, "those that were used are not taken back"
        assert (await desk.post("/accounts", what="withdraw", id=letters[0])).status == 303
        study = re.findall(r'name="study" value="([^"]+)"', page)[0]
        assert (await desk.post("/studies", study=study, ruling="held")).status == 400
        assert (await desk.post("/studies", study=study, ruling="held", reason="We call you.")).status == 303
        assert "We call you." in (await desk.page()).text
        assert "We call you." in (await ana.get("/portal/studies")).text
        assert (await desk.post("/studies", study=study, ruling="released")).status == 303
        assert "CT scan" in (await ana.get("/portal/studies")).text
        assert (await desk.post("/studies", study=study)).status == 303

        access = re.findall(r'name="id" value="([^"]+)">\s*<button[^>]*value="end"', page)[0]
        assert (await desk.post("/accounts", what="end", id=access)).status == 303
        assert "CT scan" not in (await otto.get("/portal/studies")).text
        account = re.findall(r'name="id" value="([^"]+)">\s*<button[^>]*value="reset"', page)[0]
        again = await desk.post("/accounts", what="reset", id=account)
        assert "Your images and reports" in again.text
        assert (await ana.get("/portal/studies")).status == 303
        assert (await desk.post("/accounts", what="close", id=account)).status == 303
        assert (await desk.post("/accounts", what="close", id=account)).status == 404
        for form in ({"what": "close", "id": "x"}, {"what": "explode", "id": account}, {"what": "end", "id": "0" * 32}):
            assert (await desk.post("/accounts", **form)).status in {400, 404}


async def test_an_address_is_its_owners(node: Running) -> None:
    async with AsyncExitStack() as stack:
        cara, dora = await at_the_desk(node, stack, "cecil"), await at_the_desk(node, stack, "dora")
        token = (await dora.page()).field("csrf")
        assert (await dora.browser.get(cara.place)).status >= 400
        assert (await dora.browser.post(cara.place, csrf=token)).status >= 400
