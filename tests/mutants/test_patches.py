"""The deliberate bugs still fit the source, and what has to catch them is there."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.mutants.mutant import ROOT, Mutant, mutants


def test_mutants_are_many() -> None:
    """A suite that was tried on a few bugs only has shown little."""
    assert len(mutants()) >= 12


def test_a_number_is_one_mutants() -> None:
    """Mutants are chosen by their numbers, so no two may have the same."""
    numbers = [mutant.name.partition("-")[0] for mutant in mutants()]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the patches")
@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_a_patch_fits(mutant: Mutant) -> None:
    """It applies to the source as it is, and the tests that it names exist."""
    mutant.apply(ROOT, check=True)
    for test in mutant.tests:
        path, _, name = test.partition("::")
        text = (ROOT / path).read_text("utf-8")
        assert f"def {name.partition('[')[0]}(" in text if name else text


def test_parameters_that_patches_name_exist() -> None:
    """The id of a parametrized test is known only once pytest has collected it."""
    named = sorted(
        {test for mutant in mutants() for test in mutant.tests if "[" in test}
    )
    assert named
    collect = (sys.executable, "-m", "pytest", "--collect-only", "-q")
    done = subprocess.run(
        (*collect, "-p", "no:cacheprovider", *named),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
