"""A QR code as rows of dark and light, for a page that draws it without parsing anything."""

import segno

ERROR_LEVEL = "m"
"""Read with about 15 % of it hidden: what a screen needs."""


def qr_rows(text: str) -> list[str]:
    """One string a row, ``1`` for dark and ``0`` for light, without the quiet zone of four around it."""
    code = segno.make(text, error=ERROR_LEVEL, micro=False)
    return ["".join("1" if dark else "0" for dark in row) for row in code.matrix]
