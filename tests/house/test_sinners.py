"""Each law catches its sinner, and lets a good neighbour pass: an untested check is blind."""

from __future__ import annotations

import textwrap

import pytest

from tests.house import laws

# (law, path, guilty source, words of the message)
SINNERS = [
    (laws.pure_desk, "services/claims/domain.py", "import sqlalchemy", "pass the fact in"),
    (laws.pure_desk, "services/claims/saga.py", "from . import store", "pass the fact in"),
    (laws.pure_desk, "services/claims/domain.py", "from chassis import clock", "pass the fact in"),
    (laws.pure_desk, "services/claims/domain.py", "import contracts.claims", "pass the fact in"),
    (laws.pure_desk, "services/orders/refunds.py", "async def f(): ...", "never waits"),
    (laws.pure_desk, "services/claims/domain.py", "def f(): return open('x')", "give back a value"),
    (
        laws.pure_desk,
        "services/returns/domain.py",
        "import services.claims.domain",
        "pass the fact",
    ),
    (laws.sql_has_a_home, "services/claims/operations.py", "import sqlalchemy as sa", "store.py"),
    (
        laws.sql_has_a_home,
        "services/claims/api.py",
        "Q = 'SELECT id FROM claims WHERE id = :id'",
        "store.py",
    ),
    (
        laws.sql_has_a_home,
        "services/claims/operations.py",
        "q = f'''\n  update {table} set x = 1'''",
        "store.py",
    ),
    (
        laws.sql_has_a_home,
        "services/claims/operations.py",
        "async def f(tx): await tx.fetch_one(STATEMENT)",
        "a function of store.py",
    ),
    (
        laws.only_the_database_commits,
        "services/claims/operations.py",
        "async def f(tx): await tx.commit()",
        "transaction()",
    ),
    (
        laws.one_home_each,
        "services/claims/operations.py",
        "from datetime import datetime\nnow = datetime.now()",
        "takes `now`|take `now`",
    ),
    (laws.one_home_each, "gateway/admin.py", "import time as t\nt.time()", "take `now`"),
    (laws.one_home_each, "services/claims/store.py", "import uuid\nuuid.uuid4()", "new_id"),
    (laws.one_home_each, "services/claims/store.py", "from uuid import uuid4\nuuid4()", "new_id"),
    (laws.one_home_each, "gateway/app.py", "import random\nrandom.choice([1])", "back-off"),
    (
        laws.one_home_each,
        "services/claims/api.py",
        "import secrets\nsecrets.token_hex()",
        "identity",
    ),
    (laws.one_home_each, "services/claims/app.py", "import os\nos.environ['A']", "settings.py"),
    (laws.one_home_each, "gateway/app.py", "import os\nos.getenv('A')", "settings.py"),
    (laws.one_home_each, "services/claims/api.py", "print('here')", "structlog"),
    (
        laws.one_inward_call,
        "services/claims/api.py",
        """
        @router.post("/claims")
        async def open_claim(db):
            async with db.transaction() as tx:
                await operations.open_claim(tx)
                await operations.notify(tx)
        """,
        "makes 2 inward calls",
    ),
    (
        laws.one_inward_call,
        "services/claims/consumers.py",
        "async def on_claim_created(tx, message): pass",
        "makes 0 inward calls",
    ),
    (
        laws.keyword_only,
        "services/claims/operations.py",
        "async def open_claim(tx, claim_id, *, now): ...",
        "before `claim_id`",
    ),
    (laws.keyword_only, "services/claims/queries.py", "def page(limit=5): ...", "before `limit`"),
    (laws.keyword_only, "services/orders/domain.py", "def move(line, to): ...", "before `to`"),
    (
        laws.not_done_here,
        "services/claims/api.py",
        "from fastapi import BackgroundTasks",
        "the outbox",
    ),
    (
        laws.not_done_here,
        "gateway/app.py",
        "from starlette.middleware.base import BaseHTTPMiddleware",
        "plain ASGI",
    ),
    (
        laws.not_done_here,
        "services/claims/operations.py",
        "async def f(bus): await bus.publish(1)",
        "outbox.put",
    ),
    (
        laws.not_done_here,
        "shared/chassis/loops.py",
        "import asyncio\nasync def f(tx): await asyncio.wait_for(tx.fetch(Q), 1)",
        "statement timeout",
    ),
    (laws.no_noun_of_the_shop, "shared/chassis/inbox.py", "claim_id = 1", "subject, row or key"),
    (laws.no_noun_of_the_shop, "shared/chassis/http.py", "class OrderLocked: ...", "order"),
    (laws.documented, "services/claims/api.py", "import json", "no module docstring"),
    (
        laws.documented,
        "services/claims/operations.py",
        '"""Writes."""\nasync def open_claim(tx): ...',
        "open_claim has no docstring",
    ),
    (
        laws.documented,
        "shared/contracts/claims.py",
        '"""Words."""\nclass ClaimLost(Event): ...',
        "ClaimLost has no docstring",
    ),
    (laws.plain_contracts, "shared/contracts/claims.py", "import chassis.db", "plain data"),
    (
        laws.plain_contracts,
        "shared/contracts/claims.py",
        "class A:\n    def total(self): ...",
        "behaviour belongs",
    ),
    (laws.honest_tests, "tests/claims/test_api.py", "from unittest.mock import Mock", "the fake"),
    (laws.honest_tests, "tests/claims/test_api.py", "import time\ntime.sleep(1)", "eventually"),
    (
        laws.honest_tests,
        "tests/claims/test_api.py",
        "import pytest\n@pytest.mark.skip()\ndef test_x(): ...",
        "without a reason",
    ),
    (laws.tidy, "Makefile", "pip install -i https://pypi" + ".org/simple", "registry host"),
    (laws.tidy, "deploy/cli.py", 'PATH = "/ho' + 'me/ana/reclamo"', "one machine"),
    (laws.tidy, "gateway/app.py", "# TO" + "DO: later", "leftover marker"),
    (laws.tidy, "gateway/app.py", "<<<<<<" + "< HEAD", "leftover marker"),
    (laws.tidy, "Makefile", "x = 1" + " " * 120 + "# far", "break the line"),
    (laws.tidy, "README.md", "see .." + "/shared/design/house.md", "outside the repository"),
]

