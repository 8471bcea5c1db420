"""English and Spanish: complete, of one form, and right about dates, names and numbers."""

import re
import string
import time

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from support.wording import said_in_code, said_in_templates

from node.api.web.languages import COOKIE, DEFAULT, Languages, Tongue, preferred
from node.sharing.portal.plain_words import Day, Person, modality_name, say, study_name


def _tongues() -> dict[str, Tongue]:
    languages = Languages()
    return {code: languages.of(make_mocked_request("GET", "/", {"Cookie": f"{COOKIE}={code}"})) for code, _ in
            languages.offered}  # fmt: skip


TONGUES = _tongues()
EN, ES = TONGUES["en"], TONGUES["es"]


def test_every_text_that_is_said_stands_in_every_catalogue_and_no_other() -> None:
    said = set(said_in_code()) | set(said_in_templates())
    for code, tongue in TONGUES.items():
        known = set(tongue.catalogue.messages)
        assert said - known == set(), f"missing in {code}"
        assert known - said == set(), f"unused in {code}"


@pytest.mark.parametrize("code", TONGUES)
def test_translations_fill_in_the_same_values_as_the_english_text(code: str) -> None:
    for key, text in TONGUES[code].catalogue.messages.items():
        forms = (text,) if isinstance(text, str) else text
        counted = "{n}" in key
        assert counted == (len(forms) == 2), f"{key!r}: one form, or two where there is a count"
        for form in forms:
            missing = _fields(key) - _fields(form)
            assert _fields(form) <= _fields(key), key
            assert not missing or (missing == {"n"} and form is forms[0]), f"{key!r} loses {missing}"
            assert form.strip() == form, key
            assert form, key


def _fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_english_says_what_the_key_says() -> None:
    for key, text in EN.catalogue.messages.items():
        assert key in ((text,) if isinstance(text, str) else text)


def test_spanish_is_not_english() -> None:
    same = {key for key, text in ES.catalogue.messages.items() if text == key and re.search(r"[a-z]{4}", key)}
    assert same <= {"{kind} {part}", "Documento", "{hospital}"} | {key for key in same if len(key.split()) == 1}


def test_a_study_has_a_name_without_a_word_of_the_trade() -> None:
    chest = study_name(["CT", "SR"], ["THORAX"])
    assert EN(chest) == "CT scan of the chest"
    assert ES(chest) == "Tomografía (TC) del tórax"
    assert EN(study_name(["PT", "CT"], ["WHOLEBODY"])) == "PET scan and CT scan of the whole body"
    assert EN(study_name([], [])) == "Images"
    assert EN(study_name(["SR"], ["NOSUCHPART"])) == "Report"
    assert ES(study_name(["MG"], ["BREAST"])) == "Mamografía de la mama"


def test_dates_and_names_and_numbers_are_written_as_the_language_does() -> None:
    assert (EN.date("20240303"), ES.date("20240303")) == ("3 March 2024", "3 de marzo de 2024")
    assert EN.date("") == ""
    assert EN.date("20249903") == "20249903"
    assert EN.person("Müller^Änne^^Dr.") == "Dr. Änne Müller"
    assert EN.person("=山田^太郎") == "太郎 山田"
    assert EN.person("García Márquez^Gabriel") == "Gabriel García Márquez"
    assert (EN.number(1234567), ES.number(1234567)) == ("1,234,567", "1.234.567")
    assert (EN.size(1_250_000), ES.size(1_250_000)) == ("1.2 MB", "1,2 MB")
    at = int(time.mktime((2024, 3, 3, 9, 5, 0, 0, 0, -1)))
    assert EN.moment(at) == "3 March 2024, 09:05"
    assert ES.moment(at) == "3 de marzo de 2024, 09:05"


def test_counts_choose_their_form() -> None:
    assert [EN("{n} images", n=n) for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [ES("{n} images", n=n) for n in (0, 1, 2)] == ["0 imágenes", "1 imagen", "2 imágenes"]


def test_values_are_said_in_the_language_too_and_never_read_as_formats() -> None:
    assert ES(say("{kind} of {part}", kind=modality_name("CT"), part=say("the chest"))) == "Tomografía (TC) del tórax"
    odd = say("{first} and {second}", first="{0.__class__}", second=Person("<b>^{n}"))
    assert EN(odd) == "{0.__class__} and {n} <b>"
    assert EN(say("{first} and {second}", first=Day("20240303"), second="x")) == "3 March 2024 and x"


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"), ("es", "es"), ("es-MX,es;q=0.9,en;q=0.8", "es"), ("en-GB,en;q=0.9,es;q=0.8", "en"),
        ("de-DE,de;q=0.9", "en"), ("de,es;q=0.5,en;q=0.3", "es"), ("fr;q=x,es", "es"), ("es;q=0", "en"), ("*", "en"),
    ],
)  # fmt: skip
def test_the_browser_says_which_language(header: str, language: str) -> None:
    assert preferred(header, TONGUES) == language


@given(st.text(max_size=300))
def test_any_header_gives_a_language_that_there_is(header: str) -> None:
    assert preferred(header, TONGUES) in TONGUES


def test_what_was_chosen_counts_more_than_what_the_browser_says() -> None:
    languages = Languages()
    request = make_mocked_request("GET", "/", {"Cookie": f"{COOKIE}=es", "Accept-Language": "en"})
    assert languages.of(request).language == "es"
    request = make_mocked_request("GET", "/", {"Cookie": f"{COOKIE}=../../x", "Accept-Language": "es"})
    assert languages.of(request).language == "es"
    assert languages.of(make_mocked_request("GET", "/")).language == DEFAULT
