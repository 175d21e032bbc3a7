"""The supply-chain checks of ``make check``, run as it runs them, each with a planted fault."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from installed import pins

ROOT = Path(__file__).parents[3]
LOCKS = ROOT / "deploy" / "locks"
DATABASE_DRIVERS = {"asyncpg", "sqlalchemy", "alembic", "psycopg"}
PLANTED_KEY = "AKIA" + "2E0A8F3B244C9986"
PINNED = f"idna==3.6 \\\n    --hash=sha256:{'a' * 64}\nflask==3.1.0 \\\n    --hash=sha256:{'b' * 64}\n"


def run(script: str, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "deploy" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_make_check_runs_each_check() -> None:
    planned = subprocess.run(["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for script in ("tracked_secrets.py", "sbom.py", "licences.py", "vulnerabilities.py"):
        assert f"deploy/{script}" in planned


# --- bills of materials


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bills")
    done = run("sbom.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("image", ["gateway", "budget", "session", "audit", "jobs"])
def test_an_image_s_bill_names_every_pin_of_its_lock_with_its_hashes(bills: Path, image: str) -> None:
    bill = json.loads((bills / f"{image}.cdx.json").read_text())
    listed = {one["name"].lower().replace("_", "-").replace(".", "-"): one for one in bill["components"]}
    lock = pins(LOCKS / f"{image}.lock")
    assert lock
    for name, pin in lock.items():
        assert listed[name]["version"] == pin.version
        [link] = [one for one in listed[name]["externalReferences"] if one.get("comment") == "from the lock"]
        assert {one["content"] for one in link["hashes"]} == set(pin.sha256)
    assert bill["metadata"]["component"]["name"] == f"hookbus-{image}"
    references = {one["bom-ref"] for one in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    assert {one["ref"] for one in bill["dependencies"]} == references


def test_a_bill_is_valid_by_cyclonedx_s_own_schema(bills: Path) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str((bills / "audit.cdx.json").read_text()) is None
    no_type = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "a library", "name": "x"}]}
    assert validator.validate_str(json.dumps(no_type)) is not None


def test_the_gateway_s_bill_holds_no_database_driver_and_the_audit_s_does(bills: Path) -> None:
    names = {
        image: {one["name"].lower() for one in json.loads((bills / f"{image}.cdx.json").read_text())["components"]}
        for image in ("gateway", "audit")
    }
    assert not names["gateway"] & DATABASE_DRIVERS
    assert names["audit"] & DATABASE_DRIVERS


def test_the_same_locks_give_the_same_bytes_and_no_path_of_this_machine(bills: Path, tmp_path: Path) -> None:
    assert run("sbom.py", tmp_path).returncode == 0
    for path in bills.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
        assert str(ROOT) not in path.read_text()


def test_a_lock_that_is_not_what_is_installed_fails(tmp_path: Path) -> None:
    locks = shutil.copytree(LOCKS, tmp_path / "locks")
    lock = locks / "gateway.lock"
    version = pins(lock)["pydantic"].version
    lock.write_text(lock.read_text().replace(f"pydantic=={version} ", "pydantic==1.0.0 "))
    done = run("sbom.py", tmp_path / "bills", "--locks", locks)
    assert done.returncode == 1
    assert f"gateway: pydantic is pinned at 1.0.0 and installed at {version}" in done.stderr


# --- licences


def policy(tmp_path: Path, old: str, new: str) -> Path:
    text = (ROOT / "deploy" / "supply" / "licences.toml").read_text()
    assert old in text
    changed = tmp_path / "licences.toml"
    changed.write_text(text.replace(old, new))
    return changed


def test_every_installed_distribution_stands_in_the_list(tmp_path: Path) -> None:
    done = run("licences.py", tmp_path / "list.txt")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "list.txt").read_text().splitlines()
    listed = {line.split(" ", 1)[0]: line for line in lines}
    assert pins(ROOT / "requirements.lock").keys() <= listed.keys()
    assert listed["sqlalchemy"].endswith(": MIT")
    assert not [line for line in lines if line.endswith("unknown")]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"MPL-2.0" = ', '"EPL-2.0" = ', "MPL-2.0 is not allowed"),
        ("protobuf = {", "something-else = {", "states no licence that is known"),
        ("protobuf = {", "sqlalchemy = {", "sqlalchemy: the exception is of no use any more"),
    ],
)
def test_a_licence_that_is_not_allowed_fails(tmp_path: Path, old: str, new: str, said: str) -> None:
    done = run("licences.py", tmp_path / "list.txt", "--policy", policy(tmp_path, old, new))
    assert done.returncode == 1
    assert said in done.stderr


# --- vulnerabilities, asked of a server that answers as OSV does


class Osv(BaseHTTPRequestHandler):
    status: ClassVar[int] = 200
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Osv.asked.append(query)
        answer: dict[str, Any] = {}
        if query["package"]["name"] == "idna":
            ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.7"}]}]
            affected = [{"package": {"name": "idna", "ecosystem": "PyPI"}, "ranges": ranges}]
            answer = {"vulns": [{"id": "PYSEC-0-1", "aliases": ["CVE-0-1"], "summary": "slow", "affected": affected}]}
        body = json.dumps(answer).encode()
        self.send_response(Osv.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@pytest.fixture
def osv_url() -> Iterator[str]:
    Osv.status, Osv.asked = 200, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Osv)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def audit(
    tmp_path: Path, osv_url: str, *arguments: str, ignored: str = "ignored = []"
) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "pinned.lock").write_text(PINNED)
    (tmp_path / "ignored.toml").write_text(ignored)
    files = ("--lock", tmp_path / "pinned.lock", "--ignored", tmp_path / "ignored.toml")
    return run("vulnerabilities.py", *files, *arguments, HOOKBUS_OSV_URL=osv_url)


def entry(until: str, name: str = "CVE-0-1") -> str:
    return f'[[ignored]]\nid = "{name}"\nreason = "planted"\nuntil = {until}\n'


def test_a_known_vulnerability_fails_and_is_named(tmp_path: Path, osv_url: str) -> None:
    done = audit(tmp_path, osv_url)
    assert done.returncode == 1
    assert "idna 3.6: CVE-0-1, PYSEC-0-1; fixed in 3.7" in done.stderr
    assert "flask" not in done.stderr
    assert {query["package"]["name"] for query in Osv.asked} == {"idna", "flask"}


def test_one_on_the_list_passes_until_its_day(tmp_path: Path, osv_url: str) -> None:
    assert audit(tmp_path, osv_url, ignored=entry("9999-12-31")).returncode == 0
    late = audit(tmp_path, osv_url, ignored=entry("2020-01-01"))
    assert late.returncode == 1
    assert "CVE-0-1: may pass until 2020-01-01 only" in late.stderr
    stale = audit(tmp_path, osv_url, ignored=entry("9999-12-31") + entry("9999-12-31", "CVE-0-2"))
    assert stale.returncode == 1
    assert "CVE-0-2: nothing pinned has it any more" in stale.stderr


@pytest.mark.parametrize("fault", ["refused", "error"])
def test_a_service_that_cannot_be_reached_is_said_and_fails_only_where_it_is_required(
    tmp_path: Path, osv_url: str, fault: str
) -> None:
    Osv.status = 503
    url = osv_url if fault == "error" else "http://127.0.0.1:9/v1/query"
    done = audit(tmp_path, url)
    assert done.returncode == 0
    assert "SKIPPED, NOTHING WAS AUDITED" in done.stdout
    assert audit(tmp_path, url, "--required").returncode == 1


def test_a_lock_that_cannot_be_read_fails_and_is_no_skip(tmp_path: Path, osv_url: str) -> None:
    (tmp_path / "ignored.toml").write_text("ignored = []")
    (tmp_path / "broken.lock").write_text("idna>=3\n")
    files = ("--lock", tmp_path / "broken.lock", "--ignored", tmp_path / "ignored.toml")
    done = run("vulnerabilities.py", *files, HOOKBUS_OSV_URL=osv_url)
    assert done.returncode == 1
    assert "SKIPPED" not in done.stdout


# --- credentials in tracked files


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("ignored.txt\n")
    (tmp_path / "notes.md").write_text("postgresql://{role}:{password}@host/hookbus\n")
    return tmp_path


def test_a_clean_tree_passes_and_ignored_files_are_not_looked_into(repository: Path) -> None:
    (repository / "ignored.txt").write_text(PLANTED_KEY)
    assert run("tracked_secrets.py", repository).returncode == 0


def test_a_credential_in_a_file_fails_and_is_not_printed_whole(repository: Path) -> None:
    (repository / "settings.py").write_text(f"first = 1\nkey = '{PLANTED_KEY}'\n")
    done = run("tracked_secrets.py", repository)
    assert done.returncode == 1
    assert "settings.py:2: AWS Access Key: AKIA..." in done.stderr
    assert PLANTED_KEY not in done.stdout + done.stderr


def test_a_listed_text_passes_in_its_file_alone_and_an_entry_without_one_fails(repository: Path) -> None:
    listed = repository / "deploy" / "supply" / "placeholders.toml"
    listed.parent.mkdir(parents=True)
    listed.write_text(f'[[placeholder]]\npath = "a.py"\ntext = "{PLANTED_KEY}"\nreason = "planted"\n')
    (repository / "a.py").write_text(PLANTED_KEY)
    assert run("tracked_secrets.py", repository).returncode == 0
    (repository / "b.py").write_text(PLANTED_KEY)
    assert "b.py:1" in run("tracked_secrets.py", repository).stderr
    (repository / "b.py").unlink()
    (repository / "a.py").write_text("nothing")
    done = run("tracked_secrets.py", repository)
    assert done.returncode == 1
    assert "a.py holds no such text any more" in done.stderr
