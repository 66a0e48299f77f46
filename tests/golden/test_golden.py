"""Checkpoints of every release load, and the runs they are of go on as they would have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.base.manifest import verify

from .runs import CASES, Net, digest, run

# The folder of the run that was saved is not the one of ours.
pytestmark = pytest.mark.filterwarnings("ignore:Checkpoints go to")

HERE = Path(__file__).parent
KEPT = sorted(path.relative_to(HERE).as_posix() for path in HERE.glob("*/*.ckpt"))
LARGEST_BYTES = 60_000
TOLERANCE = {"scaled": 1e-3}  # float16; elsewhere what other processors may round otherwise


def expected(name: str) -> dict[str, Any]:
    return json.loads((HERE / name).with_suffix(".json").read_text())


def test_this_release_has_its_checkpoints() -> None:
    assert {f"{pl.__version__}/{name}.ckpt" for name in CASES} <= set(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_the_weights_are_what_was_saved(name: str) -> None:
    model = Net.load_from_checkpoint(HERE / name) if "manual" not in name else CASES["manual"].module()
    content = torch.load(HERE / name, weights_only=True)
    model.load_state_dict(content["state_dict"])
    assert digest(model.state_dict()) == expected(name)["weights"]
    assert content["global_step"] == CASES[Path(name).stem].steps


@pytest.mark.parametrize("name", KEPT)
def test_the_run_goes_on_as_it_would_have(name: str, tmp_path: Path) -> None:
    case = CASES[Path(name).stem]
    pl.seed_everything(99, verbose=False)  # another one: what counts is in the file
    module = run(case, tmp_path, resume=HERE / name)

    left = expected(name)["left"]
    assert tuple(left[0]["at"]) == case.position
    near: dict[str, Any] = {"rel": TOLERANCE.get(Path(name).stem, 1e-5), "abs": 1e-7}
    for key in ("at", "samples", "draws"):
        assert [entry[key] for entry in module.seen] == [entry[key] for entry in left]
    for key in ("loss", "rates"):
        assert [entry[key] for entry in module.seen] == [pytest.approx(entry[key], **near) for entry in left]


@pytest.mark.parametrize("name", KEPT)
def test_the_file_is_intact_and_small(name: str) -> None:
    assert verify(HERE / name).intact
    assert (HERE / name).stat().st_size < LARGEST_BYTES
