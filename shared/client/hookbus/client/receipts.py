"""Receipts: the proof that an event is in the audit log, to be kept and checked offline (``hookbus audit verify``)."""

from __future__ import annotations

import time

from hookbus.client import retry
from hookbus.client.compactjson import NotJsonError, as_object, as_text, loads
from hookbus.client.transport import Endpoint, Reply, TransportError, post

PATH_RECEIPTS = "/api/v1/audit/receipts/"
POLL_INTERVAL_S = 0.2
"""An event is logged a moment after it was accepted: until then the log knows no receipt."""
DETAIL_CHARS_MAX = 500


class ReceiptError(Exception):
    """No receipt can be had: the gateway is away, the key lacks the scope ``audit``, or the entry is pruned."""


class LogReceipt:
    """Where an event lies in the audit log. ``text`` is all of it in C2SP tlog-proof form: keep that, and check it
    against the log's public key, which must not come from the same server."""

    __slots__ = ("event_id", "index", "leaf_hash", "text")

    def __init__(self, event_id: str, index: int, leaf_hash: str, text: str) -> None:
        self.event_id = event_id
        self.index = index
        self.leaf_hash = leaf_hash
        self.text = text


def fetch(endpoint: Endpoint, api_key: str | None, event_id: str, *, deadline: float) -> LogReceipt | None:
    """The receipt of an event; None where the log does not hold it by ``deadline`` (``time.monotonic``, seconds).

    Raises :class:`ReceiptError`.
    """
    from urllib.parse import quote

    headers = {"accept": "application/json", "user-agent": "hookbus"}
    if api_key is not None:
        headers["authorization"] = f"Bearer {api_key}"
    path = PATH_RECEIPTS + quote(event_id, safe="")

    def attempt() -> Reply:
        return post(endpoint, path, b"", headers, deadline=deadline, method="GET")

    while True:
        try:
            reply = retry.call(attempt, deadline=deadline)
        except TransportError as error:
            raise ReceiptError(f"the gateway does not answer: {error}") from None
        if reply.status != 404:
            return _receipt(reply, event_id)
        if time.monotonic() + POLL_INTERVAL_S > deadline:
            return None
        time.sleep(POLL_INTERVAL_S)


def _receipt(reply: Reply, event_id: str) -> LogReceipt:
    try:
        answer = as_object(loads(reply.body.decode())) or {}
    except (NotJsonError, UnicodeDecodeError):
        answer = {}
    if reply.status != 200:
        detail = as_text(answer.get("detail")) or as_text(answer.get("title")) or "no detail"
        raise ReceiptError(f"the gateway answers {reply.status}: {detail[:DETAIL_CHARS_MAX]}")
    index, leaf_hash, text = answer.get("index"), as_text(answer.get("leaf_hash")), as_text(answer.get("tlog_proof"))
    if answer.get("event_id") != event_id or not isinstance(index, int) or leaf_hash is None or text is None:
        raise ReceiptError("what answers at the gateway's address is not hookbus")
    return LogReceipt(event_id, index, leaf_hash, text)
