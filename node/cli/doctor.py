"""``leveret doctor``: what is wrong with this node, and what to do."""

from typing import Any

import click

from node.cli import show
from node.cli.command import Session, command


@command("doctor")
@click.pass_obj
def doctor(session: Session) -> int:
    """Check clock, disk, keys, ports, peers and log; works without the daemon too."""
    from node.app.doctor import Finding, examine  # noqa: PLC0415 - opens the whole store, so only when needed

    findings, is_running = examine(session.data)
    if is_running:
        findings += [Finding(*found) for found in _ask(session)]
    document = {
        "running": is_running,
        "checks": [{"check": f.check, "ok": not f.problem, "problem": f.problem} for f in findings],
    }
    session.show(document, _for_people)
    return 1 if any(f.problem for f in findings) else 0


def _ask(session: Session) -> list[tuple[str, str]]:
    """What only the running daemon can tell."""
    daemon = session.daemon()
    proof = daemon.post("/audit/verification")
    found = [("ports", ""), ("keys", ""), ("log", "" if proof["ok"] else f"{proof['problems'][0]} [audit_damaged]")]
    for peer in daemon.get("/peers")["peers"]:
        if peer["trust"] != "TRUSTED":
            continue
        away = (
            f"{show.printable(peer['name'])} is out of reach at {show.printable(peer['addresses'])} [{peer['problem']}]"
        )
        found.append((f"peer {peer['peer_id'][:7]}", "" if peer["connected"] else away))
    return found


def _for_people(document: Any) -> None:
    click.echo("The daemon is running." if document["running"] else "The daemon is not running.")
    for check in document["checks"]:
        if check["ok"]:
            click.echo(f"  ok  {check['check']}")
        else:
            click.secho(f"  !!  {check['check']}: {check['problem']}", fg="red")
