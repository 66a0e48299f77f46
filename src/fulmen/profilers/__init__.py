"""How long the parts of a run take."""

from fulmen.core.profiler import Profiler
from fulmen.profilers.advanced import AdvancedProfiler
from fulmen.profilers.pass_through import PassThroughProfiler
from fulmen.profilers.pytorch import PyTorchProfiler
from fulmen.profilers.simple import SimpleProfiler

__all__ = ["AdvancedProfiler", "PassThroughProfiler", "Profiler", "PyTorchProfiler", "SimpleProfiler"]
