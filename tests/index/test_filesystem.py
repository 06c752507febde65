"""SQLite's write-ahead log is kept off file systems that other machines write to as well."""

from __future__ import annotations

import pytest

from cas.index.filesystem import filesystem_of, network_filesystem

MOUNTINFO = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:50 / /mnt/team rw,relatime shared:5 - nfs4 server:/export rw,vers=4.2
31 30 254:1 / /mnt/team/scratch rw,relatime shared:6 master:1 - xfs /dev/vdb rw
32 27 0:52 / /mnt/with\\040space rw - cifs //server/share rw
33 27 0:53 / /mnt/ssh rw - fuse.sshfs me@host: rw
34 27 0:54 / /mnt/bucket rw - fuse mountpoint-s3 rw
35 27 0:55 / /mnt/box rw - fuse.fuse-overlayfs fuse-overlayfs rw
36 27 254:2 / /mnt/twice rw - ext4 /dev/vdc rw
37 36 0:56 / /mnt/twice rw - lustre mds:/scratch rw
38 27 254:3 / /mnt/ntfs rw - fuseblk /dev/sda1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "refused"),
    [
        ("/home/me/index.sqlite", "ext4", False),
        ("/mnt/team/index.sqlite", "nfs4", True),
        ("/mnt/team", "nfs4", True),
        ("/mnt/team2/index.sqlite", "ext4", False),
        ("/mnt/team/scratch/a/b", "xfs", False),
        ("/mnt/with space/x", "cifs", True),
        ("/mnt/ssh/x", "fuse.sshfs", True),
        ("/mnt/bucket/x", "fuse", True),
        ("/mnt/box/x", "fuse.fuse-overlayfs", False),
        ("/mnt/twice/x", "lustre", True),
        ("/mnt/ntfs/x", "fuseblk", False),
    ],
)
def test_the_innermost_and_latest_mount_decides(path, kind, refused):
    """As mountinfo lists them: nested, hidden, with escaped names, and not there yet."""
    assert filesystem_of(path, MOUNTINFO) == kind
    assert network_filesystem(path, MOUNTINFO) == (kind if refused else None)


def test_a_symlink_is_judged_by_what_it_points_to(tmp_path):
    """A link on a local disk to a folder on NFS is on NFS."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    mountinfo = MOUNTINFO + f"40 27 0:60 / {tmp_path}/real rw - nfs server:/ rw\n"

    assert network_filesystem(tmp_path / "link" / "index.sqlite", mountinfo) == "nfs"
    assert network_filesystem(tmp_path / "index.sqlite", mountinfo) is None


def test_lines_that_are_no_mounts_are_skipped():
    """A future kernel may say more; what is not understood decides nothing."""
    assert filesystem_of("/x", "") is None
    assert filesystem_of("/x", "garbage\n\n27 1 254:0 / / rw - ext4 /dev/vda rw\n") == "ext4"


def test_this_machine_is_asked_by_default(tmp_path):
    """Where the tests run there is a local disk."""
    assert network_filesystem(tmp_path) is None
