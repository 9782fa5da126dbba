"""The two places a store may lie in, a folder and an S3 bucket, and what their errors mean."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

from obstore.exceptions import BaseError, GenericError
from obstore.store import LocalStore, S3Store

from storage.errors import InputError

FAULTS = (BaseError, OSError)  # all that obstore raises when a store cannot be read or written
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Patience:
    """How long an S3 server may be slow or out of order before chipcyte gives up.

    Attributes
    ----------
    retries
        How often a request is repeated after the first try; the pause before each doubles.
    request_s, connect_s
        Time one try may take, and time it may take to connect.
    longest_s
        No new try is begun after this time.
    """

    retries: int = 6
    first_pause_s: float = 0.2
    request_s: float = 60.0
    connect_s: float = 10.0
    longest_s: float = 180.0


PATIENCE = Patience()


@lru_cache(maxsize=256)
def backend(url: str) -> Any:
    """Return obstore's view of a folder or of `s3://bucket/prefix`.

    S3 takes credentials, region and endpoint from the AWS_* variables of this process.
    """
    if not url.startswith("s3://"):
        return LocalStore(url, mkdir=True)
    _check_endpoint()
    return S3Store.from_url(
        url,
        retry_config={
            "max_retries": PATIENCE.retries,
            "backoff": {
                "init_backoff": timedelta(seconds=PATIENCE.first_pause_s),
                "max_backoff": timedelta(seconds=10),
                "base": 2,
            },
            "retry_timeout": timedelta(seconds=PATIENCE.longest_s),
        },
        client_options={
            "timeout": timedelta(seconds=PATIENCE.request_s),
            "connect_timeout": timedelta(seconds=PATIENCE.connect_s),
            "allow_http": _plain_http_allowed(),
        },
    )


def _plain_http_allowed() -> bool:
    return os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes", "on")


def _check_endpoint() -> None:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if endpoint.startswith("http://") and not _plain_http_allowed():
        raise InputError(
            f"the S3 endpoint {endpoint} is not encrypted; expected https://, or AWS_ALLOW_HTTP=true in the "
            "environment where the network can be trusted"
        )


def persist(request: Callable[[], Answer]) -> Answer:
    """Make a request that obstore does not repeat after a lost answer, and repeat it here.

    obstore itself repeats what it may (reads, plain writes, and everything after an answer 5xx). It does
    not repeat a create or a delete, since the first try might have come through; chipcyte's may be repeated.
    """
    for retry in range(PATIENCE.retries):
        try:
            return request()
        except GenericError as error:
            if "HTTP error" not in str(error):
                raise
            time.sleep(min(PATIENCE.first_pause_s * 2**retry, 10))
    return request()


def reason(error: BaseException) -> str:
    """Return what an error of a store says, in one line, without obstore's inner view of it."""
    text = str(error).partition("\n\nDebug source")[0].strip() or type(error).__name__
    said = re.search(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", text, re.DOTALL)
    line = re.sub(r"https?://[^/\s]+@", "", text.splitlines()[0])
    return f"{said[2]} ({said[1]})" if said else line
