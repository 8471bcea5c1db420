"""Rows of the facility's DICOM systems."""

from node.model.pacs import Pacs
from node.store.engine import Read, Row, Write

_COLUMNS = "name, ae_title, host, port, calls_from, tls, ca, same_association, added_at"


async def add(tx: Write, pacs: Pacs) -> bool:
    """Add a system; False if its name or AE title is taken."""
    added = await tx.execute(
        f"INSERT INTO pacs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608 - fixed texts
        (
            pacs.name,
            pacs.ae_title,
            pacs.host,
            pacs.port,
            ",".join(pacs.calls_from),
            int(pacs.tls),
            pacs.ca,
            int(pacs.same_association),
            pacs.added_at,
        ),
    )
    return added == 1


async def remove(tx: Write, name: str) -> bool:
    """Remove a system; whether there was one."""
    return bool(await tx.execute("DELETE FROM pacs WHERE name = ?", (name,)))


async def every(rx: Read) -> list[Pacs]:
    """All systems by name."""
    return [_pacs(row) for row in await rx.fetch_all(f"SELECT {_COLUMNS} FROM pacs ORDER BY name")]  # noqa: S608 - fixed texts


def _pacs(row: Row) -> Pacs:
    return Pacs(
        name=row[0],
        ae_title=row[1],
        host=row[2],
        port=row[3],
        calls_from=tuple(row[4].split(",")) if row[4] else (),
        tls=bool(row[5]),
        ca=row[6],
        same_association=bool(row[7]),
        added_at=row[8],
    )
