"""Write the checkpoints of this release to a folder named after it: `python -m tests.golden.make`.

For each case there is NAME.ckpt, of some moment in a run, and NAME.json: what that run did from then on,
which was never interrupted. Once a release is out, its folder stays as it is.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch

import fulmen as pl
from tests.golden.runs import CASES, digest, run

HERE = Path(__file__).parent


def write(name: str, target: Path) -> None:
    """Run a case in a folder whose absolute path ends up in the checkpoint."""
    root = Path(tempfile.gettempdir()) / "fulmen-golden"
    shutil.rmtree(root, ignore_errors=True)
    case = CASES[name]
    pl.seed_everything(1, verbose=False)
    module = run(case, root, save_as=root / f"{name}.ckpt")
    shutil.copy(root / f"{name}.ckpt", target / f"{name}.ckpt")
    saved = torch.load(target / f"{name}.ckpt", weights_only=True)["state_dict"]
    left = [entry for entry in module.seen if tuple(entry["at"]) >= case.position]
    lines = ",\n    ".join(json.dumps(entry) for entry in left)
    weights = json.dumps(digest(saved))
    (target / f"{name}.json").write_text(f'{{\n  "weights": {weights},\n  "left": [\n    {lines}\n  ]\n}}\n')
    shutil.rmtree(root)


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = HERE / pl.__version__
    target.mkdir(exist_ok=True)
    for name in CASES:
        write(name, target)