# (law, path, innocent source): what the law must not catch.
NEIGHBOURS = [
    (
        laws.pure_desk,
        "services/claims/domain.py",
        "from dataclasses import dataclass\nfrom chassis.errors import NotAllowed\n"
        "from chassis import values\nfrom services.claims import domain",
    ),
    (laws.pure_desk, "services/claims/saga.py", "from contracts.orders import PlaceClaimHold"),
    (laws.pure_desk, "services/claims/operations.py", "import sqlalchemy"),
    (laws.sql_has_a_home, "services/claims/store.py", "Q = 'SELECT id FROM claims'"),
    (laws.sql_has_a_home, "services/claims/api.py", '"""Select a claim from a list."""'),
    (laws.sql_has_a_home, "gateway/admin.py", "M = 'Update your password'"),
    (laws.one_home_each, "shared/chassis/sources.py", "import datetime\ndatetime.datetime.now()"),
    (laws.one_home_each, "services/claims/api.py", "from chassis import clock\nclock.now()"),
    (laws.one_home_each, "gateway/admin.py", "import secrets\nsecrets.compare_digest('a', 'b')"),
    (
        laws.one_inward_call,
        "services/claims/api.py",
        """
        @router.post("/claims")
        async def open_claim(db):
            async with db.transaction() as tx:
                claim = await operations.open_claim(tx)
            return await db.wait(claim.id, lambda tx: queries.settled(tx, claim_id=claim.id), 10)
        """,
    ),
    (
        laws.one_inward_call,
        "services/claims/api.py",
        "def _shape(row): return queries.a(queries.b())",
    ),
    (laws.keyword_only, "services/claims/operations.py", "async def open_claim(tx, *, now): ..."),
    (laws.keyword_only, "services/orders/domain.py", "def move(line, *, to): ..."),
    (laws.keyword_only, "services/orders/domain.py", "def _move(line, to): ..."),
    (laws.not_done_here, "shared/chassis/outbox.py", "async def f(bus): await bus.publish(1)"),
    (
        laws.not_done_here,
        "shared/chassis/loops.py",
        "import asyncio\nasync def f(e): await asyncio.wait_for(e.wait(), 1)",
    ),
    (
        laws.no_noun_of_the_shop,
        "shared/chassis/auth.py",
        "def f(order_by, claims): return sorted(claims, key=order_by)",
    ),
    (laws.tidy, "deploy/Dockerfile", "WORKDIR /app"),
    (laws.tidy, "gateway/app.py", "router.get('/admin/users')"),
]


@pytest.mark.parametrize(("law", "path", "source", "words"), SINNERS)
def test_a_sinner_is_caught_and_told_what_to_do_instead(
    law: laws.Law, path: str, source: str, words: str
) -> None:
    findings = law(path, textwrap.dedent(source))
    assert findings, f"{law.__name__} let pass: {source}"
    assert any(word in str(findings[0]) for word in words.split("|")), findings[0]


@pytest.mark.parametrize(("law", "path", "source"), NEIGHBOURS)
def test_an_innocent_neighbour_passes(law: laws.Law, path: str, source: str) -> None:
    assert law(path, textwrap.dedent(source)) == []


@pytest.mark.parametrize("law", [*laws.PYTHON_LAWS, *laws.TEXT_LAWS], ids=lambda law: law.__name__)
def test_every_law_has_a_sinner(law: laws.Law) -> None:
    assert law in {sinner[0] for sinner in SINNERS}


def test_a_line_that_says_why_is_excused() -> None:
    guilty = "import os\nos.getenv('A')"
    assert laws.one_home_each("gateway/app.py", guilty)
    assert not laws.one_home_each("gateway/app.py", f"{guilty}  # house: the shell's own variable")


class TestTree:
    """Paths alone can sin too."""

    GOOD = tuple(
        f"services/{service}/{name}"
        for service in laws.SERVICES
        for name in (
            *("__init__.py", "app.py", "api.py", "operations.py", "queries.py", "domain.py"),
            "store.py",
        )
    )

    def test_the_expected_files_pass(self) -> None:
        assert laws.expected_tree([*self.GOOD, "README.md", "services/__init__.py"]) == []

    @pytest.mark.parametrize(
        "path",
        [
            "services/claims/utils.py",
            "services/claims/refund_things.py",
            "services/claims/sub/domain.py",
            "services/billing/domain.py",
            "shared/chassis/helpers.py",
            "gateway/common.py",
            "notes.txt",
            "scripts/run.sh",
        ],
    )
    def test_an_unexpected_file_is_found(self, path: str) -> None:
        assert [hit.path for hit in laws.expected_tree([*self.GOOD, path])] == [path]

    def test_a_missing_role_is_found(self) -> None:
        left = [path for path in self.GOOD if path != "services/returns/queries.py"]
        assert [hit.path for hit in laws.expected_tree(left)] == ["services/returns/queries.py"]
