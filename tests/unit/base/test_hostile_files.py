"""Files made to do harm: a clear error, nothing executed, no hang, no more memory than the file is large."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.base.safe_load import load_tensors
from fulmen.core.loading import read_checkpoint
from fulmen.engine import checkpoint as checkpoints
from fulmen.errors import CheckpointError
from fulmen.strategies import SingleDeviceStrategy

from . import crafted
from .crafted import (
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_TUPLE,
    NONE,
    archive,
    call,
    dict_of,
    get,
    legacy,
    list_of,
    named,
    number,
    put,
    storage,
    tensor,
    text,
    tuple_of,
)

GIGABYTES = 3 * 10**9


# ------------------------------------------------------------------------------------- more than a file holds


def encoded_again_and_again(times: int) -> bytes:
    """Hexadecimal digits of hexadecimal digits of ...: each call makes twice of what it is given."""
    value = call("_codecs", "encode", text("a"), text("latin1"))
    for _ in range(times):
        value = call("_codecs", "encode", value, text("hex"))
    return value


def copied_again_and_again(function: tuple[str, str], content: bytes, *more: bytes) -> bytes:
    """One large object, and many copies of it."""
    copies = [call(*function, get(900), *more) for _ in range(20_000)]
    return list_of(put(900, content), *copies)


def doubled(times: int) -> bytes:
    """A list of the same list twice, of the same list twice, and so on."""
    content = put(0, EMPTY_LIST)
    for memo in range(times):
        content = put(memo + 1, list_of(content, get(memo)))
    return content


def doubled_tuple(times: int) -> bytes:
    """A tuple of the same tuple twice, and so on: to hash it takes 2**times steps."""
    content = put(0, EMPTY_TUPLE)
    for memo in range(times):
        content = put(memo + 1, tuple_of(content, get(memo)))
    return content


def nested(levels: int, opening: bytes, closing: bytes) -> bytes:
    return opening * levels + EMPTY_DICT + closing * levels


def large() -> dict[str, bytes]:
    """Files that ask for more memory than they have bytes, or for more depth than there is."""
    return {
        "a record that expands": archive(
            dict_of(state_dict=tensor(storage("1", 2**24), [2**24], [1])),
            compression=zipfile.ZIP_DEFLATED,
            **{"data/1": bytes(2**26)},
        ),
        "a pickle that expands": archive(
            dict_of(a=text("a" * 2**26), state_dict=EMPTY_DICT), compression=zipfile.ZIP_DEFLATED
        ),
        "a table of records for torch alone": crafted.two_faced(
            archive(dict_of(state_dict=EMPTY_DICT)),
            archive(
                dict_of(state_dict=tensor(storage("1", 2**24), [2**24], [1])),
                compression=zipfile.ZIP_DEFLATED,
                **{"data/1": bytes(2**26)},
            ),
        ),
        "a storage larger than its record": archive(dict_of(a=tensor(storage(elements=2**20), [2**20], [1]))),
        "a storage of gigabytes": archive(dict_of(a=tensor(storage(elements=2**40), [2**40], [1]))),
        "a storage of less than nothing": archive(dict_of(a=tensor(storage(elements=-4), [4], [1]))),
        "a storage without a record": archive(dict_of(a=tensor(storage("7"), [4], [1]))),
        "a storage of gigabytes, of old": legacy(dict_of(a=tensor(storage("0", 2**40, NONE), [2**40], [1]))),
        "a tensor larger than its storage": archive(dict_of(a=tensor(storage(), [2**40], [1]))),
        "a tensor before its storage": archive(dict_of(a=tensor(storage(), [4], [1], offset=-4))),
        "a tensor with a negative stride": archive(dict_of(a=tensor(storage(), [4], [-1]))),
        "bytes by number": archive(dict_of(a=call("__builtin__", "bytearray", number(GIGABYTES)))),
        "bytes by number, through another call": archive(
            dict_of(
                a=call(
                    "torch._tensor",
                    "_rebuild_from_type_v2",
                    named("__builtin__", "bytearray"),
                    named("torch", "Tensor"),
                    tuple_of(number(GIGABYTES)),
                    EMPTY_DICT,
                )
            )
        ),
        "bytes that double": archive(dict_of(a=encoded_again_and_again(32))),
        "bytes copied": archive(
            copied_again_and_again(("_codecs", "encode"), text("a" * 200_000), text("latin1"))
        ),
        "sets copied": archive(
            copied_again_and_again(("__builtin__", "set"), list_of(*(number(n) for n in range(20_000))))
        ),
        "a tensor by number": archive(dict_of(a=call("torch", "FloatTensor", number(GIGABYTES)))),
        "a storage by number": archive(dict_of(a=call("torch.storage", "UntypedStorage", number(GIGABYTES)))),
        "a key that takes forever": archive(EMPTY_DICT + doubled_tuple(60) + number(1) + b"s"),
        "a member that takes forever": archive(call("__builtin__", "set", list_of(doubled_tuple(60)))),
        "lists in lists": archive(dict_of(state_dict=nested(20_000, b"](", b"e"))),
        "dicts in dicts": archive(dict_of(state_dict=nested(20_000, b"}(" + text("a"), b"u"))),
        "tuples in tuples": archive(dict_of(state_dict=nested(20_000, b"", b"\x85"))),
        "a list in itself": archive(dict_of(state_dict=put(0, EMPTY_LIST) + get(0) + b"a")),
        "a dict with a value in place of a method": archive(
            dict_of(state_dict=call("collections", "OrderedDict") + dict_of(items=number(1)) + b"b")
        ),
    }


LOADS_ALL = """
import json, resource, sys
from pathlib import Path
import torch
from fulmen.base.safe_load import load_tensors
from fulmen.errors import CheckpointError

def megabytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

torch.ones(2).sum()
room = int(megabytes("VmSize") + 100) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, room))
found = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark counts from here
    before = megabytes("VmRSS")
    try:
        outcome = type(load_tensors(path)).__name__
    except CheckpointError as error:
        outcome = str(error).splitlines()[1]
    except BaseException as error:
        outcome = f"NOT OURS: {error!r}"
    found[path.name] = [outcome, megabytes("VmHWM") - before]
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory with Linux' means")
def test_no_file_takes_more_memory_than_it_is_large(tmp_path: Path) -> None:
    for name, content in large().items():
        assert len(content) < 4 * 2**20, name
        crafted.write(tmp_path / name, content)
    done = subprocess.run(
        [sys.executable, "-c", LOADS_ALL, str(tmp_path)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name, (outcome, megabytes) in json.loads(done.stdout).items():
        assert outcome.startswith("  received: "), (name, outcome)
        assert "MemoryError" not in outcome, (name, outcome)
        assert "allocate" not in outcome, (name, outcome)
        assert megabytes < 40, (name, megabytes)


@pytest.mark.parametrize("layout", [archive, legacy])
def test_what_is_shared_takes_no_time(layout: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """2**60 ways through 60 lists."""
    path = crafted.write(tmp_path / "a.ckpt", layout(dict_of(a=doubled(60))))
    assert read_checkpoint(path, map_location=None, weights_only=None)["a"]


def test_a_tensor_of_one_number_repeated_takes_nothing(tmp_path: Path) -> None:
    path = crafted.write(tmp_path / "a.ckpt", archive(dict_of(a=tensor(storage(), [2**40], [0]))))
    assert load_tensors(path)["a"].shape == (2**40,)


def test_a_large_tensor_in_place_of_a_weight(tmp_path: Path) -> None:
    content = dict_of(state_dict=dict_of(**{"layer.weight": tensor(storage(), [2**40], [0])}))
    path = crafted.write(tmp_path / "a.ckpt", archive(content))
    with pytest.raises(CheckpointError, match=r"do not fit(.|\n)*layer\.weight"):
        Module.load_from_checkpoint(path, strict=False)


# -------------------------------------------------------------------------------------- pickles of every kind

CALLED = [
    ("os", "system", "touch {mark}"),
    ("posix", "system", "touch {mark}"),
    ("subprocess", "getoutput", "touch {mark}"),
    ("builtins", "eval", "open({mark!r}, 'w')"),
    ("__builtin__", "eval", "open({mark!r}, 'w')"),
    ("builtins", "exec", "open({mark!r}, 'w')"),
    ("builtins", "__import__", "antigravity"),
    ("importlib", "import_module", "antigravity"),
    ("runpy", "run_path", "{mark}"),
    ("pathlib", "Path.touch", "{mark}"),
    ("torch.hub", "load", "{mark}"),
    ("torch.serialization", "load", "{mark}"),
    ("torch.jit", "load", "{mark}"),
    ("fulmen.base.files", "make_folder", "{mark}"),
    ("fulmen.core.loading", "read_checkpoint", "{mark}"),
    ("antigravity", "geohash", ""),
    ("not.there", "at_all", ""),
]


def by_each_opcode(module: str, name: str, argument: bytes) -> Iterator[bytes]:
    """The ways in which a pickle can name something and have it called."""
    function, arguments = named(module, name), tuple_of(argument)
    stack_global = (
        b"\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode()
    )
    yield function + arguments + b"R"  # REDUCE
    yield stack_global + b"\x93" + arguments + b"R"  # STACK_GLOBAL
    yield b"(" + argument + f"i{module}\n{name}\n".encode()  # INST
    yield b"(" + function + argument + b"o"  # OBJ
    yield function + arguments + b"\x81"  # NEWOBJ
    yield function + arguments + EMPTY_DICT + b"\x92"  # NEWOBJ_EX
    yield call("collections", "OrderedDict") + function + b"b"  # BUILD
    yield put(7, function) + b"0" + get(7) + arguments + b"R"  # from the memo
    yield function + arguments + b"Q"  # BINPERSID
    yield f"P{module}.{name}\n".encode()  # PERSID
    yield b"\x82\x01" + arguments + b"R"  # EXT1
    yield call(
        "torch._tensor", "_rebuild_from_type_v2", function, named("torch", "Tensor"), arguments, EMPTY_DICT
    )
    yield call("torch._utils", "_rebuild_parameter", function + arguments + b"R", number(1), EMPTY_DICT)
    yield call("collections", "defaultdict", function)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("layout", [archive, legacy, None], ids=["zip", "legacy", "pickle"])
def test_nothing_that_a_pickle_names_is_called(layout: Any, tmp_path: Path) -> None:
    mark = tmp_path / "was_here"
    modules = set(sys.modules)
    for module, name, argument in CALLED:
        given = text(argument.format(mark=str(mark)))
        for attack in by_each_opcode(module, name, given):
            for content in (attack, dict_of(state_dict=EMPTY_DICT, callbacks=attack)):
                made = layout(content) if layout else b"\x80\x02" + content + b"."
                path = crafted.write(tmp_path / "evil.ckpt", made)
                with pytest.raises(CheckpointError):
                    read_checkpoint(path, map_location=None, weights_only=None)
    assert not mark.exists()
    assert not {"antigravity", "not", "not.there"} & (set(sys.modules) - modules)


# ------------------------------------------------------------------------------------------------ in a module


class Module(pl.LightningModule):
    def __init__(self, width: int = 1, kind: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.kind = kind
        self.layer = torch.nn.Linear(width, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters())


WEIGHTS = {"layer.weight": tensor(storage(), [1, 1], [1, 1]), "layer.bias": tensor(storage(), [1], [1])}


def weights(**parts: bytes) -> bytes:
    """A file that has what `Module` needs, and more."""
    return archive(dict_of(state_dict=dict_of(**WEIGHTS), **parts))


@pytest.mark.parametrize(
    "key", ["_class_path", "_instantiator", "class_path", "_target_", "__class__", "kind"]
)
def test_a_class_that_hyperparameters_name_is_text(key: str, tmp_path: Path) -> None:
    """Whoever makes objects of such keys asks for it in code, not in a file."""
    mark = tmp_path / "was_here"
    given = dict_of(**{key: text("antigravity.geohash"), "init_args": dict_of(width=text(str(mark)))})
    path = crafted.write(tmp_path / "a.ckpt", weights(hyper_parameters=given))
    modules = set(sys.modules)
    model = Module.load_from_checkpoint(path)
    assert model.kind == ("antigravity.geohash" if key == "kind" else None)
    assert "antigravity" not in set(sys.modules) - modules


@pytest.mark.parametrize("module", ["antigravity", "os", "not.there"])
def test_a_class_among_hyperparameters(module: str, tmp_path: Path) -> None:
    """It is not imported; it is missed only where the module takes it."""
    modules = set(sys.modules)
    for given in (named(module, "system"), call(module, "system", text("true"))):
        path = crafted.write(tmp_path / "a.ckpt", weights(hyper_parameters=dict_of(kind=given)))
        with pytest.raises(CheckpointError, match="system"):
            Module.load_from_checkpoint(path)
    assert not {"antigravity", "not", "not.there"} & (set(sys.modules) - modules)


MISSHAPEN = {
    "a file of another kind": archive(number(1)),
    "weights that are a number": archive(dict_of(state_dict=number(1))),
    "weights that are none": archive(dict_of(state_dict=NONE)),
    "weights that are a list": archive(dict_of(state_dict=list_of(number(1)))),
    "weights without names": archive(dict_of(state_dict=EMPTY_DICT + number(1) + number(2) + b"s")),
    "a weight that is a text": archive(dict_of(state_dict=dict_of(**WEIGHTS | {"layer.bias": text("a")}))),
    "hyperparameters that are a number": weights(hyper_parameters=number(1)),
    "hyperparameters of a class": weights(hyper_parameters=call("not.there", "AttributeDict")),
}


@pytest.mark.parametrize("name", MISSHAPEN)
def test_parts_of_another_shape(name: str, tmp_path: Path) -> None:
    path = crafted.write(tmp_path / "a.ckpt", MISSHAPEN[name])
    with pytest.raises(CheckpointError, match=r"a\.ckpt"):
        Module.load_from_checkpoint(path)


# ----------------------------------------------------------------------------------------- a real one, harmed


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a short run saves."""
    folder = tmp_path_factory.mktemp("run")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(Module(2, kind={"name": "adam"}), DataLoader(TensorDataset(torch.ones(3, 2))))
    trainer.save_checkpoint(folder / "a.ckpt")
    return (folder / "a.ckpt").read_bytes()


RUN: Any = SimpleNamespace(strategy=SingleDeviceStrategy(torch.device("cpu")))


def read_everyhow(path: Path) -> None:
    """As each of the readers does; none raises anything but `CheckpointError`."""
    with suppress(CheckpointError):
        checkpoints.read(RUN, str(path), weights_only=None)
    with suppress(CheckpointError):
        Module.load_from_checkpoint(path)


def harmed(content: bytes, draw: random.Random) -> bytes:
    """The content with one kind of damage."""
    damaged = bytearray(content)
    at = draw.randrange(len(content))
    match draw.randrange(6):
        case 0:
            return content[:at]
        case 1:
            damaged[at] ^= 1 << draw.randrange(8)
        case 2:
            damaged[at : at + 64] = draw.randbytes(64)
        case 3:
            del damaged[at : at + draw.randrange(1, 100)]
        case 4:
            damaged[at:at] = draw.randbytes(draw.randrange(1, 100))
        case _:
            # Into the pickle, with a checksum that fits, as whoever means harm would.
            start, end = content.index(b"\x80\x02"), content.index(b"PK\x07\x08")
            for _ in range(draw.choice([1, 3])):
                damaged[draw.randrange(start, end)] = draw.randrange(256)
            checksum = struct.pack("<L", zlib.crc32(damaged[start:end]))
            return bytes(damaged).replace(struct.pack("<L", zlib.crc32(content[start:end])), checksum)
    return bytes(damaged)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("seed", range(4))
def test_damage_is_an_error_of_ours_or_does_not_matter(seed: int, checkpoint: bytes, tmp_path: Path) -> None:
    draw = random.Random(seed)
    for _ in range(100):
        read_everyhow(crafted.write(tmp_path / "a.ckpt", harmed(checkpoint, draw)))


def test_a_file_that_ends_anywhere(checkpoint: bytes, tmp_path: Path) -> None:
    for length in [*range(0, 300, 7), *range(300, len(checkpoint) - 1, 97), len(checkpoint) - 1]:
        path = crafted.write(tmp_path / "a.ckpt", checkpoint[:length])
        with pytest.raises(CheckpointError):
            load_tensors(path)


def test_random_bytes(tmp_path: Path) -> None:
    draw = random.Random(0)
    for start in (b"", b"\x80\x02", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY"):
        for length in (1, 20, 100, 10_000):
            path = crafted.write(tmp_path / "a.ckpt", start + draw.randbytes(length))
            with pytest.raises(CheckpointError):
                load_tensors(path)


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_that_is_well_loads(mmap: bool, checkpoint: bytes, tmp_path: Path) -> None:
    path = crafted.write(tmp_path / "a.ckpt", checkpoint)
    assert load_tensors(path, mmap=mmap)["state_dict"]["layer.weight"].shape == (1, 2)
    assert checkpoints.read(RUN, str(path), weights_only=None)["global_step"] == 3
    assert Module.load_from_checkpoint(path).kind == {"name": "adam"}


def test_an_archive_laid_out_as_those_over_four_gigabytes_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    path = crafted.write(tmp_path / "a.ckpt", archive(dict_of(a=tensor(storage(), [4], [1]))))
    assert b"PK\x06\x06" in path.read_bytes()
    assert load_tensors(path)["a"].equal(torch.zeros(4))
