"""What a person types: scripts/ and .ci/run, on machines of every kind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mitmesh.launch.__main__ import parser

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file())
TOOLS = ("bash", "cat", "cmp", "cp", "dirname", "env", "grep", "readlink", "rm", "sed", "sleep", "tail")
NO_PYTHON = (
    "mitmesh: no Python 3.12, 3.13 or 3.14 that can make a virtual environment: "
    "install one (with its venv module) or uv\n"
)


def is_bash(path: Path) -> bool:
    return path.read_bytes().startswith(b"#!/usr/bin/env bash\n")


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_a_script_can_be_run(script: Path) -> None:
    """Each is executable, names its interpreter, and is free of syntax errors."""
    assert os.access(script, os.X_OK)
    assert script.read_bytes().startswith(b"#!")
    if is_bash(script):
        assert subprocess.run(["bash", "-n", script]).returncode == 0


@pytest.mark.parametrize("script", [path for path in SCRIPTS if is_bash(path)], ids=lambda path: path.name)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_needs_no_set_up(machine: "Machine", script: Path, flag: str) -> None:
    """--help is short, and there before anything is installed."""
    shown = machine.call(script.name, flag)
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"Usage: scripts/{script.name}")
    assert 2 < len(shown.stdout.splitlines()) < 20
    assert not (machine.tree / ".venv").exists()


def test_a_script_works_through_a_link(tmp_path: Path) -> None:
    """A link in ~/bin leads to the project, and not to the folder above itself."""
    (tmp_path / "exec").symlink_to(ROOT / "scripts" / "exec")
    environ = {**os.environ, "MITMESH_HOME": str(tmp_path / "none")}
    done = subprocess.run([tmp_path / "exec", "--", "true"], env=environ, capture_output=True, text=True)
    assert "start scripts/run" in done.stderr
    for script in SCRIPTS:
        assert 'dirname "${BASH_SOURCE' not in script.read_text(), script.name


def test_help_of_run_lists_every_option() -> None:
    """scripts/run's own text and the launcher's options are the same set, with the same defaults."""
    text = (ROOT / "scripts" / "run").read_text()
    for action in parser()._actions:
        assert all(option in text for option in action.option_strings), action.option_strings
        if isinstance(action.default, int) and action.default:
            assert f"({action.default})" in text


class Machine:
    """A project with a tiny lock, and a PATH that has only what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.bin, self.home = folder / "project", folder / "bin", folder / "home"
        shutil.copytree(ROOT / "scripts", self.tree / "scripts")
        for each in (self.bin, self.home):
            each.mkdir()
        self.lock("requirements.lock", "")
        self.lock("requirements-dev.lock", "")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))

    def lock(self, name: str, text: str) -> None:
        (self.tree / name).write_text(text)

    def put(self, path: Path, *lines: str) -> None:
        """A program that is a shell script of these lines."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["#!/usr/bin/env bash", *lines, ""]))
        path.chmod(0o755)

    def put_python(self, path: Path) -> None:
        """The Python that runs the tests, under another name."""
        self.put(path, f'exec "{sys._base_executable}" "$@"')  # type: ignore[attr-defined]

    def environment(self) -> dict[str, str]:
        return {"PATH": str(self.bin), "HOME": str(self.home), "LC_ALL": "C.UTF-8", "PYTHONPATH": "nowhere"}

    def call(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.bin / "bash"), str(self.tree / "scripts" / script), *arguments]
        return subprocess.run(
            command, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100
        )

    def stamp(self) -> Path:
        return self.tree / ".venv" / "requirements.lock"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without any Python."""
    return Machine(tmp_path)


def test_no_python_is_one_line(machine: Machine) -> None:
    """Without any Python, setup says in one line what to do."""
    called = machine.call("setup")
    assert (called.returncode, called.stderr) == (1, NO_PYTHON)


