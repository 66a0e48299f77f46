"""Load the weights of checkpoints where there is no fulmen: `python -I load_alone.py [PATH ...]`.

Without a path, those that are kept beside this file.
"""

import importlib
import sys
from pathlib import Path

import torch


def main(*paths: str) -> None:
    try:
        importlib.import_module("fulmen")
    except ImportError:
        pass
    else:
        sys.exit("fulmen can be imported, which is not what was to be shown.")
    found = paths or sorted(map(str, Path(__file__).parent.glob("*/*.ckpt")))
    assert found
    for path in found:
        weights = torch.load(path, weights_only=True)["state_dict"]
        assert weights
        assert all(isinstance(value, torch.Tensor) for value in weights.values())
    print(f"The weights of {len(found)} checkpoints were loaded without fulmen.")


if __name__ == "__main__":
    main(*sys.argv[1:])
