"""What may be shown of a URL, and what must be cut from a library's words about it.

People type passwords as they are, so one may hold ``/``, ``?``, ``#`` or ``@``
where a URL's grammar has ``%2F``: an AWS secret key does every other time. What
stands before the last ``@`` is therefore hidden whenever it begins as
``user:password`` does and not as ``host:port``. Too much hidden is a message
less clear; too little is a password in a log.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

__all__ = ["redact", "scrub"]

_HIDDEN = "***"
_LEAST_CHARACTERS = 3  # of what is cut from a text wherever it stands: a user "a" is in every word
_ANY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_USER_INFO = re.compile(
    r"""
    (?: (?<=s3://) | (?<=s3a://)                       # where no ports are
      | (?<=://) (?! \[ [0-9A-Fa-f:.%]* \]             # an address of IPv6 has colons of its own
                   | [^/?#@:]* : [0-9]{1,5} (?: [/?#] | $ ) )
    ) [^/?#@:]* : .* @
    | (?<=://) [^/?#]* @                               # a user alone
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
# Is the last @ the password's end, or a query's? Nothing that follows either is shown.
_IN_DOUBT = re.compile(r"@.*[?#]", re.DOTALL)


def redact(url: str) -> str:
    """``url`` without what may be secret: user and password, query, fragment. Paths of folders stay as they are.

    Not told from a path is ``user:123/rest@host``, which begins as host and port do, and a user without
    a password that holds ``/``, ``?`` or ``#``.
    """
    if "://" not in url:
        return url
    found = _USER_INFO.search(url)
    if found is not None and _IN_DOUBT.search(found[0]):
        shown = url[: found.start()] + _HIDDEN
    else:
        shown = _USER_INFO.sub("", url)
    return re.split(r"[?#]", shown, maxsplit=1)[0]


def scrub(text: str, secret_url: str) -> str:
    """``text`` (a library's error) without the secrets of ``secret_url`` and of any URL in it."""
    for secret in sorted(_secrets(secret_url), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return _ANY_URL.sub(lambda found: redact(found[0]), text)


def _secrets(url: str) -> set[str]:
    """What in the URL a library might print alone: whole, escaped, in the pieces it may have taken it for."""
    found = _USER_INFO.search(url)
    user, _, password = found[0][:-1].partition(":") if found else ("", "", "")
    rest = url[found.end() :] if found else url
    if found and _IN_DOUBT.search(found[0]):
        rest = f"?{rest}"
    _, *tail = re.split(r"[?#]", rest, maxsplit=1)
    pairs = re.split(r"[&;?#]", tail[0]) if tail else []
    whole = {user, password, *(pair.partition("=")[2] or pair for pair in pairs)}
    parts = whole.union(*(re.split(r"[/?#@:&;=]", secret) for secret in (password, *pairs)))
    forms = parts | {unquote(part) for part in parts} | {quote(part, safe="") for part in parts}
    return {secret for secret in forms if len(secret) >= _LEAST_CHARACTERS}
