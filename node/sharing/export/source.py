"""Who keeps the log."""

from dataclasses import dataclass

from node.model.ids import PeerId


@dataclass(frozen=True, slots=True)
class Source:
    """The node whose log it is."""

    peer: PeerId
    name: str  # of the facility
