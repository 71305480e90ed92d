"""The laws of the house as pure functions: (path, source) -> findings.

Paths are relative to the repository, with forward slashes. Every message names the replacement,
because a law that only forbids teaches nothing. A line that must break a law says why, in the code:

    deadline = time.time() + 5  # house: the child process has no chassis

Each law is tested twice: on the tree (test_laws.py) and on a sinner (test_sinners.py).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache

SERVICES = ("orders", "claims", "returns", "inventory")

# Beside the role files: nouns that outgrew one file. Pure ones keep the law of domain.py, parts of
# operations lie between operations and store; the worker is a third door (time opens it), and
# providers is the port to the world, below everything. The layers stand in pyproject.toml.
PURE_NOUNS = {
    "claims": (
        *("fulfillments.py", "fulfillment_saga.py", "conversions.py", "conversion_saga.py"),
        *("inquiry.py", "pictures.py", "exchanges.py", "exchange_saga.py"),
    ),
    "orders": ("refunds.py", "remedies.py", "fulfillments.py", "memos.py", "exchanges.py"),
    "returns": ("arriving.py",),
    "inventory": ("picking.py", "planning.py", "reservations.py"),
}
# Rooms and doors of a noun of its own: what a door calls once is one of them.
ROOM_NOUNS = {
    "claims": (
        *("inquiries", "inquiry_queries", "evidence", "approving"),
        *("exchanging", "exchange_queries"),
    ),
    "orders": (
        *("linking", "queries_money"),
        *("operations_claims", "operations_money", "operations_returns"),
    ),
    "inventory": ("operations_levels",),
}
NOUNS = {
    "orders": (
        *PURE_NOUNS["orders"],
        *("holding.py", "importing.py", "issuing.py", "paying.py", "receiving.py"),
        *("capturing.py", "changing.py", "fulfilling.py", "replacing.py", "retrying.py"),
        *("answering.py", "crediting.py", "goodwill.py", "settling.py"),
        *("providers.py", "shapes.py", "store_memos.py", "worker.py"),
        *(f"{name}.py" for name in ROOM_NOUNS["orders"]),
        *(f"store_{noun}.py" for noun in ("exchanges", "goods", "imports", "money", "units")),
    ),
    "returns": (*PURE_NOUNS["returns"], "booking.py", "receipts.py"),
    "inventory": (
        *PURE_NOUNS["inventory"],
        *("dispatching.py", "promising.py", "operations_levels.py"),
        *(f"store_{noun}.py" for noun in ("fulfillments", "imports", "reservations")),
    ),
    "claims": (
        *PURE_NOUNS["claims"],
        *("fulfilling.py", "converting.py", "saying.py"),
        *(f"{name}.py" for name in ROOM_NOUNS["claims"]),
        *("inquiry_api.py", "inquiry_store.py", "exchange_api.py"),
    ),
}

PURE = (
    "services/*/domain.py",
    "services/*/saga.py",
    *(f"services/{service}/{name}" for service, names in PURE_NOUNS.items() for name in names),
)
PURE_IMPORTS = (
    "__future__",
    "collections",
    "collections.abc",
    "chassis.errors",
    "chassis.states",
    "chassis.values",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "itertools",
    "math",
    "operator",
    "re",
    "types",
    "typing",
)
SAGA_IMPORTS = ("contracts", "chassis.sagas")  # a saga's table is written in the language
CODE = ("services/*", "gateway/*", "shared/*", "deploy/*")
SQL_HOMES = (
    "services/*/store.py",
    "services/*/store_*.py",
    "services/*/queries.py",
    "services/orders/queries_money.py",
    "services/claims/inquiry_store.py",
    "services/claims/inquiry_queries.py",
    "services/claims/exchange_queries.py",
    "services/*/invariants.py",
    "services/*/migrations/*",
    "gateway/store.py",
    "gateway/queries.py",
    "gateway/migrations/*",
    "shared/chassis/*",
    # Three that own no table of ours: the fake provider's own books, the private server, and what
    # the databases can do without us.
    "services/orders/providers.py",
    "deploy/local.py",
    "deploy/bench/raw.py",
)


@dataclass(frozen=True)
class Finding:
    """A broken law: where, and what to write instead."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


Law = Callable[[str, str], list[Finding]]
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a path lies under one of the patterns (``*`` also crosses folders)."""
    return any(fnmatch(path, pattern) for pattern in patterns)


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


def _excused(source: str, line: int) -> bool:
    lines = source.splitlines()
    return 0 < line <= len(lines) and re.search(r"#.*\bhouse: \w", lines[line - 1]) is not None


def _found(path: str, source: str, hits: Iterator[tuple[int, str]]) -> list[Finding]:
    return [Finding(path, line, text) for line, text in hits if not _excused(source, line)]


def _dotted(node: ast.expr) -> str:
    """``a.b.c`` of a name or attribute; the part that is no name is ``?``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "?"


def _imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, module.name) of every import, also inside functions; relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.split("/")[: -node.level] if node.level else []
            module = ".".join([*package, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Local name -> what it was imported as, so that a renamed import is still seen."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _calls(tree: ast.AST, names: dict[str, str]) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the full name of what is called, imports resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            head, _, rest = _dotted(node.func).partition(".")
            full = names.get(head, head)
            yield node, f"{full}.{rest}" if rest else full


def _docstrings(tree: ast.Module) -> set[int]:
    """Ids of the constants that are docstrings or bare strings: prose, not code."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


# --- purity ------------------------------------------------------------------------------------


def pure_desk(path: str, source: str) -> list[Finding]:
    """domain.py, saga.py and the pure nouns import nothing foreign and never wait."""
    if not matches(path, PURE):
        return []
    service = path.split("/")[1]
    own = ("domain", "saga", *(name[:-3] for name in PURE_NOUNS.get(service, ())))
    language = SAGA_IMPORTS if path.endswith("saga.py") else ()
    allowed = (*PURE_IMPORTS, *language, *(f"services.{service}.{name}" for name in own))

    def hits() -> Iterator[tuple[int, str]]:
        tree = _tree(source)
        for line, name in _imports(path, tree):
            known = any(name == good or name.startswith(f"{good}.") for good in allowed)
            if not known:
                yield line, f"{name} in a pure file: pass the fact in as an argument"
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                yield node.lineno, "a pure file never waits: do it in operations.py, pass the fact"
        for call, name in _calls(tree, _aliases(tree)):
            if name in {"open", "input", "print"}:
                yield call.lineno, f"{name}() in a pure file: give back a value instead"

    return _found(path, source, hits())


# --- one home each -----------------------------------------------------------------------------

_SQL = re.compile(
    r"^\s*(SELECT\s.+\sFROM\s|SELECT\s+(1|EXISTS)\b|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s"
    r"|DELETE\s+FROM\s"
    r"|CREATE\s+(UNIQUE\s+)?(TABLE|INDEX)\s|ALTER\s+TABLE\s|DROP\s+TABLE\s|WITH\s+\w+\s+AS\s*\()",
    re.IGNORECASE | re.DOTALL,
)
_STATEMENTS = {"fetch", "fetch_one", "execute"}


def _text(node: ast.expr) -> str:
    """The text of a string or an f-string; what is filled in reads ``x``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            _text(part) if isinstance(part, ast.Constant) else "x" for part in node.values
        )
    return ""


def sql_has_a_home(path: str, source: str) -> list[Finding]:
    """SQL lives in store.py, queries.py, invariants.py, migrations and the chassis."""
    if not matches(path, CODE) or matches(path, SQL_HOMES):
        return []

    def hits() -> Iterator[tuple[int, str]]:
        tree = _tree(source)
        prose = _docstrings(tree)
        inner = {id(p) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for p in n.values}
        for line, name in _imports(path, tree):
            if name.split(".")[0] in {"sqlalchemy", "sqlite3", "asyncpg", "alembic"}:
                yield (
                    line,
                    f"{name} outside its home: write the statement in store.py or queries.py",
                )
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant | ast.JoinedStr)
                and id(node) not in prose | inner
                and _SQL.match(_text(node))
            ):
                yield (
                    node.lineno,
                    "SQL outside its home: move it to store.py (writes) or queries.py",
                )
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in _STATEMENTS
                and _dotted(node.func.value) in {"tx", "self.tx"}
            ):
                yield node.lineno, f"tx.{node.func.attr}() here: call a function of store.py"

    return _found(path, source, hits())


