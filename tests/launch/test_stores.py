"""Each store: put in, listed, taken out, and nothing left."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mitmesh.ca import Names
from mitmesh.ca.authority import make
from mitmesh.hostnames import parse_network
from mitmesh.launch import LaunchError, environment, install, stores


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A MITMESH_HOME with the certificates of two CAs, as while one takes over from the other."""
    folder = tmp_path / "home"
    (folder / "ca").mkdir(parents=True)
    names = Names(("a.example",), (parse_network("127.0.0.0/8"),))
    roots = [make(names, datetime.now(UTC)).anchor for _ in range(2)]
    (folder / environment.CA).write_bytes(b"".join(root.public_bytes(Encoding.PEM) for root in roots))
    monkeypatch.setenv("MITMESH_HOME", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        install.main(list(words))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out + said.err


def there_and_back(capsys: pytest.CaptureFixture[str], home: Path, kind: str, place: str) -> None:
    """install, list, a new CA, uninstall; twice is once."""
    assert run(capsys, "list", kind) == (0, f"{kind:<8}{place}: not trusted\n")
    for _ in range(2):
        assert run(capsys, "install", kind) == (0, f"{kind:<8}{place}: trusted\n")
    assert place in install.installed(home / environment.CA)
    one = (home / environment.CA).read_text().split("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"
    (home / environment.CA).write_text(one)
    code, said = run(capsys, "list", kind)
    assert (code, "trusted, and 1 of another CA of mitmesh's: mitmesh-" in said) == (0, True)
    run(capsys, "install", kind)  # and what signs no more goes
    assert run(capsys, "uninstall", kind) == (0, f"{kind:<8}{place}: 1 removed\n")
    assert run(capsys, "uninstall", kind) == (0, f"{kind:<8}{place}: nothing there\n")
    assert install.installed(home / environment.CA) == []


@pytest.mark.skipif(shutil.which("certutil") is None, reason="certutil is not installed")
def test_nss(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Chrome's database, made when it is needed and not before; a Firefox profile is found too."""
    place = tmp_path / ".pki" / "nssdb"
    monkeypatch.setattr(stores, "KINDS", {"nss": stores.nss})
    run(capsys, "list")
    assert not place.exists()
    there_and_back(capsys, home, "nss", str(place))
    assert not place.parent.exists()  # nobody else's is in it
    run(capsys, "install")
    other = make(Names(("b.example",), ()), datetime.now(UTC)).anchor
    (tmp_path / "other.pem").write_bytes(other.public_bytes(Encoding.PEM))
    database = ["-d", f"sql:{place}", "-n", "other"]
    subprocess.run(["certutil", "-A", *database, "-t", "C,,", "-i", str(tmp_path / "other.pem")], check=True)
    run(capsys, "uninstall")
    subprocess.run(["certutil", "-L", *database], check=True, capture_output=True)
    profile = tmp_path / ".mozilla" / "firefox" / "x.default"
    profile.mkdir(parents=True)
    subprocess.run(["certutil", "-N", "-d", f"sql:{profile}", "--empty-password"], check=True)
    assert f"{profile}: trusted" in run(capsys, "install")[1]
    assert run(capsys, "uninstall")[1].count("1 removed") == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("keytool") is None, reason="Java is not installed")
def test_java(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java with a trust store of its own."""
    java = tmp_path / "jdk"
    for folder in ("bin", "lib/security"):
        (java / folder).mkdir(parents=True)
    (java / "bin" / "keytool").symlink_to(str(shutil.which("keytool")))
    cacerts = java / "lib" / "security" / "cacerts"
    new = ["-genkeypair", "-alias", "theirs", "-keyalg", "EC", "-dname", "CN=x", "-storepass", "changeit"]
    subprocess.run(["keytool", *new, "-keystore", cacerts], check=True, capture_output=True)
    monkeypatch.setattr(stores, "KINDS", {"java": lambda: iter([stores.Java(cacerts, java / "bin" / "keytool")])})
    there_and_back(capsys, home, "java", str(cacerts))
    listed = subprocess.run(
        ["keytool", "-list", "-keystore", cacerts, "-storepass", "changeit"], capture_output=True, text=True
    )
    assert "theirs" in listed.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("keytool") is None, reason="Java is not installed")
def test_debian_adds_to_java_and_takes_nothing_out(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's hook makes `debian:NAME.pem` of what the system's store has, and leaves it there: we take it out, from
    the system's store and by the name of Java alone."""
    cacerts, folder = tmp_path / "cacerts", tmp_path / "anchors"
    folder.mkdir()
    keytool = ["keytool", "-noprompt", "-storepass", "changeit", "-keystore", str(cacerts)]
    new = ["-genkeypair", "-alias", "theirs", "-keyalg", "EC", "-dname", "CN=x"]
    subprocess.run([*keytool, *new], check=True, capture_output=True)
    update = tmp_path / "update"
    update.write_text(
        f"#!/bin/sh\n[ $# = 0 ] || exit 0\nfor each in {folder}/*.crt; do name=debian:$(basename $each .crt).pem\n"
        f"{' '.join(keytool)} -list -alias $name || {' '.join(keytool)} -importcert -alias $name -file $each; done\n"
    )
    update.chmod(0o755)
    jvm = tmp_path / "jvm" / "some" / "bin"
    jvm.mkdir(parents=True)
    (jvm / "keytool").symlink_to(str(shutil.which("keytool")))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(stores, "DEBIAN_JAVA", cacerts)
    monkeypatch.setattr(stores, "JVMS", tmp_path / "jvm")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "update-ca-certificates").symlink_to(update)
    monkeypatch.setattr(stores, "_PATH", os.environ["PATH"])
    (anchors,) = stores.system()
    assert isinstance(anchors, stores.Anchors)
    anchors.folder, anchors.update = folder, [str(update)]
    monkeypatch.setattr(stores, "KINDS", {"system": lambda: iter([anchors]), "java": stores.debian_java})
    assert run(capsys, "install", "system")[0] == 0
    assert run(capsys, "list", "java") == (0, f"java    {cacerts}: trusted\n")
    assert run(capsys, "uninstall", "system")[0] == 0
    assert run(capsys, "uninstall", "java") == (0, f"java    {cacerts}: nothing there\n")
    run(capsys, "install", "system")
    assert run(capsys, "uninstall", "java") == (0, f"java    {cacerts}: 2 removed\n")
    listed = subprocess.run([*keytool, "-list"], capture_output=True, text=True).stdout
    assert ("theirs" in listed, "mitmesh" in listed) == (True, False)
    with pytest.raises(LaunchError, match="does not exist"):  # what keytool says, and not its advice
        stores.call([*keytool, "-delete", "-alias", "none"])


def test_a_store_that_is_not_here_is_said(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for Java where none is does not get silence."""
    monkeypatch.setattr(stores, "KINDS", {"java": lambda: iter(()), "nss": stores.nss})
    assert run(capsys, "install", "java") == (0, "java    there is none here\n")


def test_anchors(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's folder of anchors, and its command run after each change; one that fails is one clear line."""
    folder, log = tmp_path / "anchors", tmp_path / "log"
    folder.mkdir()
    update = tmp_path / "update"
    update.write_text(f"#!/bin/sh\necho update $* >> {log}\n")
    update.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(stores, "KINDS", {"system": lambda: iter([stores.Anchors(folder, ".crt", [str(update)])])})
    there_and_back(capsys, home, "system", str(folder))
    assert log.read_text().splitlines()[-1] == "update --fresh"
    assert list(folder.iterdir()) == []
    update.write_text("#!/bin/sh\necho it is full >&2\nexit 1\n")
    code, said = run(capsys, "install", "system")
    assert code == 1
    assert f"mitmesh: system: {folder}: " in said
    assert "it is full" in said


def test_rhel(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where update-ca-trust is and update-ca-certificates is not: RHEL's folder, and `extract` after each change."""
    log, bin_, folder = tmp_path / "log", tmp_path / "bin", tmp_path / "anchors"
    for each in (bin_, folder):
        each.mkdir()
    (bin_ / "update-ca-trust").write_text(f"#!/bin/sh\necho $* >> {log}\n")
    (bin_ / "update-ca-trust").chmod(0o755)
    with monkeypatch.context() as only:
        only.setattr(stores, "_PATH", str(bin_))
        only.setattr("sys.platform", "linux")
        (store,) = stores.system()
    assert isinstance(store, stores.Anchors)
    assert store.place == "/etc/pki/ca-trust/source/anchors"
    moved = stores.Anchors(folder, store.suffix, [str(bin_ / store.update[0]), *store.update[1:]])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(stores, "KINDS", {"system": lambda: iter([moved])})
    there_and_back(capsys, home, "system", str(folder))
    assert set(log.read_text().splitlines()) == {"extract"}
    assert list(folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("CI") != "true" or os.geteuid() != 0 or shutil.which("update-ca-certificates") is None,
    reason="changes this machine's own store: for root, in CI, on Debian",
)
def test_debian(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The machine's real store, the bundle that curl and others read, and what Debian's Java has of it."""
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    before = bundle.read_text()
    javas = list(stores.debian_java())
    root = (home / environment.CA).read_text().split("-----END")[0].splitlines()[1]
    try:
        assert run(capsys, "install", "system")[0] == 0
        assert root in bundle.read_text()
        assert all(len(store.names()) == 2 for store in javas)
    finally:
        code, _ = run(capsys, "uninstall", "system")
    assert code == 0
    assert [store.names() for store in javas] == [[]] * len(javas)
    assert bundle.read_text() == before


def test_a_tool_that_is_missing_is_named(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Without certutil, and with a browser that would need it, the error names the package."""
    (tmp_path / ".pki" / "nssdb").mkdir(parents=True)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(LaunchError, match="libnss3-tools"):
        list(stores.nss())
    assert run(capsys, "install", "nss")[0] == 1


def test_path(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The path alone, for $(scripts/install-ca path); before there is a CA, one line."""
    install.main(["path"])
    assert capsys.readouterr().out == f"{home / environment.CA}\n"
    monkeypatch.setenv("MITMESH_HOME", str(home / "none"))
    with pytest.raises(SystemExit, match=r"there is no CA in .* yet: scripts/run makes it"):
        install.main(["path"])
