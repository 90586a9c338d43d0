"""Runs the commands of the book's pages against real hosts: commands.py PROGRAMS [PAGE…]

Each page has a folder and a host of its own, and one shell for all of its blocks, in order:

- a block `sh` is run as it stands, and each command of it must succeed;
- of a block `console`, what stands after `$ ` is run. Output is not compared, but where the page shows an `error:` the command
  must fail, and one that ends with `^C` is interrupted when it has written as many lines as the page shows;
- a block `python` is run by python3.

127.0.0.1:3333 becomes the address of the page's host. What can't be told from the pages stands in commands.toml: what is there
before the page's first command, and which blocks are run elsewhere, or not, and why. A block that is not listed there is run.

In what is only mentioned in a sentence, `taskctl VERB --flag` or `taskhost VERB --flag`, the verb and the flags must exist.
"""

import collections
import contextlib
import dataclasses
import fnmatch
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

from host import Host
from pages import ROOT, Block, Wrong, blocks, chapters, main, split
from reference import help_of, subcommands

RUN = {"sh", "console", "python"}
PAGE_SECONDS = 120
ANY_BLOCK = "*"

SCRIPT = re.compile(r"(?:\.ci|plugins)/[\w.-]*\w")
OWN_HOST = re.compile(r"^taskhost( --\S+)* *&")
MENTIONED = re.compile(r"(?<!`)`((?:taskctl|taskhost) [^`]+)`(?!`)")

# For blocks that begin or stop something.
PRELUDE = r"""
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
must_fail() {
    if "$@"; then
        echo "it succeeds, and the page shows an error" >&2
        return 1
    fi
}
# Ctrl-C when so many lines were written; what was written until then is in the file $SHOWN.
interrupt_after() {
    local lines=$1
    shift
    : >"$SHOWN"
    env --default-signal=INT "$@" >"$SHOWN" 2>&1 &
    local command=$!
    until (($(wc -l <"$SHOWN") >= lines)); do
        kill -0 $command
        sleep 0.05
    done
    kill -INT $command
    wait $command || true
    cat "$SHOWN"
}
await_host() {
    until taskctl host >/dev/null 2>&1; do
        kill -0 $!
        sleep 0.05
    done
}
"""


@dataclasses.dataclass
class Rules:
    """What commands.toml says of a page, or of the pages of a pattern. Blocks are known by how their first line begins."""

    # Commands before those of the page.
    before: str = ""
    # Who runs a block.
    elsewhere: dict[str, str] = dataclasses.field(default_factory=dict)
    # Why a block is not run.
    not_run: dict[str, str] = dataclasses.field(default_factory=dict)
    # Commands in the place of a block that is not run here.
    instead: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.unused = {*self.elsewhere, *self.not_run, *self.instead}

    def check_elsewhere(self, page: str) -> None:
        """That who is said to run a block is there, and knows the example that the page is of."""
        for reason in self.elsewhere.values():
            scripts = [ROOT / path for path in SCRIPT.findall(reason)]
            if not scripts or not all(script.is_file() for script in scripts):
                raise Wrong(f"commands.toml: {page}: `{reason}` names no script that is there")
            folder = pathlib.PurePosixPath(page).parent
            is_example = folder.parent.name == "examples"
            if is_example and not any(folder.name in script.read_text() for script in scripts):
                raise Wrong(f"commands.toml: {page}: `{reason}` knows nothing of {folder.name}")

    def find(self, among: dict[str, str], block: Block) -> str | None:
        first = block.lines[0] if block.lines else ""
        for key, value in among.items():
            if key == ANY_BLOCK or first.startswith(key):
                self.unused.discard(key)
                return value
        return None


def read_rules(pages: list[str]) -> dict[str, Rules]:
    """The rules of each page that has some; where two patterns are of it, those of the first."""
    with open(pathlib.Path(__file__).with_name("commands.toml"), "rb") as file:
        listed = tomllib.load(file)
    rules = {}
    for pattern, members in listed.items():
        matching = [page for page in pages if fnmatch.fnmatchcase(page, pattern)]
        if not matching:
            raise Wrong(f"commands.toml: no page is {pattern}")
        try:
            found = Rules(**members)
        except TypeError as error:
            raise Wrong(f"commands.toml: {pattern}: {error}") from None
        for page in matching:
            rules.setdefault(page, found)
    return rules


def commands_of_console(block: Block) -> list[tuple[str, list[str]]]:
    """The commands of a `console` block, each with the output that the page shows."""
    commands: list[tuple[str, list[str]]] = []
    goes_on = False
    for line in block.lines:
        if goes_on:
            command, output = commands[-1]
            commands[-1] = (f"{command}\n{line}", output)
        elif line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands:
            commands[-1][1].append(line)
        goes_on = line.endswith("\\") and (goes_on or line.startswith("$ "))
    return commands


def script_of(block: Block) -> str:
    match block.language:
        case "python":
            return "\n".join(["python3 - <<'END OF THE BLOCK'", *block.lines, "END OF THE BLOCK"])
        case "sh":
            return "\n".join(block.lines)
    lines = []
    for command, output in commands_of_console(block):
        lines.append(f"echo {shlex.quote('$ ' + command)}")
        if OWN_HOST.match(command):
            lines += [command, "await_host"]
        elif output and output[-1] == "^C":
            lines.append(f"interrupt_after {len(output) - 1} {command}")
        elif any(line.startswith("error:") for line in output):
            lines.append(f"must_fail {command}")
        else:
            lines.append(command)
    return "\n".join(lines)


def run_page(page: str, scripts: list[str], text: str, programs: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory(prefix="taskhost-docs.") as temporary:
        home = pathlib.Path(temporary)
        for folder in ("work", "blocks"):
            (home / folder).mkdir()
        save_blocks(text, home / "blocks")
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "REPO": str(ROOT),
            "BLOCKS": str(home / "blocks"),
            "SHOWN": str(home / "shown"),
            "XDG_DATA_HOME": str(home / "share"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_RUNTIME_DIR": str(home / "run"),
            # Of a host that the page itself starts; and never another one that is on this machine.
            "TASKHOST_LISTEN": "127.0.0.1:0",
            "TASKHOST_HOST": f"unix:{home}/run/taskhost.sock",
        }
        script = "\n".join([PRELUDE, *scripts])
        if any(OWN_HOST.match(line) for line in script.splitlines()):
            (home / "run").mkdir()
            run_script(page, script, home, environment)
            return
        with Host(programs, home / "run", environment) as host:
            script = script.replace("127.0.0.1:3333", host.address).replace("127.0.0.1/3333", host.address.replace(":", "/"))
            run_script(page, script, home, environment)


def save_blocks(text: str, folder: pathlib.Path) -> None:
    """The page's other blocks, as files LANGUAGE-NUMBER, from 1."""
    numbers = collections.Counter()
    for block in blocks(text):
        numbers[block.language] += 1
        (folder / f"{block.language}-{numbers[block.language]}").write_text("\n".join(block.lines) + "\n")


def run_script(page: str, script: str, home: pathlib.Path, environment: dict[str, str]) -> None:
    with open(home / "output", "w+") as output:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=home / "work",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = shell.wait(PAGE_SECONDS)
        except subprocess.TimeoutExpired:
            code = f"none in {PAGE_SECONDS} s"
        # What a page began in the background ends with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
        output.seek(0)
        told = output.read()
    if code != 0 or os.environ.get("SHOW"):
        print(told)
    if code != 0:
        raise Wrong(f"a command of {page} failed: exit code {code}; it is the last one above")


class Mentions:
    """That verbs and flags that pages mention exist."""

    def __init__(self, programs: pathlib.Path):
        self.programs = programs
        self.helps: dict[tuple[str, ...], str] = {}

    def help(self, program: str, *verbs: str) -> str:
        key = (program, *verbs)
        if key not in self.helps:
            self.helps[key] = help_of(self.programs / program, verbs)
        return self.helps[key]

    def check(self, page: str, text: str) -> int:
        prose = "\n".join(part for part in split(text) if isinstance(part, str))
        checked = 0
        for mentioned in MENTIONED.findall(prose):
            words = " ".join(mentioned.split()).split(" -- ")[0].split()
            self.check_words(page, words)
            checked += 1
        return checked

    def check_words(self, page: str, words: list[str]) -> None:
        program, *rest = words
        verbs: list[str] = []
        while rest and rest[0][0].isalpha() and (known := subcommands(self.help(program, *verbs))):
            alternatives = [word for word in rest[0].split("|") if word.islower()]
            unknown = [word for word in alternatives if word not in known]
            if unknown:
                raise Wrong(f"{page}: `{' '.join(words)}`: {program} has no verb {unknown[0]}")
            if not alternatives:
                return
            verbs.append(alternatives[0])
            rest = rest[1:]
        text = self.help(program, *verbs)
        for word in rest:
            flag = re.match(r"^\[?(--[a-z0-9][a-z0-9-]*)", word)
            if flag and not re.search(rf"(?<![\w-]){flag[1]}(?![\w-])", text):
                raise Wrong(f"{page}: `{' '.join(words)}`: there is no {flag[1]}")


def run() -> int:
    if len(sys.argv) < 2:
        raise Wrong("usage: commands.py PROGRAMS [PAGE…]")
    programs = pathlib.Path(sys.argv[1]).resolve()
    pages = [page.as_posix() for page in chapters()]
    rules = read_rules(pages)
    asked = sys.argv[2:] or pages
    if unknown := set(asked) - set(pages):
        raise Wrong(f"no page of the book: {', '.join(sorted(unknown))}")
    mentions = Mentions(programs)
    counts = dict.fromkeys(("run", "elsewhere", "not run", "mentioned"), 0)
    for page in asked:
        text = (ROOT / page).read_text()
        counts["mentioned"] += mentions.check(page, text)
        of_page = rules.get(page, Rules())
        of_page.check_elsewhere(page)
        scripts = []
        run_here = 0
        for block in blocks(text):
            if block.language not in RUN:
                continue
            for kind, reasons in (("elsewhere", of_page.elsewhere), ("not run", of_page.not_run)):
                reason = of_page.find(reasons, block)
                if reason is not None:
                    counts[kind] += 1
                    print(f"{page}:{block.line}: {kind}: {reason}")
                    scripts.append(of_page.find(of_page.instead, block) or "")
                    break
            else:
                run_here += 1
                scripts.append(f"echo '--- {page}:{block.line}'\n{script_of(block)}")
        if run_here:
            begun = time.monotonic()
            run_page(page, [of_page.before, *scripts], text, programs)
            counts["run"] += run_here
            print(f"{page}: {run_here} run in {time.monotonic() - begun:.1f} s")
    for pattern_rules in {id(of_page): of_page for of_page in rules.values()}.values():
        if asked == pages and pattern_rules.unused:
            raise Wrong(f"commands.toml: no block begins with {' or '.join(sorted(pattern_rules.unused))}")
    print(
        f"{counts['run']} blocks run, {counts['elsewhere']} run elsewhere, {counts['not run']} not run; "
        f"{counts['mentioned']} commands in sentences exist"
    )
    return 0


main(run)
