"""Strict and lenient: what becomes of doubt, of signs of injection, and of an operation that is too much to judge."""

from datetime import UTC, datetime
from typing import cast

import pytest
from pydantic import JsonValue, SecretStr
from support.guard_corpus import CWD, injections, judge_operation, ordinary_code

from hookbus.contracts.decisions import DecisionCode, Verdict
from hookbus.contracts.events import Kind
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway.guard.commands import judge_command
from hookbus.gateway.guard.effort import EFFORT_LENIENT_MAX, EFFORT_STRICT_MAX, GuardMode
from hookbus.gateway.guard.operation import Judgement
from hookbus.gateway.guard.paths import Workspace
from hookbus.gateway.guard.scene import PATH_CHARS_PER_UNIT, PATH_UNITS, Scene
from hookbus.gateway.guard.shell import read_script
from hookbus.gateway.intake import Intake
from hookbus.gateway.settings import GatewaySettings
from hookbus.gateway.strict_json import JsonTree
from hookbus.platform.settings import Environment

NOW = datetime(2026, 11, 23, tzinfo=UTC)
STRICT, LENIENT = GuardMode.STRICT, GuardMode.LENIENT
PAYLOAD_CHARS = 64 * 1024
OVERDRAFT_UNITS = PATH_UNITS + 4_096 // PATH_CHARS_PER_UNIT + 64
"""What the last piece of work may take beyond what was left."""
STEP_OVERDRAFT = 300

ATTACKS = [(tag, text) for tag, texts in injections().items() for text in texts]
HOSTILE_PIECES = [
    "find -exec ",
    "sh|",
    "$(",
    "eval ",
    "rm -rf a ",
    "rm -rf ./a ",
    "'",
    "/",
    "a\\\n",
    "<<A\n",
    "<<-A\n\t",
    "cat <<A\n$(a)\nA\n",
    '"a',
    "`",
    "${",
    "${x:-",
    "(",
    "a;",
    "x=$y ",
    "{",
    "cat ~/.ssh/../",
    "> ./a ",
    " ",
    "$'\\x72'",
    "env ",
    "sh -c 'eval ",
    "a(){ a|a& };a\n",
    "x=${IFS}",
    "{env,",
    "((",
    "$((",
    "((1<<2))",
    "$(case x in a) ",
    "cat <<'A B'\nx\nA B\n",
    "cat <<B1\n",
    "<<-A\n\t\tA\n",
    "bash <<A\nls\nA\n",
    "bash <<< ls\n",
    "echo a|sh;",
    "{a,b}{a,b} ",
    "{a,",
    "{m..m}",
    "a[0]=1 ",
    "a[",
    "[",
    "[[ x =~ (a)",
    "x=(a ",
    "${x:-'",
    '${x:-"$(',
    "`\\`",
    "time ",
    "coproc ",
    "function f ",
    "env -S ls ",
    "env -S 'env -S ",
    "sh -c ls;",
    'eval "$(cat <<A\nls\nA\n)";',
    "cd a;rm -rf b;",
    "cd /x;rm -rf b;",
    "pushd a;",
    "find a b -exec ls {} ; ",
    "find . -exec {} + ",
    "cat ~/.ssh/../a=b=c=d=./e ",
    "<~/a ",
]


def settings(environment: Environment, guard_mode: str | None = None) -> GatewaySettings:
    values: dict[str, object] = {
        "HOOKBUS_ENV": environment,
        "nats_user": "gateway",
        "nats_password": SecretStr("x"),
        "http_port": 0,
    }
    if guard_mode is not None:
        values["guard_mode"] = guard_mode
    return GatewaySettings.model_validate(values)


def judge(field: str, text: JsonValue, mode: GuardMode, tool: str = "Bash") -> Judgement:
    data: dict[str, JsonValue] = {"tool": tool, "tool_input": {field: text}, "cwd": f"/{CWD}"}
    return judge_operation(data, ("/tmp",), mode)


def test_production_is_strict_unless_it_is_told_otherwise() -> None:
    assert settings(Environment.PRODUCTION).effective_guard_mode is STRICT
    assert settings(Environment.DEVELOPMENT).effective_guard_mode is LENIENT
    assert settings(Environment.PRODUCTION, "lenient").effective_guard_mode is LENIENT
    assert settings(Environment.DEVELOPMENT, "strict").effective_guard_mode is STRICT


@pytest.mark.parametrize(("tag", "text"), ATTACKS)
@pytest.mark.parametrize("around", ["{}", "before {}\nbehind", "a\nb {}"])
def test_lenient_tags_what_strict_refuses(tag: str, text: str, around: str) -> None:
    written = around.replace("{}", text)
    lenient = judge("content", written, LENIENT, "Write")
    assert (lenient.finding, tag in lenient.tags) == (None, True)
    strict = judge("content", written, STRICT, "Write")
    assert strict.tags == lenient.tags
    assert strict.finding is not None
    assert (strict.finding.verdict, strict.finding.code) == (Verdict.DENY, DecisionCode.INPUT_REFUSED)
    assert tag in strict.finding.reason


@pytest.mark.parametrize("code", ordinary_code())
def test_ordinary_code_carries_no_tag(code: str) -> None:
    for mode in GuardMode:
        assert judge("content", code, mode, "Write") == Judgement(None)


def test_a_sign_is_found_however_deep_and_never_made_of_two_texts() -> None:
    deep: JsonValue = {"a": [{"b": ["x", {"c": "<script>alert(1)</script>"}]}]}
    assert judge("edits", deep, LENIENT, "MultiEdit").tags == ("xss",)
    assert judge("edits", ["<script>", "alert(1)"], LENIENT, "MultiEdit").tags == ()


