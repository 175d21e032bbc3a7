"""Settings of the gateway."""

from ipaddress import ip_network
from typing import Self

from pydantic import Field, model_validator

from hookbus.gateway.guard.effort import GuardMode
from hookbus.gateway.rates import parse_rate
from hookbus.gateway.workspaces import WorkspaceRule
from hookbus.platform.settings import Environment, ServiceSettings

WILDCARD = "*"


class GatewaySettings(ServiceSettings):
    """What the gateway needs on top. Lists are JSON arrays in the environment."""

    cors_origins: tuple[str, ...] = ()
    """Browser origins that may call the API. In development an empty list means any origin of this machine; in
    production it means none, and a wildcard is refused."""

    workspace_roots: tuple[str, ...] = ()
    """Folders, on the agents' machines, that every agent may work in, besides the folder its session runs in."""
    temporary_roots: tuple[str, ...] = ("/tmp", "/var/tmp", "/private/tmp", "/var/folders", "/private/var/folders")  # noqa: S108 - names of folders that agents may use, nothing is created here

    workspace: WorkspaceRule = WorkspaceRule.FIRST
    """Which folder a session may work in: ``first``, where it began; ``current``, where it runs now; ``listed``, none
    but the configured ones."""
    project_roots: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Folders by project. A project that stands here works in its own and the others configured, wherever it runs."""

    guard_mode: GuardMode | None = None
    """What becomes of doubt and of signs of injection: ``strict`` refuses, ``lenient`` asks a person about the one and
    tags the other. Unset: strict in production, lenient in development."""

    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of the proxies in front: their ``X-Forwarded-For`` and ``X-Forwarded-Proto`` count, nobody
    else's do."""

    rate_limit_per_key: str = "1200000/minute"
    """Events and calls of one API key. A bound on floods, not a quota: budgets are the quota."""
    rate_limit_per_agent: str = "600000/minute"
    rate_limit_failures: str = "1200/minute"
    """Failed authentications from one address."""

    @property
    def effective_guard_mode(self) -> GuardMode:
        """The mode as set, or as the environment has it."""
        if self.guard_mode is not None:
            return self.guard_mode
        return GuardMode.STRICT if self.environment is Environment.PRODUCTION else GuardMode.LENIENT

    @model_validator(mode="after")
    def _rates_are_readable(self) -> Self:
        for text in (self.rate_limit_per_key, self.rate_limit_per_agent, self.rate_limit_failures):
            parse_rate(text)
        return self

    @model_validator(mode="after")
    def _proxies_are_named(self) -> Self:
        for proxy in self.trusted_proxies:
            if ip_network(proxy).prefixlen == 0:
                raise ValueError("trusted_proxies must name proxies, not everybody")
        return self

    @model_validator(mode="after")
    def _production_lists_its_origins(self) -> Self:
        if self.environment is Environment.PRODUCTION and any(WILDCARD in origin for origin in self.cors_origins):
            raise ValueError("cors_origins must name each origin in production: no wildcard")
        return self

    @model_validator(mode="after")
    def _roots_are_absolute(self) -> Self:
        of_projects = (root for roots in self.project_roots.values() for root in roots)
        for root in (*self.workspace_roots, *self.temporary_roots, *of_projects):
            if not root.startswith("/") and root[1:3] not in (":\\", ":/"):
                raise ValueError("workspace_roots, project_roots and temporary_roots must be absolute paths")
        return self
