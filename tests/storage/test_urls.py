"""Which URL opens what, and that no secret of a URL is ever shown."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cas.errors import CasError, FormatError, RefusedError, StorageError
from cas.storage import LocalStorage, MemoryStorage, RetryingStorage, open_storage, redact
from cas.storage.http import HttpStorage
from cas.storage.urls import scrub

WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
SECRETS = st.text(st.characters(codec="ascii", exclude_characters="/?#%", exclude_categories=["C", "Z"]), min_size=6)
ESCAPED = st.sampled_from(["", "%2F", "%40x", "+", "=="])


def test_a_path_is_a_folder(tmp_path):
    """With or without file://, escaped or not, absolute or from here; the URL it gives opens it again."""
    folder = tmp_path / "my store#1"
    for url in (str(folder), folder.as_uri(), f"file://localhost{folder.as_uri()[7:]}", os.path.relpath(folder)):
        storage = open_storage(url)
        assert isinstance(storage, RetryingStorage)
        assert storage.url == storage.local_path == str(folder)
        assert open_storage(storage.url).url == storage.url
    assert not folder.exists()


def test_tilde_is_the_home_folder(tmp_path, monkeypatch):
    """Also where no shell expanded it, as in a configuration file."""
    monkeypatch.setenv("HOME", str(tmp_path))

    assert open_storage("~/store").local_path == str(tmp_path / "store")


def test_retries_may_be_left_out(tmp_path):
    """What probes and tests want to see is then the storage itself; memory never needs any."""
    assert isinstance(open_storage(str(tmp_path), retries=False), LocalStorage)
    assert isinstance(open_storage("memory://test"), MemoryStorage)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a\0b",
        "file://elsewhere/store",
        "file://",
        "file:relative",
        "1://x",
        "s3 ://x",
        "nonesuch://a/b",
        "simplecache::s3://a/b",
    ],
)
def test_what_names_no_store_is_refused(url):
    """Empty, another machine's folder, an unknown protocol, a chain."""
    with pytest.raises(FormatError):
        open_storage(url)


def test_a_missing_package_is_named(monkeypatch):
    """The message is the command to run."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(RefusedError, match=r"pip install 'cas\[s3\]'"):
        open_storage("s3://bucket/prefix")
    with pytest.raises(RefusedError, match=r"sftp:// needs .*pip install 'paramiko'"):
        open_storage("sftp://user:hidden@host/folder")


def test_opening_a_folder_imports_no_network_client(tmp_path):
    """A command on a local store does not pay half a second for fsspec."""
    code = (
        "import sys; from cas.storage import open_storage\n"
        "open_storage(sys.argv[1]).create('k', [b'x'])\n"
        "print([name for name in ('fsspec', 's3fs', 'aiohttp', 'botocore', 'asyncio') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"


@settings(deadline=None)
@given(
    scheme=st.sampled_from(["s3", "sftp", "https", "abfs", "gs"]), host=WORDS, path=WORDS, secret=SECRETS, tail=ESCAPED
)
def test_redacting_leaves_what_names_the_store(scheme, host, path, secret, tail):
    """User, password, query and fragment are gone; scheme, host and path are as they were; twice is once."""
    plain = f"{scheme}://{host}/{path}/{path}@{path}"
    for url in (
        plain,
        f"{scheme}://{secret}{tail}@{host}/{path}/{path}@{path}",
        f"{scheme}://user:{secret}{tail}@{host}/{path}/{path}@{path}",
        f"{plain}?sig={secret}{tail}&x=1",
        f"{plain}#{secret}",
        f"{scheme}://user:{secret}@{host}/{path}/{path}@{path}?{secret}#{secret}",
    ):
        assert redact(url) == plain
        assert redact(redact(url)) == plain


@settings(deadline=None)
@given(st.text().filter(lambda text: "://" not in text))
def test_redacting_leaves_paths_alone(path):
    """A folder's name may hold anything."""
    assert redact(path) == path


@settings(deadline=None)
@given(host=WORDS, secret=SECRETS, before=st.text(max_size=10), tail=ESCAPED)
def test_scrubbing_removes_secrets_from_any_text(host, secret, before, tail):
    """However a library words its error: the whole URL, the password alone, escaped or not."""
    for url in (f"sftp://user:{secret}{tail}@{host}/p", f"https://{host}/p?sig={secret}{tail}&other=zzzzzzz"):
        assume(secret not in f"{before} {redact(url)} failed: token ***")
        for text in (f"{before} {url}/k failed", f"token '{secret}{tail}'", f"({url})", f"<{url}>"):
            assert secret not in scrub(text, url)


@pytest.mark.server
def test_no_error_shows_a_secret(proxy):
    """Neither message, nor representation, nor traceback, nor what is pickled to another process."""
    host = proxy.endpoint.removeprefix("http://")
    url = f"http://user:p4ssw0rd@{host}/bucket/p?sig=s1gnature&x=%73econd"
    storage = open_storage(url, retries=False)
    assert isinstance(storage, HttpStorage)
    proxy.faults.extend([(403, ""), "drop", "drop", (500, "")])
    shown = [storage.url]
    for act in (
        lambda: storage.read("k"),
        lambda: storage.read("k"),
        lambda: storage.read("k"),
        lambda: storage.read("k"),
        lambda: storage.create("k", [b"x"]),
        lambda: storage.list(""),
        lambda: open_storage(url.replace("http", "nonesuch", 1)),
        lambda: open_storage(url.replace("http", "s3", 1)),
        lambda: open_storage(f"simplecache::{url}"),
        lambda: open_storage(url.replace("http", "file", 1)),
    ):
        with pytest.raises(CasError) as caught:
            act()
        again = pickle.loads(pickle.dumps(caught.value))
        assert str(again) == str(caught.value)
        shown += [str(again), repr(again), "".join(traceback.format_exception(caught.value))]
    storage.close()

    assert shown[0] == f"http://{host}/bucket/p"
    for text in shown:
        for secret in ("p4ssw0rd", "s1gnature", "%73econd", "second"):
            assert secret not in text, text


def test_a_dead_server_is_said(tmp_path):
    """Nobody listens there: transient, for it may come back, and named."""
    storage = open_storage("http://127.0.0.1:9/store", retries=False)

    with pytest.raises(StorageError, match=r"cannot read http://127\.0\.0\.1:9/store/k") as caught:
        storage.read("k")
    assert caught.value.transient
    storage.close()
    assert list(Path(tmp_path).iterdir()) == []
