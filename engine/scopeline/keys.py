"""Keys: who may connect from elsewhere. CURVE key pairs and allow-lists in a folder (RFC 25 and 26 of ZeroMQ).

~/.config/scopeline/keys          0700
    engine.secret.toml            0600, the engine's own pair; stays on the engine's machine
    engine.public.toml            goes to every machine that connects
    viewer.secret.toml            0600, a client's pair; stays with the client
    viewer.public.toml            goes to the engine's machine
    subscribers/viewer.toml       may read: publishing and replay
    operators/pedal.toml          may speak: control

The allow-lists are read at every handshake, so that a change counts for the next connection to a running engine.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import msgspec
import zmq

from scopeline.endpoint import ZmqSocket
from scopeline.errors import ConfigError

Role: TypeAlias = Literal["subscribers", "operators"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
ENGINE: Final = "engine"
"""Name of the engine's own pair."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_Z85: Final = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_MOST_BYTES: Final = 1000
_FOLDER_MODE: Final = 0o700
_SECRET_MODE: Final = 0o600
_PUBLIC_MODE: Final = 0o644


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, both halves in Z85 (40 characters)."""

    name: str
    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a client needs: a pair of its own, and the engine's public key by which it knows the engine."""

    pair: KeyPair
    server: bytes

    def unlock(self, socket: ZmqSocket) -> None:
        """Make a socket prove itself with these keys; before it connects."""
        socket.curve_publickey = self.pair.public
        socket.curve_secretkey = self.pair.secret
        socket.curve_serverkey = self.server


class _PublicFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    public: str


class _SecretFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    public: str
    secret: str


class KeyFolder:
    """The folder with the keys. Nothing is kept in memory: every question reads the disk.

    Args:
        path: The folder; `default_folder()` when left out. Made, with mode 0700, by the first thing written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_folder()

    def create(self, name: str) -> KeyPair:
        """Make a new pair and write both halves.

        Raises:
            ConfigError: the name is no name, or there is such a pair already.
        """
        _check_name(name)
        public, secret = zmq.curve_keypair()
        self._make_folders()
        known = {"name": name, "public": public.decode()}
        _write_new(self.secret_file(name), {**known, "secret": secret.decode()}, _SECRET_MODE)
        _write_new(self.public_file(name), known, _PUBLIC_MODE)
        return KeyPair(name, public, secret)

    def secret_file(self, name: str) -> Path:
        return self.path / f"{name}.secret.toml"

    def public_file(self, name: str) -> Path:
        return self.path / f"{name}.public.toml"

    def engine_pair(self) -> KeyPair:
        """The engine's own pair.

        Raises:
            ConfigError: there is none, or strangers could read or change what lies in the folder.
        """
        file = self.secret_file(ENGINE)
        if not file.is_file():
            raise ConfigError(
                f"{self.path}: the engine has no keys here; make them: scopeline keys new {ENGINE}"
            )
        for folder in (self.path, *(self.path / role for role in ROLES)):
            _refuse_open_folder(folder)
        return read_pair(file)

    def allow(self, name: str, public: bytes, role: Role) -> Path:
        """Admit a key under a name; returns the entry. A key that is admitted already stays so.

        Raises:
            ConfigError: the name is taken by another key, or the key is no key.
        """
        _check_name(name)
        _check_key(public, place=name)
        self._make_folders()
        entry = self.path / role / f"{name}.toml"
        if entry.exists():
            if read_public(entry)[1] == public:
                return entry
            raise ConfigError(
                f"{name} is allowed already with another key: scopeline keys revoke {name}, or choose another name"
            )
        _write_new(entry, {"name": name, "public": public.decode()}, _PUBLIC_MODE)
        return entry

    def revoke(self, name: str, roles: tuple[Role, ...] = ROLES) -> list[Role]:
        """Take a name off the lists; returns those it was on.

        Raises:
            ConfigError: it is on none of them.
        """
        _check_name(name)
        found: list[Role] = [role for role in roles if (self.path / role / f"{name}.toml").is_file()]
        if not found:
            raise ConfigError(f"{name} is on no list in {self.path}; scopeline keys list shows who is")
        for role in found:
            (self.path / role / f"{name}.toml").unlink()
        return found

    def admits(self, role: Role, public: bytes) -> bool:
        """Whether a key is on a list now. A list that cannot be read, or that others may write, admits nobody."""
        try:
            return any(key == public for _, key in self.allowed(role))
        except (ConfigError, OSError):
            return False

    def allowed(self, role: Role) -> Iterator[tuple[str, bytes]]:
        """Names and public keys on a list, by name. An entry that is damaged is passed over.

        Raises:
            ConfigError: others may write to the list.
        """
        folder = self.path / role
        _refuse_open_folder(folder)
        for entry in sorted(folder.glob("*.toml")):
            try:
                yield entry.stem, read_public(entry)[1]
            except ConfigError:
                continue

    def _make_folders(self) -> None:
        for folder in (self.path, *(self.path / role for role in ROLES)):
            folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)


class EngineKeys:
    """The engine's side: its pair, and the lists that say who may come in.

    Raises:
        ConfigError: as `KeyFolder.engine_pair`.
    """

    def __init__(self, folder: KeyFolder) -> None:
        self._folder = folder
        self._pair = folder.engine_pair()

    @property
    def public(self) -> bytes:
        return self._pair.public

    def lock(self, socket: ZmqSocket, role: Role) -> None:
        """Make a socket ask its peers for a key on the list of `role`; before it binds.

        The question is answered by a `Doorkeeper` in the same context. libzmq admits everybody while there is none,
        unless the domain is enforced, as it is here: without a doorkeeper nobody comes in.
        """
        socket.curve_server = True
        socket.curve_secretkey = self._pair.secret
        socket.setsockopt_string(zmq.ZAP_DOMAIN, role)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def admits(self, role: str, public: bytes) -> bool:
        """Whether a key (Z85) is on the list of a role now; no other word is a role."""
        return any(each == role and self._folder.admits(each, public) for each in ROLES)


def default_folder() -> Path:
    """`$XDG_CONFIG_HOME/scopeline/keys`, by default `~/.config/scopeline/keys`."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "scopeline" / "keys"


