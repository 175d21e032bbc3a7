"""The API documents in ``docs/api``: what the gateway serves today."""

from pathlib import Path

import pytest

from hookbus.gateway.documents import documents, text_of

FOLDER = Path(__file__).parents[3] / "docs" / "api"


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.json"])
def test_the_documents_in_the_repository_are_current(name: str) -> None:
    assert (FOLDER / name).read_text() == text_of(documents()[name]), "run make api"
