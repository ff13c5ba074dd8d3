"""Packages made on the fly register plug-ins; what is wrong with one says which package, and stops no other."""

import subprocess
import sys

import pytest

from gpax_lab.core._plugins import GROUPS, PluginError, load_plugin, plugin_names, plugins


def test_every_plug_in_of_our_own_loads():
    for group in GROUPS:
        good, bad = plugins(group)
        assert good
        assert bad == {}
        assert tuple(good) == plugin_names(group)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(PluginError, match=r'no sampler "nutz"; registered are .*nuts.*Did you mean "nuts"\?'):
        load_plugin("samplers", "nutz")


def test_another_package_adds_one(package):
    package("lab-one", "one", "def burnt(): return 3\n", {"samplers": {"burnt": "lab_one:burnt"}})
    assert "burnt" in plugin_names("samplers")
    assert load_plugin("samplers", "burnt")() == 3


def test_one_that_can_not_be_imported_names_its_package_and_the_others_go_on(package):
    package("lab-bad", "bad", "import no_such_module\n", {"samplers": {"broken": "lab_bad:broken"}})
    words = (
        r'the sampler "broken" of lab-bad 1\.2 can not be loaded from lab_bad:broken: ModuleNotFoundError: .*no_such'
    )
    with pytest.raises(PluginError, match=words):
        load_plugin("samplers", "broken")
    good, bad = plugins("samplers")
    assert "nuts" in good
    assert list(bad) == ["broken"]


def test_two_of_one_name_are_refused_in_words(package):
    package("lab-one", "one", "def nuts(): ...\n", {"samplers": {"nuts": "lab_one:nuts"}})
    with pytest.raises(PluginError, match=r'lab-one 1\.2 \(lab_one:nuts\).* both register the sampler "nuts"'):
        load_plugin("samplers", "nuts")
    assert load_plugin("samplers", "smc")


@pytest.mark.parametrize("room", ["gpax_lab.settings", "gpax_lab.cli", "gpax_lab.cli._app"])
def test_settings_and_command_line_import_no_driver(room):
    words = f"import sys, {room}; print([name for name in sys.modules if name.startswith('gpax_instruments')])"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
