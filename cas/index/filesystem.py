"""Which file system a path lies on, as far as SQLite's write-ahead log cares.

The log keeps its index in shared memory that every process maps, so it works
only among processes of one machine. On a network file system two machines would
each have their own and overwrite each other's pages; SQLite cannot notice, so
cas looks first.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["LOCAL_FUSE", "NETWORK_FILESYSTEMS", "filesystem_of", "network_filesystem"]

_MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")

# As mountinfo names them. 9p and drvfs are also how WSL shows Windows' drives.
NETWORK_FILESYSTEMS = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "drvfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "pvfs2",
        "smb3",
        "smbfs",
        "vboxsf",
        "vmhgfs",
        "wekafs",
    }
)
# FUSE is mostly a way to other machines (sshfs, s3fs, rclone, gcsfuse, juicefs, …), except for these.
LOCAL_FUSE = frozenset(
    {
        "fuse.bindfs",
        "fuse.cryfs",
        "fuse.encfs",
        "fuse.exfat",
        "fuse.fuse-overlayfs",
        "fuse.gocryptfs",
        "fuse.mergerfs",
        "fuse.ntfs-3g",
    }
)


def filesystem_of(path: str | os.PathLike[str], mountinfo: str) -> str | None:
    """The type of the file system that ``path`` lies on.

    Args:
        path: need not exist yet; symlinks in it are followed.
        mountinfo: what /proc/self/mountinfo says (proc(5)).

    Returns:
        A name such as ``ext4`` or ``nfs4``, or None if no mount holds the path.
    """
    where = os.path.realpath(path)
    found, best = None, -1
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        if not separator:
            continue
        mount = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        # Of two mounts on one directory the later hides the earlier, hence >= .
        if len(mount) >= best and (where == mount or where.startswith(mount.rstrip("/") + "/")):
            found, best = after.split(" ")[0], len(mount)
    return found


def network_filesystem(path: str | os.PathLike[str], mountinfo: str | None = None) -> str | None:
    """The type of file system under ``path`` if other machines may write to it too, else None.

    Args:
        path: need not exist yet.
        mountinfo: for tests; by default this machine's. Where there is none (macOS), nothing is refused.
    """
    if mountinfo is None:
        try:
            mountinfo = _MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    kind = filesystem_of(path, mountinfo)
    if kind is None or kind in LOCAL_FUSE:
        return None
    return kind if kind in NETWORK_FILESYSTEMS or kind.partition(".")[0] == "fuse" else None
