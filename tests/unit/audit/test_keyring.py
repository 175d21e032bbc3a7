"""Two processes on one key store: whichever rotates, the other goes on under the key-encryption key of now."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hookbus.audit.keyring import FIRST_KEK_ID, Keyring
from hookbus.audit.keys import KEY_BYTES, KeyUnusableError, create_data_key
from hookbus.audit.keystore import KeyStore, StoredKek
from hookbus.audit.passphrases import KekFiles
from hookbus.audit.signing.files import write_private

Opened = Callable[[], Keyring]


@pytest.fixture
async def opened(tmp_path: Path) -> Opened:
    """The keyring of one more process on the same files."""
    store = KeyStore(tmp_path / "keys.sqlite", b"log")
    files = KekFiles(tmp_path / "passphrase", None, os.urandom)
    write_private(tmp_path / "passphrase", b"correct horse battery staple")
    await store.open()
    kek, parameters = files.create()
    stored = await store.create_kek(StoredKek(FIRST_KEK_ID, parameters, kek.wrap(os.urandom(KEY_BYTES))))
    return lambda: Keyring(store, kek, stored, files, os.urandom)


async def test_a_data_key_made_after_another_process_has_rotated_can_be_unwrapped(opened: Opened):
    """By whoever reads it next, and by the one that made it: the key it was made under is gone for good."""
    leader, standby = opened(), opened()
    await leader.rotate(await leader.next_kek(None))
    await leader.rotate(await leader.next_kek(None))
    made = create_data_key("agent:a", "2026-12", os.urandom)
    await standby.keep([made])
    for keyring in (leader, standby):
        assert (await keyring.all_keys()) == {made.key_id: made.key}
        assert (await keyring.open_keys([made.key_id]))[made.key_id].key == made.key


async def test_a_process_that_stood_by_rotates_from_where_another_left_it(opened: Opened):
    leader, standby = opened(), opened()
    made = create_data_key("agent:a", "2026-12", os.urandom)
    await leader.keep([made])
    await leader.rotate(await leader.next_kek(None))
    assert await standby.rotate(await standby.next_kek(None)) == 1
    assert (await leader.all_keys()) == {made.key_id: made.key}


async def test_a_rotation_that_another_one_overtook_changes_nothing(opened: Opened):
    leader, paused = opened(), opened()
    made = create_data_key("agent:a", "2026-12", os.urandom)
    await leader.keep([made])
    prepared = await paused.next_kek(None)
    await leader.rotate(await leader.next_kek(None))
    with pytest.raises(KeyUnusableError, match="another process"):
        await paused.rotate(prepared)
    for keyring in (leader, paused):
        assert (await keyring.all_keys()) == {made.key_id: made.key}
