"""Find credentials in all of a git repository's history, and take them out of it.

    python deploy/credential_history.py REPOSITORY            # a dry run: what was found, and where
    python deploy/credential_history.py REPOSITORY --purge    # rewrite the history without it

It looks into every version of every file that any ref reaches, and into the messages of commits and tags. The detectors
are those of detect-secrets that know a credential by its form; what only looks random is not taken for one. The
rewriting is git-filter-repo's. Nothing prints a credential whole.

Exit codes: 0 nothing found or all removed, 1 found or not all removed, 2 wrong usage or a repository that must not be
rewritten.

A credential that was ever pushed is known to others: revoke it first, then purge, then have everybody clone anew.
"""

import argparse
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

DETECTORS: Final = frozenset(
    {
        "ArtifactoryDetector",
        "AWSKeyDetector",
        "AzureStorageKeyDetector",
        "BasicAuthDetector",
        "DiscordBotTokenDetector",
        "GitHubTokenDetector",
        "GitLabTokenDetector",
        "JwtTokenDetector",
        "MailchimpDetector",
        "NpmDetector",
        "OpenAIDetector",
        "PypiTokenDetector",
        "SendGridDetector",
        "SlackDetector",
        "SquareOAuthDetector",
        "StripeDetector",
        "TelegramBotTokenDetector",
        "TwilioKeyDetector",
    }
)
HOOKBUS_KEY: Final = re.compile(r"hbk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}")
PRIVATE_KEY: Final = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s:,\\-]{64,16384}?"
    rb"-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"
)
REMOVED: Final = b"***REMOVED***"
TEXT_BYTES_MAX: Final = 8 * 1024 * 1024
"""A larger file version is named as not looked into."""
LINE_CHARS_MAX: Final = 20_000
"""A longer line is looked at in pieces of this length that overlap."""
OVERLAP_CHARS: Final = 1_000
SECRET_CHARS_MIN: Final = 8
"""A shorter find is taken with what makes it recognisable: a detector may hand over a token's prefix alone."""
SHOWN_CHARS: Final = 4
EXIT_DONE, EXIT_FOUND, EXIT_USAGE = 0, 1, 2


class RefusedError(Exception):
    """The repository must not be rewritten as it is."""


@dataclass(frozen=True)
class Found:
    """One credential in one version of a file, or in a message."""

    kind: str
    secret: bytes
    object_id: str
    path: str
    line: int

    def masked(self) -> str:
        """Enough to recognise it by, and not more."""
        text = self.secret.decode("utf-8", "replace").split("\n", 1)[0]
        return f"{text[:SHOWN_CHARS]}... ({len(self.secret)} characters)"


