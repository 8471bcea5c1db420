"""Which roles may do what: the sets that routes use."""

from node.model.access import STAFF, Role

EVERYBODY = STAFF  # who works here; patients and recipients of links are named where something is theirs
CLINICAL = frozenset({Role.CLINICIAN, Role.OPERATOR})  # looks patients up, asks, shares
IMAGES = frozenset({Role.CLINICIAN})  # sees pixels
OWN_STUDIES = CLINICAL | {Role.PATIENT, Role.RECIPIENT}  # finds studies, the last two those that are theirs alone
OWN_IMAGES = IMAGES | {Role.PATIENT, Role.RECIPIENT}  # sees pixels, the last two those that are theirs alone
PATIENTS = frozenset({Role.PATIENT})
OPERATION = frozenset({Role.OPERATOR})  # changes how the node works
OVERSIGHT = frozenset({Role.OPERATOR, Role.AUDITOR})  # sees how the node works
