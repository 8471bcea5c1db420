"""The portal: its use cases and its pages."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from node.api.portal.account import AccountPages
from node.api.portal.alerts import AlertPages
from node.api.portal.enrol import EnrolPages
from node.api.portal.history import HistoryPages
from node.api.portal.signin import SignInPages
from node.api.routing import Route
from node.api.web.languages import Languages
from node.api.web.pages import Pages
from node.model.ids import PeerId
from node.sharing.hashing import PasswordHashing
from node.sharing.portal.accounts import Accounts
from node.sharing.portal.alerts import Alerts
from node.sharing.portal.enrolment import Enrolment
from node.sharing.portal.history import PortalHistory
from node.sharing.portal.mail import Mailer, MailQueue
from node.sharing.portal.parts import PortalParts
from node.sharing.portal.passkeys import Passkeys
from node.sharing.portal.pending import Patience
from node.sharing.portal.proxies import Proxies
from node.sharing.portal.records import Records
from node.sharing.sessions import Sessions
from node.sharing.trust import TrustList

if TYPE_CHECKING:
    from node.app.exchange import Basis


class Resource(Protocol):
    """Something with routes."""

    def routes(self) -> Iterable[Route]:
        """The routes."""


@dataclass(frozen=True, slots=True)
class Portal:
    """What patients, and staff for them, do with accounts."""

    enrolment: Enrolment
    accounts: Accounts
    passkeys: Passkeys
    records: Records
    proxies: Proxies
    history: PortalHistory
    alerts: Alerts


def build_portal(basis: "Basis", sessions: Sessions, hashing: PasswordHashing) -> Portal:
    """Build it."""
    parts = PortalParts(
        db=basis.storage.db,
        sessions=sessions,
        settings=basis.settings.portal,
        facility=basis.settings.node.name,
        url=lambda: basis.reach.url,
        clock=basis.clock,
        log=basis.log,
        hashing=hashing,
        patience=Patience(basis.clock),
    )
    enrolment, records = Enrolment(parts), Records(parts)
    languages, mailer = Languages(), Mailer(parts.settings, parts.facility)
    queue = MailQueue(parts, mailer, lambda language, words: languages.named(language)(words), basis.metrics)
    accounts = Accounts(parts, enrolment)
    return Portal(
        enrolment,
        accounts,
        Passkeys(parts, enrolment, accounts),
        records,
        Proxies(parts, records, accounts),
        PortalHistory(parts, records, _facility_names(basis.network.trust)),
        Alerts(parts, mailer, queue),
    )


def _facility_names(trust: TrustList) -> Callable[[PeerId], str]:
    return lambda peer: next((one.name for one in trust.peers() if one.peer_id == peer), "")


def account_pages(portal: Portal, sessions: Sessions, pages: Pages) -> tuple[Resource, ...]:
    """Enrolling, signing in, the account."""
    return (
        EnrolPages(
            pages,
            enrolment=portal.enrolment,
            accounts=portal.accounts,
            passkeys=portal.passkeys,
            sessions=sessions,
        ),
        SignInPages(pages, portal.accounts, portal.passkeys, sessions),
        AccountPages(
            pages,
            accounts=portal.accounts,
            enrolment=portal.enrolment,
            passkeys=portal.passkeys,
            proxies=portal.proxies,
            records=portal.records,
        ),
        HistoryPages(pages, portal.history),
        AlertPages(pages, portal.alerts),
    )
