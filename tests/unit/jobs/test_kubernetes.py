"""The jobs that keep Secrets, against a small server that answers as Kubernetes does for Secrets of one namespace."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hookbus.jobs.kubernetes import PROCESSES, KubernetesError, KubernetesSettings, Secrets, keep, put_back, run_secrets

TOKEN = "a-token"
ROOT = "/api/v1/namespaces/guarded/secrets"


@dataclass
class Cluster:
    """Its Secrets, by name; each change is a new version of the one changed."""

    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        name = path.removeprefix(ROOT).strip("/")
        if method == "GET":
            return (200, self.kept[name]) if name in self.kept else (404, {"message": "not found"})
        assert body is not None
        name = body["metadata"]["name"]
        known = self.kept.get(name)
        if method == "POST" and known is not None:
            return 409, {"message": "already exists"}
        version = None if known is None else known["metadata"]["resourceVersion"]
        if method == "PUT" and body["metadata"].get("resourceVersion") != version:
            return 409, {"message": "the object has been modified"}
        self.writes.append(name)
        body["metadata"]["resourceVersion"] = str(int(version or "0") + 1)
        self.kept[name] = body
        return (201 if method == "POST" else 200), body

    def files(self, process: str) -> dict[str, str]:
        data = self.kept[f"guard-{process}"]["data"]
        return {name: base64.b64decode(text).decode() for name, text in data.items()}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def store(cluster: Cluster) -> Iterator[Secrets]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if self.headers["authorization"] != f"Bearer {TOKEN}":
                status, said = 401, {"message": "Unauthorized"}
            else:
                status, said = cluster.answer(self.command, self.path, body)
            text = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Secrets(f"http://127.0.0.1:{server.server_address[1]}", "guarded", TOKEN)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def settings(folder: Path) -> KubernetesSettings:
    return KubernetesSettings(secrets_root=folder, kubernetes_secret_prefix="guard")


def test_each_process_is_given_a_secret_with_its_own_files(cluster: Cluster, store: Secrets, tmp_path: Path) -> None:
    run_secrets(store, settings(tmp_path))
    assert cluster.kept.keys() == {f"guard-{process}" for process in PROCESSES}
    assert cluster.files("budget").keys() == {"hookbus_nats_password", "hookbus_database_url"}
    assert cluster.files("gateway").keys() == {"hookbus_nats_password"}
    assert cluster.files("signer").keys() == {"signing.pem"}
    assert "signing.pem" not in cluster.files("audit")
    passwords = {cluster.files(process)["hookbus_nats_password"] for process in ("gateway", "budget", "session")}
    assert len(passwords) == 3


def test_a_second_run_in_an_empty_pod_writes_nothing(cluster: Cluster, store: Secrets, tmp_path: Path) -> None:
    run_secrets(store, settings(tmp_path / "first"))
    before = {process: cluster.files(process) for process in PROCESSES}
    cluster.writes.clear()
    run_secrets(store, settings(tmp_path / "second"))
    assert not cluster.writes
    assert {process: cluster.files(process) for process in PROCESSES} == before


def test_a_password_that_was_laid_down_before_stays(cluster: Cluster, store: Secrets, tmp_path: Path) -> None:
    store.write("guard-postgres", {"password": "of-my-own-server"}, None)
    run_secrets(store, settings(tmp_path))
    assert cluster.files("postgres")["password"] == "of-my-own-server"


def test_a_new_address_reaches_the_services_secrets_and_keeps_the_passwords(
    cluster: Cluster, store: Secrets, tmp_path: Path
) -> None:
    run_secrets(store, settings(tmp_path / "first"))
    before = cluster.files("budget")["hookbus_database_url"]
    moved = settings(tmp_path / "second").model_copy(update={"postgres_host": "db.example"})
    run_secrets(store, moved)
    after = cluster.files("budget")["hookbus_database_url"]
    assert after == before.replace("@postgres:", "@db.example:")
    assert after != before


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(
    cluster: Cluster, store: Secrets, tmp_path: Path
) -> None:
    run_secrets(store, settings(tmp_path))
    stale = store.read("guard-jobs")
    assert stale is not None
    store.write("guard-jobs", {**stale.files, "theirs": "1"}, stale)
    (tmp_path / "jobs" / "ours").write_text("1")
    with pytest.raises(KubernetesError, match="409"):
        put_back(store, settings(tmp_path), "jobs", stale)
    assert "theirs" in cluster.files("jobs")


def test_an_account_that_may_not_ends_the_job_and_shows_no_secret(store: Secrets, tmp_path: Path) -> None:
    stranger = Secrets(store.address, store.namespace, "another-token")
    with pytest.raises(KubernetesError, match="401") as refused:
        run_secrets(stranger, settings(tmp_path))
    assert "another-token" not in str(refused.value) + repr(stranger)


def test_a_kept_file_is_copied_once_and_closed_to_others(tmp_path: Path) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    source.write_text("first")
    keep(source, target)
    target.write_text("rotated since")
    target.chmod(0o660)
    keep(source, target)
    assert target.read_text() == "rotated since"
    assert target.stat().st_mode & 0o777 == 0o600