def only_the_database_commits(path: str, source: str) -> list[Finding]:
    """A door opens ``db.transaction()``; chassis/db*.py commits it and nobody else."""
    if not matches(path, CODE) or matches(path, ("shared/chassis/db*.py",)):
        return []

    def hits() -> Iterator[tuple[int, str]]:
        for node in ast.walk(_tree(source)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"commit", "rollback"}
            ):
                yield node.lineno, f"{node.func.attr}() here: leave `async with db.transaction()`"

    return _found(path, source, hits())


@dataclass(frozen=True)
class _Home:
    """Calls that have one home: a pattern of full names, the files, the replacement."""

    calls: str
    files: tuple[str, ...]
    instead: str


# The pytest plugin and the engines it starts; no service imports them.
_TEST_TOOLS = ("shared/chassis/testing.py", "shared/chassis/engines.py")
_HOMES = (
    _Home(
        r"(datetime\.)+(now|utcnow|today)|(datetime\.)?date\.today|time\.(time|time_ns)",
        ("shared/chassis/sources.py", *_TEST_TOOLS),
        "take `now` as an argument; a door passes chassis.clock.now()",
    ),
    _Home(
        r"uuid\.uuid\d",
        ("shared/chassis/values.py",),
        "use chassis.values: new_id(prefix), derived_id(...), uuid7() or command_id(...)",
    ),
    _Home(
        r"random\.\w+(\.\w+)?|os\.urandom|numpy\..*",
        ("shared/chassis/*",),
        "chance is for back-off in the chassis; demo data takes a seeded generator as an argument",
    ),
    _Home(
        r"secrets\.(?!compare_digest)\w+",
        ("shared/chassis/*", "gateway/*", "deploy/*"),
        "secrets are made by the gateway's identity.py or by `reclamo keygen`",
    ),
    _Home(
        r"os\.(getenv|putenv|environ)",
        ("shared/chassis/settings.py", "*/settings.py", "deploy/*", *_TEST_TOOLS),
        "add a field to settings.py and pass it in",
    ),
    _Home(
        r"print|pprint\.pprint|sys\.(stdout|stderr)\.write",
        ("deploy/*", "shared/contracts/schemas.py", *_TEST_TOOLS),
        "log with structlog; only the `reclamo` command prints",
    ),
)


def one_home_each(path: str, source: str) -> list[Finding]:
    """Clock, ids, chance, secrets, environment and printing have one home each."""
    if not matches(path, CODE):
        return []

    def hits() -> Iterator[tuple[int, str]]:
        tree = _tree(source)
        names = _aliases(tree)
        homeless = [home for home in _HOMES if not matches(path, home.files)]
        used = [(call.lineno, name) for call, name in _calls(tree, names)]
        used += [
            (node.lineno, "os.environ")
            for node in ast.walk(tree)
            if (isinstance(node, ast.Attribute) and _dotted(node) == "os.environ")
            or (isinstance(node, ast.Name) and names.get(node.id) == "os.environ")
        ]
        for line, name in used:
            for home in homeless:
                if re.fullmatch(home.calls, name):
                    yield line, f"{name} outside its home: {home.instead}"

    return _found(path, source, hits())


# --- doors and rooms ---------------------------------------------------------------------------

_DOORS = (
    *("services/*/api.py", "services/*/inquiry_api.py", "services/*/exchange_api.py"),
    "services/*/consumers.py",
)
_VERBS = {"get", "post", "put", "patch", "delete", "api_route"}


def _is_handler(path: str, node: ast.stmt) -> bool:
    if not isinstance(node, _Function):
        return False
    if path.endswith("consumers.py"):
        return node.name.startswith("on_")
    return any(
        isinstance(mark, ast.Call)
        and isinstance(mark.func, ast.Attribute)
        and mark.func.attr in _VERBS
        for mark in node.decorator_list
    )


