"""The shapes of a model from a file: what a case becomes of it, and what is told of a file that is not one."""

# ruff: noqa: E501 - a mistake and what is told of it stand on one line.

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from parity.case.case import Case
from parity.case.catalogue import load_case_file, shipped_cases
from parity.core.errors import ParityError

EXAMPLES = Path(__file__).parents[2] / "examples"

TEXT = """
summary = "A case of a test."
why = "It is tested here."
steps = 2
{dtypes}
weights = {{ kind = "zero" }}
gradients = {{ kind = "bell", scale = 0.1 }}
parameters = {{ file = "{file}"{more} }}
"""


def load(folder: Path, file: str, dtypes: str = 'dtypes = ["float32"]', more: str = "") -> Case:
    path = folder / "model.toml"
    path.write_text(TEXT.format(dtypes=dtypes, file=file, more=more), encoding="utf-8")
    (case,) = load_case_file(path)
    return case


def safetensors(entries: dict[str, Any], size: int, header: bytes | None = None) -> bytes:
    text = json.dumps(entries).encode() if header is None else header
    return len(text).to_bytes(8, "little") + text + bytes(size)


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = {"__metadata__": {"format": "pt"}, "kernel": entry("F32", [2, 3], 4, 28), "bias": entry("F32", [], 0, 4)}


def test_a_safetensors_file_gives_names_shapes_and_dtypes_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(safetensors(GOOD, 28))
    case = load(tmp_path, "a.safetensors", dtypes="")
    assert [(one.name, one.shape, one.dtype) for one in case.parameters] == [
        ("bias", (), None),
        ("kernel", (2, 3), None),
    ]
    assert case.dtypes == ("float32",)
    # What the case says holds: the numbers of the file are none of its own.
    assert load(tmp_path, "a.safetensors", 'dtypes = ["bfloat16", "float64"]').dtypes == ("bfloat16", "float64")


def test_a_file_of_two_dtypes_gives_each_tensor_its_own(tmp_path: Path) -> None:
    entries = {"norm": entry("F32", [2], 0, 8), "kernel": entry("BF16", [2, 3], 8, 20)}
    (tmp_path / "a.safetensors").write_bytes(safetensors(entries, 20))
    case = load(tmp_path, "a.safetensors", dtypes="")
    assert case.dtypes == ("bfloat16",)
    assert [(one.name, one.dtype) for one in case.parameters] == [("norm", "float32"), ("kernel", None)]
    with pytest.raises(ParityError, match="it holds float32 and bfloat16; leave out dtypes, and each tensor has its"):
        load(tmp_path, "a.safetensors")


@pytest.mark.parametrize(
    "content", ['{"kernel": [2, 3], "bias": []}', '[["kernel", [2, 3]], ["bias", []]]'], ids=["object", "list"]
)
def test_a_list_is_the_case_in_which_the_same_is_written_by_hand(tmp_path: Path, content: str) -> None:
    (tmp_path / "shapes.json").write_text(content)
    by_hand = TEXT.format(dtypes='dtypes = ["float32"]', file="", more="").replace('parameters = { file = "" }', "")
    by_hand += '[[parameters]]\nname = "kernel"\nshape = [2, 3]\n[[parameters]]\nname = "bias"\nshape = []\n'
    (tmp_path / "hand.toml").write_text(by_hand)
    (case,) = load_case_file(tmp_path / "hand.toml")
    assert load(tmp_path, "shapes.json").digest() == case.digest()


def test_another_content_is_another_case(tmp_path: Path) -> None:
    digests = set()
    for content in ('{"kernel": [2, 3]}', '{"kernel": [3, 2]}', '{"other": [2, 3]}', '{"kernel": [2, 3], "bias": [1]}'):
        (tmp_path / "shapes.json").write_text(content)
        digests.add(load(tmp_path, "shapes.json").digest())
    assert len(digests) == 4


def test_a_base_names_its_file_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "shapes.json").write_text('{"kernel": [2, 3]}')
    (tmp_path / "bases" / "_base.toml").write_text(TEXT.format(dtypes="", file="shapes.json", more=""))
    (tmp_path / "one.toml").write_text('extends = "bases/_base.toml"\ndtypes = ["float16"]\n')
    (case,) = load_case_file(tmp_path / "one.toml")
    assert [(one.name, one.shape) for one in case.parameters] == [("kernel", (2, 3))]


def test_what_is_no_parameter_is_left_out(tmp_path: Path) -> None:
    entries = {"h.0.mask": entry("BOOL", [4], 0, 4), "h.0.weight": entry("F16", [2], 4, 8)}
    (tmp_path / "a.safetensors").write_bytes(safetensors(entries, 8))
    case = load(tmp_path, "a.safetensors", dtypes="", more=', leave_out = ["h.*.mask"]')
    assert [one.name for one in case.parameters] == ["h.0.weight"]
    assert case.dtypes == ("float16",)


