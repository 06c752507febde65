"""S3 and the servers that speak it, through s3fs.

Create is one conditional put (``If-None-Match: *``), which the server decides,
so exactly one of many racing writers wins. It is never a multipart upload: some
servers ignore the condition there, and an upload that was never completed would
stay and cost money. Some ignore it altogether: `cas.storage.probe` finds them
out before a store is made.
"""

from __future__ import annotations

import email.utils
import secrets
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from cas.errors import ConflictError, FormatError, StorageError
from cas.format import Buffer
from cas.storage.base import ObjectInfo
from cas.storage.failures import http_status
from cas.storage.fsspec import FsspecStorage
from cas.storage.keys import check_prefix, join
from cas.storage.redaction import redact

__all__ = ["S3Storage"]

_ONE_PUT_BYTES = 5 * 2**30  # S3's own limit of a single put, far above any object of ours
_WRITE_ID = "cas-write-id"  # stored beside the object, as x-amz-meta-cas-write-id
_OPTIONS: dict[str, Any] = {
    # cas retries by itself (cas.storage.retry), where it can tell a conflict from an answer that was lost.
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 60,
        "max_pool_connections": 32,
        "retries": {"mode": "standard", "total_max_attempts": 1},
    },
    # Above 1, s3fs asks for the size before each read of a whole object. Callers read in parallel by themselves.
    "max_concurrency": 1,
}


class S3Storage(FsspecStorage):
    """Objects in ``s3://bucket/prefix``. The bucket must exist.

    Credentials, region and endpoint come from where botocore looks for them: ``AWS_ACCESS_KEY_ID``,
    ``AWS_PROFILE``, ``AWS_ENDPOINT_URL`` and so on.

    Raises:
        FormatError: the URL has credentials or a query, which s3fs would take for a part of the name.
    """

    exclusive_create = True

    def __init__(self, url: str) -> None:
        if redact(url) != url or not urlsplit(url).netloc:
            raise FormatError(
                f"{redact(url)} needs the form s3://bucket/prefix; credentials go into AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, an endpoint into AWS_ENDPOINT_URL"
            )
        super().__init__(url, **_OPTIONS)
        self._fs.retries = 1  # s3fs's own, on top of botocore's
        self._bucket, _, prefix = self._root.partition("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def create(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.create`.

        The HTTP client may repeat a put by itself when a connection that it kept open breaks, and so
        conflict with the first. The object therefore says which write made it.
        """
        path, content = self._path(key), join(data)
        write_id = secrets.token_hex(16)

        def put() -> None:
            try:
                self._fs.pipe_file(
                    path, content, mode="create", chunksize=_ONE_PUT_BYTES, Metadata={_WRITE_ID: write_id}
                )
            except OSError as error:
                # 412: the key is taken. 409: the server gave way to another request for the key, which may
                # or may not have made the object.
                status = 412 if isinstance(error, FileExistsError) else http_status(error)
                if status not in (409, 412):
                    raise
                found_id = self._find_write_id(key)
                if found_id == write_id:
                    return
                if status == 412 or found_id is not None:
                    raise ConflictError(f"{self._where(key)} exists already") from None
                raise

        self._call("write", key, put)

    def replace(self, key: str, data: Sequence[Buffer]) -> None:
        """See `Storage.replace`."""
        path, content = self._path(key), join(data)
        self._call("write", key, lambda: self._fs.pipe_file(path, content, chunksize=_ONE_PUT_BYTES))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`. A page of a thousand at a time; the server keeps the order."""
        check_prefix(prefix)
        return self._pages(prefix)

    def now_us(self) -> int:
        """See `Storage.now_us`: the time of day in an answer of the server, to the second. Writes nothing."""
        answer = self._call("ask for the time at", "", lambda: self._fs.call_s3("head_bucket", Bucket=self._bucket))
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return round(email.utils.parsedate_to_datetime(date).timestamp() * 1_000_000)
        except ValueError as error:
            raise StorageError(f"{self.url}: the server does not tell the time ({date!r})") from error

    def _find_write_id(self, key: str) -> str | None:
        """Which write made the object, empty if it was another tool's; None if there is no object."""
        try:
            head = self._fs.call_s3("head_object", Bucket=self._bucket, Key=self._prefix + key)
        except FileNotFoundError:
            return None
        return str(head["Metadata"].get(_WRITE_ID, ""))

    def _pages(self, prefix: str) -> Iterator[ObjectInfo]:
        request = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        while True:
            page = self._call("list", prefix, lambda: self._fs.call_s3("list_objects_v2", **request))
            for entry in page.get("Contents", ()):
                if (key := self._key(f"{self._bucket}/{entry['Key']}")) is not None:
                    yield ObjectInfo(key, entry["Size"], self._modified_us(entry))
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]
