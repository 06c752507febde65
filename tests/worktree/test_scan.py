"""What a directory is taken to hold, and what is refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from cas.errors import FormatError, NotFoundError, RefusedError, StorageError
from cas.worktree import scan

Make = Callable[..., Path]


def paths(root: Path, *, follow_symlinks: bool = False) -> list[str]:
    return [file.path for file in scan(root, follow_symlinks=follow_symlinks).files]


def test_files_and_empty_directories_are_found_in_order(tmp_path: Path, make: Make) -> None:
    """Everything a checkpoint can hold is found, sorted by path."""
    content = {"b/x": b"1", "a": b"", "b.txt": b"22", "b/c/run": b"!", "e/f": None, "d": None}
    make(tmp_path / "r", content, executables=["b/c/run"])

    found = scan(tmp_path / "r")

    assert [(file.path, file.stat.size_bytes, file.executable) for file in found.files] == [
        ("a", 0, False), ("b.txt", 2, False), ("b/c/run", 1, True), ("b/x", 1, False),
    ]  # fmt: skip
    assert found.empty_directories == ("d", "e/f")
    assert [file.real_path for file in found.files] == [file.path for file in found.files]


def test_an_empty_directory_is_an_empty_checkpoint(tmp_path: Path) -> None:
    """The root itself is never listed."""
    found = scan(tmp_path)
    assert (found.files, found.empty_directories) == ((), ())


def test_a_hard_link_is_just_a_file(tmp_path: Path, make: Make) -> None:
    """Two names of one inode are two files of the checkpoint."""
    make(tmp_path / "r", {"a": b"1"})
    os.link(tmp_path / "r/a", tmp_path / "r/b")
    assert paths(tmp_path / "r") == ["a", "b"]


def test_only_the_owners_x_bit_makes_an_executable(tmp_path: Path, make: Make) -> None:
    """As in git."""
    make(tmp_path, {"own": b"", "others": b""})
    (tmp_path / "own").chmod(0o744)
    (tmp_path / "others").chmod(0o655)
    assert {file.path: file.executable for file in scan(tmp_path).files} == {"own": True, "others": False}


def test_a_missing_directory_is_not_found(tmp_path: Path) -> None:
    """Also where a file is in the way of the path."""
    (tmp_path / "file").write_bytes(b"")
    for missing in (tmp_path / "none", tmp_path / "file" / "under"):
        with pytest.raises(NotFoundError, match="no directory"):
            scan(missing)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    """The message says what to give instead."""
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"model\.pt.*is not a directory; .* directory it is in"):
        scan(tmp_path / "model.pt")


def test_the_root_may_be_a_link(tmp_path: Path, make: Make) -> None:
    """The caller named it: there is nothing to protect against."""
    make(tmp_path / "real", {"a": b"1"})
    (tmp_path / "link").symlink_to("real")
    assert paths(tmp_path / "link") == ["a"]
    assert scan(tmp_path / "link").root == (tmp_path / "real").resolve()


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """The message shows its bytes and can itself be printed."""
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/d")
        os.close(os.open(os.fsencode(tmp_path) + b"/d/w\xff\xfe", os.O_CREAT))
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with pytest.raises(FormatError, match="not UTF-8; rename it") as raised:
        scan(tmp_path)
    assert r"b'w\xff\xfe' in 'd'" in str(raised.value)
    assert str(raised.value).encode()


@pytest.mark.parametrize("kind", ["symbolic link", "named pipe", "socket", "device"])
def test_whatever_is_no_file_is_refused_by_name(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving it out would lose it silently."""
    monkeypatch.chdir(tmp_path)  # a socket's address is short
    os.mkdir("d")
    if kind == "symbolic link":
        os.symlink("nowhere", "d/odd")
    elif kind == "named pipe":
        os.mkfifo("d/odd")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("d/odd")
    else:
        try:
            os.mknod("d/odd", 0o20600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("needs root to make a device")
    with pytest.raises(RefusedError, match=f"'d/odd' in .* is a (character )?{kind}"):
        scan(tmp_path)


def test_links_inside_are_followed_on_request(tmp_path: Path, make: Make) -> None:
    """What a link ends at is stored under the link's name; where it lies is remembered."""
    make(tmp_path / "r", {"v1/w": b"1", "v1/sub/x": b"2"}, executables=["v1/w"])
    (tmp_path / "r/latest").symlink_to("v1")
    (tmp_path / "r/w").symlink_to("latest/w")

    found = scan(tmp_path / "r", follow_symlinks=True)

    assert {file.path: file.real_path for file in found.files} == {
        "latest/sub/x": "v1/sub/x", "latest/w": "v1/w", "v1/sub/x": "v1/sub/x", "v1/w": "v1/w", "w": "v1/w",
    }  # fmt: skip
    assert [file.path for file in found.files if file.executable] == ["latest/w", "v1/w", "w"]


def test_links_that_leave_the_root_are_refused(tmp_path: Path, make: Make) -> None:
    """Even on request, even by a detour, and even to a sibling whose name begins alike."""
    make(tmp_path, {"r/a": b"1", "root2/secret": b"s"})
    (tmp_path / "r/link").symlink_to(tmp_path / "root2" / "secret")
    with pytest.raises(RefusedError, match=r"'link' in .* outside the directory"):
        scan(tmp_path / "r", follow_symlinks=True)
    (tmp_path / "r/link").unlink()
    (tmp_path / "r/link").symlink_to("..")
    with pytest.raises(RefusedError, match="outside the directory"):
        scan(tmp_path / "r", follow_symlinks=True)


@pytest.mark.parametrize("end", ["nowhere", "link", "f/under"])
def test_links_that_lead_nowhere_are_refused(end: str, tmp_path: Path, make: Make) -> None:
    """Dangling, or linked to themselves."""
    make(tmp_path, {"f": b"1"})
    (tmp_path / "link").symlink_to(end)
    with pytest.raises(RefusedError, match=r"'link' in .* leads nowhere"):
        scan(tmp_path, follow_symlinks=True)


@pytest.mark.parametrize(
    "links",
    [
        {"d/up": ".."},
        {"d/up": "../d"},
        {"d/x": "../e", "e/y": "../d"},
        {"d/x": "../p/q", "p/q/y": ".."},
    ],
)
def test_links_that_lead_back_are_refused(links: dict[str, str], tmp_path: Path, make: Make) -> None:
    """Following them would never end."""
    make(tmp_path, {"d/f": b"1", "e/f": b"1", "p/q/f": b"1"})
    for link, end in links.items():
        (tmp_path / link).symlink_to(end)
    with pytest.raises(RefusedError, match="leads back to"):
        scan(tmp_path, follow_symlinks=True)


def test_a_link_to_a_special_file_is_refused(tmp_path: Path) -> None:
    """Following a link does not make a pipe a file."""
    (tmp_path / "a").symlink_to("pipe")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RefusedError, match="named pipe"):
        scan(tmp_path, follow_symlinks=True)


