"""A folder opened beneath a root, so that no link and no swap of one leads out of it.

The check and the opening are one act: on Linux ``openat2`` with ``RESOLVE_BENEATH``, where the kernel has it; elsewhere
a walk that opens each part without following links. What was opened is held by its descriptor, so a folder renamed or
replaced afterwards changes nothing.
"""

import ctypes
import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

SYSCALL_OPENAT2: Final = 437
"""The same on every architecture."""
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_BENEATH: Final = 0x08
ATTEMPTS_MAX: Final = 64
"""The kernel answers EAGAIN where something was renamed while it looked."""
PARTS_MAX: Final = 256

_FOLDER: Final = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)


class OutsideError(Exception):
    """The folder does not lie beneath the root, or a part of its path leads out of it."""


class _OpenHow(ctypes.Structure):
    """``struct open_how`` of <linux/openat2.h>."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(root: Path, folder: str) -> int:
    """A descriptor of ``folder``, which is relative to ``root`` or an absolute path below it.

    Raises:
        OutsideError: it leads out of the root.
        OSError: it is missing, no folder, or may not be entered.
    """
    relative = _relative(root, folder)
    base = os.open(root, _FOLDER)
    try:
        try:
            return _openat2(base, relative)
        except NotImplementedError:
            return walk(base, relative)
    finally:
        os.close(base)


def walk(base: int, relative: str) -> int:
    """The same without ``openat2``, part by part from the descriptor ``base``; links are refused, inner ones too.

    Raises:
        OutsideError: a part is a link or a step up.
        OSError: as above.
    """
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if ".." in parts or len(parts) > PARTS_MAX:
        raise OutsideError(f"{relative} does not only go down")
    held = os.dup(base)
    try:
        for part in parts:
            try:
                below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=held)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(part, held):
                    raise OutsideError(f"{part} is a link") from error
                raise
            os.close(held)
            held = below
    except BaseException:
        os.close(held)
        raise
    return held


def path_of(descriptor: int) -> str:
    """Where the folder behind ``descriptor`` lies now, for people and for the record."""
    with suppress(OSError):
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    before = os.open(".", _FOLDER)
    try:
        os.fchdir(descriptor)
        return os.getcwd()  # noqa: PTH109 - the answer to a descriptor, which pathlib does not take
    finally:
        os.fchdir(before)
        os.close(before)


def _relative(root: Path, folder: str) -> str:
    if "\0" in folder:
        raise OutsideError("the folder's name holds a NUL character")
    if not folder.startswith("/"):
        return folder or "."
    try:
        return str(Path(os.path.normpath(folder)).relative_to(os.path.normpath(root)))
    except ValueError:
        raise OutsideError(f"{folder} does not lie beneath {root}") from None


def _openat2(base: int, relative: str) -> int:
    if not sys.platform.startswith("linux"):
        raise NotImplementedError
    how = _OpenHow(_FOLDER, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    call = ctypes.CDLL(None, use_errno=True).syscall
    for _ in range(ATTEMPTS_MAX):
        found = call(
            ctypes.c_long(SYSCALL_OPENAT2),
            ctypes.c_int(base),
            ctypes.c_char_p(os.fsencode(relative)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if found >= 0:
            return int(found)
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG):
            raise NotImplementedError  # an older kernel, or a sandbox that forbids the call
        if number in (errno.EXDEV, errno.ELOOP):
            raise OutsideError(f"{relative} leads out of its root")
        if number not in (errno.EAGAIN, errno.EINTR):
            raise OSError(number, os.strerror(number), relative)
    raise OutsideError(f"{relative} is being moved about")


def _is_link(part: str, held: int) -> bool:
    try:
        os.readlink(part, dir_fd=held)
    except OSError:
        return False
    return True
