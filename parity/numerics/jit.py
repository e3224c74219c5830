"""Functions as machine code, kept on disk; one rounding an operation, as they are written."""

from __future__ import annotations

import builtins
import dis
import hashlib
import inspect
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

from parity.core.cache import cache_folder
from parity.core.errors import ParityError

try:
    import llvmlite
    import numba
    from llvmlite import ir
    from numba import extending

    # The compiler asks for it late; its types are registered once a process, also where a test forgets its modules.
    from numba.core import (
        boxing,  # noqa: F401
        serialize,
        types,
    )
    from numba.core.compiler import CompileResult
    from numba.core.registry import cpu_target
    from numba.core.runtime import rtsys
except Exception as error:
    raise ParityError(f"numba cannot be imported ({error}); allowed: an installed numba>=0.63") from None

KERNELS = "PARITY_KERNELS"

Kernel = Callable[..., Any]

_intrinsic: Callable[[Callable[..., Any]], Kernel] = extending.intrinsic

if {"pytest", "unittest"} & sys.modules.keys():
    # What the compiler knows of NumPy is read now, which takes as long as all before it: later a user's test may have
    # put something else in its place. Elsewhere only who compiles needs it, and not who takes what is kept.
    cpu_target.target_context.refresh()

_MAGIC = b"parity kernel 2\n"


def compiled(function: Callable[..., Any]) -> Kernel:
    """The function as machine code; decorates functions of a module, which may call each other.

    What is written is what is computed: no operation is left out, moved or contracted, division by zero gives inf or
    NaN. It is compiled for the types of its first call, releases the interpreter's lock, and is kept on disk.
    """
    return _dispatcher(function, inspect.getsource(function))


def compiled_text(text: str, name: str, **names: Any) -> Kernel:
    """As `compiled`, of the function `name` that a text defines; names: what it may use beside builtins."""
    scope: dict[str, Any] = {"__name__": __name__, **names}
    exec(compile(text, f"<{name}>", "exec"), scope)
    return _dispatcher(scope[name], text)