def test_gpt2_small_has_the_tensors_of_its_checkpoint() -> None:
    (case,) = load_case_file(EXAMPLES / "gpt2.toml")
    assert (len(case.parameters), case.layout().size, case.steps) == (148, 124_439_808, 20)
    shapes = {one.name: one.shape for one in case.parameters}
    assert shapes["h.11.attn.c_attn.weight"] == (768, 2304)
    assert shapes["wte.weight"] == (50257, 768)
    schema = json.loads((shipped_cases() / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(tomllib.loads((EXAMPLES / "gpt2.toml").read_text()))


MISTAKES = [
    ("a.safetensors", None, "cannot be read (No such file or directory)"),
    ("a.safetensors", b"", "no safetensors file: 0 bytes hold no header of 0 bytes"),
    ("a.safetensors", (1 << 40).to_bytes(8, "little") + b"{}", "no safetensors file: 10 bytes hold no header of 1,099,511,627,776 bytes"),
    ("a.safetensors", safetensors({}, 0, b"{nonsense"), "not valid JSON: Expecting property name"),
    ("a.safetensors", safetensors({}, 0, b"\xff\xfe"), "not valid JSON: not UTF-8 at byte 0"),
    ("a.safetensors", safetensors({}, 0, b"[" * 100_000), "not valid JSON: its brackets are nested too deeply"),
    ("a.safetensors", safetensors({}, 0, b"[1]"), "no safetensors file: its header is no JSON object"),
    ("a.safetensors", safetensors({}, 0), "it holds no tensor"),
    ("a.safetensors", safetensors({"__metadata__": {}}, 0), "it holds no tensor"),
    ("a.safetensors", safetensors({"w": 1}, 0), "'w': no dtype in the header"),
    ("a.safetensors", safetensors({"w": {"dtype": "F32", "shape": [1]}}, 0), "'w': no data_offsets in the header"),
    ("a.safetensors", safetensors({"w": entry("F32", [1], 0, -4)}, 0), "'w': '[0, -4]' are no data_offsets"),
    ("a.safetensors", safetensors({"w": entry("F32", [-1], 0, 4)}, 4), "'w': '[-1]' is no shape"),
    ("a.safetensors", safetensors({"w": entry("F32", [2], 0, 4)}, 4), "'w': F32 [2] is not what bytes 0 to 4 hold"),
    ("a.safetensors", safetensors({"w": entry("F32", [1], 8, 12)}, 12), "'w': F32 [1] is not what bytes 8 to 12 hold"),
    ("a.safetensors", safetensors(GOOD, 27), "truncated or altered: "),
    ("a.safetensors", safetensors(GOOD, 29), "truncated or altered: "),
    ("a.safetensors", safetensors({"w": entry("I64", [1], 0, 8)}, 8), "'w' is I64; allowed: F64, F32, F16, BF16, or its name in leave_out"),
    ("a.safetensors", safetensors({"w": entry("F8_E4M3", [1], 0, 1)}, 1), "'w' is F8_E4M3; allowed:"),
    ("a.safetensors", safetensors({}, 8, b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'),
     "the name 'w' stands there more than once"),
    ("s.json", b"", "not valid JSON: Expecting value"),
    ("s.json", b"[]", "it holds no tensor"),
    ("s.json", b"7", "no list of shapes; allowed: "),
    ("s.json", b'["w"]', '"w" is no ["name", shape]'),
    ("s.json", b'{"w": 3}', "'w': '3' is no shape"),
    ("s.json", b'{"w": [2.0]}', "'w': '[2.0]' is no shape"),
    ("s.json", b'{"": [2]}', "a tensor has no name"),
    ("s.json", b'{"w": [2], "w": [3]}', "the name 'w' stands there more than once"),
    ("s.json", b'{"w": [0]}', "every tensor is empty, nothing would be compared"),
    (".", None, "is no file"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content", "told"), MISTAKES)
def test_a_bad_file_is_told_in_one_line(tmp_path: Path, file: str, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ParityError, match=re.escape(told)) as caught:
        load(tmp_path, file)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{tmp_path / 'model.toml'}: parameters")


KEYS = [
    ("parameters = { flie = 'x' }", "parameters: unknown key 'flie'; allowed: file, leave_out; did you mean 'file'?"),
    ("parameters = { file = 3 }", "parameters.file: 3 is not allowed: input should be a valid string"),
    ("parameters = { file = 's.json', leave_out = ['b*'] }", "parameters.file: 's.json': leave_out: no tensor is called 'b*'"),
    ("parameters = { file = 's.json', leave_out = ['*'] }", "parameters.file: 's.json': leave_out leaves no tensor"),
    ("parameters = []", "parameters: () is not allowed: tuple should have at least 1 item"),
    ("parameters = 'x'", "parameters: 'x' is not allowed: input should be a valid tuple"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "told"), KEYS)
def test_a_bad_table_is_told_in_one_line(tmp_path: Path, keys: str, told: str) -> None:
    (tmp_path / "s.json").write_text('{"w": [2]}')
    (tmp_path / "one.toml").write_text(
        re.sub("parameters = .*", keys, TEXT.format(dtypes='dtypes = ["float32"]', file="", more=""))
    )
    with pytest.raises(ParityError) as caught:
        load_case_file(tmp_path / "one.toml")
    assert str(caught.value).startswith(f"{tmp_path / 'one.toml'}: {told}")
    assert "\n" not in str(caught.value)
