"""The headers of every answer: the OWASP secure headers that an API of JSON and one documentation page needs.

Fixed bytes rather than a library's objects: they are the same on each answer and are added on the hot path.
"""

from typing import Final

from hookbus.platform.settings import Environment

Header = tuple[bytes, bytes]

HSTS_MAX_AGE_S: Final = 2 * 365 * 86_400

_COMMON: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-permitted-cross-domain-policies", b"none"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_HSTS: Final[Header] = (
    b"strict-transport-security",
    f"max-age={HSTS_MAX_AGE_S}; includeSubDomains".encode(),
)

CONTENT_SECURITY_POLICY: Final = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
CONTENT_SECURITY_POLICY_DOCS: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The documentation page runs scripts of its own origin; its style sheet library writes inline styles."""

DEFAULTS: Final[tuple[Header, ...]] = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY),
    (b"cache-control", b"no-store"),
)
"""Set where a route has not set its own."""


def always(environment: Environment) -> tuple[Header, ...]:
    """The headers that no route changes; HSTS where TLS is the rule."""
    return (*_COMMON, _HSTS) if environment is Environment.PRODUCTION else _COMMON