def client_keys(file: Path, server: str | None = None) -> ClientKeys:
    """A client's keys from its secret file and the engine's public key.

    Args:
        server: File with the engine's public key, or the key itself; `engine.public.toml` beside `file` when left out.

    Raises:
        ConfigError: a file is missing, damaged, or readable by others.
    """
    pair = read_pair(file)
    beside = file.with_name(f"{ENGINE}.public.toml")
    if server is None and not beside.is_file():
        raise ConfigError(
            f"{file}: the engine's public key is needed too: put {beside.name} of the engine's machine beside this "
            "file, or name it with --server"
        )
    return ClientKeys(pair, public_key(server or str(beside))[1])


def public_key(text: str) -> tuple[str | None, bytes]:
    """A name and a public key from what a person gave: a file, or the key itself (which has no name).

    Raises:
        ConfigError: it is neither.
    """
    if _Z85.fullmatch(text) and not Path(text).is_file():
        return None, text.encode()
    return read_public(Path(text))


def read_public(file: Path) -> tuple[str, bytes]:
    """Name and public key in a file; a secret file is refused, because it should not travel.

    Raises:
        ConfigError: the file is missing or is no such file.
    """
    content = _read(file)
    try:
        found = msgspec.toml.decode(content, type=_PublicFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a public key file (name and public): {error}") from error
    _check_key(found.public.encode(), place=str(file))
    return found.name, found.public.encode()


def read_pair(file: Path) -> KeyPair:
    """The pair in a secret file.

    Raises:
        ConfigError: the file is missing, damaged, or others may read it.
    """
    content = _read(file)
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise ConfigError(
            f"{file}: others may read this secret key; make new keys, or at least: chmod 600 {file}"
        )
    try:
        found = msgspec.toml.decode(content, type=_SecretFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a secret key file (name, public and secret): {error}") from error
    pair = KeyPair(found.name, found.public.encode(), found.secret.encode())
    for key in (pair.public, pair.secret):
        _check_key(key, place=str(file))
    if zmq.curve_public(pair.secret) != pair.public:
        raise ConfigError(f"{file}: the two halves do not belong together; the file is damaged")
    return pair


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"{file}: the key cannot be read ({error.strerror})") from error


def _write_new(file: Path, content: dict[str, str], mode: int) -> None:
    """Written with its mode from the first byte on; what is there is never replaced."""
    try:
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise ConfigError(f"{file}: there is one already; keys are never written over") from error
    except OSError as error:
        raise ConfigError(f"{file}: the key cannot be written ({error.strerror})") from error
    with os.fdopen(opened, "wb") as stream:
        # Neither names nor keys can hold a quote or a backslash.
        stream.write("".join(f'{key} = "{value}"\n' for key, value in content.items()).encode())


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"a key's name has letters, digits, - and _, 40 at most; got {name!r}")


def _check_key(key: bytes, *, place: str) -> None:
    if not _Z85.fullmatch(key.decode("ascii", "replace")):
        raise ConfigError(f"{place}: a key is 40 characters of Z85; got {len(key)} that are not")


def _refuse_open_folder(folder: Path) -> None:
    if os.name == "posix" and folder.is_dir() and stat.S_IMODE(folder.stat().st_mode) & 0o022:
        raise ConfigError(f"{folder}: others may write here and admit themselves; chmod 700 {folder}")
