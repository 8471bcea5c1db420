"""What announcements may tell because of directives on file (``sharing.announce.ConsentOnFile``)."""

from node.clock import Clock
from node.model.consent import PurposeOfUse
from node.model.directive import permitted_on_file, traits_of
from node.model.ids import PeerId
from node.model.instance import StudySummary
from node.sharing.trust import TrustList
from node.store import directives
from node.store.engine import Read


class DirectivesOnFile:
    """Whether a request for treatment that relies on what is on file would be answered with the study."""

    def __init__(self, trust: TrustList, clock: Clock) -> None:
        self._trust = trust
        self._clock = clock

    async def covers(self, rx: Read, peer: PeerId, study: StudySummary) -> bool:
        """Whether a directive lets ``peer`` have ``study`` now."""
        policy = self._trust.policy_of(peer)
        if not policy.accept_directive or not policy.allows_purpose(PurposeOfUse.TREAT):
            return False
        on_file = await directives.of_patients(rx, {study.patient})
        return permitted_on_file(
            on_file,
            peer,
            PurposeOfUse.TREAT,
            study.patient,
            study.study_instance_uid,
            traits_of(study),
            self._clock.now(),
        )