@pytest.mark.parametrize("command", ["echo 'open", "echo $(ls", "a;" * 30_000, "pwsh -c ls", "fish -c ls"])
def test_doubt_is_asked_about_or_refused(command: str) -> None:
    for mode, verdict in ((LENIENT, Verdict.ASK), (STRICT, Verdict.DENY)):
        finding = judge("command", command, mode).finding
        assert finding is not None
        assert (finding.verdict, finding.code) == (verdict, DecisionCode.COMMAND_REFUSED)


def test_what_was_found_stays_where_the_effort_is_spent() -> None:
    for command in ("> /etc/passwd cat " + "./.a " * 4_000, "rm -rf / " + "./.a " * 4_000, "{,rm,-rf,/}"):
        finding = judge("command", command, LENIENT).finding
        assert finding is not None
        assert finding.verdict is Verdict.DENY


def test_what_stands_before_the_unreadable_is_judged() -> None:
    """A shell runs the lines before the one it cannot read."""
    for command in ("rm -rf /\necho 'open", "rm -rf / $(", 'rm -rf /; echo "'):
        finding = judge("command", command, LENIENT).finding
        assert finding is not None
        assert finding.verdict is Verdict.DENY


@pytest.mark.parametrize("piece", HOSTILE_PIECES)
def test_strict_mode_bounds_the_work_of_any_command(piece: str) -> None:
    """Counted, not timed: tokens and judged words together stay below the mode's bound, whatever is repeated."""
    text = piece * (PAYLOAD_CHARS // len(piece))
    assert read_script(text, steps_max=100).steps <= 100 + STEP_OVERDRAFT
    for mode, units_max in ((STRICT, EFFORT_STRICT_MAX), (LENIENT, EFFORT_LENIENT_MAX)):
        scene = Scene.of(Workspace.of(f"/{CWD}", ()), mode)
        assert scene.effort.left == units_max
        judge_command(text, scene)
        assert scene.effort.left >= -OVERDRAFT_UNITS


def nested_documents(count: int) -> str:
    opened = "".join(f"cat <<A{number}\n$(" for number in range(count))
    return opened + "".join(f")\nA{number}\n" for number in reversed(range(count)))


LOPSIDED = {
    "roots of find": "find " + "a " * 8_000 + "-exec {} ; " * 3_000,
    "a root many times": "find " + "a" * 16_000 + " -exec rm -rf " + "{}" * 8_000 + " ;",
    "documents without end": "".join(f"cat <<B{number}\n" for number in range(6_000)),
    "documents in documents": nested_documents(900),
    "documents of one line": "<<A " * 8_000 + "\n" + "A\n" * 8_000,
    "documents and shells": "cat <<A\nls\nA\n" * 2_000 + "bash;" * 4_000,
    "documents of one command and shells": "<<A " * 4_000 + "\n" + "A\n" * 4_000 + "bash;" * 4_000,
    "a document of near ends": "cat <<'A'\n" + "xA\n" * 16_000 + "A\n",
    "choices": "{" * 16 + "a,b" + "}" * 16 + "{m..m}" * 9_000,
    "backticks in backticks": "`" + "\\`" * 3_000,
}
"""Much of one kind and then much of another."""


@pytest.mark.parametrize("text", LOPSIDED.values(), ids=LOPSIDED)
def test_work_is_bounded_where_one_part_multiplies_another(text: str) -> None:
    assert read_script(text, steps_max=100).steps <= 100 + STEP_OVERDRAFT
    for mode in GuardMode:
        scene = Scene.of(Workspace.of(f"/{CWD}", ()), mode)
        findings = judge_command(text, scene)
        assert scene.effort.left >= -OVERDRAFT_UNITS
        assert findings, "beyond the bound is doubt"


NOTHING: dict[str, JsonValue] = {}
EMPTY: list[JsonValue] = []
RELATIVE: list[JsonValue] = ["./.a"] * 9_000
TEXTS: list[JsonValue] = ["b"] * 16_000
LOADED: list[dict[str, JsonValue]] = [
    {"a": [NOTHING for _ in range(20_000)]},
    {"a": [EMPTY for _ in range(20_000)]},
    {"a": TEXTS},
    {str(number): 1 for number in range(8_000)},
    {"paths": RELATIVE},
    {"command": RELATIVE},
]


@pytest.mark.parametrize("tool_input", LOADED)
def test_strict_mode_bounds_the_values_of_an_operation(tool_input: dict[str, JsonValue]) -> None:
    finding = judge_operation({"tool": "Bash", "tool_input": tool_input, "cwd": f"/{CWD}"}, (), STRICT).finding
    assert finding is not None
    assert finding.verdict is Verdict.DENY
    body: dict[str, JsonTree] = {
        "kind": Kind.PRE_TASK.value,
        "agent_id": "a",
        "data": {"tool": "x", "tool_input": cast("JsonTree", tool_input)},
    }
    assert Intake(NOW, lambda: "id-1", None, LENIENT).event(body, cloudevent=False).kind is Kind.PRE_TASK
    with pytest.raises(ProblemError) as refused:
        Intake(NOW, lambda: "id-1", None, STRICT).event(body, cloudevent=False)
    assert refused.value.problem.code is ProblemCode.INPUT_REFUSED
    body["kind"] = Kind.POST_TASK.value
    assert Intake(NOW, lambda: "id-1", None, STRICT).event(body, cloudevent=False).kind is Kind.POST_TASK


def test_only_hookbus_says_which_tags_an_event_has() -> None:
    body: dict[str, JsonTree] = {
        "specversion": "1.0",
        "type": "dev.hookbus.pre-task.v1",
        "source": "x",
        "subject": "a",
        "inputtags": "xss",
    }
    with pytest.raises(ProblemError):
        Intake(NOW, lambda: "id-1", None).event(body, cloudevent=True)
