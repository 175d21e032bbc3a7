"""Requests and replies of the session service about people: users, logins, tokens."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from hookbus.contracts.fields import UtcTime, WireModel
from hookbus.contracts.session import KeyScope

PASSWORD_CHARS_MAX: Final = 256
LOGIN_NAME_CHARS_MAX: Final = 128
CREDENTIAL_CHARS_MAX: Final = 512
USER_AGENT_CHARS_MAX: Final = 256
ADDRESS_CHARS_MAX: Final = 64
HEADER_NAMES_MAX: Final = 32
USERS_LISTED_MAX: Final = 1_000

TOKEN_ISSUER: Final = "hookbus"  # noqa: S105 - a public word
TOKEN_AUDIENCE: Final = "hookbus-gateway"  # noqa: S105 - a public word
TOKEN_ALGORITHM: Final = "EdDSA"  # noqa: S105 - a public word
"""The one algorithm of access tokens; a token that names another is refused unread."""


class Role(StrEnum):
    """What a person is here for."""

    ADMIN = "admin"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    VIEWER = "viewer"


SCOPES_BY_ROLE: Final[dict[Role, frozenset[KeyScope]]] = {
    Role.ADMIN: frozenset({KeyScope.ADMIN}),
    Role.OPERATOR: frozenset({KeyScope.BUDGET_READ, KeyScope.BUDGET_WRITE, KeyScope.SESSION, KeyScope.EVENTS}),
    Role.AUDITOR: frozenset({KeyScope.AUDIT, KeyScope.BUDGET_READ}),
    Role.VIEWER: frozenset({KeyScope.BUDGET_READ}),
}

Username = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
PersonSessionId = Annotated[str, StringConstraints(strict=True, pattern=r"^person-[0-9a-f]{32}$")]
Password = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=PASSWORD_CHARS_MAX)]
OneTimeCode = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9]{6}$")]
Credential = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=CREDENTIAL_CHARS_MAX)]


class PersonSessionRecord(WireModel):
    """What a gateway checks an access token against; the value of the ``revocations`` bucket, by session id."""

    sid: PersonSessionId
    username: Username
    role: Role
    epoch: int
    """The token's own must equal it: a password change moves it on."""
    must_change_password: bool
    ended: bool
    expires_at: UtcTime
    confirm_required: bool = False
    """The session looks like another client's: it opens nothing until its password was given again."""


HeaderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")]


class ClientFacts(WireModel):
    """Where a login or refresh came from, as the gateway saw it."""

    address: Annotated[str, StringConstraints(max_length=ADDRESS_CHARS_MAX)] = ""
    user_agent: Annotated[str, StringConstraints(max_length=USER_AGENT_CHARS_MAX)] = ""
    header_names: Annotated[tuple[HeaderName, ...], Field(max_length=HEADER_NAMES_MAX)] = ()
    """Names of the headers that tell one client from another, in the order they came in."""


class LoginRequest(WireModel):
    """``login``."""

    username: Annotated[str, StringConstraints(strict=True, min_length=1, max_length=LOGIN_NAME_CHARS_MAX)]
    password: Password = Field(repr=False)
    totp: OneTimeCode | None = None
    client: ClientFacts = ClientFacts()


class TokensReply(WireModel):
    """What a login, a refresh and a password change return. Neither token is stored anywhere as it is."""

    access_token: str = Field(repr=False)
    token_type: str = "Bearer"  # noqa: S105 - a public word
    expires_in: int
    """Seconds the access token lives."""
    refresh_token: str = Field(repr=False)
    refresh_expires_at: UtcTime
    """When the session ends whatever happens: refreshing does not move it."""
    session: PersonSessionId
    must_change_password: bool


class RefreshRequest(WireModel):
    """``refresh``."""

    refresh_token: Credential = Field(repr=False)
    client: ClientFacts = ClientFacts()


class PersonSessionRequest(WireModel):
    """``logout``, ``person_lookup``, ``account`` and ``totp_begin``."""

    sid: PersonSessionId


class PersonSeenRequest(WireModel):
    """``person_seen``: a gateway met the session's access token in a client it has not met it in before, or not for a
    while. Answered with the session's state after that."""

    sid: PersonSessionId
    client: ClientFacts


class ConfirmRequest(WireModel):
    """``confirm``: the person of ``sid`` gives their password again, and so vouches for the client they are in."""

    sid: PersonSessionId
    password: Password = Field(repr=False)
    totp: OneTimeCode | None = None
    client: ClientFacts = ClientFacts()


class PasswordRequest(WireModel):
    """``password``: the person of ``sid`` changes their own."""

    sid: PersonSessionId
    current_password: Password = Field(repr=False)
    new_password: Password = Field(repr=False)
    client: ClientFacts = ClientFacts()


class UserView(WireModel):
    """A user without secrets."""

    username: Username
    role: Role
    created_at: UtcTime
    password_changed_at: UtcTime | None = None
    must_change_password: bool
    totp: bool
    """Whether a login asks for a one-time code."""
    disabled_at: UtcTime | None = None
    sessions: int
    """How many of the user's sessions live."""


class UserCreateRequest(WireModel):
    """``user_create``."""

    username: Username
    role: Role
    actor: str = ""


class UserPasswordReply(WireModel):
    """A user with the one-time password made for it: shown this once, stored nowhere."""

    user: UserView
    one_time_password: str = Field(repr=False)


class UserRequest(WireModel):
    """``user_show``, ``user_reset`` and ``user_disable``."""

    username: Username
    actor: str = ""


class UserListRequest(WireModel):
    """``user_list``: by name."""


class UserListReply(WireModel):
    """Every user, at most :data:`USERS_LISTED_MAX`."""

    users: tuple[UserView, ...]


class BootstrapRequest(WireModel):
    """``user_bootstrap``: the first administrator."""

    username: Username = "admin"


class BootstrapReply(WireModel):
    """``one_time_password`` is None once anybody has set a password of their own."""

    username: Username
    one_time_password: str | None = Field(default=None, repr=False)


class TotpReply(WireModel):
    """A TOTP secret that waits to be confirmed with a first code."""

    secret: str = Field(repr=False)
    uri: str = Field(repr=False)


class TotpCodeRequest(WireModel):
    """``totp_confirm`` and ``totp_remove``: a code of the person's own device."""

    sid: PersonSessionId
    code: OneTimeCode


class PublicKey(WireModel):
    """One public key as a JWK (RFC 8037)."""

    kty: str = "OKP"
    crv: str = "Ed25519"
    x: str
    kid: str
    use: str = "sig"
    alg: str = TOKEN_ALGORITHM


class JwksReply(WireModel):
    """``jwks``: the key that signs and those whose tokens still live."""

    keys: tuple[PublicKey, ...]
