import pytest

from storage import quarantine
from storage.errors import DamagedStoreError, InputError, MissingInputError
from storage.inbox import FileState

FILES = {"day/a.tif": FileState(7, 11)}


def refuse(objects, *, digest="d1", place="day/a.tif", reason="it is torn", files=FILES):
    return quarantine.refuse(objects, inbox="/inbox", place=place, reason=reason, files=files, digest=digest)


def test_a_refusal_says_all_that_is_known(store):
    made = refuse(store)
    assert quarantine.listing(store) == [made]
    assert (made.name, made.place, made.reason) == ("a.tif", "day/a.tif", "it is torn")
    assert (made.inbox, made.digest, made.size_bytes) == ("/inbox", "d1", 7)
    assert made.files == {"day/a.tif": (7, 11)}
    assert made.since
    assert quarantine.keys(store) == {made.key}


def test_the_same_bytes_are_refused_once_whatever_they_are_called(store):
    first = refuse(store)
    again = refuse(store, place="copy.tif", reason="other words", files={"copy.tif": FileState(7, 99)})
    assert again == first
    assert refuse(store, digest="d2").key != first.key


def test_bytes_that_cannot_be_read_are_known_by_their_state(store):
    first = refuse(store, digest="")
    assert refuse(store, digest="").key == first.key
    assert refuse(store, digest="", files={"day/a.tif": FileState(7, 12)}).key != first.key


def test_clear_takes_off_the_list_and_lets_it_be_refused_anew(store):
    made = refuse(store)
    quarantine.clear(store, made.key)
    assert quarantine.listing(store) == []
    assert refuse(store, reason="still torn").reason == "still torn"


def test_a_key_may_be_shortened_while_it_is_clear_which_is_meant(store):
    made = refuse(store)
    assert quarantine.resolve(store, made.key[:6]) == made.key
    with pytest.raises(MissingInputError, match="quarantine list"):
        quarantine.resolve(store, "zz")
    refuse(store, digest="d2")
    with pytest.raises(InputError, match="more digits"):
        quarantine.resolve(store, "")


def test_a_damaged_note_names_its_way_out_and_hides_no_other(store):
    whole = refuse(store)
    store.put("quarantine/abc.json", b"{")
    with pytest.raises(DamagedStoreError, match="retry abc"):
        quarantine.read(store, "abc")
    assert {one.key for one in quarantine.listing(store)} == {"abc", whole.key}
