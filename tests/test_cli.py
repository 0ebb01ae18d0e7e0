"""The command line: exit codes, what goes where, what is imported, and the commands around a topology."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from invalidator import cli, errors
from invalidator.cli import COMMANDS, main
from invalidator.topology import state
from tests.support.topologies import SOUND, loaded, write
from tests.support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeRedis

WIDE = SOUND.replace("allow: [key]", "allow: [key, tag]")
WRONG = SOUND.replace("type: store", "type: stroe").replace("allow: [key]", "alow: [key]")


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python -m invalidator …` as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "invalidator", *arguments], capture_output=True, text=True, check=False, **options
    )


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = "import sys; from invalidator.cli import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name, line in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert line in done.stdout
    for heavy in ("redis", "pydantic", "pluggy", "yaml", "msgspec", "multiprocess"):
        assert f"'{heavy}'" not in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: invalidator {name} ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage: invalidator"),
        (["chekc"], "no such command 'chekc' — did you mean 'check'?"),
        (["batch"], "no such command 'batch'"),
        (["check"], "Missing option '-c'"),
        (["check", "--nope"], "No such option"),
        (["plugins", "lgo"], "no plugin 'lgo' is installed — did you mean 'log'?"),
    ],
)
def test_a_wrong_call_ends_with_2_and_says_why(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == errors.EXIT_USAGE
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.UnreachableError("nobody is there"), 69, "nobody is there\n"),
        (errors.PluginError("alpha: broken"), 78, "alpha: broken\n"),
        (
            RuntimeError("oops"),
            70,
            "a bug in invalidator: RuntimeError: oops\nset INVALIDATOR_DEBUG=1 for the traceback\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_every_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr("invalidator.plugins.installed", _raiser(error))
    monkeypatch.delitem(sys.modules, "invalidator.commands.plugins", raising=False)
    assert main(["plugins"]) == code
    assert capsys.readouterr().err == said
    monkeypatch.delitem(sys.modules, "invalidator.commands.plugins", raising=False)


def test_a_bug_shows_its_traceback_to_who_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_plugin_commands", _raiser(RuntimeError("oops")))
    monkeypatch.setenv("INVALIDATOR_DEBUG", "1")
    assert main(["nothing"]) == errors.EXIT_BUG
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["schema"], ["--help"], ["plugins"]])
def test_a_reader_that_has_gone_is_no_traceback_and_no_verdict(arguments: list[str]) -> None:
    read, write_end = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "invalidator", *arguments],
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write_end)
    assert done.stderr == ""
    assert done.returncode == cli.EXIT_BROKEN_PIPE


def test_a_closed_stdout_is_no_traceback() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m invalidator --version >&-', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_a_command_of_a_plugin_is_listed_by_name_and_imported_on_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "extra_command.py").write_text(
        "import click\n\n@click.command()\ndef command():\n    click.echo('extra!')\n"
    )
    (tmp_path / "broken_command.py").write_text("raise RuntimeError('no licence')\n")
    info = tmp_path / "extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{cli.GROUP}]\nextra = extra_command:command\nbroken = broken_command:command\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["--help"]) == 0
    assert re.search(r"extra +Brought by extra\.", capsys.readouterr().out)
    assert "extra_command" not in sys.modules
    assert main(["extra"]) == 0
    assert capsys.readouterr().out == "extra!\n"
    assert main(["broken"]) == errors.EXIT_CONFIG
    assert capsys.readouterr().err == "the command 'broken' is broken: RuntimeError: no licence\n"


def test_check_says_in_one_line_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, SOUND)
    assert main(["check", "-c", str(file)]) == 0
    assert capsys.readouterr() == (f"{file}: ok: 1 worker, 2 backends\n", "")


def test_check_tells_every_problem_on_stderr_and_ends_with_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, WRONG)
    assert main(["check", "-c", str(file)]) == errors.EXIT_CONFIG
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split(": ", 1)[0] for line in shown.err.splitlines()] == [f"{file}:4:19", f"{file}:10:5"]
    assert shown.err.splitlines()[1] == f"{file}:10:5: workers[0].alow: unknown setting — did you mean 'allow'?"
    assert main(["check", "-c", str(file), "--json"]) == errors.EXIT_CONFIG
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [(problem["line"], problem["path"]) for problem in report["problems"]] == [
        (4, "backends.objects.type"),
        (10, "workers[0].alow"),
    ]


def test_check_tells_warnings_on_stderr_and_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, WIDE)
    assert main(["check", "-c", str(file)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{file}: ok: 1 worker, 2 backends, 1 warning\n"
    assert shown.err.startswith(f"warning: {file}:9:22: workers[0].backends[1]: 'objects' (store) cannot purge tag")


def test_check_of_a_file_that_is_not_there_ends_with_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(tmp_path / "none.yaml")]) == errors.EXIT_CONFIG
    assert "none.yaml: cannot be read: No such file or directory" in capsys.readouterr().err


def test_check_prints_a_topology_that_it_reads_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", "hunter2")
    text = SOUND.replace("redis://127", "redis://me:hunter2@127").replace("server: here", 'server: "${PLACE}"')
    file = write(tmp_path, text)
    assert main(["check", "-c", str(file), "--print"]) == 0
    shown = capsys.readouterr()
    assert shown.err == f"{file}: ok: 1 worker, 2 backends\n"
    assert "hunter2" not in shown.out
    printed = yaml.safe_load(shown.out)
    assert printed["redis"]["url"] == "redis://me:***@127.0.0.1:6379/0"
    assert printed["backends"]["objects"] == {"type": "store", "server": "***", "size": 1}
    assert printed["workers"][0]["backends"][0]["flush"] == {"all": True}
    assert loaded(tmp_path, shown.out).topology.workers[0].name == "users"


@pytest.mark.parametrize("connect", [(), ("--connect",)])
def test_check_warns_of_a_state_directory_that_cannot_be_used_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], redis_server: MakeRedis, connect: tuple[str, ...]
) -> None:
    text = SOUND.replace(
        "redis://127.0.0.1:6379/0\n", f"{redis_server().url}\nsupervisor: {{state_dir: taken/state}}\n"
    )
    (tmp_path / "taken").touch()
    file = write(tmp_path, text)
    assert main(["check", "-c", str(file), *connect]) == 0
    assert capsys.readouterr().err == (
        f"warning: {file}:3:25: supervisor.state_dir: {tmp_path}/taken/state cannot be written by this user: "
        "Not a directory: dead letters would be lost\n"
    )
    (tmp_path / "taken").unlink()
    assert main(["check", "-c", str(file), *connect]) == 0
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "taken").exists()


def test_a_state_directory_that_another_user_may_write_is_a_warning_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invalidator.topology.state.os.access", lambda *_: False)  # a test may run as root
    (warning,) = state.remark(loaded(tmp_path, SOUND))

    assert "cannot be written by this user: Permission denied" in warning.text


@pytest.mark.parametrize(("mode", "warned"), [(0o777, True), (0o1777, False), (0o775, False), (0o711, False)])
def test_a_control_socket_that_anybody_may_replace_is_a_warning(tmp_path: Path, mode: int, *, warned: bool) -> None:
    room = tmp_path / "room"
    room.mkdir()
    room.chmod(mode)
    said = [
        problem.text
        for problem in state.remark(
            loaded(tmp_path, SOUND + f"supervisor: {{control_socket: {room}/c, state_dir: s}}\n")
        )
    ]

    assert said == [f"{room} may be written by anybody: who puts another socket there is taken for the daemon"] * warned


def test_check_connects_to_redis_and_to_every_backend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], redis_server: MakeRedis
) -> None:
    url = redis_server(password="hunter2").url
    file = write(tmp_path, SOUND.replace("redis://127.0.0.1:6379/0", url).replace("server: here", "server: 'a:1,b:1'"))
    assert main(["check", "-c", str(file), "--connect"]) == 0
    shown = capsys.readouterr().out
    assert shown == (
        f"redis users at {url.replace('hunter2', '***')}: ok\n"
        "backend objects at a:1: ok\nbackend objects at b:1: ok\nbackend near: ok\n"
        f"{file}: ok: 1 worker, 2 backends\n"
    )


def test_check_names_whatever_does_not_answer_and_ends_with_69(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    file = write(
        tmp_path, SOUND.replace("redis://127.0.0.1:6379/0", url).replace("server: here", "server: 'here,away'")
    )
    assert main(["check", "-c", str(file), "--connect", "--json"]) == errors.EXIT_UNREACHABLE
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    found = {(tried["what"], tried["where"]): tried["error"] for tried in report["connections"]}
    assert "refused" in found["redis", url].lower()
    assert found["backend", "here"] == ""
    assert found["backend", "away"] == "unreachable: nobody is there"


def test_check_sees_that_a_user_may_not_subscribe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], redis_server: MakeRedis
) -> None:
    url = redis_server("--user", "worker", "on", ">pw", "+@all", "~*", "resetchannels").url
    file = write(tmp_path, SOUND.replace("redis://127.0.0.1:6379/0", url.replace("://", "://worker:pw@")))
    assert main(["check", "-c", str(file), "--connect"]) == errors.EXIT_UNREACHABLE
    assert "permission" in capsys.readouterr().out.lower()


@pytest.mark.parametrize("name", ["run", "check", "doctor", "publish", "status", "reload"])
def test_a_topology_that_may_not_be_read_is_a_wrong_one_and_no_wrong_usage(name: str) -> None:
    # click would end with 2, and systemd would start the daemon again and again. Root, as in CI, may read everything.
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert command is not None
    files = [option.type for option in command.params if option.name == "file"]

    assert [isinstance(file, click.Path) and file.readable for file in files] == [False]


def test_init_writes_a_topology_that_is_right_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "invalidator.yaml"
    assert main(["init", str(file)]) == 0
    assert main(["check", "-c", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok: 1 worker, 1 backend\n"
    file.write_text("mine")
    assert main(["init", str(file)]) == errors.EXIT_USAGE
    assert file.read_text() == "mine"
    assert main(["init", str(tmp_path / "no" / "folder.yaml")]) == errors.EXIT_USAGE


def test_schema_is_a_schema_on_stdout() -> None:
    done = run("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["$defs"]["type.log"]["properties"]["level"]["default"] == "info"


def test_plugins_lists_what_is_installed_and_the_options_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["log", "invalidator"] and line.endswith("ok") for line in lines)
    assert main(["plugins", "log"]) == 0
    assert "level    debug, info, warning  info     The level of the lines." in capsys.readouterr().out
    assert main(["plugins", "log", "--json"]) == 0
    (plugin,) = json.loads(capsys.readouterr().out)
    assert plugin["types"] == ["log"]
    assert plugin["options"]["log"][0]["default"] == "info"


def test_colour_is_off_when_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert cli._colour() is None
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli._colour() is False


def _raiser(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail
