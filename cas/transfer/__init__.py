"""Moving checkpoints between stores."""

from cas.transfer.transfer import Moved, transfer

__all__ = ["Moved", "transfer"]
