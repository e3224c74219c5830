"""Case files into cases: what a user wrote is checked here, and a mistake is one line."""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from parity.case.around import ParameterHyper, StagesTable
from parity.case.case import RESTARTED, Case, HyperTable, check_recorded
from parity.case.expectation import Expectation, FormatName
from parity.case.problems import problems
from parity.case.program import Gradients, Place, Start, Step, Weights
from parity.case.recording_header import HEADER
from parity.case.replay import cases_of_recording
from parity.case.shapes import Tensor, tensors_in
from parity.core.errors import ParityError, nearest
from parity.core.selection import matcher

Numbers = Annotated[tuple[float, ...], Field(min_length=1)]

OF_PARAMETERS = ("weights", "gradients", "start")
"""Tables that may be given once for every parameter that has none of its own."""

_GOES_ON = {
    "expected": "*",
    "verdict": "IDENTICAL",
    "because": "What is saved and loaded goes on as if there had been no stop.",
}

_MAY_SKIP = f"user.*{RESTARTED} | torch.adam.fsdp2{RESTARTED}"

UNINTERRUPTED = [{"actual": _MAY_SKIP, "skips": True, **_GOES_ON}, {"actual": f"*{RESTARTED}", **_GOES_ON}]
"""What a case that restarts expects where it says nothing else; one's own may take no start, FSDP2 no shape ()."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileParameter(_Table):
    """A tensor; weights and gradients not given here are those of the whole file."""

    name: str
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    weights: Weights | None = None
    gradients: Gradients | None = None
    dtype: FormatName | None = None
    rows: bool = Field(False, description="Whether gradients are handed over as rows, those that are not 0 throughout.")
    hyper: ParameterHyper | None = None
    start: Start | None = None


class ShapesFile(_Table):
    """The tensors of a model, named by a file; weights and gradients are those of the whole case file."""

    file: Place = Field(description="A safetensors file, of which only the header is read, or JSON: names with shapes.")
    leave_out: tuple[str, ...] = Field((), description="Patterns of names that are no parameters, as 'h.*.attn.bias'.")


def _kind_of_parameters(value: Any) -> str:
    return "[file]" if isinstance(value, dict | ShapesFile) else "[list]"


Parameters = Annotated[
    Annotated[tuple[FileParameter, ...], Field(min_length=1), Tag("[list]")] | Annotated[ShapesFile, Tag("[file]")],
    Discriminator(_kind_of_parameters),
]


class Sweep(_Table):
    """Hyperparameters with several values each; every combination is a case of its own."""

    lr: Numbers = ()
    beta1: Numbers = ()
    beta2: Numbers = ()
    eps: Numbers = ()
    weight_decay: Numbers = ()

    def members(self) -> Iterator[dict[str, float]]:
        """One table of hyperparameters for every combination."""
        swept = {name: values for name, values in self if values}
        for combination in itertools.product(*swept.values()):
            yield dict(zip(swept, combination, strict=True))


class CaseFile(_Table):
    """A case file; a file whose name starts with an underscore is a base that cases extend.

    Keys of the case win over keys of its base, `hyper` one by one; its expectations come first.
    """

    extends: Place | None = Field(None, description="Base file, relative to this one.")
    summary: str | None = Field(None, description="One sentence.")
    why: str | None = Field(None, description="What it shows, and which failures it catches.")
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    steps: Step | None = None
    dtypes: Annotated[tuple[FormatName, ...], Field(min_length=1)] | None = None
    hyper: HyperTable | None = None
    stages: StagesTable | None = Field(None, description="What is done around the step.")
    sweep: Sweep | None = None
    weights: Weights | None = Field(None, description="Of every parameter that has none of its own.")
    gradients: Gradients | None = Field(None, description="Of every parameter that has none of its own.")
    parameters: Parameters | None = Field(None, description="One by one, or those of a model, by a file.")
    start: Start | None = Field(None, description="The state of every parameter that has none of its own.")
    restart: tuple[Step, ...] = Field((), description="Steps after which all save, and a new process goes on.")
    expect: tuple[Expectation, ...] = ()


def shipped_cases() -> Path:
    """The catalogue's folder: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "cases", package.parent / "cases"):
        if (folder / "schema.json").is_file():
            return folder
    raise ParityError(f"the shipped cases are missing: neither in {package} nor beside it")


