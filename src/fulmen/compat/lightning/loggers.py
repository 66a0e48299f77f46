"""Loggers by the base class, and in the collection, that they had up to 1.8."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from fulmen.compat.spelling import say_modern
from fulmen.core.logger import DummyLogger, Logger
from fulmen.errors import ConfigError


class LightningLoggerBase(Logger):
    """`Logger`, with the methods that it had."""

    def __init__(self, agg_key_funcs: Any = None, agg_default_func: Any = None) -> None:
        say_modern("LightningLoggerBase", "fulmen.loggers.Logger")
        super().__init__()
        self.update_agg_funcs(agg_key_funcs, agg_default_func)

    def update_agg_funcs(self, agg_key_funcs: Any = None, agg_default_func: Any = None) -> None:
        """Say how values of one step become one; each step is written once, so there is nothing to do."""
        self._aggregation = agg_key_funcs, agg_default_func

    def agg_and_log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """`log_metrics`, which is what is called."""
        self.log_metrics(metrics, step)

    def close(self) -> None:
        """Write out what is held back."""
        self.save()

    @staticmethod
    def _convert_params(params: Any) -> dict[str, Any]:
        return vars(params) if isinstance(params, Namespace) else dict(params or {})

    @staticmethod
    def _flatten_dict(params: Mapping[Any, Any], delimiter: str = "/") -> dict[str, Any]:
        def pairs(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
            if isinstance(value, Namespace):
                value = vars(value)
            if isinstance(value, Mapping) and value:
                for key, inner in value.items():
                    yield from pairs(inner, (*path, str(key)))
            else:
                yield delimiter.join(path), value

        return dict(pairs(params, ()))

    @staticmethod
    def _sanitize_params(params: Mapping[str, Any]) -> dict[str, Any]:
        plain = (bool, int, float, str)
        return {key: value if isinstance(value, plain) else str(value) for key, value in params.items()}


class LoggerCollection(LightningLoggerBase, Sequence[Logger]):
    """Several loggers as one: what is called on it is called on each."""

    def __init__(self, logger_iterable: Iterable[Logger]) -> None:
        self._loggers = list(logger_iterable)

    def __getitem__(self, index: Any) -> Any:
        return self._loggers[index]

    def __len__(self) -> int:
        return len(self._loggers)

    @property
    def experiment(self) -> list[Any]:
        """What each of them writes through."""
        return [getattr(logger, "experiment", None) for logger in self._loggers]

    @property
    def name(self) -> str:
        return "_".join(dict.fromkeys(str(logger.name) for logger in self._loggers))

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return "_".join(dict.fromkeys(str(logger.version) for logger in self._loggers))

    @property
    def save_dir(self) -> str | None:
        folders = {logger.save_dir for logger in self._loggers}
        return folders.pop() if len(folders) == 1 else None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for logger in self._loggers:
            logger.log_metrics(metrics, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        for logger in self._loggers:
            logger.log_hyperparams(params, *args, **kwargs)

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        for logger in self._loggers:
            logger.log_graph(model, input_array)

    def save(self) -> None:
        for logger in self._loggers:
            logger.save()

    def finalize(self, status: str) -> None:
        for logger in self._loggers:
            logger.finalize(status)


class DummyExperiment:
    """Takes any call and does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None

    def __getitem__(self, index: int) -> DummyExperiment:
        return self


class TestTubeLogger(DummyLogger):
    """Test tube, which is no longer developed."""

    __test__ = False  # which pytest looks at

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise ConfigError("TestTubeLogger is not offered: test-tube is gone.", fix="TensorBoardLogger(path)")


def merge_dicts(
    dicts: Sequence[Mapping[str, Any]],
    agg_key_funcs: Mapping[str, Callable[[Sequence[float]], float]] | None = None,
    default_func: Callable[[Sequence[float]], float] = lambda values: sum(values) / len(values),
) -> dict[str, Any]:
    """One dict with the values of several, by key made one by a function."""
    functions = dict(agg_key_funcs or {})
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for each in dicts for key in each):
        values = [each[key] for each in dicts if key in each and each[key] is not None]
        if values and isinstance(values[0], Mapping):
            own = functions.get(key)
            merged[key] = merge_dicts(values, own if isinstance(own, Mapping) else None, default_func)  # pyright: ignore[reportArgumentType]
        else:
            merged[key] = functions.get(key, default_func)(values)
    return merged
