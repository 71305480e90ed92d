"""Settings of the gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from chassis.settings import Settings


class GatewaySettings(Settings):
    """What the gateway reads besides what every process reads."""

    admin_token: SecretStr | None = Field(
        None, description="an API token with the admin role, made at the first start"
    )
    demo_password: SecretStr | None = Field(
        None, description="the password of the demo logins (embedded mode)"
    )
    # Several replicas: a name with several addresses, or several URLs separated by commas.
    orders_url: str = Field("http://127.0.0.1:8081", description="where orders answers")
    claims_url: str = Field("http://127.0.0.1:8082", description="where claims answers")
    returns_url: str = Field("http://127.0.0.1:8083", description="where returns answers")
    inventory_url: str = Field("http://127.0.0.1:8084", description="where inventory answers")
    store_returns: Literal["verified", "open"] = Field(
        "verified", description="open: anyone who knows an order's id may return, as in Medusa"
    )
    public_url: str = Field(
        "", description="where browsers reach the gateway; https:// makes the cookies Secure"
    )
    allowed_origins: str = Field("", description="exact origins for CORS, separated by commas")
    requests_per_minute: int = Field(600, description="per person and address")
    token_requests_per_minute: int = Field(
        60_000, description="per API token and address: programs are quicker than people"
    )
    repair: Literal["propose", "safe"] = Field(
        "propose", description="safe: repairs of drift that only repeat something are made at once"
    )
    drift_own_s: float = Field(60, description="seconds between looks at each service's own books")
    drift_changed_s: float = Field(120, description="and at what changed, across services")
    drift_full_s: float = Field(3600, description="and at everything")
    drift_confirm_s: float = Field(
        20, description="how long a difference must last to be a finding"
    )
    webhook_targets: Literal["public", "any"] = Field(
        "public",
        description="any: webhooks may go to private addresses and by plain http (rehearsals)",
    )
    show_docs: bool = Field(True, description="serve /docs and /openapi.json")

    @property
    def origins(self) -> tuple[str, ...]:
        """The allowlist of CORS."""
        return tuple(filter(None, (part.strip() for part in self.allowed_origins.split(","))))
