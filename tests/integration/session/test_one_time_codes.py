"""Whoever stole a session may try codes of its person's device: as often as passwords, and not unseen."""

import asyncio
import time

import pytest
from pyotp.totp import TOTP
from support.bus import stored_events
from support.people import Person, new_person
from support.session_service import SessionStack
from support.waiting import eventually

from hookbus.contracts.people import PersonSessionRequest, TotpCodeRequest, TotpReply, UserView
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.session.domain.people import LOCK_FAILURES_MAX, name_digest

GUESSES_AT_ONCE = 20
WAIT_S = 60.0


async def with_device(stack: SessionStack) -> tuple[Person, TOTP]:
    """A person whose logins ask for a code."""
    person = await new_person(stack)
    sid = person.tokens.session
    device = TOTP((await stack.rpc.call("session", "totp_begin", PersonSessionRequest(sid=sid), TotpReply)).secret)
    code = device.at(time.time() - 30)
    await stack.rpc.call("session", "totp_confirm", TotpCodeRequest(sid=sid, code=code), UserView)
    return person, device


async def remove(stack: SessionStack, person: Person, code: str) -> ProblemCode | None:
    """Ask to remove the device; how it was refused."""
    request = TotpCodeRequest(sid=person.tokens.session, code=code)
    try:
        await stack.rpc.call("session", "totp_remove", request, UserView, timeout_s=30)
    except ProblemError as error:
        return error.problem.code
    return None


def wrong(device: TOTP) -> str:
    near = {device.at(time.time() + 30 * steps) for steps in range(-3, 4)}
    return next(code for number in range(10) if (code := f"{number:06d}") not in near)


async def told(stack: SessionStack, sid: str) -> list[tuple[str, int]]:
    """Code and count of the failed attempts in a session, as the bus has them."""
    found: list[tuple[str, int]] = []
    for subject, event in await stored_events(stack.nats, "SECURITY"):
        count = event.data.get("failures")
        if event.data.get("person_session") == sid and isinstance(count, int):
            found.append((subject.removeprefix("security."), count))
    return found


async def test_wrong_codes_lock_the_name_and_are_told(stack: SessionStack) -> None:
    """A locked name takes no right code and no login; once it is open again, the right code removes the device."""
    person, device = await with_device(stack)
    for _ in range(LOCK_FAILURES_MAX):
        assert await remove(stack, person, wrong(device)) is ProblemCode.UNAUTHENTICATED
    wanted = [("login_failed", count) for count in range(1, LOCK_FAILURES_MAX)] + [("login_locked", LOCK_FAILURES_MAX)]

    async def all_told() -> bool:
        return await told(stack, person.tokens.session) == wanted

    await eventually(all_told, WAIT_S)
    assert await remove(stack, person, device.now()) is ProblemCode.RATE_LIMITED
    with pytest.raises(ProblemError) as caught:
        await person.login(totp=device.now())
    assert caught.value.problem.code is ProblemCode.RATE_LIMITED
    async with stack.database.raw() as connection:
        query = "UPDATE session.login_attempts SET locked_until = now() - interval '1 second' WHERE name_sha256 = $1"
        await connection.execute(query, name_digest(person.username))
    assert await remove(stack, person, device.now()) is None


async def test_codes_tried_at_once_are_no_more_than_those_tried_one_after_the_other(stack: SessionStack) -> None:
    person, device = await with_device(stack)
    code = wrong(device)
    answers = await asyncio.gather(*(remove(stack, person, code) for _ in range(GUESSES_AT_ONCE)))
    assert answers.count(ProblemCode.UNAUTHENTICATED) == LOCK_FAILURES_MAX
    assert answers.count(ProblemCode.RATE_LIMITED) == GUESSES_AT_ONCE - LOCK_FAILURES_MAX
