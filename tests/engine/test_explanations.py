"""What is kept of a cell's explanations comes back as it was, or not at all."""

from __future__ import annotations

import json
import math

import pytest

from parity.core.digest import digest_of
from parity.core.errors import ParityError
from parity.engine.explanations import SCHEMA, Document, check_document, read_document, write_document

DOCUMENT = Document("too large", ({"case": "a", "figures": [1 / 3, 1, None]}, {"case": "b", "figures": []}))


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "small__float32.explanations.json"
    return path, write_document(DOCUMENT, path)


def test_what_is_written_is_read(kept):
    path, digest = kept
    check_document(path, digest)
    assert read_document(path, digest) == DOCUMENT
    assert json.loads(path.read_text())["schema"] == SCHEMA
    assert len(path.read_text().splitlines()) == 2 + len(DOCUMENT.explanations)


def test_what_json_has_no_number_for_comes_back_as_text(tmp_path):
    path = tmp_path / "some.json"
    digest = write_document(Document("", ({"figures": [math.inf, -math.inf, math.nan]},)), path)
    json.loads(path.read_text(), parse_constant=pytest.fail)
    assert read_document(path, digest).explanations[0]["figures"] == ["inf", "-inf", "nan"]


@pytest.mark.parametrize("read", [check_document, read_document])
def test_an_altered_or_missing_file_is_one_line_that_names_it(kept, read):
    path, digest = kept
    path.write_text(path.read_text().replace("too large", "too small"))
    with pytest.raises(ParityError, match=r"small__float32\.explanations\.json: altered or truncated"):
        read(path, digest)
    path.unlink()
    with pytest.raises(ParityError, match=r"small__float32\.explanations\.json: missing"):
        read(path, digest)


def test_another_schema_is_refused(kept):
    path, _ = kept
    path.write_text(path.read_text().replace(f'"schema": {SCHEMA}', f'"schema": {SCHEMA + 1}'))
    with pytest.raises(ParityError, match=f"schema {SCHEMA + 1}; this parity reads schema {SCHEMA}"):
        read_document(path, digest_of(path.read_bytes()))
