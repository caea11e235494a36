"""The public names are there, sorted, and cost nothing until they are used."""

import subprocess
import sys

import stylealign as sa


def test_public_names_are_sorted_and_exist():
    assert sa.__all__ == sorted(sa.__all__, key=lambda name: (name.islower(), name))
    assert all(getattr(sa, name) is not None for name in sa.__all__)


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(sa, "nothing")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, stylealign; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
