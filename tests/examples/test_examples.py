"""Each example runs as a user would run it, and reaches what it promises."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from subprocess import DEVNULL

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}  # sums of floats depend on the number of threads


def run(*command: str | Path, cwd: Path) -> str:
    """What a Python script prints; an error or a warning fails the test."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def example(name: str, *options: str | Path, cwd: Path) -> str:
    return run(ROOT / "examples" / f"{name}.py", *options, cwd=cwd)


def number_after(label: str, output: str) -> float:
    """The number that follows a label in what was printed."""
    found = re.search(rf"{label}:? (\d+\.\d+)", output)
    assert found, output
    return float(found[1])


def test_digits_are_read_and_checkpoints_and_logs_are_where_it_says(tmp_path: Path) -> None:
    output = example("digits", "--max-epochs", "6", cwd=tmp_path)

    assert number_after("Test accuracy", output) > 0.9
    logs = tmp_path / "logs" / "digits" / "version_0"
    assert f"Logs: {logs.relative_to(tmp_path)}" in output
    assert re.search(r"Best checkpoint: \S*/checkpoints/epoch=\d-val_accuracy=0\.\d{4}\.ckpt", output)
    assert (logs / "checkpoints" / "last.ckpt").is_file()
    assert "val_accuracy" in (logs / "metrics.csv").read_text()
    assert list(logs.glob("events.out.tfevents.*"))


def test_digits_killed_and_resumed_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    options = ("--max-epochs", "5", "--seed", "1")
    whole = example("digits", *options, cwd=tmp_path)

    versions = tmp_path / "logs" / "digits"
    command = [sys.executable, str(ROOT / "examples" / "digits.py"), *options]
    victim = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=DEVNULL, stderr=DEVNULL)
    while victim.poll() is None and not (versions / "version_1" / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.01)
    victim.kill()
    assert victim.wait() != 0
    resumed = example("digits", *options, "--version", "1", "--ckpt-path", "last", cwd=tmp_path)

    assert number_after("Test accuracy", resumed) == number_after("Test accuracy", whole)
    metrics = [(versions / version / "metrics.csv").read_text() for version in ("version_0", "version_1")]
    assert metrics[0] == metrics[1]


def test_digits_dev_run_leaves_nothing(tmp_path: Path) -> None:
    example("digits", "--fast-dev-run", cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_autoencoder_draws_better_than_the_mean(tmp_path: Path) -> None:
    output = example("autoencoder", "--max-epochs", "30", cwd=tmp_path)
    baseline = re.search(r"\((\d+\.\d+) for the mean of all images\)", output)
    assert baseline
    assert number_after("Squared error of a pixel", output) < 0.5 * float(baseline[1])


def test_gan_draws_what_looks_more_like_digits_than_noise(tmp_path: Path) -> None:
    output = example("gan", "--max-epochs", "15", cwd=tmp_path)
    noise = re.search(r"\((\d+\.\d+) for noise", output)
    assert noise
    assert number_after("Distance to the nearest real digit", output) < 0.7 * float(noise[1])


def test_char_gpt_learns_and_writes(tmp_path: Path) -> None:
    sizes = ("--max-steps", "60", "--batch-size", "8", "--width", "64", "--layers", "2", "--context", "32")
    output = example("char_gpt", *sizes, cwd=tmp_path)
    assert "def " in output
    assert number_after("which is", output) < 5.5  # bits a character; 7 know nothing of the text


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_every_example_says_how_to_run_it(path: Path) -> None:
    explanation = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert f"./run {path.stem}" in explanation
    assert path.stem in (ROOT / "run").read_text()
    assert path.name in (ROOT / "README.md").read_text()


def test_readme_example(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(blocks[0])
    assert number_after("Accuracy", run(script, cwd=tmp_path)) > 0.9
