"""The explained schema: each key that it shows is accepted, and each accepted key is shown."""

import re

import pytest

from gpax_lab.settings import SettingsError, explain
from gpax_lab.settings._check import described, parsed
from gpax_lab.settings._explain import schema
from gpax_lab.settings._kinds import options_of
from gpax_lab.settings._schema import Settings
from gpax_lab.settings._tables import CHECKS, DEFAULTS

_HEADING = re.compile(
    r"^\[(?P<path>\S+)\](?: (?P<field>\w+) = (?P<value>\S+))?(?: as text)?(?: of gpax-lab \w+)?(?:  |$)", re.M
)


def shown():
    """Keys by heading, from the text that users read."""
    found = {}
    for paragraph in explain().split("\n\n"):
        heading, *lines = paragraph.splitlines()
        match = _HEADING.match(heading)
        assert match, heading
        name = heading[: match.end()].strip()
        found.setdefault(name, []).extend(line.split()[0] for line in lines)
    return found


def accepted(kind, table=()):
    """The keys of a section, as the error for an unknown one lists them."""
    with pytest.raises(SettingsError) as caught:
        parsed(kind, dict(table) | {"no_such_key": 1}, "section")
    names = re.search(r"\[section\] has (.*?)\.( Did|$)", str(caught.value))[1]
    return [] if names == "no options" else names.split(", ")


def test_the_text_shows_what_is_accepted_and_nothing_else():
    text, checked = shown(), 0
    for one in schema():
        if one.kind is None or one.about.startswith("as "):
            continue
        by = getattr(one.kind, "by", None)
        word = re.search(r'= "(.*)"$', one.heading)
        if by is None:
            assert text[one.heading] == accepted(one.kind)
        elif word is None:
            assert text[one.heading] == list(described(one.kind))
        else:
            common = text[f"[{one.heading[1:].partition(']')[0]}]"]
            assert set(accepted(one.kind, {by[0]: word[1]})) == {*common, *text[one.heading]}
        checked += 1
    assert checked > 60


def test_every_table_of_settings_is_there_with_units_defaults_and_a_line():
    text = explain()
    for name in described(Settings):
        assert f"[{name}" in text
    assert re.search(
        r"^  wait_s +300\.0; a finite number .* \[s\] - how long a lost instrument is waited for$", text, re.M
    )
    assert re.search(r"^  vmax +8\.0; a finite number above 0 and at most 20 \[V\] - amplitude", text, re.M)
    assert re.search(r"^  beta +2\.0; a finite number of at least 0", text, re.M)
    assert "``" not in text


def test_a_plug_in_that_can_not_be_loaded_is_shown_with_its_error(package):
    package("lab-bad", "bad", "import no_such_module\n", {"laws": {"worse": "lab_bad:worse"}})
    assert 'law = "worse"  the law "worse" of lab-bad 1.2 can not be loaded' in explain()


def test_limits_and_defaults_are_of_options_that_there_are():
    """A renamed option would lose its limits in silence."""
    for group, name in [*CHECKS, *DEFAULTS]:
        if group == "axes":
            continue
        known = {option.name for option in options_of(group, name)}
        assert set(CHECKS.get((group, name), {})) | set(DEFAULTS.get((group, name), {})) <= known, (group, name)
