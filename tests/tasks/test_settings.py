import re
import textwrap

import pytest
from pydantic import BaseModel, ValidationError

from storage.errors import InputError, MissingInputError
from tasks import preprocess_settings, settings
from tasks.preprocess_settings import Off, RotationFixed, TotalVariation
from tasks.settings import Section, Settings, TrainSettings, load_settings, question
from tests.support import ROOT

SECTIONS = [
    one
    for one in (vars(settings) | vars(preprocess_settings)).values()
    if isinstance(one, type) and issubclass(one, BaseModel)
]


def wrong(tmp_path, text: str) -> str:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_settings(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("section", [one for one in SECTIONS if one not in (BaseModel, Section, Settings)])
def test_every_field_but_kind_has_a_sentence_and_unknown_names_are_forbidden(section):
    for name, field in section.model_fields.items():
        plain = field.discriminator is None and name != "kind" and not isinstance(field.default, Section)
        assert not plain or (field.description or "").endswith("."), name
    with pytest.raises(ValidationError, match="extra_forbidden"):
        section.model_validate({"no_such_setting": 1})


def test_without_a_file_the_defaults_hold():
    assert load_settings(None) == Settings()


def test_a_file_is_read_and_overrides_win(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(
        '[train]\nepochs = 3\nlatent = 5\n[preprocess]\nrotation = { kind = "fixed", angle_deg = 4 }'
    )
    loaded = load_settings(path, {"train.epochs": 7, "preprocess.contrast": {"kind": "off"}})
    assert (loaded.train.epochs, loaded.train.latent) == (7, 5)
    assert loaded.preprocess.rotation == RotationFixed(angle_deg=4)
    assert loaded.preprocess.contrast == Off()


def test_an_override_may_name_a_setting_inside_an_alternative():
    loaded = load_settings(None, {"preprocess.denoise.kind": "tv", "preprocess.denoise.weight": 0.5})
    assert loaded.preprocess.denoise == TotalVariation(weight=0.5)


def test_an_unknown_setting_is_named_beside_those_that_exist(tmp_path):
    text = wrong(tmp_path, "[train]\nepoch = 3")
    assert "'train.epoch'" in text
    assert "epochs" in text
    assert "'trian'" in wrong(tmp_path, "[trian]\nepochs = 3")
    assert "weight" in wrong(tmp_path, '[preprocess]\ndenoise = { kind = "tv", wait = 1 }')


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[train]\nepochs = 0", "train.epochs = 0"),
        ('[train]\nepochs = "many"', "train.epochs = 'many'"),
        ('[preprocess]\nrotation = { kind = "guess" }', "preprocess.rotation"),
        ("[preprocess]\nrotation = { kind = 'fixed' }", "angle_deg"),
        ("[segment]\ntile_px = 100", "segment.tile_px = 100"),
        ("[resources]\nmemory_bytes = 5", "resources.memory_bytes"),
        ("train = 5", "train = 5"),
        ("[train", "expected TOML"),
    ],
)
def test_a_wrong_value_is_one_sentence(text, named, tmp_path):
    assert named in wrong(tmp_path, text)


@pytest.mark.parametrize(
    "name", ["train.epoch", "train.epochs.more", "trian.epochs", "preprocess.rotation.kind"]
)
def test_a_wrong_override_is_one_sentence(name):
    with pytest.raises(InputError, match=name.split(".")[0]):
        load_settings(None, {name: "x"})


def test_an_override_of_a_section_that_the_file_fills_with_a_number_is_no_crash(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("train = 5")
    with pytest.raises(InputError, match="train"):
        load_settings(path, {"train.epochs": 2})


def test_a_missing_or_binary_file_is_said(tmp_path):
    with pytest.raises(MissingInputError, match=r"nothing\.toml"):
        load_settings(tmp_path / "nothing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.toml.*expected TOML"):
        load_settings(tmp_path / "binary.toml")


def test_a_section_goes_into_a_key_as_plain_values_and_back():
    plain = question(TrainSettings(epochs=3))
    assert plain["body"] == {"kind": "conv", "widths": [16, 32, 64]}
    assert TrainSettings.model_validate(plain) == TrainSettings(epochs=3)


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().train.epochs = 3


def test_the_settings_that_the_readme_shows_are_accepted(tmp_path):
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"(?:^    .*\n|^\n)+", text, flags=re.MULTILINE)
    shown = [block for block in map(textwrap.dedent, blocks) if re.search(r"^\[\w+\]$", block, re.MULTILINE)]
    assert len(shown) == 2
    for number, block in enumerate(shown):
        path = tmp_path / f"{number}.toml"
        path.write_text(block[block.index("[") :])
        assert load_settings(path) != Settings()
