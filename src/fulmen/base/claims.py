"""What a file of `torch.save` asks for, held against its own size before torch reads it.

Neither a record that expands to gigabytes, nor a storage larger than its record (which torch 2.6 would read
past the end of), nor a call that makes much out of little gets as far as torch.
"""

from __future__ import annotations

import io
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

import torch


def demand_no_more_than_it_holds(content: IO[bytes]) -> bool:
    """Raise `ValueError`, or what `zipfile` and `pickletools` raise for damage; nothing is unpickled.

    Returns whether anything would be made and thrown away, which torch's restricted unpickler does not know.
    """
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    is_archive = content.read(4) == b"PK\x03\x04"
    content.seek(0)
    if is_archive:
        discards = _check_archive(content, size)
    else:
        discards = False
        for _ in range(_PICKLES_OF_OLD):
            discards |= _check_pickle(content, size, room=lambda key: size)
    content.seek(0)
    return discards


_PICKLES_OF_OLD = 5
"""Before the zip format: magic number, protocol, system, content, keys of the storages that follow."""


def _check_archive(content: IO[bytes], size: int) -> bool:
    _demand_one_table(content, size)
    with zipfile.ZipFile(content) as archive:
        sizes = {record.filename: record.file_size for record in archive.infolist()}
        if len(sizes) != len(archive.infolist()) or sum(sizes.values()) > size:
            raise ValueError("its records are larger than the file, or of the same name")
        name = next((name for name in sizes if name.endswith("/data.pkl")), "")
        root = name.removesuffix("data.pkl")
        if name.count("/") != 1 or any(not other.startswith(root) for other in sizes):
            raise ValueError("its records are not those of one torch.save")
        pickled = io.BytesIO(archive.read(name))
        return _check_pickle(pickled, sizes[name], room=lambda key: sizes[f"{root}data/{key}"])


def _demand_one_table(content: IO[bytes], size: int) -> None:
    """Refuse archives in which torch and `zipfile` might find two different tables of records."""
    content.seek(max(0, size - 98))
    ending = content.read().rjust(98)
    wide, locator, narrow = ending[:56], ending[56:76], ending[76:]
    if not narrow.startswith(b"PK\x05\x06"):
        raise ValueError("it does not end as torch's archives do")
    length, start = struct.unpack_from("<LL", narrow, 12)
    table_end = size - len(narrow)
    if locator.startswith(b"PK\x06\x07"):
        table_end = size - len(ending)
        length, start = struct.unpack_from("<QQ", wide, 40)
        if not wide.startswith(b"PK\x06\x06") or struct.unpack_from("<Q", locator, 8) != (table_end,):
            raise ValueError("its table of records is not where it should be")
    if start + length != table_end:
        raise ValueError("its table of records is not where it should be")


def _check_pickle(pickled: IO[bytes], size: int, room: Callable[[str], int]) -> bool:
    """`room` tells how many bytes the storage of a key can have; True where something is thrown away."""
    handed_over, discards = 0, False
    for function, arguments in _calls(pickled):
        if function == _STORAGE:
            _check_storage(arguments, room)
            continue
        if function == _DISCARD:
            discards = True
            continue
        if function == _HASHED:
            handed_over += _tuples_in(arguments)
        while function == "torch._tensor._rebuild_from_type_v2":  # calls another one
            function, _, arguments, *_ = arguments
        name = function.rpartition(".")[2] if isinstance(function, _Name) else ""
        if name.endswith(("Tensor", "Storage")) and function.startswith("torch."):
            raise ValueError(f"it calls {function}, as torch.save does not")
        if name in _COPYING:
            _check_copy(name, arguments)
            handed_over += _extent(arguments) + sum(_tuples_in(a) for a in arguments if isinstance(a, list))
        if handed_over > size:
            raise ValueError("it uses the same content again and again")
    return discards


_COPYING = ("encode", "bytearray", "set", "Counter", "OrderedDict", "Size")
"""Functions that torch lets a file call, and that make something as large as what they are given."""


def _check_copy(function: str, arguments: tuple[Any, ...]) -> None:
    by_size = function == "bytearray" and not all(isinstance(a, (str, list)) for a in arguments)
    if by_size or (function == "encode" and arguments[1:] != ("latin1",)):
        raise ValueError(f"it calls {function} as torch.save does not")


def _check_storage(description: Any, room: Callable[[str], int]) -> None:
    _, kind, key, _, number, *_ = description
    if not isinstance(kind, _Name) or type(key) is not str or type(number) is not int:
        raise ValueError("it describes a storage as torch.save does not")
    element_bytes = 1
    if not kind.endswith(".UntypedStorage"):
        element_bytes = torch.serialization.StorageType(kind.rpartition(".")[2]).dtype.itemsize
    if not 0 <= number * element_bytes <= room(key):
        raise ValueError(f"the storage {key!r} is said to be larger than it is")


def _extent(arguments: tuple[Any, ...]) -> int:
    return sum(len(argument) for argument in arguments if isinstance(argument, (str, list, tuple)))


class _Name(str):
    """A function or class that a pickle names."""

    __slots__ = ()


class _Tuple(tuple[Any, ...]):
    """Knows how many tuples are in it, counted as often as they are: so long does it take to hash."""

    tuples: int


def _as_tuple(items: list[Any]) -> _Tuple:
    made = _Tuple(items)
    made.tuples = 1 + _tuples_in(items)
    return made


def _tuples_in(items: list[Any]) -> int:
    return sum(item.tuples for item in items if isinstance(item, _Tuple))


_STORAGE, _HASHED, _DISCARD = _Name("storage"), _Name("hashed"), _Name("discard")
_MARK = object()


def _calls(pickled: IO[bytes]) -> Iterator[tuple[Any, Any]]:
    """Each call that a pickle would make, with what is known of the arguments; storages; keys of dicts.

    Follows the stack through the opcodes that torch's restricted unpickler knows. Containers, and what calls
    return, are lists as long as they are large.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}

    def pop_to_mark() -> list[Any]:
        at = len(stack) - 1 - next(i for i, value in enumerate(reversed(stack)) if value is _MARK)
        items = stack[at + 1 :]
        del stack[at:]
        return items

    for opcode, argument, _ in pickletools.genops(pickled):
        match opcode.name:
            case "MARK":
                stack.append(_MARK)
            case "GLOBAL":
                stack.append(_Name(str(argument).replace(" ", ".")))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(_as_tuple(pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [_as_tuple(stack[-count:])]
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_SET":
                stack.append([])
            case "APPENDS":
                items = pop_to_mark()
                stack[-1].extend(items)
            case "SETITEMS":
                items = pop_to_mark()
                yield _HASHED, items[::2]
                stack[-1].extend(items)
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                yield _HASHED, [key]
                stack[-1].extend((key, value))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                yield function, arguments
                is_copy = isinstance(function, _Name) and function.endswith(_COPYING)
                stack.append([None] * _extent(arguments) if is_copy else [])
            case "BINPERSID":
                yield _STORAGE, stack.pop()
                stack.append([])
            case "BUILD":
                stack.pop()
            case "POP":
                stack.pop()
                yield _DISCARD, ()
            case "PROTO" | "STOP":
                pass
            case _:
                stack.append(argument)  # a number, a text, None, or what torch refuses
