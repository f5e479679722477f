"""House rules that no single module can keep by itself."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
SKIP = {".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
PLACES = re.compile(
    # Split, so that this file does not break its own rule. A URL's path and a word of a sentence are no machine's.
    rf"(?<![\w.~/-])/(?:{'|'.join(('root', 'work', 'tmp', 'home', 'opt'))})/\w"
    rf"|(?:{'|'.join(('pypi', 'pythonhosted', 'npmjs', 'crates'))})\.(?:org|io)\b"
)


@cache
def files() -> list[Path]:
    """What is or would be in the repository; without git, all but what tools leave behind."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split("\0") if listed.returncode == 0 else [str(each) for each in ROOT.rglob("*")]
    found = [ROOT / name for name in names if name]
    found = [file for file in found if file.suffix != ".log"]
    return [file for file in found if file.is_file() and not SKIP & set(file.relative_to(ROOT).parts)]


def pins(name: str) -> dict[str, set[str]]:
    """The requirements of a lock file, each with its hashes."""
    entries = (ROOT / name).read_text().replace("\\\n", "").splitlines()
    split = [re.split(r"\s+(?=--hash=)", entry.strip()) for entry in entries]
    return {pin: set(hashes) for pin, *hashes in split}


def test_no_door_hides_a_module() -> None:
    """mitmproxy puts addons/ on sys.path: a file there named like another module would be imported in its place."""
    doors = {path.stem for path in (ROOT / "addons").iterdir() if path.suffix == ".py" or path.is_dir()}
    taken = (set(sys.stdlib_module_names) | set(packages_distributions())) - {"mitmesh"}
    assert not doors & taken


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_exact_versions_with_hashes(name: str) -> None:
    """Every pin is exact, names no place, and holds hashes; a package with code of its own has those of many wheels."""
    found = pins(name)
    assert len(found) > 30
    for pin, hashes in found.items():
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.!+]+(?: ; [\w\s.<>='()!]+)?", pin), pin
        assert hashes, pin
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), pin
    compiled = [pin for pin in found if pin.split("==")[0] in {"aiohttp", "cryptography", "pydantic-core", "tiktoken"}]
    assert compiled
    assert all(len(found[pin]) > 10 for pin in compiled)


def test_what_is_tested_is_what_runs() -> None:
    """The lock for tests holds the very pins that run, so that one .venv serves both."""
    runtime, tests = map(pins, LOCKS)
    assert {pin: tests.get(pin) for pin in runtime} == runtime


def test_a_lock_fits_its_ranges() -> None:
    """Each direct requirement is locked: whoever changes a .in file runs scripts/lock."""
    for name in LOCKS:
        lines = (ROOT / name.replace(".lock", ".in")).read_text().splitlines()
        direct = [re.split(r"[\[<>=; ]", line)[0] for line in lines if line and line[0] not in "-#"]
        assert {package.lower().replace(".", "-") for package in direct} <= {pin.split("==")[0] for pin in pins(name)}


def test_torch_stays_out() -> None:
    """It takes 12 seconds and 870 MB to import what would find it."""
    assert not [pin for name in LOCKS for pin in pins(name) if pin.startswith(("torch", "nvidia", "sentence-"))]


def test_nothing_names_a_machine() -> None:
    """No file names a folder of somebody's machine or the host of a package registry."""
    offences = []
    for file in files():
        if file.is_relative_to(ROOT / "tests" / "data") or file.name == "LICENSE":
            continue  # others' words, kept as they are
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if found := PLACES.search(line):
                offences.append(f"{file.relative_to(ROOT)}:{number}: {found[0]}")
    assert not offences


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see " + "/" + "root/x", True),
        ('"' + "/" + "tmp/x", True),
        ("files.python" + "hosted.org", True),
        ("https://example.com/" + "work/x", False),
        ("network/" + "root/x", False),
        ("~/.mitmesh", False),
    ],
)
def test_places_are_found(text: str, found: bool) -> None:
    """The rule finds paths and hosts, and leaves URLs alone."""
    assert bool(PLACES.search(text)) is found


def test_no_merge_is_half_done() -> None:
    """Marks of a conflict stand in no file."""
    found = [file.name for file in files() if re.search(rb"(?m)^(?:<{7}|>{7}) ", file.read_bytes())]
    assert not found


def test_every_module_says_what_it_is_for() -> None:
    """Each module and door begins with a docstring."""
    modules = [file for file in files() if file.is_relative_to(ROOT / "addons") and file.suffix == ".py"]
    assert modules
    assert not [str(file.relative_to(ROOT)) for file in modules if not ast.get_docstring(ast.parse(file.read_text()))]


FIRST = """
import importlib, sys
for name in sys.argv[1:]:
    for each in [each for each in sys.modules if each.partition(".")[0] == "mitmesh"]:
        del sys.modules[each]
    importlib.import_module(name)
"""


def test_dialects_and_wire_may_be_imported_in_any_order() -> None:
    """Each of their modules first: the two folders need each other in one direction alone."""
    folder = ROOT / "addons"
    found = [file for part in ("dialects", "wire") for file in sorted((folder / "mitmesh" / part).glob("*.py"))]
    names = [".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__") for file in found]
    assert len(names) > 30
    command = [sys.executable, "-c", FIRST, *names]
    ran = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_the_licence_is_there() -> None:
    """Apache 2.0, whole."""
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("name", ["CHANGELOG.md", "README.md", "docs/decisions.md", "mitm.conf"])
def test_what_people_look_for_is_there(name: str) -> None:
    """The files a newcomer opens first exist and say something."""
    assert (ROOT / name).read_text().strip()
