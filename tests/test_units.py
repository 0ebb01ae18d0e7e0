"""The systemd units as texts: derived, written by `init --systemd`, and without a word that systemd objects to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from invalidator import errors
from invalidator.doors.tidings import EXTEND_SECONDS, RELOAD_PATIENCE, STOP_MARGIN
from invalidator.topology import places
from invalidator.topology.settings import SupervisorSettings
from invalidator.units import PROGRAM, hidden, units
from tests.support.required import require

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[1]
NAMES = ["invalidator.service", "invalidator@.service"]
NEEDED = ["sysinit.target", "basic.target", "shutdown.target", "network.target", "multi-user.target"]


def settings(name: str) -> dict[str, str]:
    """The last value of each setting of a unit."""
    lines = units()[name].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_are_what_the_code_makes_now(name: str) -> None:
    written = (REPOSITORY / "examples" / "systemd" / name).read_text()

    assert written == units()[name], "write them again: make docs"


def test_a_path_that_means_something_to_systemd_is_refused() -> None:
    for path in ("/opt/my place/invalidator", "/opt/%h/invalidator", "invalidator", "/opt/$x/invalidator", "/a\nb"):
        with pytest.raises(ValueError, match="cannot stand in a unit"):
            units(path)


@pytest.mark.parametrize("name", NAMES)
def test_the_times_in_the_units_are_those_of_the_daemon(name: str) -> None:
    unit = settings(name)
    stop_timeout = SupervisorSettings.model_fields["stop_timeout"].default

    assert seconds(unit["TimeoutStopSec"]) == stop_timeout + STOP_MARGIN
    assert seconds(unit["WatchdogSec"]) >= 2 * EXTEND_SECONDS, "or asking for time would put the watchdog off"
    assert seconds(unit["TimeoutStartSec"]) > RELOAD_PATIENCE, "it is also how long systemd waits for a reload"
    assert unit["RestartPreventExitStatus"] == str(errors.EXIT_CONFIG)


def test_the_two_units_share_no_directory_that_systemd_removes() -> None:
    one, many = settings(NAMES[0]), settings(NAMES[1])

    assert one["RuntimeDirectory"] == "invalidator"
    assert "/" not in many["RuntimeDirectory"], "or the end of the one takes the tables of the others with it"
    assert one["StateDirectory"] != many["StateDirectory"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A root folder with the units, the program, and stubs of the targets that every service needs."""
    folder = tmp_path / "etc" / "systemd" / "system"
    folder.mkdir(parents=True)
    for target in NEEDED:
        (folder / target).write_text(f"[Unit]\nDescription={target}\nDefaultDependencies=no\n")
    for name, text in units().items():
        (folder / name).write_text(text)
    program = tmp_path / PROGRAM.removeprefix("/")
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path


def verify(root: Path) -> str:
    """What `systemd-analyze verify` says: it ends with 0 whatever settings it does not know."""
    command = [str(require("systemd-analyze")), "verify", f"--root={root}", "--man=no"]
    done = subprocess.run(
        [*command, "invalidator.service", "invalidator@shop.service"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.stderr or done.stdout or f"exit code {done.returncode}" * (done.returncode != 0)


def test_systemd_has_nothing_to_say_against_the_units(installed: Path) -> None:
    assert verify(installed) == ""


def test_it_would_have_something_to_say_against_a_misspelt_setting_and_a_missing_program(installed: Path) -> None:
    unit = installed / "etc" / "systemd" / "system" / NAMES[0]
    unit.write_text(unit.read_text().replace("WatchdogSec", "WatchdogSecs"))
    assert "WatchdogSecs" in verify(installed)
    (installed / PROGRAM.removeprefix("/")).unlink()
    assert "is not executable" in verify(installed)


@pytest.mark.parametrize("name", NAMES)
def test_the_sandbox_is_as_narrow_as_it_was(name: str, tmp_path: Path) -> None:
    command = [str(require("systemd-analyze")), "security", "--offline=true", "--threshold=15", "--no-pager"]
    unit = tmp_path / name
    unit.write_text(units()[name])
    narrow = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False, timeout=30)
    unit.write_text(re.sub(r"^(Protect|Restrict|System|Capa).*$", "", units()[name], flags=re.MULTILINE))
    wide = subprocess.run([*command, str(unit)], capture_output=True, text=True, check=False, timeout=30)

    assert narrow.returncode == 0, narrow.stdout
    assert wide.returncode != 0, "the threshold must tell the two apart"


def test_the_commands_look_for_an_instance_where_the_template_has_its_socket() -> None:
    folder = settings("invalidator@.service")["RuntimeDirectory"].replace("%i", "shop")
    shop = Path("/etc/invalidator/shop.yaml")

    assert places.control_sockets(shop, {}, root=True) == (
        Path("/run", settings("invalidator.service")["RuntimeDirectory"], "control.sock"),
        Path("/run", folder, "control.sock"),
    )
    own = {"XDG_RUNTIME_DIR": "/run/user/1000"}
    assert places.control_sockets(shop, own, root=False) == (Path("/run/user/1000/invalidator/control.sock"),)


@pytest.fixture
def invalidator(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The installed command, run in an empty folder."""
    program = Path(sys.executable).parent / "invalidator"
    assert program.exists()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
        )

    return run


def test_init_writes_both_units_for_the_program_that_it_is(
    invalidator: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = invalidator("init", "--systemd")
    program = Path(sys.executable).parent / "invalidator"

    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == units(str(program))
    assert f"for {program}" in done.stderr


def test_init_overwrites_no_unit_and_writes_none_if_one_is_there(
    invalidator: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "units"
    folder.mkdir()
    (folder / NAMES[1]).write_text("mine\n")
    done = invalidator("init", "--systemd", str(folder))

    assert done.returncode == errors.EXIT_USAGE
    assert "is there already, and stays as it is" in done.stderr
    assert os.listdir(folder) == [NAMES[1]]  # noqa: PTH208
    assert (folder / NAMES[1]).read_text() == "mine\n"


@pytest.mark.parametrize("arguments", [("topology.yaml", "--systemd", "."), ("--systemd", "no/folder")])
def test_init_says_what_it_cannot_do(
    invalidator: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = invalidator("init", *arguments)

    assert done.returncode == errors.EXIT_USAGE
    assert "bug" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_the_sandbox_hides_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert hidden(PROGRAM) == ""
    for path in ("/home/me/.venv/bin/invalidator", "/tmp/x/invalidator"):  # noqa: S108
        assert "hidden" in hidden(path)
    monkeypatch.setattr(sys, "base_prefix", "/home/me/python")
    assert hidden(PROGRAM).startswith("/home/me/python is hidden")