@_intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once: the processor's instruction where it has one, else the C library's function.

    a, b, c: three float32 or three float64 numbers. Source: IEEE 754-2019, fusedMultiplyAdd; LLVM, ``llvm.fma``.
    """
    if not (a == b == c and a in (types.float32, types.float64)):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, b, c), generate


@_intrinsic
def bits_of(typing_context: Any, value: Any) -> Any:
    """The bits of a float32 or float64 number, as uint32 or uint64."""
    if value not in (types.float32, types.float64):
        return None
    width = value.bitwidth

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(width))

    return getattr(types, f"uint{width}")(value), generate


@_intrinsic
def from_bits(typing_context: Any, value: Any) -> Any:
    """The float32 or float64 number of bits, given as uint32 or uint64."""
    if value not in (types.uint32, types.uint64):
        return None
    kind = ir.FloatType() if value == types.uint32 else ir.DoubleType()

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], kind)

    return getattr(types, f"float{value.bitwidth}")(value), generate


@_intrinsic
def as_kind_of(typing_context: Any, value: Any, like: Any) -> Any:
    """An integer in the type of another, modulo 2^width; else the compiler computes in 64 bits, a quarter as fast."""
    if not (isinstance(value, types.Integer) and isinstance(like, types.Integer)):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, arguments[0], value, like)

    return like(value, like), generate


@_intrinsic
def number(typing_context: Any, bits: Any, shift: Any, scale: Any) -> Any:
    """The number of the bits of any of the formats, as float64.

    bits: uint16, uint32 or uint64. shift, scale: of a 16-bit format, int64 and float64; its exponent and significand
    moved that far stand where float32 keeps its own, and the number is that of float32 times scale. Exact.
    """
    if bits not in (types.uint16, types.uint32, types.uint64) or scale != types.float64:
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, places, factor = arguments
        single, double, integer = ir.FloatType(), ir.DoubleType(), ir.IntType(32)
        if bits == types.uint64:
            return builder.bitcast(word, double)
        if bits == types.uint32:
            return builder.fpext(builder.bitcast(word, single), double)
        word, places = builder.zext(word, integer), builder.trunc(places, integer)
        sign = builder.shl(builder.and_(word, integer(0x8000)), integer(16))
        magnitude = builder.shl(builder.and_(word, integer(0x7FFF)), places)
        wide = builder.bitcast(builder.or_(sign, magnitude), single)
        return builder.fmul(builder.fpext(wide, double), factor)

    return types.float64(bits, types.int64, types.float64), generate


def _dispatcher(function: Callable[..., Any], text: str) -> Kernel:
    digest = _digest(function, text)
    # Machine code finds what it calls by its name, which must not mean something else in another process.
    function.__qualname__ = f"{function.__qualname__}_{digest[:16]}"
    kernel = cast(Any, numba.njit(nogil=True, error_model="numpy")(function))
    kernel._cache = _Kept(digest)
    made: Kernel = kernel
    return made


def _digest(function: Any, text: str) -> str:
    """Of all that determines the code but types, compiler and processor: the text, and what it uses, all the way."""
    found = hashlib.sha256(text.encode())
    for name in sorted(_globals_of(function.__code__)):
        if name not in function.__globals__ and not hasattr(builtins, name):
            # What is kept would outlive a change of it.
            raise NameError(f"{function.__name__} calls {name}, which has to be defined before it")
        value = function.__globals__.get(name)
        kept = getattr(value, "_cache", None)
        if isinstance(kept, _Kept):
            found.update(f"{name} {kept.digest}".encode())
        elif hasattr(value, "_defn"):
            found.update(f"{name} {inspect.getsource(value._defn)}".encode())
        elif not inspect.ismodule(value) and not callable(value):
            # A global is a constant of the code.
            found.update(f"{name} {value!r}".encode())
    return found.hexdigest()


def _globals_of(code: Any) -> set[str]:
    inner = [_globals_of(constant) for constant in code.co_consts if inspect.iscode(constant)]
    used = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return used.union(*inner)


class _Kept:
    """The compiler's door to what is kept of one function: a file for each signature and processor.

    A file is read only where it is whole and of this user, and appears whole or not at all; whatever the folder does
    not let us do costs time and nothing else.
    """

    def __init__(self, digest: str) -> None:
        self.digest = digest

    @property
    def cache_path(self) -> str:
        """What the compiler's own statistics name."""
        return str(kernel_folder())

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The compiled code, None where none is kept."""
        # What is read allocates as the compiler's own code does, which is made ready where it begins to compile.
        rtsys.initialize(target)
        with suppress(OSError):
            content = self._path(signature, target).read_bytes()
            magic, digest, payload = content[: len(_MAGIC)], content[len(_MAGIC) :][:32], content[len(_MAGIC) + 32 :]
            if magic == _MAGIC and hashlib.sha256(payload).digest() == digest:
                return CompileResult._rebuild(target, *pickle.loads(payload))
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep compiled code."""
        folder = kernel_folder()
        if folder is None:
            return
        payload = serialize.dumps(result._reduce())
        path = self._path(signature, result.target_context)
        with suppress(OSError), tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
            try:
                file.write(_MAGIC + hashlib.sha256(payload).digest() + payload)
                file.close()
                os.replace(file.name, path)
            except OSError:
                os.unlink(file.name)

    def _path(self, signature: Any, target: Any) -> Path:
        folder = kernel_folder()
        if folder is None:
            raise FileNotFoundError
        versions = (numba.__version__, llvmlite.__version__, *target.codegen().magic_tuple())
        key = "\n".join([self.digest, repr(signature), *map(str, versions)])
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.kernel"


def kernel_folder() -> Path | None:
    """Where compiled code is kept; None where that is not possible, or anybody else may write there.

    That of `KERNELS` where it is set, else a folder of the cache.
    """
    return _safe_folder(Path(os.environ.get(KERNELS) or cache_folder() / "kernels").expanduser().absolute())


@cache
def _safe_folder(folder: Path) -> Path | None:
    # What is read there is executed.
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError:
        return None
    mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return folder if mine and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None
