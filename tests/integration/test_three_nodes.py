"""Three whole nodes in one process: nothing of one shows in another, because no module keeps state."""

import ast
import asyncio
import io
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from support.ct import CtStudy
from support.facility import LEVERET

from node.app.keys import open_keys
from node.app.node import Node
from node.app.setup import NewNode, initialise
from node.config import load
from node.log import make_logger

ANY = "127.0.0.1:0"
NAMES = ("north", "lake", "brigid")
SOURCES = Path(__file__).resolve().parents[2] / "node"


async def leveret(directory: Path, *arguments: str, stdin: str = "") -> Any:
    """Run the command against a node that this process serves."""
    process = await asyncio.create_subprocess_exec(
        LEVERET, *arguments, "--data", directory, "--json",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(stdin.encode())
    assert process.returncode == 0, (arguments, out, err)
    return json.loads(out)


async def start(stack: AsyncExitStack, directory: Path, name: str) -> Node:
    await asyncio.to_thread(initialise, directory, NewNode(name, ANY, ANY, ANY))
    settings = load(directory, {"LEVERET_PEER_DISCOVERY": "false"})
    keys = await asyncio.to_thread(open_keys, directory, settings.node)
    return await stack.enter_async_context(Node(directory, settings, keys, log=make_logger(io.StringIO())))


@pytest.mark.timeout(120)
async def test_three_nodes_share_in_one_process(tmp_path: Path) -> None:
    homes = {name: tmp_path / name for name in NAMES}
    north, lake, brigid = homes.values()
    study = CtStudy(instances=5, rows=32)
    await asyncio.to_thread(study.write, tmp_path / "media")
    async with AsyncExitStack() as stack:
        nodes = [await start(stack, home, name) for name, home in homes.items()]
        assert len({address for node in nodes for address in node.addresses.values()}) == 9, "nine listeners"
        await leveret(north, "import", str(tmp_path / "media"))
        for other in (lake, brigid):
            invitation = str(tmp_path / f"{other.name}.invitation")
            await leveret(north, "peers", "invite", "--out", invitation, "--auto-confirm", "--expires", "1h")
            await leveret(other, "peers", "join", invitation)
        code = await leveret(north, "share-code", "create", "--patient-id", study.patient_id, "--uses", "2")
        holder = (await leveret(north, "id"))["peer_id"]
        ask = ("request", "--from", holder, "--study", study.study_uid, "--share-code", "-", "--wait")
        both = await asyncio.gather(*(leveret(home, *ask, stdin=code["code"]) for home in (lake, brigid)))
        assert [(one["state"], one["instances"]) for one in both] == [("COMPLETED", 5), ("COMPLETED", 5)]
        held = {home.name: (await leveret(home, "studies"))["studies"] for home in homes.values()}
        assert [len(studies) for studies in held.values()] == [1, 1, 1]
        assert held["north"][0]["origin"] is None
        assert held["lake"][0]["origin"] == held["brigid"][0]["origin"] == holder
        trusted = {h.name: (await leveret(h, "status"))["peers"]["trusted"] for h in homes.values()}
        assert trusted == {"north": 2, "lake": 1, "brigid": 1}


def mutable_globals(path: Path) -> list[str]:
    """Names that a module binds to a list, dict or set it could change, and every ``global`` statement."""
    tree = ast.parse(path.read_text())
    found = [f"{path}:{n.lineno} global" for n in ast.walk(tree) if isinstance(n, ast.Global)]
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
        value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
        if isinstance(value, (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)):
            names = [t.id for t in targets if isinstance(t, ast.Name)]
            found += [
                f"{path}:{statement.lineno} {name}" for name in names if name != "__all__" and not is_constant(name)
            ]
    return found


def is_constant(name: str) -> bool:
    return name.lstrip("_").isupper()


def test_no_module_keeps_state() -> None:
    sources = list(SOURCES.rglob("*.py"))
    assert len(sources) > 100
    assert [hit for source in sources for hit in mutable_globals(source)] == []
