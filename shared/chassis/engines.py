"""Private PostgreSQL and RabbitMQ servers from the binaries of this machine.

For tests, crash rehearsals and the local mode: a directory in, a URL out, no root service touched.
A server keeps its data, its credentials and its node name in its directory, so that it may be
killed and started again there. Only processes started here are ever ended here.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

_HOST = "127.0.0.1"
_PORT_LEAST = 20_000
_OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_POSTGRES_USER = "reclamo"
_POSTGRES_CONNECTIONS_MAX = 300


class EngineMissing(Exception):
    """The binaries are not on this machine; the text says what to install."""


class EngineFailed(Exception):
    """The server did not start or stop; the text ends with the tail of its log."""


def free_port() -> int:
    """A TCP port of the loopback interface that is free right now.

    It lies below those that the system gives to outgoing connections: else one of them may sit on
    it when a service that was killed comes back.
    """
    for port in random.sample(range(_PORT_LEAST, _first_outgoing_port()), 100):
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return port
    raise EngineFailed(f"no free port was found from {_PORT_LEAST} on")


def _first_outgoing_port() -> int:
    try:
        return int(_OUTGOING_PORTS.read_text().split()[0])
    except OSError:
        return 32768  # Linux's own choice, and below that of others


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True


def _exchange(port: int, question: bytes) -> bytes:
    """What the server says first, empty when it says nothing (yet)."""
    try:
        with socket.create_connection((_HOST, port), timeout=2) as connection:
            connection.sendall(question)
            return connection.recv(4096)
    except OSError:
        return b""


def _alive(pid: int) -> bool:
    """A zombie counts as dead: whoever started it may not have collected it yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return not Path("/proc/self").exists()


