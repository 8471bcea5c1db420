"""What a page that asks a facility is about."""

from dataclasses import dataclass

from node.api.console.handles import PatientRef
from node.model.ids import PeerId
from node.model.instance import Demographics
from node.sharing.locate import PriorStudy


@dataclass(frozen=True, slots=True)
class Sheet:
    """A facility, a patient, and what that facility announced of the patient that is not here yet."""

    peer: PeerId
    patient: PatientRef
    who: Demographics
    priors: tuple[PriorStudy, ...]
