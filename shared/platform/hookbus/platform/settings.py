"""Settings of a service: from the environment and from secret files, checked before anything starts."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

SECRETS_DIR_VARIABLE: Final = "HOOKBUS_SECRETS_DIR"
EXIT_CODE_BAD_SETTINGS: Final = 2

Port = Annotated[int, Field(ge=0, le=65_535)]


class Environment(StrEnum):
    """Development relaxes CORS and key-file creation; production relaxes nothing."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class LogLevel(StrEnum):
    """Levels of the standard library."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class OtlpProtocol(StrEnum):
    """The words of OpenTelemetry's own setting."""

    GRPC = "grpc"
    HTTP_PROTOBUF = "http/protobuf"


class ServiceSettings(BaseSettings):
    """What every service needs. Each field is ``HOOKBUS_<NAME>`` or a file of that lower-case name in the secrets
    folder; the environment wins, but for an empty variable, which is an absent one."""

    model_config = SettingsConfigDict(env_prefix="HOOKBUS_", env_ignore_empty=True, extra="ignore", frozen=True)

    environment: Environment = Field(default=Environment.DEVELOPMENT, validation_alias="HOOKBUS_ENV")
    nats_url: str = "nats://127.0.0.1:4222"
    """One address, or those of every server of a cluster, separated by commas."""
    nats_ca_file: Path | None = None
    """The authority, in PEM form, that the bus's certificate must come from; unset: connections are plain."""
    nats_user: str
    nats_password: SecretStr
    http_host: str = "127.0.0.1"
    http_port: Port
    log_level: LogLevel = LogLevel.INFO
    otlp_endpoint: str | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    otlp_protocol: OtlpProtocol = Field(
        default=OtlpProtocol.HTTP_PROTOBUF, validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    trace_sample_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    trace_keep_objections: bool = True
    """Export a trace that holds a denial or an error whatever the ratio; its other spans are recorded until then."""
    drain_timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then secret files; no ``.env`` file is read by a service."""
        folder = os.environ.get(SECRETS_DIR_VARIABLE)
        if folder is None:
            return (init_settings, env_settings)
        return (init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=Path(folder)))


class DatabaseSettings(ServiceSettings):
    """What a service with tables needs on top."""

    database_url: SecretStr
    """``postgresql://role:password@host:port/hookbus``: the service's own role."""
    database_pool_size_max: Annotated[int, Field(ge=1, le=100)] = 10


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def load(settings_class: type[SettingsT]) -> SettingsT:
    """Read and check the settings; on a fault name each setting (never its value) on stderr and exit 2."""
    try:
        return settings_class()  # pyright: ignore[reportCallIssue]  # the fields come from the sources
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False, include_context=False):
            name = ".".join(str(part) for part in fault["loc"])
            setting = name if name.isupper() else f"HOOKBUS_{name.upper()}"
            print(f"hookbus: setting {setting}: {fault['msg']}", file=sys.stderr)  # noqa: T201 - no logger yet
        raise SystemExit(EXIT_CODE_BAD_SETTINGS) from None
