"""What the gateway serves at ``/console``: a page that loads nothing from elsewhere, and a strict policy."""

import re

from support.gateway_service import GatewayProcess

from hookbus.contracts.session import KeyScope


async def test_the_page_and_its_files_come_from_here_alone(gateway: GatewayProcess) -> None:
    """Every address in the page and in each module is this server's, kept for good, under one version."""
    async with gateway.client(None) as client:
        page = await client.get("/console")
        assert page.headers["cache-control"] == "no-cache"
        addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        files = [one for one in addresses if one.startswith("/console/assets/")]
        assert len({one.split("/")[3] for one in files}) == 1
        assert all(one.startswith(("/console", "#")) for one in addresses)
        seen, waiting = set[str](), [*files]
        while waiting:
            address = waiting.pop()
            if address in seen:
                continue
            seen.add(address)
            asset = await client.get(address)
            assert asset.status_code == 200, address
            assert "immutable" in asset.headers["cache-control"]
            assert re.search(r"https?://(?!www\.w3\.org/)", asset.text) is None, address
            folder = address.rsplit("/", 1)[0]
            for name in re.findall(r'from "([^"]+)"', asset.text):
                assert name.startswith("."), name
                waiting.append(str(asset.url.join(f"{folder}/{name}").path))
        assert any(one.endswith("/pages/now.js") for one in seen)


async def test_the_policy_allows_no_inline_code_and_no_html_from_text(gateway: GatewayProcess) -> None:
    async with gateway.client(None) as client:
        for path in ("/console", "/console/budgets/agent/x", "/console/anything/at/all"):
            page = await client.get(path)
            assert page.status_code == 200
            policy = page.headers["content-security-policy"]
            assert policy.startswith("default-src 'none';")
            assert "unsafe" not in policy
            assert "*" not in policy
            assert "require-trusted-types-for 'script'" in policy
            assert "trusted-types 'none'" in policy
            assert re.search(r"<script(?![^>]*src=)|<style|style=|\son\w+=", page.text) is None


async def test_files_that_are_not_the_consoles_are_not_served(gateway: GatewayProcess) -> None:
    async with gateway.client(None) as client:
        (good,) = set(re.findall(r"/console/assets/([0-9a-f]+)/main\.js", (await client.get("/console")).text))
        for path in (
            f"/console/assets/{good}/absent.js",
            f"/console/assets/{good}/../pages.py",
            f"/console/assets/{good}/%2e%2e/pages.py",
            f"/console/assets/{good}/..%2fpages.py",
            f"/console/assets/{good}/templates/console.html",
            "/console/assets/0000000000000000/main.js",
            "/console/assets/main.js",
        ):
            answer = await client.get(path)
            assert answer.status_code == 404 or "<!doctype html>" in answer.text, path
            assert "PackageLoader" not in answer.text, path


async def test_a_refresh_without_both_halves_is_refused(gateway: GatewayProcess) -> None:
    async with gateway.client(None) as client:
        for cookie, body, status in (
            (None, {"half": "AAAA"}, 401),
            ("AAAA", {}, 422),
            ("AAAA", {"half": "AAAAAAAA"}, 401),
            ("%00", {"half": "AAAA"}, 401),
            ("AAAA", {"half": "AAAA"}, 401),
        ):
            headers = {} if cookie is None else {"cookie": f"hookbus_console={cookie}"}
            answer = await client.post("/console/session/refresh", json=body, headers=headers)
            assert answer.status_code == status, (cookie, body, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        plain = await client.post("/console/session/refresh", content=b'{"half":"AAAA"}')
        assert plain.status_code == 415, "a form of another site cannot ask"


async def test_who_one_is_and_what_one_may(gateway: GatewayProcess) -> None:
    """``admin`` is spelt out; without a credential nobody is anybody."""
    async with gateway.client("budget:read") as client:
        me = (await client.get("/api/v1/session/me")).json()
        assert me["scopes"] == ["budget:read"]
        assert me["actor"].startswith("key:")
        assert "username" not in me
    async with gateway.client("admin") as client:
        assert set((await client.get("/api/v1/session/me")).json()["scopes"]) == {scope.value for scope in KeyScope}
    async with gateway.client(None) as client:
        assert (await client.get("/api/v1/session/me")).status_code == 401