def test_the_store_in_a_directory_is_no_part_of_it(tmp_path: Path, make: Make) -> None:
    """``.cas`` at the top, if it is a store, is left out: it may well be where the checkpoint goes."""
    make(tmp_path / "r", {".cas/format.json": b"{}", ".cas/packs/x": b"1", "a": b"2"})
    assert paths(tmp_path / "r") == ["a"]
    (tmp_path / "r/.cas").rename(tmp_path / "store")
    (tmp_path / "r/.cas").symlink_to("../store")
    assert paths(tmp_path / "r") == ["a"]


@pytest.mark.parametrize("path", [".cas/notes", "sub/.cas/format.json", ".cas", ".cas-restore-0123456789abcdef/0"])
def test_reserved_names_are_refused_and_not_left_out(path: str, tmp_path: Path, make: Make) -> None:
    """Nothing but the store itself is ever left out silently."""
    make(tmp_path, {path: b"1"})
    with pytest.raises(RefusedError, match="belong"):
        scan(tmp_path)


def test_a_directory_that_cannot_be_read_is_named(as_nobody: Path, make: Make) -> None:
    """A part of a checkpoint is worse than an error."""
    make(as_nobody, {"open/a": b"1", "closed/b": b"2"})
    (as_nobody / "closed").chmod(0)
    try:
        with pytest.raises(StorageError, match=r"cannot read 'closed' in .*: Permission denied"):
            scan(as_nobody)
    finally:
        (as_nobody / "closed").chmod(0o755)
