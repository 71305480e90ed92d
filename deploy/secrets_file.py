"""The random secrets of an embedded or local installation, kept beside its data."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import SecretStr

from chassis.errors import Unavailable
from chassis.values import random_token
from gateway.settings import GatewaySettings


@dataclass(frozen=True)
class Secrets:
    """What a fresh data folder gets once.

    The admin token and the demo password are those of the first start: the system has kept only
    hashes of them, so other values set later would open nothing.
    """

    secret_key: str
    admin_token: str
    demo_password: str


def load(settings: GatewaySettings) -> Secrets:
    """The secrets of the data folder, made on first sight and readable by the owner alone.

    Raises Unavailable when the folder or the file in it cannot be used.
    """
    file = settings.data_dir / "secrets.json"
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _make(file, settings)
        kept = Secrets(**json.loads(file.read_text()))
    except OSError as error:
        raise Unavailable(
            f"the data folder {settings.data_dir} cannot be used: {error.strerror}"
        ) from None
    except (ValueError, TypeError):
        raise Unavailable(
            f"{file} holds no secrets: repair it, or remove it for new ones"
        ) from None
    return Secrets(
        secret_key=_given(settings.secret_key) or kept.secret_key,
        admin_token=kept.admin_token,
        demo_password=kept.demo_password,
    )


def without_effect(settings: GatewaySettings, secrets: Secrets) -> list[str]:
    """The variables that are set to something else than the folder began with."""
    return [
        f"RECLAMO_{name.upper()}"
        for name in ("admin_token", "demo_password")
        if _given(getattr(settings, name)) not in (None, getattr(secrets, name))
    ]


def _make(file: Path, settings: GatewaySettings) -> None:
    fresh = Secrets(
        secret_key=random_token(32),
        admin_token=_given(settings.admin_token) or f"rk_{random_token(20)}",
        demo_password=_given(settings.demo_password) or f"demo-{random_token(6)}",
    )
    with contextlib.suppress(FileExistsError):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as out:
            json.dump(asdict(fresh), out, indent=2)


def _given(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None
