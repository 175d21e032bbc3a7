"""The QR code of a second factor: a square with the three marks a scanner looks for, another for another text."""

from hookbus.gateway.console.picture import qr_rows

URI = "otpauth://totp/hookbus:admin?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=hookbus"
MARK = ["1111111", "1000001", "1011101", "1011101", "1011101", "1000001", "1111111"]


def test_the_picture_is_a_qr_code_of_its_text() -> None:
    rows = qr_rows(URI)
    side = len(rows)
    assert side % 4 == 1, "21 and a multiple of 4"
    assert {len(row) for row in rows} == {side}
    assert {bit for row in rows for bit in row} == {"0", "1"}
    assert [row[:7] for row in rows[:7]] == MARK
    assert [row[-7:] for row in rows[:7]] == MARK
    assert [row[:7] for row in rows[-7:]] == MARK
    assert qr_rows(URI) == rows
    assert qr_rows(URI.replace("admin", "other")) != rows