def _inward_calls(node: ast.AST, rooms: set[str], *, top: bool = True) -> Iterator[ast.Call]:
    """Calls into a room. What a bounded wait asks again and again is the wait's, not a second call:
    so nested functions, lambdas and the arguments of ``.wait()`` do not count."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.Call):
            name = _dotted(child.func)
            if name.rsplit(".", 1)[-1] in {"wait", "partial"}:
                continue
            if "." in name and name.split(".")[0] in rooms:
                yield child
        yield from _inward_calls(child, rooms, top=False)


def one_inward_call(path: str, source: str) -> list[Finding]:
    """A handler in api.py or consumers.py makes exactly one call into operations or queries."""
    if not matches(path, _DOORS):
        return []
    rooms = {"operations", "queries", *ROOM_NOUNS.get(path.split("/")[1], ())}

    def hits() -> Iterator[tuple[int, str]]:
        for node in _tree(source).body:
            if not _is_handler(path, node):
                continue
            assert isinstance(node, _Function)
            count = len(list(_inward_calls(node, rooms)))
            if count != 1:
                yield (
                    node.lineno,
                    f"{node.name} makes {count} inward calls: a door makes exactly one; "
                    "let one operation or query do the rest",
                )

    return _found(path, source, hits())


_ROOMS = (
    *("services/*/operations.py", "services/*/queries.py"),
    *(f"services/{service}/{name}.py" for service, names in ROOM_NOUNS.items() for name in names),
    *PURE,
)


def keyword_only(path: str, source: str) -> list[Finding]:
    """Public functions of operations, queries and the domain take keyword-only arguments.

    One leading positional is allowed: ``tx`` in the rooms, the subject in a pure file.
    """
    if not matches(path, _ROOMS):
        return []
    pure = matches(path, PURE)

    def hits() -> Iterator[tuple[int, str]]:
        for node in _tree(source).body:
            if not isinstance(node, _Function) or node.name.startswith("_"):
                continue
            positional = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
            first_ok = positional[:1] if pure or positional[:1] == ["tx"] else []
            rest = positional[len(first_ok) :]
            if rest:
                yield (
                    node.lineno,
                    f"{node.name}({', '.join(rest)}) can be called by position: put `*` before "
                    f"`{rest[0]}`",
                )

    return _found(path, source, hits())


# --- what is not done here ---------------------------------------------------------------------

_PUBLISHERS = ("shared/chassis/outbox.py", "shared/chassis/relay.py", "shared/chassis/bus_*.py")
_DATABASE_CALLS = {"fetch", "fetch_one", "execute", "transaction", "reading", "insert", "acquire"}


def not_done_here(path: str, source: str) -> list[Finding]:
    """No background tasks, no BaseHTTPMiddleware, no publishing past the outbox, no cut queries."""
    if not matches(path, CODE):
        return []

    def hits() -> Iterator[tuple[int, str]]:
        tree = _tree(source)
        for line, name in _imports(path, tree):
            last = name.rsplit(".", 1)[-1]
            if last == "BackgroundTasks":
                yield line, "BackgroundTasks die with the process: put a message into the outbox"
            if last == "BaseHTTPMiddleware":
                yield line, "BaseHTTPMiddleware breaks streams and contexts: write plain ASGI"
        for call, name in _calls(tree, _aliases(tree)):
            if name.endswith((".publish", ".basic_publish")) and not matches(path, _PUBLISHERS):
                yield (
                    call.lineno,
                    "publish() here: chassis.outbox.put(tx, message); the relay sends",
                )
            if name == "asyncio.wait_for" and any(
                isinstance(part, ast.Call)
                and isinstance(part.func, ast.Attribute)
                and part.func.attr in _DATABASE_CALLS
                for argument in call.args
                for part in ast.walk(argument)
            ):
                yield (
                    call.lineno,
                    "wait_for() around the database leaves a half-done transaction: the statement "
                    "timeout of chassis.db bounds it",
                )

    return _found(path, source, hits())


# --- words -------------------------------------------------------------------------------------

_SHOP = {
    *("order", "orders", "claim", "claims", "return", "returns", "refund", "refunds"),
    *("inventory", "stock", "reservation", "reservations", "remedy", "remedies", "receipt"),
    *("fulfillment", "shipment", "payment", "invoice", "variant", "product", "cart", "sku"),
}
# Words that technique needs too: SQL's ORDER BY, a JWT's claims, to claim a key or a row.
_TECHNICAL = re.compile(
    r"order_by|with_variant|no_return|(jwt|token)?_?claims?(_(key|keys|row|rows|due|batch|next|set))?"
    r"|on_return_raises|return_(when|value|type|code|exceptions|annotation)|_?(in|key|lock)_order"
    r"|\w*order(ed|ing)\w*|NoReturn"
)


def _identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.value.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def no_noun_of_the_shop(path: str, source: str) -> list[Finding]:
    """The chassis is technique: none of its identifiers is a noun of the shop."""
    if not matches(path, ("shared/chassis/*.py",)):
        return []

    def hits() -> Iterator[tuple[int, str]]:
        for line, name in _identifiers(_tree(source)):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
            nouns = _SHOP.intersection(words)
            if nouns and not _TECHNICAL.fullmatch(name):
                noun = sorted(nouns)[0]
                yield line, f"{name} names the shop ({noun}): the chassis says subject, row or key"

    return _found(path, source, hits())


_DOCUMENTED = (*_ROOMS, "shared/contracts/*.py", "services/*/store.py", "services/*/invariants.py")
_DOCUMENTED += tuple(f"services/{name}/{noun}" for name in NOUNS for noun in NOUNS[name])


def documented(path: str, source: str) -> list[Finding]:
    """Every module, every message, and every public function of the rooms has a docstring."""
    if not matches(path, CODE) and not path.startswith("tests/"):
        return []

    def hits() -> Iterator[tuple[int, str]]:
        tree = _tree(source)
        if tree.body and not ast.get_docstring(tree):
            yield 1, "no module docstring: say in one sentence what this file is for"
        if not matches(path, _DOCUMENTED):
            return
        for node in tree.body:
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                yield node.lineno, f"{node.name} has no docstring: say what it gives and refuses"

    return _found(path, source, hits())


_CONTRACT_IMPORTS = ("__future__", "typing", "pydantic", "chassis.values", "contracts")


def plain_contracts(path: str, source: str) -> list[Finding]:
    """A module of messages imports pydantic and chassis.values, and has no behaviour."""
    if path not in {f"shared/contracts/{name}.py" for name in (*SERVICES, "base")}:
        return []

    def hits() -> Iterator[tuple[int, str]]:
        tree = _tree(source)
        for line, name in _imports(path, tree):
            if not any(name == good or name.startswith(f"{good}.") for good in _CONTRACT_IMPORTS):
                yield line, f"{name} in a contract: messages are plain data (pydantic, typing)"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.lineno, f"{node.name}() in a contract: behaviour belongs to a service"

    return _found(path, source, hits())


def honest_tests(path: str, source: str) -> list[Finding]:
    """No mocks of our own code, no sleep-and-hope, no skip without a reason."""
    if not path.startswith("tests/"):
        return []

    def hits() -> Iterator[tuple[int, str]]:
        tree = _tree(source)
        for line, name in _imports(path, tree):
            if name.startswith(("unittest.mock", "mock.", "pytest_mock")):
                yield line, "a mock: use the real class, or the fake that ships (a setting chooses)"
        for call, name in _calls(tree, _aliases(tree)):
            if name == "time.sleep":
                yield call.lineno, "time.sleep() hopes: wait for the fact with eventually(...)"
            if name in {"pytest.mark.skip", "pytest.mark.xfail"} and not call.keywords:
                yield call.lineno, f"{name} without a reason: say why, or mend it"

    return _found(path, source, hits())


# --- tidiness: any text file -------------------------------------------------------------------

# Written in pieces, so that the rule does not find itself.
_REGISTRY = re.compile(
    "|".join(
        re.escape(name).replace("@", r"\.")
        for name in (
            "registry@" + "npmjs",
            "pypi" + "@org",
            "python" + "hosted",
            "deb@" + "debian",
            "yarn" + "pkg@com",
            "registry@" + "yarnpkg",
        )
    )
)
_MACHINE_PATH = re.compile(
    r"(?:^|[^\w./-])/(?:" + "|".join(("work", "farm", "Users", "home")) + r")/[A-Za-z]"
    r"|(?:^|[^\w./-])/root/[\w.]"
)
_MARKER = re.compile(
    r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b"
    r"|^(?:<{7}|>{7}|={7})(?: |$)"
)
_OUTSIDE = re.compile(r"\.\." + r"/shared/(?:design|reference|data)")
_LINE_MAX = 100


def tidy(path: str, source: str) -> list[Finding]:
    """No registry host, no path of one machine, no leftover marker, no line past 100 columns.

    Text of every kind: Python, shell, HTML, prose.
    """
    if path == "LICENSE":
        return []

    def hits() -> Iterator[tuple[int, str]]:
        long_matters = path.endswith((".sh", "Makefile", ".ci/run"))  # ruff does Python
        for number, line in enumerate(source.splitlines(), 1):
            if _REGISTRY.search(line):
                yield number, "a registry host is named: locks carry hashes, the client knows hosts"
            if _MACHINE_PATH.search(line):
                yield number, "an absolute path of one machine: make it relative or a setting"
            if _MARKER.search(line):
                yield number, "a leftover marker: do it, or write an issue and delete the line"
            if _OUTSIDE.search(line):
                yield number, "a path outside the repository: the project speaks of itself alone"
            if long_matters and len(line) > _LINE_MAX:
                yield number, f"{len(line)} columns: break the line before {_LINE_MAX}"

    return _found(path, source, hits())


PYTHON_LAWS: tuple[Law, ...] = (
    pure_desk,
    sql_has_a_home,
    only_the_database_commits,
    one_home_each,
    one_inward_call,
    keyword_only,
    not_done_here,
    no_noun_of_the_shop,
    documented,
    plain_contracts,
    honest_tests,
)
TEXT_LAWS: tuple[Law, ...] = (tidy,)


# --- the tree: paths alone ---------------------------------------------------------------------

_ROLES = (
    *("__init__.py", "__main__.py", "app.py", "settings.py", "api.py", "schemas.py"),
    *("consumers.py", "operations.py", "queries.py", "domain.py", "saga.py", "store.py"),
    *("invariants.py", "README.md"),
)
_REQUIRED = (
    "__init__.py",
    "app.py",
    "api.py",
    "operations.py",
    "queries.py",
    "domain.py",
    "store.py",
)
_ROOT = {
    *("README.md", "ARCHITECTURE.md", "DECISIONS.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("LICENSE", "SECURITY.md", "Makefile", "pyproject.toml", "docker-compose.yml"),
    *(".gitignore", ".dockerignore", ".env.example"),
}
_FOLDERS = (
    "services",
    "gateway",
    "shared",
    "deploy",
    "tests",
    "requirements",
    "docs",
    "bench",
    "reports",
    ".ci",
)
_BAGS = re.compile(r"(?:^|/)(?:utils?|helpers?|common|misc|service|services|models|managers?)\.py$")


def expected_tree(paths: list[str]) -> list[Finding]:
    """The same file names in every service, no bags, nothing unexpected at the top."""
    findings = []
    for path in paths:
        parts = path.split("/")
        if _BAGS.search(path) and path != "shared/chassis/service.py":
            findings.append(
                Finding(
                    path, 1, "a name that excludes nothing: operations, queries, domain or a noun"
                )
            )
        elif len(parts) == 1 and path not in _ROOT:
            findings.append(
                Finding(path, 1, f"unexpected at the top; folders: {', '.join(_FOLDERS)}")
            )
        elif len(parts) > 1 and parts[0] not in _FOLDERS:
            findings.append(Finding(path, 1, f"unexpected folder {parts[0]}"))
        elif parts[0] == "services" and path != "services/__init__.py":
            findings.extend(_in_a_service(path, parts))
    for service in SERVICES:
        for name in _REQUIRED:
            if f"services/{service}/{name}" not in paths:
                findings.append(
                    Finding(f"services/{service}/{name}", 1, "every service has this file")
                )
    return findings


def _in_a_service(path: str, parts: list[str]) -> list[Finding]:
    service, name = parts[1], parts[-1]
    if service not in SERVICES or len(parts) == 2:
        return [Finding(path, 1, f"services are {', '.join(SERVICES)}")]
    if parts[2] == "migrations" and len(parts) > 3:
        return []
    if len(parts) == 3 and name in (*_ROLES, *NOUNS.get(service, ())):
        return []
    nouns = ", ".join(NOUNS.get(service, ())) or "none"
    return [Finding(path, 1, f"not a role ({', '.join(_ROLES)}) nor a noun of {service} ({nouns})")]