@pytest.mark.parametrize("code", [127, 1], ids=["shim", "old"])
def test_a_python_that_will_not_do_is_passed_over(machine: Machine, code: int) -> None:
    """A version manager's shim that does not run, or a Python that is too old, counts as none."""
    for name in ("python3.12", "python3.13", "python3", "uv"):
        machine.put(machine.bin / name, "echo 'command not found' >&2", f"exit {code}")
    called = machine.call("run")
    assert (called.returncode, called.stderr) == (1, NO_PYTHON)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "bin/python3.13",
        "bin/python3",
        "home/.pyenv/versions/3.12.1/bin/python3",
        "home/.asdf/installs/python/3.13.0/bin/python3",
        "home/.local/share/mise/installs/python/3.12/bin/python3",
    ],
)
def test_python_is_found(machine: Machine, place: str) -> None:
    """On PATH behind shims that fail, or in a version manager's folder; a second call does nothing."""
    machine.put(machine.bin / "python3.12", "exit 127")
    machine.put_python(machine.bin.parent / place)
    first = machine.call("setup")
    assert first.returncode == 0, first.stderr
    assert str(machine.bin.parent / place) in first.stderr
    again = machine.call("setup")
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.slow
def test_setup_follows_the_lock(machine: Machine) -> None:
    """A changed lock, a .venv without a stamp (interrupted) and one whose Python is gone are made anew; --dev adds."""
    machine.put_python(machine.bin / "python3")
    assert machine.call("setup").returncode == 0

    machine.lock("requirements.lock", "# another\n")
    (machine.tree / ".venv" / "old").touch()
    assert "setting up" in machine.call("setup").stderr
    assert not (machine.tree / ".venv" / "old").exists()

    machine.stamp().unlink()
    assert "setting up" in machine.call("setup").stderr

    (machine.tree / ".venv" / "bin" / "python").unlink()
    assert "setting up" in machine.call("setup").stderr

    (machine.tree / ".venv" / "kept").touch()
    assert "setting up" in machine.call("setup", "--dev").stderr
    assert (machine.tree / ".venv" / "kept").exists()
    assert machine.call("setup").stderr == machine.call("setup", "--dev").stderr == ""


@pytest.mark.slow
def test_a_failed_install_is_one_line_and_no_venv(machine: Machine) -> None:
    """A package that no index has ends setup with one line, and is tried again the next time."""
    machine.put_python(machine.bin / "python3")
    machine.lock("requirements.lock", f"mitmesh-no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    machine.home.joinpath(".config", "pip").mkdir(parents=True)
    machine.home.joinpath(".config", "pip", "pip.conf").write_text("[global]\nno-index = true\n")
    for _ in range(2):
        called = machine.call("setup")
        assert called.returncode == 1
        setting_up, line = called.stderr.splitlines()
        assert setting_up.startswith("mitmesh: setting up")
        assert line.startswith("mitmesh: could not install the packages of requirements.lock; is a package index")
        assert not machine.stamp().exists()


@pytest.mark.slow
def test_setup_killed_half_way_is_not_taken_for_whole(machine: Machine) -> None:
    """A kill while packages are installed leaves no stamp, and the next setup does it all."""
    machine.put_python(machine.bin / "python3")
    machine.put(machine.bin / "uv", '[ "$1" = --version ] && exit', 'mkdir -p .venv/bin; echo "$1" >> steps; sleep 30')
    (machine.bin / "mkdir").symlink_to(str(shutil.which("mkdir")))
    command = [str(machine.bin / "bash"), str(machine.tree / "scripts" / "setup")]
    setup = subprocess.Popen(command, env=machine.environment(), stderr=subprocess.DEVNULL, start_new_session=True)
    while not (machine.tree / "steps").exists():
        assert setup.poll() is None
        time.sleep(0.02)
    os.killpg(setup.pid, signal.SIGKILL)
    setup.wait()
    assert not machine.stamp().exists()
    (machine.bin / "uv").unlink()
    assert machine.call("setup").returncode == 0
    assert machine.stamp().exists()


@pytest.mark.slow
def test_two_setups_at_once_are_one(machine: Machine) -> None:
    """The second waits for the first, then finds nothing left to do."""
    machine.put_python(machine.bin / "python3")
    command = [str(machine.bin / "bash"), str(machine.tree / "scripts" / "setup")]
    both = [subprocess.Popen(command, env=machine.environment(), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [each.communicate(timeout=100)[1] for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert "".join(said).count("setting up") == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_fresh_clone_is_set_up_within_a_minute(tmp_path: Path) -> None:
    """The real lock: under a minute (four when pip does it beside other tests), under 700 MB, and all of it imports."""
    for name in ("requirements.lock", "scripts/setup"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    began = time.monotonic()
    subprocess.run([tmp_path / "scripts" / "setup"], check=True, stdin=subprocess.DEVNULL)
    assert time.monotonic() - began < (60 if shutil.which("uv") else 240)
    size = sum(file.lstat().st_size for file in (tmp_path / ".venv").rglob("*"))
    assert size < 700 * 10**6
    check = "import mitmproxy.tools.main, datasette, tiktoken, genai_prices, sqlite_utils, zstandard, brotli, aiohttp"
    subprocess.run([tmp_path / ".venv" / "bin" / "python", "-c", check], check=True)
