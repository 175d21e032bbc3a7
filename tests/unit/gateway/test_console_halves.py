"""The two halves of a refresh token: together the token, apart nothing."""

import base64

import pytest

from hookbus.gateway.console.assets import Assets
from hookbus.gateway.console.halves import Halves, join, split

TOKEN = "hbr_an-example-of-a-refresh-token_0123456789"


def test_both_halves_make_the_token() -> None:
    assert join(split(TOKEN)) == TOKEN


def test_each_split_is_another_and_no_half_fits_one_of_another_split() -> None:
    one, other = split(TOKEN), split(TOKEN)
    assert one.cookie != other.cookie
    assert one.page != other.page
    assert join(Halves(one.cookie, other.page)) != TOKEN


def test_a_half_shows_nothing_of_the_token() -> None:
    """Over many splits each byte of a half takes many values: it does not depend on the token's."""
    pages = [base64.urlsafe_b64decode(split(TOKEN).page) for _ in range(200)]
    assert all(len({page[place] for page in pages}) > 64 for place in range(len(TOKEN)))


@pytest.mark.parametrize(
    "halves",
    [
        Halves("", "AAAA"),
        Halves("AAAA", "AAAAAAAA"),
        Halves("not base64!", "not base64!"),
        Halves("A", "A"),
        Halves("ÿÿÿÿ", "AAAA"),
        Halves("_____w==", "AAAAAA=="),
    ],
)
def test_what_is_no_pair_makes_no_token(halves: Halves) -> None:
    assert join(halves) is None


def test_the_version_covers_every_file_and_each_file_has_a_type() -> None:
    assets = Assets.load()
    assert {"main.js", "base.css", "icon.svg", "pages/now.js"} <= set(assets.by_path)
    assert all(asset.body and asset.media_type for asset in assets.by_path.values())
    assert Assets.load().version == assets.version
