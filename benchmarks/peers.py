"""Make .venv-peers, the environment of those that fulmen is measured against: python -m benchmarks.peers"""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".venv-peers"
PEERS_PYTHON = ENVIRONMENT / "bin" / "python"


def main() -> None:
    """Install the peers, with the version of torch that fulmen itself is tested with."""
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    install = [PEERS_PYTHON, "-m", "pip", "install", "-c", "constraints.txt", "-r", "benchmarks/peers.txt"]
    subprocess.run(install, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
