"""What looks after the store by itself: deleting what is old enough, and reading what is kept."""

from dataclasses import dataclass

from node.clock import Clock
from node.config import StoreSettings
from node.log import Logger
from node.metrics import Metrics
from node.store.engine import Database
from node.store.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class UpkeepParts:
    """What ``retention.Retention`` and ``scrub.Scrub`` work with."""

    db: Database
    store: ObjectStore
    settings: StoreSettings
    clock: Clock
    metrics: Metrics
    log: Logger
