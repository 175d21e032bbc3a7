"""Requests made from the OpenAPI document: whatever they hold, the answer is a documented one and never a 500."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.stack import StackFixture

EXAMPLES_MAX = int(os.environ.get("HOOKBUS_FUZZ_EXAMPLES", "5"))
"""Requests made for each operation; more find more and take longer."""
TIMEOUT_S = 280


@pytest.mark.timeout(TIMEOUT_S + 20)
def test_no_request_from_the_schema_breaks_the_gateway(own_stack: StackFixture, tmp_path: Path) -> None:
    """Schemathesis over ``/openapi.json`` on the whole stack, valid and invalid data: no server error, only documented
    statuses, content types and bodies. On a stack of its own, for a request may set a limit on everybody."""
    result = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            "run",
            f"{own_stack.url}/openapi.json",
            "--header",
            f"Authorization: {own_stack.headers['Authorization']}",
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            "--max-examples",
            str(EXAMPLES_MAX),
            "--phases",
            "examples,coverage,fuzzing",
            "--suppress-health-check",
            "all",
            "--seed",
            "1",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-8_000:] + result.stderr[-2_000:]
    for name in own_stack.names():
        log_file = own_stack.layout.log_file(name)
        assert "request failed" not in log_file.read_text(), f"a fault was logged by {name}"
