"""What went wrong, said so that the caller knows what to do next.

Turns an operating system's or a server's failure into one error of one or two
lines: which thing, what failed, the way out, and whether trying again may help.
Client libraries are recognised by what their errors carry (an errno, an HTTP
status, a class name), so that none of them is imported here.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from cas.errors import CasError, NotFoundError, StorageError

__all__ = ["http_status", "local_failure", "remote_failure", "service_code"]

_TRANSIENT_ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_WAYS_OUT = {
    errno.ENOSPC: "no space left: free some, or use a store elsewhere",
    errno.EDQUOT: "the quota is used up: free some space, or use a store elsewhere",
    errno.EROFS: "the file system is read-only: remount it for writing, or use a store elsewhere",
    errno.EACCES: "permission denied: check the owner and mode of the folder and of what it lies in",
    errno.EPERM: "not permitted: check the owner, mode and attributes of the folder",
    errno.EIO: "the disk reports an input/output error: see the system's log (dmesg)",
    errno.ENOTDIR: "a file is where a folder is due: move it away, or use a store elsewhere",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
}
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_TRANSIENT_CODES = frozenset(
    {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "XAmzContentSHA256Mismatch"}
)
_TRANSIENT_CLASSES = frozenset(
    {
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ConnectionError",  # botocore, which has one of that name
        "ChecksumError",
        "FlexibleChecksumError",
        "HTTPClientError",
        "IncompleteRead",
        "IncompleteReadError",
        "ResponseParserError",
    }
)
_HOPELESS_CLASSES = frozenset({"SSLError", "SSLCertVerificationError", "ClientConnectorCertificateError"})
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "NoAuthTokenError"})


def local_failure(error: OSError, doing: str, path: str) -> StorageError:
    """The StorageError that says ``doing`` (such as ``"write"``) ``path`` failed, and the way out."""
    why = _WAYS_OUT.get(error.errno or 0) or error.strerror or type(error).__name__
    return StorageError(f"cannot {doing} {path}: {why}", error.errno in _TRANSIENT_ERRNOS)


def remote_failure(error: BaseException, doing: str, what: str, detail: str) -> CasError:
    """What a client library's error means: NotFoundError for a read that found nothing, else StorageError.

    Args:
        error: as it was caught.
        doing: the verb: ``"read"``, ``"write"`` …
        what: the object's URL, without secrets.
        detail: the error's own text, without secrets.
    """
    status = http_status(error)
    if service_code(error) == "NoSuchBucket":
        return StorageError(f"cannot {doing} {what}: the bucket does not exist; create it first")
    if doing == "read" and isinstance(error, FileNotFoundError):
        return NotFoundError(f"there is no {what}")
    if _is_a(error, _NO_CREDENTIALS):
        return StorageError(
            f"cannot {doing} {what}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile"
        )
    if status in (401, 403) or any(isinstance(one, PermissionError) for one in _chain(error)):
        return StorageError(f"cannot {doing} {what}: permission denied; check credentials and policy ({detail})")
    return StorageError(f"cannot {doing} {what}: {detail}", _is_transient(error, status))


def http_status(error: BaseException) -> int | None:
    """The status of the response that the error, or one it was raised from, tells of."""
    for one in _chain(error):
        status = _response(one).get("ResponseMetadata", {}).get("HTTPStatusCode")  # botocore's ClientError
        if isinstance(status := status or getattr(one, "status", None), int):  # aiohttp's ClientResponseError
            return status
    return None


def service_code(error: BaseException) -> str | None:
    """The code word of an S3 error, such as ``NoSuchBucket``."""
    for one in _chain(error):
        if isinstance(code := _response(one).get("Error", {}).get("Code"), str):
            return code
    return None


def _is_transient(error: BaseException, status: int | None) -> bool:
    if status in _TRANSIENT_STATUSES or service_code(error) in _TRANSIENT_CODES:
        return True
    if _is_a(error, _HOPELESS_CLASSES):
        return False
    return _is_a(error, _TRANSIENT_CLASSES) or any(
        isinstance(one, TimeoutError | ConnectionError)
        or (isinstance(one, OSError) and one.errno in _TRANSIENT_ERRNOS and status is None)
        for one in _chain(error)
    )


def _response(error: BaseException) -> dict[str, dict[str, object]]:
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}


def _is_a(error: BaseException, names: frozenset[str]) -> bool:
    return any(base.__name__ in names for one in _chain(error) for base in type(one).__mro__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__
