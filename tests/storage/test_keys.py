import hashlib
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.keys import KEY_LENGTH, artifact_key, canonical_json, digest_text

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_canonical_json_is_one_text() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "µ"}) == '{"a":"\\u00b5","b":[1,2.5]}'


@given(st.dictionaries(st.text(), plain, max_size=6))
def test_order_of_keys_does_not_matter_and_nothing_is_lost(value: dict[str, object]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert canonical_json(value) == canonical_json(backwards)
    assert json.loads(canonical_json(value)) == value


def test_not_a_number_has_no_key() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json({"weight": float("nan")})


def test_keys_do_not_change_with_versions_of_chipcyte() -> None:
    """A changed key would orphan every artifact of every store, so this answer is for ever."""
    question = '{"kind":"clean","parents":["raw/aa"],"settings":{"z":"max"},"version":1}'
    expected = hashlib.sha256(question.encode()).hexdigest()[:20]
    assert artifact_key("clean", ["raw/aa"], {"z": "max"}, 1) == expected == "6bf67a6f5d533c350fdc"
    assert KEY_LENGTH == 20


@pytest.mark.parametrize(
    "other",
    [
        ("labels", ["raw/aa", "raw/bb"], {"z": "max"}, 1),
        ("clean", ["raw/bb", "raw/aa"], {"z": "max"}, 1),
        ("clean", ["raw/aa"], {"z": "max"}, 1),
        ("clean", ["raw/aa", "raw/bb"], {"z": "each"}, 1),
        ("clean", ["raw/aa", "raw/bb"], {}, 1),
        ("clean", ["raw/aa", "raw/bb"], {"z": "max"}, 2),
    ],
)
def test_another_question_has_another_key(other: tuple[str, list[str], dict[str, str], int]) -> None:
    assert artifact_key(*other) != artifact_key("clean", ["raw/aa", "raw/bb"], {"z": "max"}, 1)


def test_another_process_gives_the_same_key() -> None:
    """Python's own hash differs from process to process; a key must not."""
    code = "from storage.keys import artifact_key; print(artifact_key('raw', [], {'b': 1, 'a': [2]}, 3))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == artifact_key("raw", [], {"a": [2], "b": 1}, 3)


def test_digest_of_a_text_is_its_sha256() -> None:
    assert digest_text("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
