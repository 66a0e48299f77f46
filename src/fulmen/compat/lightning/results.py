"""What steps return, and the hooks at the end of an epoch that are given all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from numbers import Number
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fulmen.base.report import warn_once
from fulmen.base.tree import map_leaves
from fulmen.compat.lightning import hooks
from fulmen.compat.lightning.habits import logs_by_returning
from fulmen.compat.lightning.outputs import of_epoch, of_whole_epoch, turns_of
from fulmen.compat.lightning.step_result import Result, stacked
from fulmen.compat.lightning.versions import Era
from fulmen.compat.spelling import say_modern
from fulmen.errors import UsageError

if TYPE_CHECKING:
    from fulmen.engine.run import Run

Call = Callable[..., Any]

STAGES = {"training": "train", "validation": "validation", "test": "test", "predict": "predict"}
"""By the name that a step has: the name that the events have."""


class Results:
    """What the steps of the epoch under way have returned, as far as anybody wants to see it."""

    def __init__(self, run: Run, era: Era) -> None:
        self._run = run
        self._era = era
        self._outputs: dict[str, dict[int, list[Any]]] = {}
        """By stage and loader, for the stages that somebody wants to see the outputs of."""
        for stage in STAGES:
            if self._wants(stage):
                self._outputs[stage] = {}
        self._begun: set[str] = set()
        """The stages of which an epoch has begun in this run."""

    def _wants(self, stage: str) -> bool:
        run, event = self._run, f"on_{STAGES[stage]}_epoch_end"
        owners = (run.module, *run.callbacks)
        given = any((s := hooks.old_signature(o, event)) and "outputs" in s.parameters for o in owners)
        return given or hooks.defines(run.module, f"{stage}_epoch_end") or self._are_metrics(stage)

    def _are_metrics(self, stage: str) -> bool:
        """Whether dicts that an evaluation step returns count as metrics, without anybody logging them."""
        evaluates = stage in ("validation", "test")
        return evaluates and self._era.returned_dicts_are_metrics

    # ------------------------------------------------------------------------------------------- single steps

    def step(self, name: str, call: Call) -> Call:
        """A step of the module's, whose end may be a method of its own, and which may log by returning."""
        stage, _, step = name.rpartition("_")
        if step != "step" or stage not in STAGES:
            return call
        module, end = self._run.module, f"{name}_end"
        finish: Call | None = getattr(module, end) if hooks.defines(module, end) else None
        logs = self._era.steps_return_results or (stage == "training" and logs_by_returning(type(module)))
        if finish is None and not logs:
            return call

        def stepped(*args: Any, **kwargs: Any) -> Any:
            returned = call(*args, **kwargs)
            if finish is not None:
                returned = finish(returned)
            if isinstance(returned, Result):
                return returned.deliver(module)
            if stage == "training" and isinstance(returned, Mapping):
                logged = self._log_returned(returned, on_step=True)
                if logged:
                    self._show_rest(returned, logged, on_step=True)
            return returned

        return stepped

    def _log_returned(self, returned: Mapping[str, Any], *, on_step: bool) -> set[str]:
        """Log what is under the keys "log" and "progress_bar", and give the names that are."""
        groups = {key: returned.get(key) for key in ("log", "progress_bar")}
        found = {key: group for key, group in groups.items() if isinstance(group, Mapping)}
        if not found:
            return set()
        say_modern(f"A returned dict with the key {next(iter(found))!r}", "self.log(name, value)")
        logged, shown = found.get("log", {}), found.get("progress_bar", {})
        for name in {**logged, **shown}:
            self._run.module.log(
                name, {**shown, **logged}[name], prog_bar=name in shown, logger=name in logged,
                on_step=on_step, on_epoch=not on_step,
            )  # fmt: skip
        return {*logged, *shown}

    def _show_rest(self, returned: Mapping[str, Any], logged: set[str], *, on_step: bool) -> list[str]:
        """Let callbacks see the other numbers that are returned, the loss among them; gives their names."""
        rest = {name: value for name, value in _scalars(returned) if name not in logged}
        for name, value in rest.items():
            self._run.module.log(name, value, logger=False, on_step=on_step, on_epoch=not on_step)
        return [*rest]

    # ------------------------------------------------------------------------------------------- whole epochs

    def collectors(self, event: str) -> list[Call]:
        """What listens to an event to collect, or to forget, what steps have returned."""
        for stage, outputs in self._outputs.items():
            kind = STAGES[stage]
            if event == f"on_{kind}_epoch_start":
                return [partial(self._begin, stage)]
            if event == f"on_{kind}_batch_end":
                return [partial(self._collect, stage)]
            if event == f"on_{kind}_epoch_end" and self._are_metrics(stage):
                own = hooks.defines(self._run.module, f"{stage}_epoch_end")
                return [] if own else [partial(self._take_as_metrics, outputs)]
        return []

    def _begin(self, stage: str) -> None:
        self._begun.add(stage)
        self._outputs[stage].clear()

    def _collect(self, stage: str, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if stage not in self._begun:
            warn_once("The outputs of the batches before this checkpoint are not among those of the epoch.")
        if stage == "training":
            outputs = turns_of(outputs)
        elif outputs is None or (isinstance(outputs, Mapping) and not outputs):  # a batch that was skipped
            return
        if self._era.detaches_epoch_outputs:
            outputs = map_leaves(outputs, Tensor, Tensor.detach)
        self._outputs[stage].setdefault(dataloader_idx, []).append(outputs)

    def of_epoch(self, stage: str) -> list[Any]:
        """All that was returned: a list, or one result object; a list of those for several loaders."""
        by_loader = self._outputs[stage]
        if stage == "training":
            return of_epoch(by_loader.get(0, []), self._era)
        collected: list[Any] = [by_loader[index] for index in sorted(by_loader)] or [[]]
        collected = [stacked(of) if of and isinstance(of[0], Result) else of for of in collected]
        return collected[0] if len(collected) == 1 else collected

    def given_to(self, event: str) -> list[Any]:
        """What the hook `event` at the end of an epoch was given."""
        if event == "on_train_epoch_end":
            return of_whole_epoch(self._outputs["training"].get(0, []), self._era)
        by_loader = self._outputs["predict"]
        return [by_loader[index] for index in sorted(by_loader)]

    def epoch_end(self, name: str, call: Call) -> Call | None:
        """`training_epoch_end` and its like as listeners of an event; None for other hooks."""
        stage = name.removesuffix("_epoch_end")
        if not name.endswith("_epoch_end") or stage not in STAGES:
            return None
        return partial(self._end_epoch, stage, call)

    def _end_epoch(self, stage: str, call: Call, *args: Any) -> None:
        returned = call(self.of_epoch(stage))
        if returned is None:
            return
        if stage == "training":
            raise UsageError(
                f"`{type(self._run.module).__name__}.training_epoch_end` returned something.",
                received=type(returned).__name__,
                fix="self.log(...) in it, and return nothing",
            )
        if isinstance(returned, Result):
            returned.deliver(self._run.module)
        elif isinstance(returned, Mapping):
            self._log_evaluation(returned)

    def _log_evaluation(self, returned: Mapping[str, Any]) -> None:
        logged = self._log_returned(returned, on_step=False)
        if self._show_rest(returned, logged, on_step=False):
            say_modern("A metric that is returned at the end of an evaluation", "self.log(name, value)")

    def _take_as_metrics(self, collected: dict[int, list[Any]]) -> None:
        """Each loader's last batch that says anything has the last word, as it had."""
        for outputs in collected.values():
            last = {name: value for returned in outputs if isinstance(returned, Mapping)
                    for name, value in _scalars(returned)}  # fmt: skip
            known = self._run.logbook.callback_metrics()
            for name, value in last.items():
                if name not in known:
                    say_modern("A metric that an evaluation step returns", "self.log(name, value)")
                    self._run.module.log(name, value, logger=False, on_step=False, on_epoch=True)


def _scalars(returned: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in returned.items():
        if isinstance(value, (Number, float, int)) or (isinstance(value, Tensor) and value.numel() == 1):
            yield name, value
