"""Who may see what in Datasette, and that reading content is recorded."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from datasette.utils import tilde_encode

import browsed
from mitmesh.browse import access
from mitmesh.browse.serve import build
from mitmesh.browse.users import FILE, Kind, Role, Users


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit, written once."""
    folder = tmp_path_factory.mktemp("audit")
    browsed.make(folder, browsed.session(0.1, 3))
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """The audit in a folder of the test's own."""
    for name in ("audit.db", "content.db"):
        (tmp_path / name).write_bytes((written / name).read_bytes())
    return tmp_path


class Browser:
    """Asks as one who holds a token; `token` empty as one who holds none."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.datasette = folder, build(folder)
        self.users = Users(folder)

    def token(self, role: Role) -> dict[str, str]:
        return {"authorization": f"Bearer {self.users.add(f'{role} person', role, Kind.TOKEN)}"}

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        return await self.datasette.client.get(path, headers={"host": "127.0.0.1", **(headers or {})})

    def reads(self) -> list[tuple[str, str]]:
        with sqlite3.connect(self.folder / "access.db") as db:
            return db.execute("select name, asked from reads order by id").fetchall()


@pytest.fixture
def browser(folder: Path) -> Browser:
    return Browser(folder)


SESSION = f"/sessions/{tilde_encode(browsed.SESSION)}"
PATHS = [
    # path, what a viewer gets, what an auditor gets, is it a read of content
    ("/", 200, 200, False),
    ("/sessions", 200, 200, False),
    (SESSION, 200, 200, False),
    ("/audit", 200, 200, False),
    ("/audit/exchanges.json", 200, 200, False),
    ("/audit/spend_by_day.json?since=", 200, 200, False),
    ("/audit.json?sql=select+1", 403, 200, False),
    ("/audit/exchanges.json?_where=1", 403, 200, False),
    ("/content", 403, 200, True),
    ("/content.json?sql=select+text+from+messages", 403, 200, True),
    ("/content/messages.json", 403, 200, True),
    ("/content/messages/1.json", 403, 200, True),
    ("/content/messages.csv?_stream=1", 403, 200, True),
    ("/content/conversations.json", 403, 200, True),
    ("/content/search.json?words=merger", 403, 200, True),
    ("/~63ontent/messages.json", 403, 200, True),
    ("/access/reads.json", 403, 200, False),
    ("/_internal.json", 403, 403, False),
    ("/_internal/tables.json", 403, 403, False),
    ("/content.db", 403, 403, None),
    ("/audit.db", 403, 403, False),
    ("/-/permissions", 403, 403, False),
    ("/-/databases.json", 403, 200, False),
    ("/-/databases", 403, 200, False),
    ("/-/plugins.json", 403, 200, False),
    ("/-/metadata.json", 403, 200, False),
    ("/-/settings.json", 403, 200, False),
    ("/-/versions.json", 403, 200, False),
    ("/-/threads.json", 403, 200, False),
    ("/-/auth-token?token=x", 403, 403, False),
]


@pytest.mark.parametrize(("path", "viewer", "auditor", "read"), PATHS, ids=[path for path, *_ in PATHS])
async def test_who_sees_what(browser: Browser, path: str, viewer: int, auditor: int, read: bool | None) -> None:
    """Nobody sees anything without a login, a viewer no content and no SQL; an auditor's reads are recorded."""
    assert (await browser.get(path)).status_code in (401, 403)
    assert (await browser.get(path, {"accept": "text/html"})).status_code in (302, 401, 403)

    seen = await browser.get(path, browser.token(Role.VIEWER))
    assert seen.status_code == viewer
    assert "Initech" not in seen.text
    assert browser.reads() == []

    seen = await browser.get(path, browser.token(Role.AUDITOR))
    assert seen.status_code == auditor
    if read is not None:
        assert [name for name, _ in browser.reads()] == ["auditor person"] * read


async def test_texts_are_shown_on_request_alone(browser: Browser) -> None:
    """A session shows its texts to an auditor who asks, which is recorded, and to nobody else."""
    for role, query, shown in [
        (Role.VIEWER, "?texts=1", False),
        (Role.AUDITOR, "", False),
        (Role.AUDITOR, "?texts=1", True),
    ]:
        page = await browser.get(SESSION + query, browser.token(role))
        assert page.status_code == 200
        assert (browsed.SECRET_WORDS in page.text) is shown, (role, query)
    assert browser.reads() == [("auditor person", SESSION + "?texts=1")]


