"""What users hold: a Store, and Checkpoints that are views of one hash."""

from cas.checkpoint.checkpoint import Checkpoint
from cas.checkpoint.store import CodecStats, Store, StoreStats

__all__ = ["Checkpoint", "CodecStats", "Store", "StoreStats"]
