"""SMART Health Links, wired."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from node.sharing.hashing import PasswordHashing
from node.sharing.health_links.files import FileMaker
from node.sharing.health_links.keeping import HealthLinks, LinkParts
from node.sharing.health_links.opening import Opening
from node.sharing.health_links.reports import ReportReader
from node.sharing.portal.records import Records
from node.sharing.sessions import Sessions

if TYPE_CHECKING:
    from node.app.exchange import Basis


@dataclass(frozen=True, slots=True)
class Links:
    """Links that patients give to people."""

    keeping: HealthLinks
    opening: Opening


def build_links(basis: "Basis", sessions: Sessions, hashing: PasswordHashing, records: Records) -> Links:
    """Build the use cases."""
    storage, clock, reach = basis.storage, basis.clock, basis.reach

    def address() -> str:
        return reach.url

    attempts = basis.settings.consent.link_failures
    keeping = HealthLinks(
        LinkParts(storage.db, storage.store, sessions, hashing, clock, address, attempts, records.sharable, basis.log)
    )
    files = FileMaker(
        store=storage.store,
        reports=ReportReader(storage.store, storage.renderers, basis.log),
        clock=clock,
        facility=basis.settings.node.name,
        address=address,
    )
    return Links(keeping, Opening(db=storage.db, links=keeping, files=files, clock=clock, address=address))
