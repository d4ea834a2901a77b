"""Keys on disk: what is written, who is admitted, what is refused. And `scopeline keys`."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from scopeline.cli import main
from scopeline.errors import ConfigError
from scopeline.keys import ENGINE, EngineKeys, KeyFolder, client_keys, default_folder, read_pair, read_public

posix = pytest.mark.skipif(os.name != "posix", reason="other systems have no such modes")


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_pair_is_read_as_it_was_made(folder: KeyFolder) -> None:
    made = folder.create("viewer")
    assert read_pair(folder.secret_file("viewer")) == made
    assert read_public(folder.public_file("viewer")) == ("viewer", made.public)
    assert zmq.curve_public(made.secret) == made.public


@posix
def test_secrets_are_for_their_owner_alone(folder: KeyFolder) -> None:
    before = os.umask(0)
    try:
        folder.create("viewer")
    finally:
        os.umask(before)
    assert mode(folder.secret_file("viewer")) == 0o600
    assert [mode(each) for each in (folder.path, folder.path / "operators")] == [0o700, 0o700]


@posix
@pytest.mark.parametrize("open_mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_may_read_is_refused_with_what_to_do(folder: KeyFolder, open_mode: int) -> None:
    folder.create(ENGINE)
    folder.secret_file(ENGINE).chmod(open_mode)
    with pytest.raises(ConfigError, match=r"others may read.*chmod 600"):
        EngineKeys(folder)


@posix
@pytest.mark.parametrize("place", [".", "subscribers", "operators"])
def test_a_list_that_others_may_write_is_refused(folder: KeyFolder, place: str) -> None:
    folder.create(ENGINE)
    (folder.path / place).chmod(0o770)
    with pytest.raises(ConfigError, match="others may write"):
        EngineKeys(folder)


@posix
def test_a_list_that_others_may_write_admits_nobody_at_the_door(folder: KeyFolder) -> None:
    folder.create(ENGINE)
    viewer = folder.create("viewer")
    folder.allow("viewer", viewer.public, "subscribers")
    keys = EngineKeys(folder)
    assert keys.admits("subscribers", viewer.public)
    (folder.path / "subscribers").chmod(0o777)
    assert not keys.admits("subscribers", viewer.public)


def test_keys_are_never_written_over(folder: KeyFolder) -> None:
    made = folder.create("viewer")
    with pytest.raises(ConfigError, match="never written over"):
        folder.create("viewer")
    assert read_pair(folder.secret_file("viewer")) == made


def test_a_key_is_admitted_to_the_list_it_is_on_and_to_no_other(folder: KeyFolder) -> None:
    folder.create(ENGINE)
    viewer, pedal = folder.create("viewer"), folder.create("pedal")
    folder.allow("viewer", viewer.public, "subscribers")
    folder.allow("pedal", pedal.public, "operators")
    keys = EngineKeys(folder)
    admitted = [
        [keys.admits(role, pair.public) for role in ("subscribers", "operators", "", "..")]
        for pair in (viewer, pedal)
    ]
    assert admitted == [[True, False, False, False], [False, True, False, False]]


def test_revoking_counts_at_once(folder: KeyFolder) -> None:
    folder.create(ENGINE)
    pedal = folder.create("pedal")
    folder.allow("pedal", pedal.public, "operators")
    folder.allow("pedal", pedal.public, "subscribers")
    keys = EngineKeys(folder)
    assert folder.revoke("pedal", ("operators",)) == ["operators"]
    assert not keys.admits("operators", pedal.public)
    assert keys.admits("subscribers", pedal.public)
    assert folder.revoke("pedal") == ["subscribers"]
    with pytest.raises(ConfigError, match="on no list"):
        folder.revoke("pedal")


def test_a_name_that_is_taken_keeps_its_key(folder: KeyFolder) -> None:
    first, second = zmq.curve_keypair()[0], zmq.curve_keypair()[0]
    entry = folder.allow("viewer", first, "subscribers")
    assert folder.allow("viewer", first, "subscribers") == entry
    with pytest.raises(ConfigError, match="another key"):
        folder.allow("viewer", second, "subscribers")


def test_a_damaged_entry_admits_nobody_and_keeps_nobody_out(folder: KeyFolder) -> None:
    viewer = folder.create("viewer")
    folder.allow("viewer", viewer.public, "subscribers")
    (folder.path / "subscribers" / "a-broken.toml").write_bytes(b"\xff\xfe name")
    assert folder.admits("subscribers", viewer.public)
    assert not folder.admits("subscribers", b"")


@pytest.mark.parametrize("name", ["", "../engine", "a/b", ".hidden", "x" * 41, "a b", "Zoë"])
def test_a_name_that_is_no_name_is_refused(folder: KeyFolder, name: str) -> None:
    for attempt in (lambda: folder.create(name), lambda: folder.revoke(name)):
        with pytest.raises(ConfigError, match="name has letters"):
            attempt()
    assert not folder.path.exists()


DAMAGED = {
    "nothing": "",
    "no TOML": "public =",
    "no secret": 'name = "x"\npublic = "{public}"\n',
    "a secret that is too short": 'name = "x"\npublic = "{public}"\nsecret = "abc"\n',
    "halves of two pairs": 'name = "x"\npublic = "{public}"\nsecret = "{other}"\n',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_secret_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (public, _), (_, other) = zmq.curve_keypair(), zmq.curve_keypair()
    file = tmp_path / "x.secret.toml"
    file.write_text(content.replace("{public}", public.decode()).replace("{other}", other.decode()))
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=r"x\.secret\.toml"):
        read_pair(file)


def test_a_secret_file_is_not_taken_for_a_public_one(folder: KeyFolder) -> None:
    """Who mixes the two up must not put a secret on a list that others may see."""
    folder.create("viewer")
    with pytest.raises(ConfigError, match="not a public key file"):
        read_public(folder.secret_file("viewer"))


def test_the_engines_key_is_looked_for_beside_the_clients(folder: KeyFolder) -> None:
    viewer = folder.create("viewer")
    with pytest.raises(ConfigError, match="engine's public key is needed"):
        client_keys(folder.secret_file("viewer"))
    engine = folder.create(ENGINE)
    found = client_keys(folder.secret_file("viewer"))
    assert (found.pair, found.server) == (viewer, engine.public)
    assert client_keys(folder.secret_file("viewer"), engine.public.decode()) == found


def test_an_engine_without_keys_says_how_to_make_them(folder: KeyFolder) -> None:
    with pytest.raises(ConfigError, match="scopeline keys new engine"):
        EngineKeys(folder)


def test_the_folder_is_where_the_system_keeps_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "scopeline" / "keys"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert default_folder() == Path.home() / ".config" / "scopeline" / "keys"


def test_a_secret_is_not_shown_when_its_pair_is_printed(folder: KeyFolder) -> None:
    pair = folder.create("viewer")
    assert pair.secret.decode() not in repr(pair)


# The commands.


@pytest.fixture
def keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    """`scopeline keys ...` with the configuration in a folder of the test's."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["scopeline", "keys", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


