"""``leveret transfers``: what is moving and what has moved."""

from typing import Any

import click

from node.cli import show
from node.cli.client import quoted
from node.cli.command import Session, group


@group("transfers")
def transfers() -> None:
    """Watch and cancel transfers."""


@transfers.command("list")
@click.pass_obj
def list_transfers(session: Session) -> None:
    """All transfers, newest first."""

    def for_people(document: Any) -> None:
        show.table(
            ("BEGUN", "TRANSFER", "DIR", "PEER", "STATE", "INSTANCES", "BYTES", "CODE"),
            [
                (
                    show.moment(t["created_at"]),
                    t["transfer_id"],
                    t["direction"],
                    t["peer_id"][:7],
                    t["state"],
                    f"{t['instances_done']} of {t['instances_total']}",
                    f"{show.size(t['bytes_done'])} of {show.size(t['bytes_total'])}",
                    t["code"],
                )
                for t in document["transfers"]
            ],
            empty="No transfers yet.",
        )

    session.show(session.daemon().every("/transfers", "transfers"), for_people)


@transfers.command("show")
@click.argument("transfer_id")
@click.pass_obj
def show_transfer(session: Session, transfer_id: str) -> None:
    """Everything about one transfer."""

    def for_people(t: Any) -> None:
        times = {"created_at", "updated_at"}
        show.table(("FIELD", "VALUE"), [(k, show.moment(v) if k in times else v) for k, v in t.items()], empty="")

    session.show(session.daemon().get(f"/transfers/{quoted(transfer_id)}"), for_people)


@transfers.command("cancel")
@click.argument("transfer_id")
@click.pass_obj
def cancel(session: Session, transfer_id: str) -> None:
    """Give a transfer up, at both ends; what had arrived is discarded."""
    document = session.daemon().post(f"/transfers/{quoted(transfer_id)}/cancel")
    session.show(document, lambda _d: click.echo("Cancelled."))