class Repository:
    """A git repository, through git itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        """What a git command prints."""
        done = subprocess.run(  # noqa: S603 - git, with arguments of this file
            ["git", "-C", str(self.path), *arguments],  # noqa: S607 - the person's own git
            input=stdin,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise RefusedError(done.stderr.decode("utf-8", "replace").strip() or f"git {arguments[0]} failed")
        return done.stdout

    def objects(self) -> Iterator[tuple[str, str, str, bytes]]:
        """Every blob, commit and tag that a ref reaches: id, type, a path it has, content. One at a time."""
        paths: dict[str, str] = {}
        for line in self.git("rev-list", "--objects", "--all", "--reflog").decode("utf-8", "replace").splitlines():
            object_id, _, path = line.partition(" ")
            paths.setdefault(object_id, path)
        for line in self.git("for-each-ref", "--format=%(objectname)").decode().splitlines():
            paths.setdefault(line, "")
        process = subprocess.Popen(  # noqa: S603 - as above
            ["git", "-C", str(self.path), "cat-file", "--batch"],  # noqa: S607 - as above
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            for object_id, path in paths.items():
                process.stdin.write(f"{object_id}\n".encode())
                process.stdin.flush()
                _, kind, size = process.stdout.readline().decode().split()
                content = process.stdout.read(int(size))
                process.stdout.read(1)
                if kind != "tree":
                    yield object_id, kind, path, content
            process.stdin.close()

    def first_commit_with(self, object_id: str) -> str:
        """The oldest commit that brought a blob in."""
        log = self.git("log", "--all", "--reflog", "--format=%h %cs", f"--find-object={object_id}").decode().split("\n")
        return next((line for line in reversed(log) if line), "no commit")


def detectors() -> list[Any]:
    """The detectors of detect-secrets that are used."""
    known = cast("dict[str, Any]", get_mapping_from_secret_type_to_class())
    return [made() for made in known.values() if made.__name__ in DETECTORS]


def find(content: bytes, plugins: list[Any]) -> Iterator[tuple[str, bytes, int]]:
    """The credentials in a text: kind, the credential, its line."""
    for block in PRIVATE_KEY.finditer(content):
        yield "Private Key", block[0], content.count(b"\n", 0, block.start()) + 1
    for number, line in enumerate(content.decode("utf-8", "surrogateescape").split("\n"), start=1):
        for begin in range(0, max(len(line), 1), LINE_CHARS_MAX):
            piece = line[max(0, begin - OVERLAP_CHARS) : begin + LINE_CHARS_MAX]
            for kind, secret in _in_line(piece, plugins):
                yield kind, secret.encode("utf-8", "surrogateescape"), number


def _in_line(line: str, plugins: list[Any]) -> Iterator[tuple[str, str]]:
    for match in HOOKBUS_KEY.finditer(line):
        yield "Hookbus API Key", match[0]
    for plugin in plugins:
        for secret in cast("Iterator[str]", plugin.analyze_string(line)):
            if len(secret) >= SECRET_CHARS_MIN:
                yield plugin.secret_type, secret
                continue
            for expression in cast("list[re.Pattern[str]]", plugin.denylist):
                for match in expression.finditer(line):
                    yield plugin.secret_type, match[0]


def scan(repository: Repository) -> tuple[list[Found], list[str]]:
    """Every credential, each once for each object it stands in; and what was not looked into."""
    plugins = detectors()
    found: dict[tuple[str, bytes], Found] = {}
    skipped: list[str] = []
    for object_id, kind, path, content in repository.objects():
        name = path if kind == "blob" else f"the message of {kind} {object_id[:12]}"
        if kind == "blob" and len(content) > TEXT_BYTES_MAX:
            skipped.append(f"{name} ({object_id[:12]}, {len(content)} bytes)")
            continue
        for what, secret, line in find(content, plugins):
            found.setdefault((object_id, secret), Found(what, secret, object_id, name, line))
    return list(found.values()), skipped


def check_rewritable(repository: Repository) -> None:
    """What must hold before a history is rewritten.

    Raises:
        RefusedError: it does not.
    """
    if repository.git("rev-parse", "--is-shallow-repository").strip() == b"true":
        raise RefusedError("the repository is shallow: its history lies elsewhere")
    if repository.git("rev-parse", "--is-bare-repository").strip() == b"false":
        if repository.git("status", "--porcelain", "--untracked-files=all").strip():
            raise RefusedError("there are changes that are not committed: commit them or take them away first")
        if len(repository.git("worktree", "list", "--porcelain").split(b"\n\n")) > 2:
            raise RefusedError("other working trees are attached: remove them first")
    if repository.git("for-each-ref", "refs/stash").strip():
        raise RefusedError("something is stashed: apply it or drop it first")


def back_up(repository: Repository, folder: Path) -> Path:
    """A bundle of everything, checked, and readable by its owner alone, for it holds the credentials."""
    folder.mkdir(parents=True, exist_ok=True)
    bundle = folder.resolve() / f"{repository.path.resolve().name}-{time.strftime('%Y%m%dT%H%M%S')}.bundle"
    os.close(os.open(bundle, os.O_CREAT | os.O_EXCL | os.O_WRONLY, stat.S_IRUSR | stat.S_IWUSR))
    repository.git("bundle", "create", str(bundle), "--all")
    bundle.chmod(stat.S_IRUSR | stat.S_IWUSR)
    repository.git("bundle", "verify", str(bundle))
    return bundle


def purge(repository: Repository, secrets: set[bytes]) -> None:
    """Rewrite every ref without ``secrets``, and forget the old objects."""
    import git_filter_repo  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]  # a dry run does without it

    longest_first = sorted(secrets, key=len, reverse=True)

    def cleaned(content: bytes) -> bytes:
        for secret in longest_first:
            content = content.replace(secret, REMOVED)
        return content

    def clean_blob(blob: Any, _metadata: Any) -> None:
        blob.data = cleaned(blob.data)

    before = Path.cwd()
    os.chdir(repository.path)
    try:
        library = cast("Any", git_filter_repo)
        options = library.FilteringOptions.parse_args(["--force", "--quiet"], error_on_empty=False)
        library.RepoFilter(options, blob_callback=clean_blob, message_callback=cleaned).run()
    finally:
        os.chdir(before)
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "--prune=now", "--quiet")


def say(text: str) -> None:
    """One line of the report."""
    sys.stdout.write(f"{text}\n")


def report(repository: Repository, found: list[Found], skipped: list[str]) -> None:
    """What was found, masked, and where."""
    for one in sorted(found, key=lambda f: (f.path, f.line, f.object_id)):
        where = f"{one.path}:{one.line}" if not one.path.startswith("the message of") else one.path
        since = (
            "" if one.path.startswith("the message of") else f", since {repository.first_commit_with(one.object_id)}"
        )
        say(f"{one.kind}: {one.masked()} in {where}{since}")
    for name in skipped:
        say(f"not looked into: {name}")
    say(f"{len({one.secret for one in found})} credentials in {len(found)} places")


def main(arguments: list[str] | None = None) -> int:
    """Scan, and with ``--purge`` rewrite; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("repository", type=Path)
    parser.add_argument("--purge", action="store_true", help="rewrite the history; without it nothing is changed")
    parser.add_argument(
        "--backup", type=Path, help="folder for the bundle made first; beside the repository by default"
    )
    options = parser.parse_args(arguments)
    repository = Repository(options.repository)
    try:
        repository.git("rev-parse", "--git-dir")
        if options.purge:
            check_rewritable(repository)
        found, skipped = scan(repository)
        report(repository, found, skipped)
        if not found:
            return EXIT_DONE
        if not options.purge:
            say("Nothing was changed. Revoke what was found, then run again with --purge.")
            return EXIT_FOUND
        bundle = back_up(repository, options.backup or repository.path.resolve().parent)
        say(f"The history as it was, credentials included: {bundle}")
        purge(repository, {one.secret for one in found})
        left, _ = scan(repository)
    except RefusedError as error:
        sys.stderr.write(f"credential_history: {error}\n")
        return EXIT_USAGE
    report(repository, left, [])
    return EXIT_FOUND if left else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
