"""The API documents as files, as the gateway serves them: ``python -m hookbus.gateway.documents FOLDER``."""

import json
import sys
from pathlib import Path
from typing import Any

from hookbus.gateway.app import Gateway
from hookbus.gateway.asyncapi import asyncapi_document
from hookbus.gateway.openapi import openapi_document
from hookbus.gateway.settings import GatewaySettings


def documents() -> dict[str, dict[str, Any]]:
    """File name -> document. Nothing is connected for them."""
    unused = {"nats_user": "gateway", "nats_password": "unused", "http_port": 0}
    gateway = Gateway(GatewaySettings.model_validate(unused))
    app = gateway.application(gateway.service())
    return {"openapi.json": openapi_document(app), "asyncapi.json": asyncapi_document()}


def text_of(document: dict[str, Any]) -> str:
    """A document as its file holds it: the same for the same API, whatever order the routes were added in."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    """Write every document into the folder."""
    if len(sys.argv) != 2:
        print("usage: python -m hookbus.gateway.documents FOLDER", file=sys.stderr)  # noqa: T201 - a command
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents().items():
        (folder / name).write_text(text_of(document), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
