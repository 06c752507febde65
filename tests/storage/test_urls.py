"""Which URL opens what, and that no secret of a URL is ever shown."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cas.errors import CasError, FormatError, RefusedError, StorageError
from cas.storage import LocalStorage, MemoryStorage, RetryingStorage, open_storage, redact
from cas.storage.http import HttpStorage
from cas.storage.redaction import scrub

WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
SECRETS = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=6)
HOST_AND_PORT = re.compile(r"[0-9]{1,5}[/?#]")  # a password that begins so reads as a port
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
    """Password, query and fragment are gone, whatever they hold; scheme, host and path stay; twice is once."""
    plain = f"{scheme}://{host}/{path}/{path}"
    assume(secret not in plain)
    assume(scheme == "s3" or not HOST_AND_PORT.match(secret))
    for url, expected in {
        plain: plain,
        f"{scheme}://user:{secret}{tail}@{host}/{path}/{path}": plain,
        f"{scheme}://user:{secret}@{host}/{path}/{path}?{secret}#{secret}": plain,
        f"{plain}@{path}?sig={secret}{tail}&x=1": f"{plain}@{path}",
        f"{plain}@{path}#{secret}": f"{plain}@{path}",
        f"https://{host}:8080/{path}@{path}?sig={secret}": f"https://{host}:8080/{path}@{path}",
    }.items():
        shown = redact(url)
        assert secret not in shown
        assert redact(shown) == shown
        assert shown == expected or "@" in secret  # what follows may then be a part of it


@settings(deadline=None)
@given(host=WORDS, path=WORDS, user=SECRETS.filter(lambda text: not re.search(r"[/?#:]", text)))
def test_a_user_alone_is_redacted(host, path, user):
    """Such as a token; what is not told from a path is one with a raw slash, question mark or hash."""
    assert redact(f"sftp://{user}@{host}/{path}@{path}") == f"sftp://{host}/{path}@{path}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://AKIA:wJal/K7M/bPx@bucket/p", "s3://bucket/p"),
        ("s3://AKIA:/wJal+K7M@bucket/p", "s3://bucket/p"),
        ("S3A://AKIA:12/wJal@bucket/p", "S3A://bucket/p"),
        ("sftp://user:a?b#c@host/p", "sftp://host/p"),
        ("sftp://user:a@b/c@host/p", "sftp://host/p"),
        ("https://user:pw@host/p?mail=a@rest", "https://***"),
        ("https://user:pw@host/p?next=https://a:b@rest?c@d", "https://***"),
        ("https://host:8080/p@1", "https://host:8080/p@1"),
        ("https://[fe80::1]:80/p@1", "https://[fe80::1]:80/p@1"),
        ("s3://bucket/p:1@2", "s3://bucket/p:1@2"),
        ("https://host/p?u=https://a:b@c", "https://host/p"),
        ("simplecache::s3://AKIA:wJal/K7M@bucket/p", "simplecache::s3://bucket/p"),
    ],
)
def test_what_is_read_as_a_password(url, shown):
    """Up to the last @, unless it is a port; where a query might hold the @ as well, nothing is shown."""
    assert redact(url) == shown


@settings(deadline=None)
@given(st.text().filter(lambda text: "://" not in text))
def test_redacting_leaves_paths_alone(path):
    """A folder's name may hold anything."""
    assert redact(path) == path


@settings(deadline=None)
@given(host=WORDS, secret=SECRETS, before=st.text(max_size=10), tail=ESCAPED)
def test_scrubbing_removes_secrets_from_any_text(host, secret, before, tail):
    """However a library words its error: the whole URL, the password alone, escaped or not."""
    assume(not HOST_AND_PORT.match(secret))
    urls = [f"sftp://user:{secret}{tail}@{host}/p"]
    if not re.search("[&;#?]", secret):  # where a query's value ends
        urls.append(f"https://{host}/p?sig={secret}{tail}&other=zzzzzzz")
    for url in urls:
        assume(secret not in f"{before} {redact(url)} failed: token ***:***")
        for text in (f"{before} {url}/k failed", f"token '{secret}{tail}'", f"({url})", f"<{url}>"):
            assert secret not in scrub(text, url)
        assert secret not in scrub(f"token {quote(secret + tail, safe='')}", url)


def test_scrubbing_removes_user_and_password_but_no_single_letters():
    """Each alone and both; and a password in the pieces that a parser of URLs takes it for."""
    url = "ftp://ada:wJal/K7M@host/p"
    assert scrub('530 no "ada" (wJal/K7M) here', url) == '530 no "***" (***) here'
    assert "wJal" not in scrub("Port could not be cast to integer value as 'wJal'", url)
    assert scrub("a bad day at 1", "ftp://a:b@host/p?x=1") == "a bad day at 1"


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