def _birth(pid: int) -> str:
    """When the process started, in clock ticks: tells a process from a later one of that number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def _children(pid: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            if entry.read_text().rsplit(")", 1)[1].split()[1] == str(pid):
                yield int(entry.parent.name)
        except (OSError, IndexError):
            continue


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


class Server:
    """A server process in a directory; also a context manager, plain and async, giving the URL."""

    name: ClassVar[str]
    _stop_signal: ClassVar[int] = signal.SIGTERM

    def __init__(self, data_dir: str | Path, port: int | None = None) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.started_in_s = 0.0
        self.version = ""
        self._process: subprocess.Popen[bytes] | None = None
        known = self._recorded()
        # A restart keeps the port, so that clients find the server again.
        self.port = port or int(known.get("port", 0)) or free_port()

    @property
    def url(self) -> str:
        """Where clients connect, with credentials."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The server's process, started by this or by an earlier object of the directory."""
        pid = int(self._recorded().get("pid", 0))
        return pid if pid and _alive(pid) and self._is_ours("pid", pid) else None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.pid is not None

    def start(self, timeout_s: float = 60.0) -> str:
        """Start and wait until the server speaks its protocol; returns the URL.

        Raises EngineMissing without binaries and EngineFailed with the log's tail.
        """
        if self.running:
            return self.url
        begun = time.monotonic()
        self._prepare()
        deadline = begun + timeout_s
        while True:
            process = self._launch()
            self._process = process
            self._record(pid=process.pid, pid_birth=_birth(process.pid), port=self.port)
            while process.poll() is None and time.monotonic() < deadline:
                if self._answers():
                    self.started_in_s = time.monotonic() - begun
                    return self.url
                time.sleep(0.02)
            ended = process.poll() is not None
            self.kill()
            # After a kill, leftovers of the old process may hold memory or ports for a moment.
            if not ended or time.monotonic() + 1 > deadline or not self._may_retry():
                raise EngineFailed(f"{self.name} did not start in {self.data_dir}\n{self._tail()}")
            time.sleep(0.3)

    def stop(self, timeout_s: float = 30.0) -> None:
        """End orderly; a server that does not obey in time is killed. Data stays."""
        pid = self.pid
        if pid is not None:
            _signal(pid, self._stop_signal)
            self._await_end(pid, timeout_s)
        self.kill()

    def kill(self) -> None:
        """End at once, as a crash would (SIGKILL). Data stays."""
        pid = self.pid
        if pid is not None:
            family = [pid, *_children(pid)]
            for member in family:
                _signal(member, signal.SIGKILL)
            for member in family:
                self._await_end(member, 10.0)
        if self._process is not None:
            self._process.wait()
            self._process = None
        self._end_helpers()

    def restart(self) -> str:
        """Stop and start on the same data, port and name."""
        self.stop()
        return self.start()

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> str:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    # ------------------------------------------------------------------ what each server adds

    def _prepare(self) -> None:
        raise NotImplementedError

    def _launch(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _may_retry(self) -> bool:
        return False

    def _end_helpers(self) -> None:
        """End what the server needed beside itself."""

    # ------------------------------------------------------------------ common

    @property
    def _state_file(self) -> Path:
        return self.data_dir / "engine.json"

    @property
    def _log_file(self) -> Path:
        return self.data_dir / "engine.log"

    def _recorded(self) -> dict[str, int | str]:
        try:
            recorded = json.loads(self._state_file.read_text())
        except (OSError, ValueError):
            return {}
        return recorded if isinstance(recorded, dict) else {}

    def _record(self, **facts: int | str) -> None:
        fresh = self._state_file.with_suffix(".new")
        fresh.write_text(json.dumps({**self._recorded(), **facts}))
        fresh.replace(self._state_file)

    def _is_ours(self, key: str, pid: int) -> bool:
        return str(self._recorded().get(f"{key}_birth", "")) == _birth(pid)

    def _await_end(self, pid: int, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process is not None and self._process.pid == pid:
                if self._process.poll() is not None:
                    return
            elif not _alive(pid):
                return
            time.sleep(0.01)

    def _tail(self) -> str:
        try:
            return "\n".join(self._log_file.read_text(errors="replace").splitlines()[-15:])
        except OSError:
            return ""


def postgres_binaries() -> Path:
    """The folder with the newest ``postgres`` and ``initdb``; raises EngineMissing."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: [int(number) for number in re.findall(r"\d+", folder.parent.name)],
        reverse=True,
    )
    on_path = shutil.which("initdb")
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise EngineMissing("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")


def postgres_version() -> str:
    """For example ``15.18``; raises EngineMissing."""
    answer = subprocess.run(
        [postgres_binaries() / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"\d+(\.\d+)*", answer.stdout)
    return found.group() if found else "unknown"


class PostgresServer(Server):
    """PostgreSQL with one superuser and a random password, on the loopback interface.

    ``fsync=False`` survives a killed process, not a power cut: for tests only.
    """

    name = "PostgreSQL"
    # The "fast" shutdown: ends sessions, writes everything, needs no recovery afterwards.
    _stop_signal = signal.SIGINT

    def __init__(
        self, data_dir: str | Path, port: int | None = None, *, fsync: bool = True
    ) -> None:
        super().__init__(data_dir, port)
        self.fsync = fsync

    @property
    def url(self) -> str:
        """The database ``postgres`` of this server."""
        password = (self.data_dir / "password").read_text().strip()
        return f"postgresql://{_POSTGRES_USER}:{password}@{_HOST}:{self.port}/postgres"

    def _owner(self) -> str | None:
        """PostgreSQL refuses to run as root: then it runs as the user its package made."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam("postgres").pw_name
        except KeyError:
            raise EngineMissing(
                "PostgreSQL does not run as root, and there is no user 'postgres' to run it as"
            ) from None

    def _prepare(self) -> None:
        binaries = postgres_binaries()
        self.version = postgres_version()
        owner = self._owner()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if owner is not None:
            shutil.chown(self.data_dir, owner)
        if (self.data_dir / "data" / "PG_VERSION").exists():
            return
        shutil.rmtree(self.data_dir / "data", ignore_errors=True)
        password = self.data_dir / "password"
        password.touch(0o600)
        password.write_text(secrets.token_urlsafe(18) + "\n")
        if owner is not None:
            shutil.chown(password, owner)
        command = [
            str(binaries / "initdb"),
            f"--pgdata={self.data_dir / 'data'}",
            f"--username={_POSTGRES_USER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]
        # Without --no-sync every file of the new cluster is flushed one by one.
        made = subprocess.run(
            [*command, *([] if self.fsync else ["--no-sync"])],
            user=owner,
            cwd="/",
            env=_plain_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if made.returncode != 0:
            said = made.stdout.decode(errors="replace")
            raise EngineFailed(f"initdb failed in {self.data_dir}\n{said}")

    def _launch(self) -> subprocess.Popen[bytes]:
        settings = {
            "port": str(self.port),
            "listen_addresses": _HOST,
            "unix_socket_directories": "",
            "max_connections": str(_POSTGRES_CONNECTIONS_MAX),
            "fsync": "on" if self.fsync else "off",
            "full_page_writes": "on" if self.fsync else "off",
            "log_min_messages": "warning",
        }
        owner = self._owner()
        with self._log_file.open("ab") as log:
            return subprocess.Popen(
                [
                    str(postgres_binaries() / "postgres"),
                    "-D",
                    str(self.data_dir / "data"),
                    *(
                        part
                        for name, value in settings.items()
                        for part in ("-c", f"{name}={value}")
                    ),
                ],
                user=owner,
                cwd="/",
                env=_plain_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        """A start-up packet is answered with "R" (authenticate) only when recovery is over."""
        words = f"user\0{_POSTGRES_USER}\0database\0postgres\0\0".encode()
        packet = struct.pack(">ii", 8 + len(words), 196608) + words
        return _exchange(self.port, packet)[:1] == b"R"

    def _may_retry(self) -> bool:
        tail = self._tail()
        return "shared memory block" in tail or "Address already in use" in tail


def rabbitmq_binary() -> Path:
    """The start script that runs as any user; raises EngineMissing."""
    candidates = [
        Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),
        Path("/opt/rabbitmq/sbin/rabbitmq-server"),
    ]
    on_path = shutil.which("rabbitmq-server")
    if on_path is not None:
        candidates.append(Path(on_path).resolve())
    for candidate in candidates:
        # Debian's wrapper in /usr/sbin insists on root or rabbitmq; the script behind it does not.
        if candidate.exists() and candidate.name != "rabbitmq-script-wrapper":
            return candidate
    raise EngineMissing("RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)")


def rabbitmq_version() -> str:
    """For example ``3.10.8``, or "unknown" where only a running broker could tell."""
    applications = rabbitmq_binary().parent.parent.glob("lib/rabbitmq_server-*")
    versions = [folder.name.removeprefix("rabbitmq_server-") for folder in applications]
    if not versions:
        plugins = rabbitmq_binary().parent.parent.glob("**/rabbit-[0-9]*")
        versions = [path.name.removeprefix("rabbit-").removesuffix(".ez") for path in plugins]
    return max(versions, default="unknown")


def _epmd_binary() -> str:
    found = shutil.which("epmd") or next(
        (str(path) for path in Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None
    )
    if found is None:
        raise EngineMissing("Erlang's epmd is not installed (Debian: apt-get install erlang-base)")
    return found


class RabbitServer(Server):
    """RabbitMQ with its own Erlang name server, so that ending it hurts nobody else.

    The node's name never changes: after ``kill`` the same queues and messages come back.
    """

    name = "RabbitMQ"

    def __init__(self, data_dir: str | Path, port: int | None = None) -> None:
        super().__init__(data_dir, port)
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The default virtual host; the user ``guest`` may connect from this machine only."""
        return f"amqp://guest:guest@{_HOST}:{self.port}/"

    def would_keep(self, queue: str) -> bool:
        """Whether a new quorum queue would survive ``kill`` right now.

        The broker writes the registration of a new queue about a second late; killed before, the
        queue is there afterwards and never confirms anything (3.10.8).
        """
        registers = (self.data_dir / "mnesia").glob("*/quorum/*/names.dets")
        # An Erlang atom is written as its length and its text: "q" is not found in "q.dlq".
        atom = f"%2F_{queue}".encode()
        written = bytes([len(atom) & 0xFF]) + atom
        return any(written in register.read_bytes() for register in registers)

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` on this node (about 2 s); raises EngineFailed with what it said."""
        done = subprocess.run(
            [rabbitmq_binary().with_name("rabbitmqctl"), *arguments],
            cwd=self.data_dir,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise EngineFailed(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}")
        return done.stdout

    def _prepare(self) -> None:
        rabbitmq_binary()
        self.version = rabbitmq_version()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (self.data_dir / "enabled_plugins").write_text("[].\n")
        (self.data_dir / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {_HOST}:{self.port}\n"
            "log.file.level = warning\n"
            "log.console = false\n"
            # The default asks for half a machine's memory; a private broker shares it with others.
            "vm_memory_high_watermark.absolute = 512MB\n"
            # What quorum queues log stays in memory until the log is full. The default is as large
            # as all of the above: after 200,000 messages publishers would be blocked.
            "raft.wal_max_size_bytes = 67108864\n"
        )

    def _environment(self) -> dict[str, str]:
        recorded = self._recorded()
        return {
            **_plain_environment(),
            "HOME": str(self.data_dir),
            "RABBITMQ_NODENAME": "reclamo@localhost",
            "RABBITMQ_MNESIA_BASE": str(self.data_dir / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.data_dir / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.data_dir / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.data_dir / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.data_dir / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(recorded["dist_port"]),
            # Two schedulers that sleep when there is nothing to do, and do not wait turning.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            "ERL_EPMD_PORT": str(recorded["epmd_port"]),
            "ERL_EPMD_ADDRESS": _HOST,
            # Makes the script become the server instead of watching it: one process to signal,
            # which shuts down orderly on SIGTERM without a slow rabbitmqctl.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _launch(self) -> subprocess.Popen[bytes]:
        for name in ("dist_port", "epmd_port"):
            known = int(self._recorded().get(name, 0))
            if not known or not _port_is_free(known):
                self._record(**{name: free_port()})
        environment = self._environment()
        with self._log_file.open("ab") as log:
            self._epmd = subprocess.Popen(
                [_epmd_binary(), "-port", environment["ERL_EPMD_PORT"], "-address", _HOST],
                cwd=self.data_dir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._record(epmd_pid=self._epmd.pid, epmd_pid_birth=_birth(self._epmd.pid))
            return subprocess.Popen(
                [str(rabbitmq_binary())],
                cwd=self.data_dir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        """The protocol header is answered with the method frame Connection.Start."""
        answer = _exchange(self.port, b"AMQP\x00\x00\x09\x01")
        if answer[:1] != b"\x01":
            return False
        told = re.search(rb"\x07versionS....([0-9.]+)", answer, re.DOTALL)
        if told:
            self.version = told.group(1).decode()
        return True

    def _may_retry(self) -> bool:
        return "already" in self._tail()

    def _end_helpers(self) -> None:
        pid = int(self._recorded().get("epmd_pid", 0))
        if pid and _alive(pid) and self._is_ours("epmd_pid", pid):
            _signal(pid, signal.SIGKILL)
            if self._epmd is None:
                self._await_end(pid, 5.0)
        if self._epmd is not None:
            self._epmd.wait()
            self._epmd = None

    def _tail(self) -> str:
        logs = sorted((self.data_dir / "log").glob("*.log"))
        tails = [super()._tail()]
        for log in logs:
            tails.append("\n".join(log.read_text(errors="replace").splitlines()[-15:]))
        return "\n".join(tails)


def _plain_environment() -> dict[str, str]:
    """No PG* or RABBITMQ_* variable of the caller may steer a private server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}


def local_postgres(directory: str | Path, *, fsync: bool = True) -> PostgresServer:
    """``with local_postgres(folder) as url`` (or ``async with``): PostgreSQL while inside."""
    return PostgresServer(directory, fsync=fsync)


def local_rabbitmq(directory: str | Path) -> RabbitServer:
    """``with local_rabbitmq(folder) as url`` (or ``async with``): RabbitMQ while inside."""
    return RabbitServer(directory)
