"""`reclamo local`: what it says when the processes it starts do not come up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy.local import Local, NotReady, Process
from deploy.secrets_file import Secrets


async def test_the_error_about_a_process_that_is_not_ready_says_how_it_ended_and_what_it_said(
    tmp_path: Path,
) -> None:
    local = Local(tmp_path, Secrets("key", "token", "password"))
    log_file = tmp_path / "orders.log"
    orders = Process(
        name="orders",
        service="orders",
        command=[sys.executable, "-c", "print('the port is taken'); raise SystemExit(3)"],
        environment={},
        url="http://127.0.0.1:1",
        log_file=log_file,
    )
    local.processes["orders"] = orders
    orders.start()
    orders.wait(20)
    with pytest.raises(NotReady) as refused:
        await local.ready(within_s=0.2)
    assert str(refused.value).splitlines() == [
        "not ready in 0 s, look into:",
        f"{log_file} (it ended with 3)",
        "  the port is taken",
    ]
