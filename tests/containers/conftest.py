"""Fixtures: the system in containers. Nothing here runs where no engine answers or the images are not built."""

from collections.abc import Generator

import pytest
from support.compose import CLUSTER_FILE, CONTRACT_MODULES, TLS_FILE, ComposeStack, composed, needs_containers

pytest.register_assert_rewrite(*(f"e2e.{module}" for module in CONTRACT_MODULES))


@pytest.fixture(scope="session")
def stack() -> Generator[ComposeStack]:
    """The core profile, shared by the run."""
    needs_containers()
    with composed() as running:
        yield running


@pytest.fixture(scope="session")
def cluster() -> Generator[ComposeStack]:
    """Three servers of the bus, two processes of each service, TLS between all of them; shared by the run."""
    needs_containers(full=True)
    with composed(CLUSTER_FILE, TLS_FILE, gateways=2) as running:
        yield running