def test_a_client_is_made_allowed_listed_and_revoked(keys: Callable[..., tuple[int, str]]) -> None:
    place = KeyFolder()
    assert "engine.public.toml" in keys("new", "engine")[1]
    code, said = keys("new", "pedal", "--operator")
    assert code == 0
    assert "scopeline keys allow pedal.public.toml --operator" in said
    assert keys("allow", place.public_file("pedal"), "--operator") == (0, "pedal may now set marks\n")
    pedal = read_pair(place.secret_file("pedal"))
    listed = keys("list")[1]
    assert pedal.public.decode() in listed
    assert place.engine_pair().public.decode() in listed
    assert pedal.secret.decode() not in listed
    assert place.admits("operators", pedal.public)
    assert keys("revoke", "pedal") == (0, "pedal may no longer set marks\n")
    assert not place.admits("operators", pedal.public)


def test_a_bare_key_is_allowed_under_a_name(keys: Callable[..., tuple[int, str]]) -> None:
    public = zmq.curve_keypair()[0]
    code, said = keys("allow", "--", public.decode())
    assert code == 2
    assert "--name" in said
    assert keys("allow", "--name", "wall", "--", public.decode()) == (0, "wall may now read\n")
    assert KeyFolder().admits("subscribers", public)


def test_a_file_that_is_not_there_ends_with_one_line_and_code_2(
    keys: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    code, said = keys("allow", tmp_path / "nobody.public.toml")
    assert code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
