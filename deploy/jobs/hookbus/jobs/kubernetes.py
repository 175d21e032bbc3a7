"""``python -m hookbus.jobs.kubernetes secrets|credentials|keep``: the jobs where secrets are Kubernetes Secrets.

What the compose file keeps in a volume for each process is here a Secret for each process, ``<prefix>-<process>``, its
files the keys. A job fetches them into a folder in memory, does what it does elsewhere, and puts back what is new.
"""

import argparse
import base64
import http.client
import json
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from hookbus.embedded.files import make_folder, write_secret_file
from hookbus.jobs import credentials, secrets
from hookbus.jobs.settings import JobSettings

ACCOUNT_FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token, its namespace and the authority of the cluster."""
TIMEOUT_S: Final = 10.0
PROCESSES: Final = ("jobs", "nats", "postgres", "gateway", "budget", "session", "audit", "signer", "traces")
"""Whose secrets the first job makes."""
CREDENTIALS: Final = "credentials"


class KubernetesSettings(JobSettings):
    """What a job needs on top."""

    kubernetes_secret_prefix: str = "hookbus"  # noqa: S105 - the first part of names


class KubernetesError(Exception):
    """The cluster refused; the text has its words, never a Secret's content."""


@dataclass(frozen=True)
class Kept:
    """A Secret as the cluster has it."""

    files: dict[str, str]
    version: str
    """What the cluster calls this state of it; an update of another state is refused."""


@dataclass(frozen=True)
class Secrets:
    """The Secrets of one namespace."""

    address: str
    """``https://host:port``."""
    namespace: str
    token: str = field(repr=False)
    authority: Path | None = None
    """Certificates that the cluster's own has to follow from; None where the address is plain."""

    @classmethod
    def of_this_pod(cls) -> "Secrets":
        """With the account that Kubernetes gave this pod."""
        address = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
        namespace = (ACCOUNT_FOLDER / "namespace").read_text(encoding="utf-8")
        token = (ACCOUNT_FOLDER / "token").read_text(encoding="utf-8")
        return cls(address, namespace, token, ACCOUNT_FOLDER / "ca.crt")

    def read(self, name: str) -> Kept | None:
        """The Secret; None where there is none."""
        status, answer = self._ask("GET", f"/{name}", None)
        if status == http.client.NOT_FOUND:
            return None
        self._expect(status, answer, http.client.OK, name)
        encoded: dict[str, str] = answer.get("data") or {}
        files = {key: base64.b64decode(text).decode("utf-8") for key, text in encoded.items()}
        return Kept(files, answer["metadata"]["resourceVersion"])

    def write(self, name: str, files: dict[str, str], before: Kept | None) -> None:
        """Make the Secret, or replace the state that was read.

        Raises:
            KubernetesError: somebody else made or changed it since, or the account may not.
        """
        metadata = {"name": name, "labels": {"app.kubernetes.io/name": "hookbus"}}
        if before is not None:
            metadata["resourceVersion"] = before.version
        encoded = {key: base64.b64encode(text.encode()).decode("ascii") for key, text in files.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": encoded}
        if before is None:
            status, answer = self._ask("POST", "", body)
            self._expect(status, answer, http.client.CREATED, name)
        else:
            status, answer = self._ask("PUT", f"/{name}", body)
            self._expect(status, answer, http.client.OK, name)

    def _expect(self, status: int, answer: dict[str, Any], wanted: int, name: str) -> None:
        if status != wanted:
            raise KubernetesError(f"secret {name}: {status} {answer.get('message', '')}")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(self.address)
        if self.authority is None:
            connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
        else:
            context = ssl.create_default_context(cafile=str(self.authority))
            connection = http.client.HTTPSConnection(parts.netloc, timeout=TIMEOUT_S, context=context)
        try:
            headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/api/v1/namespaces/{self.namespace}/secrets{path}", text, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")
        finally:
            connection.close()


def fetch(store: Secrets, settings: KubernetesSettings, process: str) -> Kept | None:
    """Lay a process's Secret out as files of its folder."""
    kept = store.read(f"{settings.kubernetes_secret_prefix}-{process}")
    folder = make_folder(settings.secrets_root / process)
    for name, text in (kept.files if kept is not None else {}).items():
        write_secret_file(folder / name, text)
    return kept


def put_back(store: Secrets, settings: KubernetesSettings, process: str, before: Kept | None) -> None:
    """Make a process's folder its Secret, where the two differ."""
    folder = settings.secrets_root / process
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}
    if before is None or before.files != files:
        store.write(f"{settings.kubernetes_secret_prefix}-{process}", files, before)


def run_secrets(store: Secrets, settings: KubernetesSettings) -> None:
    """Generate what no Secret holds yet. A password that somebody laid down before stays."""
    before = {process: fetch(store, settings, process) for process in PROCESSES}
    secrets.run(settings)
    # The jobs' own passwords last: what is made from them is there once they are.
    for process in sorted(PROCESSES, key=lambda name: name == "jobs"):
        put_back(store, settings, process, before[process])


def run_credentials(store: Secrets, settings: KubernetesSettings) -> None:
    """The first keys and the first administrator."""
    fetch(store, settings, "jobs")
    before = fetch(store, settings, CREDENTIALS)
    credentials.run(settings)
    put_back(store, settings, CREDENTIALS, before)


def keep(source: Path, target: Path) -> None:
    """Copy a file to where it may change, at the first start alone; readable by its owner alone from then on."""
    if not target.exists():
        write_secret_file(target, source.read_text(encoding="utf-8"))
    target.chmod(0o600)


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(prog="python -m hookbus.jobs.kubernetes")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("secrets")
    commands.add_parser("credentials")
    copying = commands.add_parser("keep")
    copying.add_argument("source", type=Path)
    copying.add_argument("target", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "keep":
        keep(arguments.source, arguments.target)
        return
    run = run_secrets if arguments.command == "secrets" else run_credentials
    run(Secrets.of_this_pod(), KubernetesSettings())


if __name__ == "__main__":
    main()
