"""The HTTP door of inventory, called as the gateway calls it, by several people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2

from chassis import auth
from tests.inventory.builders import Warehouse

KEY = auth.private_key("a secret of the tests, long enough", "internal")
STAFF = auth.Principal("user_1", "warehouse")
ADMIN = auth.Principal("user_2", "admin")
AGENT = auth.Principal("user_3", "agent")
CUSTOMER = auth.Principal("cus_1", "customer", "cus_1")


@dataclass
class Door:
    """The HTTP application over a warehouse."""

    http: httpx2.AsyncClient
    warehouse: Warehouse

    async def call(
        self, method: str, path: str, json: Any = None, *, who: auth.Principal = STAFF, **more: Any
    ) -> httpx2.Response:
        """A call of the gateway on behalf of somebody; ``more`` goes to the HTTP client."""
        token = auth.Issuer(KEY).mint(who, "inventory")
        headers = {"authorization": f"Bearer {token}", **more.pop("headers", {})}
        return await self.http.request(method, path, json=json, headers=headers, **more)

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON of a list or a thing that is there."""
        answer = await self.call("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, json: Any, **more: Any) -> Any:
        """The JSON of a call that succeeds."""
        answer = await self.call("POST", path, json, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()


def problem(answer: httpx2.Response) -> tuple[str, str, str]:
    body = answer.json()
    return body["kind"], body["code"], body["detail"]
