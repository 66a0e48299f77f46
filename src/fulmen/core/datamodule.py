"""The class that holds a user's data: download, split, transform, loaders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from fulmen.base.seams import AsksOutside, outer, understood
from fulmen.core.data_hooks import DataHooks
from fulmen.core.hparams import HyperparametersMixin
from fulmen.core.loading import classmethod_only, make_again, read_checkpoint

if TYPE_CHECKING:
    from fulmen.base.files import AnyPath
    from fulmen.trainer import Trainer


class LightningDataModule(HyperparametersMixin, DataHooks, metaclass=AsksOutside):
    """Subclass it, define `setup` and the loaders, and hand it to a Trainer's method as `datamodule`."""

    name: str | None = None

    CHECKPOINT_HYPER_PARAMS_KEY = "datamodule_hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "datamodule_hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "datamodule_hparams_type"

    allow_zero_length_dataloader_with_multiple_devices = False

    @understood
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.trainer: Trainer = None  # pyright: ignore[reportAttributeAccessIssue]  # until a run begins

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):  # what copy, pickle and the mixin look for
                raise AttributeError(name)
            return outer().attribute(self, name)

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Any = None,
        val_dataset: Any = None,
        test_dataset: Any = None,
        predict_dataset: Any = None,
        batch_size: int = 1,
        num_workers: int = 0,
        **datamodule_kwargs: Any,
    ) -> LightningDataModule:
        """A datamodule that loads these data sets; a list or dict of data sets makes as many loaders."""

        def loader(dataset: Dataset, *, shuffle: bool) -> DataLoader:
            shuffle = shuffle and not isinstance(dataset, IterableDataset)
            return DataLoader(
                dataset,
                batch_size=batch_size,
                shuffle=shuffle,
                num_workers=num_workers,
                persistent_workers=num_workers > 0,
            )

        def loaders(datasets: Any, *, shuffle: bool = False) -> Any:
            if isinstance(datasets, Mapping):
                return {key: loader(dataset, shuffle=shuffle) for key, dataset in datasets.items()}
            if isinstance(datasets, Sequence) and not isinstance(datasets, Dataset):
                return [loader(dataset, shuffle=shuffle) for dataset in datasets]
            return loader(datasets, shuffle=shuffle)

        datamodule = cls(**datamodule_kwargs)
        given = {"train": train_dataset, "val": val_dataset, "test": test_dataset, "predict": predict_dataset}
        for kind, datasets in given.items():
            if datasets is not None:
                made = lambda datasets=datasets, kind=kind: loaders(datasets, shuffle=kind == "train")  # noqa: E731
                setattr(datamodule, f"{kind}_dataloader", made)
        return datamodule

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to hold; empty where there is nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state that `state_dict` gave."""

    def on_exception(self, exception: BaseException) -> None:
        """Something was raised, or the user interrupted the run."""

    @classmethod_only
    def load_from_checkpoint(
        cls,
        checkpoint_path: AnyPath,
        map_location: Any = None,
        hparams_file: AnyPath | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Make the datamodule with the checkpoint's hyperparameters (`kwargs` win), and load its state."""
        checkpoint = read_checkpoint(checkpoint_path, map_location=map_location, weights_only=weights_only)
        datamodule = make_again(cls, LightningDataModule, checkpoint_path, checkpoint, hparams_file, kwargs)  # pyright: ignore[reportArgumentType]
        if datamodule.state_key in checkpoint:
            datamodule.load_state_dict(checkpoint[datamodule.state_key])
        return datamodule

    @property
    def state_key(self) -> str:
        """The name under which a checkpoint holds this datamodule's state."""
        return type(self).__qualname__

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"trainer": None}
