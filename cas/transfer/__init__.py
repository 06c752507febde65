"""Moving checkpoints, commits and refs between stores, and the stores' names for each other.

`transfer` brings one revision, `mirror` everything that refs lead to. Why it is so:
docs/design/010-transfer.md.
"""

from cas.transfer.content import ContentMover
from cas.transfer.mirror import Mirrored, mirror
from cas.transfer.remotes import Remotes
from cas.transfer.transfer import Moved, transfer

__all__ = ["ContentMover", "Mirrored", "Moved", "Remotes", "mirror", "transfer"]