async def test_what_is_not_recorded_is_not_shown(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the record cannot be written, content is refused, and metadata is not."""

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(browser.datasette.reads, "add", full)
    headers = browser.token(Role.AUDITOR)
    for path in (SESSION + "?texts=1", "/content/messages.json", "/content.json?sql=select+1"):
        answer = await browser.get(path, headers)
        assert answer.status_code == 403, path
        assert "Initech" not in answer.text
    assert (await browser.get("/", headers)).status_code == 200


def test_the_record_only_grows(browser: Browser) -> None:
    """Rows of the record are neither changed nor deleted, and the file is its owner's alone."""
    browser.datasette.reads.add("ada", "auditor", "token", "/content?" + "x" * 5_000)
    with sqlite3.connect(browser.folder / "access.db") as db:
        for change in (
            "update reads set name = 'x'",
            "delete from reads",
            "insert or replace into reads (id) values (1)",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                db.execute(change)
    assert len(browser.reads()[0][1]) == 2_000
    for name in ("access.db", FILE):
        assert (browser.folder / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "token", ["", "Bearer", "Bearer x", "Bearer mesh_" + "0" * 40, "Basic YTpi", "Bearer dstok_x", "bearer é"]
)
async def test_bad_tokens(browser: Browser, token: str) -> None:
    """What is no token of ours is nobody's."""
    answer = await browser.get("/audit.json", {"authorization": token.encode("utf-8")})  # type: ignore[dict-item]
    assert answer.status_code == 401
    assert answer.json()["ok"] is False


async def log_in(browser: Browser, name: str, password: str) -> Any:
    """The form, as a browser sends it."""
    host = {"host": "127.0.0.1"}
    form = await browser.get("/-/login")
    token = re.search(r'name="csrftoken" value="([^"]+)"', form.text)
    assert token
    return await browser.datasette.client.post(
        "/-/login", data={"name": name, "password": password, "csrftoken": token[1]},
        cookies={"ds_csrftoken": form.cookies["ds_csrftoken"]}, headers=host, follow_redirects=False,
    )  # fmt: skip


async def test_login(browser: Browser) -> None:
    """A password opens a session, until the name is removed; a wrong one, or another's name, does not."""
    password = browser.users.add("ada", Role.VIEWER, Kind.PASSWORD)
    for name, word in (("ada", "wrong"), ("auditor", password), ("", "")):
        refused = await log_in(browser, name, word)
        assert refused.status_code == 403
        assert access.COOKIE not in refused.cookies

    answer = await log_in(browser, "ada", f" {password} ")
    assert (answer.status_code, answer.headers["location"]) == (302, "/")
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    cookie = {"cookie": f"{access.COOKIE}={answer.cookies[access.COOKIE]}"}
    assert (await browser.get("/", cookie)).status_code == 200
    assert (await browser.get("/content", cookie)).status_code == 403
    assert (await browser.get("/", {"cookie": cookie["cookie"] + "x"})).status_code in (302, 401)

    assert browser.users.remove("ada")
    assert (await browser.get("/", cookie)).status_code in (302, 401)


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"cookie": "other=1"}, {"host": "evil.example"}]
)
async def test_login_needs_its_form(browser: Browser, headers: dict[str, str]) -> None:
    """A page elsewhere cannot send the login form: its origin, or the missing token, gives it away."""
    password = browser.users.add("ada", Role.VIEWER, Kind.PASSWORD)
    answer = await browser.datasette.client.post(
        "/-/login", data={"name": "ada", "password": password}, headers={"host": "127.0.0.1", **headers}
    )
    assert answer.status_code == 403


async def test_sessions_end(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time a session's cookie is worth nothing."""
    answer = await log_in(browser, "ada", browser.users.add("ada", Role.VIEWER, Kind.PASSWORD))
    cookie = {"cookie": f"{access.COOKIE}={answer.cookies[access.COOKIE]}"}
    later = access.time.time() + access.SESSION_SECONDS + 1
    monkeypatch.setattr(access.time, "time", lambda: later)
    assert (await browser.get("/", cookie)).status_code in (302, 401)


async def test_our_pages_have_no_scripts_and_a_policy(browser: Browser) -> None:
    """Our pages forbid scripts, frames and other origins, and nothing is cached."""
    for path in ("/", "/sessions", SESSION + "?texts=1"):
        answer = await browser.get(path, browser.token(Role.AUDITOR))
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "no-store" in answer.headers["cache-control"]
        assert "<script" not in answer.text
        assert "style=" not in answer.text


@pytest.mark.parametrize("role", ["", "root", "Auditor", "admin"])
@pytest.mark.parametrize("action", ["view-instance", "view-database", "view-table", "view-query", "execute-sql"])
def test_other_roles_may_nothing(role: str, action: str) -> None:
    """Roles that we do not know may nothing."""
    assert not access.allowed(role, action, "audit")


def test_what_is_not_listed_is_denied() -> None:
    """Actions and databases that we do not know are denied to auditors too."""
    assert not access.allowed("auditor", "view-database", "other")
    assert not access.allowed("auditor", "view-database-download", "audit")
    assert not access.allowed("auditor", "debug-menu", None)
