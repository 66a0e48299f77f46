"""Measure what fulmen costs, and print one table: python -m benchmarks

Two processes live side by side, one with fulmen and one with its peers, which have an environment of their
own (`python -m benchmarks.peers` makes it). They take turns on one core, in many short rounds, so that what
slows the machine down for a while slows all of them down. "over" is what a contestant takes more than the one
it is compared with, in the same process and the same round: the median of these differences, and quartiles.
Training in two processes takes the core before that one as well. Where a machine has more to do, that takes
milliseconds a step, which tell of its scheduler alone: `chrt --fifo 1 python -m benchmarks ...` goes first.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack, closing

from benchmarks.distributed_measures import distributed_measures
from benchmarks.measures import LIGHTNING, OURS, Bench, measures
from benchmarks.metric_measures import metric_measures
from benchmarks.peers import PEERS_PYTHON
from benchmarks.process import WorkerGroup, worker
from benchmarks.rounds import take
from benchmarks.table import describe_machine, table_head, table_rows


def main() -> None:
    """Measure, and print each result as soon as it is there."""
    options = parse_options()
    pythons = {OURS: sys.executable}
    if options.peers:
        if not os.path.exists(options.peers_python):
            sys.exit(f"{options.peers_python} is not there: python -m benchmarks.peers, or --no-peers")
        pythons[LIGHTNING] = options.peers_python
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(worker(python, options.core)) for name, python in pythons.items()
        }
        groups = {
            name: stack.enter_context(closing(WorkerGroup(python, options.core)))
            for name, python in pythons.items()
        }
        bench = Bench(options.core, options.rounds, options.steps, pythons, workers, groups)
        print(f"{describe_machine(workers.values())}\n\n{table_head()}", flush=True)
        for measure in [*measures(bench), *metric_measures(bench), *distributed_measures(bench)]:
            if options.only in measure.what:
                print(table_rows(measure, take(measure)), flush=True)


def parse_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=100, help="how often each contestant has its turn (default: 100)"
    )
    parser.add_argument("--steps", type=int, default=50, help="steps in a turn (default: 50)")
    parser.add_argument(
        "--core", type=int, default=(os.cpu_count() or 1) - 1, help="the core to use (default: the last)"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="measure only that in whose title this is")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="leave all peers out")
    parser.add_argument(
        "--peers-python",
        default=str(PEERS_PYTHON),
        metavar="PATH",
        help="a Python that has them (default: %(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
