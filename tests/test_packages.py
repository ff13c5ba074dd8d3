"""What holds for every package of the toolkit."""

import subprocess
import sys

# A submodule becomes an attribute of its package once it is imported, and would hide a function of the same name.
HIDDEN = """
import importlib, pkgutil, gpax_lab
found = list(pkgutil.walk_packages(gpax_lab.__path__, "gpax_lab."))
packages = [gpax_lab, *(importlib.import_module(one.name) for one in found if one.ispkg)]
before = {(package, name): getattr(package, name) for package in packages for name in getattr(package, "__all__", ())}
for one in found:
    if not one.name.endswith("__main__"):
        importlib.import_module(one.name)
print([f"{package.__name__}.{name}" for (package, name), was in before.items() if getattr(package, name) is not was])
"""


def test_no_module_hides_an_exported_function_of_its_package():
    done = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]", done.stdout
