"""Checkpoints in an S3-compatible bucket: put once, never replaced; a bucket that is away holds nothing up."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3  # pyright: ignore[reportMissingTypeStubs]  # it has none
import pytest
from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs]  # it has none
from support.audit import audit_stack
from support.events import hook_event
from support.servers import NatsFixture, PostgresFixture
from support.waiting import eventually

from hookbus.audit.anchor_bucket import AnchorBucket, BucketAddress
from hookbus.audit.anchors import AnchorError
from hookbus.audit.note import Checkpoint, SignedNote
from hookbus.embedded.ports import free_ports
from hookbus.embedded.probes import http_status

WAIT_S = 60.0
BUCKET = "checkpoints"
SETUP_ACTIONS = 4
"""Requests the server takes without looking at their signatures: those that make the bucket and its user."""
POLICY = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"],'
    ' "Resource": "arn:aws:s3:::checkpoints/*"}]}'
)
ROOT = bytes(range(32))


@dataclass(frozen=True)
class Bucket:
    """A bucket, and a user who may put and get its objects, nothing else."""

    address: BucketAddress

    def with_secret(self, secret: str) -> BucketAddress:
        one = self.address
        return BucketAddress(one.url, one.endpoint, one.region, one.access_key_id, secret)

    @property
    def client(self) -> Any:
        return _client("s3", str(self.address.endpoint), self.address.access_key_id, self.address.secret_access_key)

    def get(self, key: str) -> str:
        return str(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode())


def _client(service: str, endpoint: str, access_key_id: str | None, secret: str | None) -> Any:
    # Its types are stubs that nobody installs.
    make: Any = boto3.client  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return make(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """A server that checks signatures (SigV4) and knows conditional puts."""
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(SETUP_ACTIONS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        deadline_polls = 600
        while http_status("127.0.0.1", port, "/moto-api/") != 200:
            deadline_polls -= 1
            assert deadline_polls
            assert process.poll() is None
            process_wait(process)
        iam = _client("iam", endpoint, "setup", "setup")
        iam.create_user(UserName="log")
        pair = iam.create_access_key(UserName="log")["AccessKey"]
        iam.put_user_policy(UserName="log", PolicyName="put", PolicyDocument=POLICY)
        _client("s3", endpoint, "setup", "setup").create_bucket(Bucket=BUCKET)
        yield Bucket(
            BucketAddress(f"s3://{BUCKET}/logs", endpoint, "us-east-1", pair["AccessKeyId"], pair["SecretAccessKey"])
        )
    finally:
        process.kill()
        process.wait()


def process_wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(0.1)
    except subprocess.TimeoutExpired:
        return


def note(checkpoint: Checkpoint) -> str:
    return checkpoint.text + "\n\u2014 log.example/one AAAAAAAA\n"


def at(size: int, root: bytes = ROOT, origin: str = "log.example/one") -> Checkpoint:
    return Checkpoint(origin, size, root)


async def test_a_checkpoint_is_put_under_a_key_that_grows_and_stays_as_it_is(bucket: Bucket):
    target = AnchorBucket(bucket.address)
    for size in (9, 10, 200):
        await target.add(at(size), note(at(size)))
    keys = [target.key(at(size)) for size in (9, 10, 200)]
    assert keys == sorted(keys)
    assert keys[0] == "logs/one/" + "9".zfill(20)
    assert bucket.get(keys[0]) == note(at(9))
    # The same tree signed again is no news, and does not replace what is there.
    again = note(at(9)).replace("AAAAAAAA", "BBBBBBBB")
    await target.add(at(9), again)
    assert bucket.get(keys[0]) == note(at(9))
    # Another tree of the same size is a fork.
    forked = at(9, bytes(32))
    with pytest.raises(AnchorError, match="another tree"):
        await target.add(forked, note(forked))
    assert bucket.get(keys[0]) == note(at(9))


async def test_requests_bear_a_signature_that_the_server_checks(bucket: Bucket):
    await AnchorBucket(bucket.address).add(at(1, origin="log.example/two"), note(at(1)))
    with pytest.raises(AnchorError):
        await AnchorBucket(bucket.with_secret("wrong" * 8)).add(at(2, origin="log.example/two"), note(at(2)))


async def test_the_log_goes_on_while_the_bucket_is_away_and_reaches_it_later(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path, bucket: Bucket
):
    address = bucket.address
    settings = {
        "audit_anchor_s3": address.url,
        "audit_anchor_s3_access_key_id": address.access_key_id,
        "audit_anchor_s3_secret_access_key": address.secret_access_key,
    }
    (nobody,) = free_ports(1)
    away = {**settings, "audit_anchor_s3_endpoint": f"http://127.0.0.1:{nobody}"}
    async with audit_stack(nats_server, empty_log, tmp_path, **away) as stack:
        await stack.published([hook_event() for _ in range(20)])
        reply = await stack.signed()
        assert reply.size >= 20
        assert (await stack.verify()).ok
    async with audit_stack(
        nats_server, empty_log, tmp_path, **settings, audit_anchor_s3_endpoint=address.endpoint
    ) as stack:
        await stack.published([hook_event() for _ in range(20)])
        newest = await stack.signed()
        log_id = (await stack.superuser.fetchval("SELECT log_id FROM audit.log_state")).hex()
        key = f"logs/{log_id}/{newest.size:020d}"

        def reached() -> bool:
            try:
                return SignedNote.parse(bucket.get(key)).text == SignedNote.parse(newest.note).text
            except bucket.client.exceptions.NoSuchKey:
                return False

        await eventually(reached, WAIT_S)
