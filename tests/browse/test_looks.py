"""The pages in a real browser: they fit, in the light and in the dark, and nothing complains.

`MESH_PICTURES=docs/pictures` saves what is seen.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from datasette.utils import tilde_encode

import browsed
import chromium
from mitmesh.browse.users import Users
from mitmesh.launch import browse, ports, ready

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not chromium.FOUND, reason="no Chromium on this machine")]
SESSION = f"/sessions/{tilde_encode(browsed.SESSION)}"
PICTURES = os.environ.get("MESH_PICTURES")


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    browsed.make(folder)
    return folder


@pytest.fixture
def served(audit: Path) -> Iterator[str]:
    """Datasette as scripts/run starts it; its URL."""
    port = ports.free()
    process = subprocess.Popen(browse.command(audit, port), env={**os.environ, "PYTHONPATH": ""})
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


async def log_in(page: chromium.Page, url: str, password: str) -> None:
    """Through the form, as a person would."""
    await page.open(url)
    assert await page.ask("location.pathname") == "/-/login"
    await page.loading(f"document.querySelector('[name=password]').value = '{password}'; document.forms[0].submit()")
    assert await page.ask("location.pathname") == "/"


async def test_the_pages_fit(audit: Path, served: str, tmp_path: Path) -> None:
    """Every page is as wide as its window, wide or narrow; no error is in the console; the chart has its columns."""
    await ready.port(int(served.rpartition(":")[2]))
    users = Users(audit)
    password = users.begin() or users.add("auditor", browse.Role.AUDITOR, browse.Kind.PASSWORD)
    async with chromium.browser(tmp_path) as page:
        await log_in(page, served, password)
        for path in (
            "/?period=30d",
            "/sessions",
            SESSION,
            SESSION + "?texts=1",
            "/audit",
            "/audit/spend_by_team?since=",
        ):
            for width in (1280, 420):
                await page.look(width)
                await page.open(served + path)
                assert await page.overflow() <= 0, (path, width)
        await page.look(1280)
        await page.open(served + "/?period=30d")
        assert await page.ask("document.querySelectorAll('svg.chart rect.metered').length") > 5
        assert (
            await page.ask("getComputedStyle(document.querySelector('.card')).backgroundColor") == "rgb(255, 255, 255)"
        )
        await take(page, "overview")
        await page.open(await page.ask("document.querySelector('a[href^=\"/calls/\"]').href"))
        assert await page.overflow() <= 0
        await page.open(served + SESSION)
        await page.loading("document.querySelector('a.button').click()")
        assert browsed.SECRET_WORDS in await page.ask("document.body.innerText")
        await take(page, "session")
        await page.look(1280, dark=True)
        await page.open(served + "/?period=30d")
        assert await page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
        await page.loading("document.querySelector('header form button').click()")
        assert await page.ask("location.pathname") == "/-/login"
        assert page.errors == []


async def take(page: chromium.Page, name: str) -> None:
    """A picture for the docs, where it is asked for."""
    if PICTURES:
        await page.picture(Path(PICTURES) / f"{name}.png")
