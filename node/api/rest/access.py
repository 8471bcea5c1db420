"""Which roles may do what: the sets that routes use."""

from node.model.access import Role

EVERYBODY = frozenset(Role)
CLINICAL = frozenset({Role.CLINICIAN, Role.OPERATOR})  # looks patients up, asks, shares
IMAGES = frozenset({Role.CLINICIAN})  # sees pixels
OPERATION = frozenset({Role.OPERATOR})  # changes how the node works
OVERSIGHT = frozenset({Role.OPERATOR, Role.AUDITOR})  # sees how the node works
