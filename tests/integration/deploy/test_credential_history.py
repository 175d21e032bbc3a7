"""``deploy/credential_history.py`` on real repositories with planted credentials."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy" / "credential_history.py"
AWS = "AKIA" + "2E0A8F3B244C9986"
GITHUB = "ghp_" + "a1B2c3D4" * 4 + "e5F6"
HOOKBUS = "hbk_" + "a" * 12 + "_" + "Zz0_-" * 8 + "abc"
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA0Z3VS5JJcds3xfn\n" * 8 + "-----END RSA PRIVATE KEY-----"
SECRETS = (AWS, GITHUB, HOOKBUS, PEM)
BENIGN = """AKIA is how such a key begins, and ghp_ how a token does
commit 0198a1b2aaaabbbbccccddddeeeeffff00112233, id 0198a1b2-aaaa-7bbb-8ccc-ddddeeeeffff
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0Z3VS5JJcds3xfn
-----END PUBLIC KEY-----
Paste yours between -----BEGIN PRIVATE KEY----- and -----END PRIVATE KEY-----.
password = os.environ["PASSWORD"]; url = "https://user@host.example/path"
hbk_short_key, sk_test, xoxb-, sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
"""


class Planted:
    """A repository in whose history credentials lie: deleted since, on another branch, in messages, in a tag."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("init", "-q", "-b", "main")
        self.commit("add notes", notes=BENIGN)
        self.commit("configure", config=f"first line\naws_id = '{AWS}'\n", key=f"{PEM}\n")
        self.commit("remove the key", config="first line\n", key=None)
        self.git("checkout", "-q", "-b", "side")
        self.commit(f"use {GITHUB} for a while", ci=f"token: {GITHUB}\n")
        self.git("tag", "-a", "v1", "-m", f"released with {HOOKBUS}")
        self.git("checkout", "-q", "main")
        self.commit("go on", last="the end\n")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def commit(self, message: str, **files: str | None) -> None:
        for name, content in files.items():
            if content is None:
                (self.path / name).unlink()
            else:
                (self.path / name).write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def everything(self) -> bytes:
        """Every object that is stored, reachable or not."""
        names = self.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
        command = ["git", "-C", str(self.path), "cat-file", "--batch"]
        return subprocess.run(command, input=names.encode(), capture_output=True, check=True).stdout

    def run(self, *options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(SCRIPT), str(self.path), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    (tmp_path / "repository").mkdir()
    return Planted(tmp_path / "repository")


def test_a_dry_run_names_each_credential_masked_and_changes_nothing(planted: Planted) -> None:
    before = (planted.everything(), planted.git("for-each-ref"))
    done = planted.run()
    assert done.returncode == 1, done.stderr
    assert (planted.everything(), planted.git("for-each-ref")) == before
    for expected in ("AWS Access Key", "GitHub Token", "Hookbus API Key", "Private Key"):
        assert expected in done.stdout
    for where in ("config:2", "key:1", "ci:1", "the message of commit", "the message of tag"):
        assert where in done.stdout
    assert "notes" not in done.stdout
    assert "4 credentials in 5 places" in done.stdout
    for secret in SECRETS:
        assert secret not in done.stdout + done.stderr
        assert secret.split("\n")[0][8:24] not in done.stdout.replace("Private Key", "")


def test_a_purge_removes_each_from_everything_and_nothing_else(planted: Planted, tmp_path: Path) -> None:
    commits = planted.git("log", "--all", "--format=%an %at %s", "main").replace(GITHUB, "***REMOVED***")
    done = planted.run("--purge", "--backup", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stdout + done.stderr
    stored = planted.everything()
    for secret in SECRETS:
        assert secret.encode() not in stored
    assert BENIGN.encode() in stored
    assert planted.git("show", "main:notes") == BENIGN
    assert planted.git("show", "main:last") == "the end\n"
    assert planted.git("show", "side:ci") == "token: ***REMOVED***\n"
    assert planted.git("log", "--all", "--format=%an %at %s", "main") == commits
    assert planted.git("status", "--porcelain") == ""
    planted.git("fsck", "--strict")
    assert planted.run().returncode == 0
    # The bundle is the way back: readable by its owner alone, and whole.
    [bundle] = (tmp_path / "kept").iterdir()
    assert oct(bundle.stat().st_mode & 0o777) == "0o600"
    planted.git("clone", "-q", "--mirror", str(bundle), str(tmp_path / "restored"))
    kept = subprocess.run(
        ["git", "-C", str(tmp_path / "restored"), "log", "--all", "-p"], capture_output=True, text=True, check=True
    )
    assert AWS in kept.stdout


def test_what_must_not_be_rewritten_is_refused(planted: Planted, tmp_path: Path) -> None:
    """Uncommitted work, a stash, a shallow clone, no repository at all: each would lose something or miss something."""
    before = planted.git("for-each-ref")
    (planted.path / "draft").write_text("not committed\n")
    assert planted.run("--purge").returncode == 2
    planted.git("add", "-A")
    assert planted.run("--purge").returncode == 2
    planted.git("stash", "-q")
    assert planted.run("--purge").returncode == 2
    planted.git("stash", "drop", "-q")
    assert planted.git("for-each-ref") == before
    planted.git("clone", "-q", "--depth", "1", f"file://{planted.path}", str(tmp_path / "shallow"))
    for folder in ("shallow", "nothing"):
        (tmp_path / folder).mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(tmp_path / folder), "--purge"],
            capture_output=True,
            check=False,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)},
        )
        assert done.returncode == 2


def test_a_clean_history_is_left_alone(planted: Planted, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    clean.mkdir()
    planted.git("init", "-q", str(clean))
    other = Planted.__new__(Planted)
    other.path = clean
    other.commit("notes", notes=BENIGN)
    before = other.git("for-each-ref")
    assert other.run("--purge", "--backup", str(tmp_path / "kept")).returncode == 0
    assert other.git("for-each-ref") == before
    assert not (tmp_path / "kept").exists()
