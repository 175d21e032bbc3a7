"""The API keys and the administrator of a first start, asked of the session service."""

import asyncio
from typing import Final

from nats.aio.client import Client

from hookbus.contracts import subjects
from hookbus.contracts.fields import WireModel
from hookbus.contracts.people import BootstrapReply, BootstrapRequest
from hookbus.contracts.problems import Problem
from hookbus.contracts.session import KeyCreateReply
from hookbus.embedded.nats_permissions import PROVISION_USER
from hookbus.embedded.orders import JobResult, KeysOrder
from hookbus.platform.bus.connection import connect_plain

REQUEST_TIMEOUT_S: Final = 10.0


class KeyRefusedError(Exception):
    """The session service made no key or no user; the text is its own."""


def run(order: KeysOrder) -> JobResult:
    """Create every key of the order, and the administrator.

    Raises:
        KeyRefusedError, nats.errors.Error: nothing is retried, the start fails with it.
    """
    return asyncio.run(_create_keys(order))


async def _create_keys(order: KeysOrder) -> JobResult:
    client = await connect_plain(order.nats_url, PROVISION_USER, order.nats_password, order.nats_ca_file)
    try:
        created = [
            KeyCreateReply.model_validate_json(await _ask(client, "key_create", request)).api_key
            for request in order.keys
        ]
        one_time_password = None
        if order.administrator is not None:
            answer = await _ask(client, "user_bootstrap", BootstrapRequest(username=order.administrator))
            one_time_password = BootstrapReply.model_validate_json(answer).one_time_password
        return JobResult(api_keys=tuple(created), one_time_password=one_time_password)
    finally:
        await client.close()


async def _ask(client: Client, method: str, request: WireModel) -> bytes:
    message = await client.request(
        subjects.rpc_subject("session", method),
        request.model_dump_json().encode(),
        timeout=REQUEST_TIMEOUT_S,
        headers={subjects.HEADER_CONTENT_TYPE: "application/json"},
    )
    if message.headers and subjects.HEADER_SERVICE_ERROR_CODE in message.headers:
        raise KeyRefusedError(Problem.model_validate_json(message.data).detail)
    return message.data