def schema_text() -> str:
    """The JSON Schema of a case file, as committed in cases/schema.json."""
    schema = CaseFile.model_json_schema()
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "parity case file"}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def load_catalogue(folder: Path) -> tuple[Case, ...]:
    """Every case of a folder, sorted by name; ParityError with a line for every problem of every file."""
    if not folder.is_dir():
        raise ParityError(f"{folder}: no such folder of cases")
    files = sorted(file for file in folder.glob("*.toml") if not file.name.startswith("_"))
    if not files:
        raise ParityError(f"{folder}: no case file (*.toml) in this folder")
    cases: list[Case] = []
    lines: list[str] = []
    for file in files:
        try:
            cases.extend(load_case_file(file))
        except ParityError as error:
            lines.extend(line for line in str(error).splitlines() if line not in lines)
    if lines:
        raise ParityError("\n".join(lines))
    return tuple(sorted(cases, key=lambda case: case.name))


def load_case_file(path: Path) -> tuple[Case, ...]:
    """The case of a file, or the members of its sweep; ParityError with one line for every problem."""
    own = _read(path)
    base: dict[str, Any] = {}
    base_path = path
    if "extends" in own:
        base_path = path.parent / own["extends"]
        base = _read(base_path, said_by=path)
        if "extends" in base:
            raise ParityError(f"{base_path}: extends: a base cannot extend another file")
    merged = _merged(own, base, path, base_path)
    sweep = Sweep.model_validate(_frozen({**base, **own}.get("sweep", {})))
    cases = tuple(_case(path, merged, member) for member in sweep.members())
    names = [case.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise ParityError(f"{path}: sweep: {name} occurs {names.count(name)} times")
    try:
        check_recorded(cases[0])
    except ParityError as error:
        raise ParityError(f"{path}: {error}") from None
    return cases


def _read(path: Path, said_by: Path | None = None) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except RecursionError:
        raise ParityError(f"{path}: not valid TOML: its brackets are nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise ParityError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise ParityError(f"{path}: not valid TOML: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        where = f"{path}" if said_by is None else f"{said_by}: extends: {path.name}"
        raise ParityError(f"{where}: cannot be read ({error.strerror})") from None
    try:
        CaseFile.model_validate(_frozen(table))
    except ValidationError as error:
        raise ParityError("\n".join(f"{path}: {line}" for line in problems(error, CaseFile))) from None
    return table


def _merged(own: dict[str, Any], base: dict[str, Any], path: Path, base_path: Path) -> dict[str, Any]:
    for table, file in ((base, base_path), (own, path)):
        if isinstance(table.get("parameters"), dict):
            _name_tensors(table, file, {**base, **own}.get("dtypes"))
    merged = {**base, **own}
    for table, file in ((base, base_path), (own, path)):
        for one in (table, *table.get("parameters", ())):
            for program in (one.get("weights"), one.get("gradients"), *one.get("start", {}).values()):
                _place_folder(program, file)
    merged["parameters"] = [
        {key: merged[key] for key in OF_PARAMETERS if key in merged} | parameter
        for parameter in merged.get("parameters", ())
    ]
    merged["hyper"] = {**base.get("hyper", {}), **own.get("hyper", {})}
    merged["expect"] = [*own.get("expect", ()), *base.get("expect", ())]
    if merged.get("restart") and not any(RESTARTED in one.get("actual", "") for one in merged["expect"]):
        merged["expect"][:0] = UNINTERRUPTED
    merged["inherited"] = len(base.get("expect", ()))
    for key in ("extends", "sweep", *OF_PARAMETERS):
        merged.pop(key, None)
    return merged


def _name_tensors(table: dict[str, Any], path: Path, dtypes: Sequence[str] | None) -> None:
    """Put the tensors of the file that a table names in the place of its name, and its dtypes where none are asked for.

    A file of several dtypes gives each tensor its own, that of most elements for the whole case.
    """
    file = table["parameters"]["file"]
    try:
        tensors = tensors_in(path.parent / file, table["parameters"].get("leave_out", ()))
        held = _elements_by_dtype(tensors)
        if dtypes is None and held:
            table["dtypes"] = [max(held, key=lambda dtype: held[dtype])]
        elif dtypes is not None and len(held) > 1:
            raise ParityError(f"it holds {' and '.join(held)}; leave out dtypes, and each tensor has its own")
    except ParityError as error:
        raise ParityError(f"{path}: parameters.file: {file!r}: {error}") from None
    table["parameters"] = [
        {"name": one.name, "shape": list(one.shape)}
        | ({"dtype": one.dtype} if len(held) > 1 and one.dtype != table["dtypes"][0] else {})
        for one in tensors
    ]


def _elements_by_dtype(tensors: Sequence[Tensor]) -> dict[str, int]:
    held: dict[str, int] = {}
    for one in tensors:
        if one.dtype:
            held[one.dtype] = held.get(one.dtype, 0) + math.prod(one.shape)
    return held


def _place_folder(program: Any, file: Path) -> None:
    if isinstance(program, dict) and "folder" in program:
        program["folder"] = str((file.parent / program["folder"]).absolute())


def _case(path: Path, merged: dict[str, Any], member: dict[str, float]) -> Case:
    suffix = ",".join(f"{name}={float(value)!r}" for name, value in member.items())
    name = f"{path.stem}[{suffix}]" if member else path.stem
    table = {**merged, "name": name, "hyper": {**merged["hyper"], **member}}
    try:
        return Case.model_validate(_frozen(table))
    except ValidationError as error:
        raise ParityError("\n".join(f"{path}: {line}" for line in problems(error, Case))) from None


def _frozen(value: Any) -> Any:
    """Lists as tuples, all the way down: a strict tuple takes nothing else."""
    match value:
        case dict():
            return {key: _frozen(one) for key, one in value.items()}
        case list():
            return tuple(_frozen(one) for one in value)
        case _:
            return value


def select_cases(paths: Sequence[Path | str] = (), keyword: str = "") -> tuple[Case, ...]:
    """Cases from files and folders (the shipped catalogue where none is given) whose names match `keyword`."""
    cases: list[Case] = []
    for path in [Path(path) for path in paths] or [shipped_cases()]:
        if (path / HEADER).is_file():
            cases += cases_of_recording(path)
        elif path.is_dir():
            cases += load_catalogue(path)
        elif path.is_file():
            cases += load_case_file(path)
        else:
            beside = [file.name for file in path.parent.glob("*.toml") if not file.name.startswith("_")]
            shipped = f"no case file (*.toml) is in {path.parent}; shipped cases are chosen by -k, 'parity list cases'"
            known = nearest(path.name, beside, shipped)
            raise ParityError(f"there is no case file or folder {str(path)!r}; {known}")
    matches = matcher(keyword)
    chosen: list[Case] = []
    for case in cases:
        # The same file twice, or a file and its folder, asks the question once.
        if matches(case.name) and case not in chosen:
            chosen.append(case)
    return tuple(chosen)


def cases_named(case: Path | str) -> tuple[Case, ...]:
    """The shipped case of that name, or the cases of a file; ParityError with the nearest name."""
    if Path(case).suffix == ".toml" or Path(case).is_file() or (Path(case) / HEADER).is_file():
        return select_cases([case])
    shipped = select_cases()
    found = tuple(one for one in shipped if one.name == str(case))
    if not found:
        raise ParityError(f"case {str(case)!r} is unknown; {nearest(str(case), [one.name for one in shipped])}")
    return found
