"""The book's references, made from what the built programs say of themselves: `--help`, and the OpenRPC document of a host."""

import collections
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile

from host import Host

# As clap wraps its help texts: what fits a terminal of 80 columns.
HELP_COLUMNS = 80

MARKS = (
    "A member that is marked *always* is always there: a request without it is refused. Others may be absent, and one that is "
    "`null` counts as absent."
)

REFERENCE = re.compile(r"#/components/schemas/(\w+)")


def help_of(program: pathlib.Path, verbs: tuple[str, ...]) -> str:
    environment = {**os.environ, "COLUMNS": str(HELP_COLUMNS)}
    asked = subprocess.run([program, *verbs, "--help"], capture_output=True, text=True, check=True, env=environment)
    return "\n".join(line.rstrip() for line in asked.stdout.splitlines())


def subcommands(text: str) -> list[str]:
    lines = text.splitlines()
    if "Commands:" not in lines:
        return []
    names = []
    for line in lines[lines.index("Commands:") + 1 :]:
        if not line:
            break
        if line[2] != " ":
            names.append(line.split()[0])
    return [name for name in names if name != "help"]


def command_line(program: pathlib.Path) -> str:
    """Every verb of a program with its help text, as sections of a page."""
    sections = []

    def tell(verbs: tuple[str, ...]) -> None:
        text = help_of(program, verbs)
        sections.append(f"{'##' if len(verbs) < 2 else '###'} {' '.join((program.name, *verbs))}\n\n```text\n{text}\n```\n")
        for name in subcommands(text):
            tell((*verbs, name))

    tell(())
    return "\n".join(sections)


def discover(programs: pathlib.Path) -> dict:
    """The OpenRPC document that a host answers with."""
    with tempfile.TemporaryDirectory() as home, Host(programs, pathlib.Path(home) / "host") as host:
        name, port = host.address.rsplit(":", 1)
        with socket.create_connection((name, int(port))) as stream:
            stream.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}')
            with stream.makefile() as lines:
                return json.loads(lines.readline())["result"]


class Rpc:
    """The page of methods, from an OpenRPC document."""

    def __init__(self, document: dict):
        self.methods = document["methods"]
        self.schemas = document["components"]["schemas"]
        self.errors = document["components"]["errors"]
        # Those that stand with the one method that takes them.
        self.told: set[str] = set()
        self.uses = collections.Counter(REFERENCE.findall(json.dumps(document)))

    def page(self) -> str:
        everywhere = set.intersection(*(set(self.errors_of(method)) for method in self.methods))
        out = [MARKS, "", "## Errors of every call", "", self.error_table(sorted(everywhere, key=self.code)), ""]
        groups = {}
        for method in self.methods:
            groups.setdefault(method["name"].split(".")[0], []).append(method)
        for group, methods in groups.items():
            out += [f"## {group}", ""]
            for method in methods:
                out += self.method(method, everywhere)
        out += ["## Types", "", "In order of name.", ""]
        for name in sorted(self.schemas):
            if not self.is_transparent(name) and name not in self.told:
                out += [f"### {name}", "", *self.schema(name)]
        return "\n".join(out)

    def code(self, error: str) -> int:
        return self.errors[error]["code"]

    def errors_of(self, method: dict) -> list[str]:
        return [error["$ref"].rsplit("/", 1)[1] for error in method["errors"]]

    def error_table(self, names: list[str]) -> str:
        rows = [f"| {self.errors[name]['code']} | `{name}` | {self.errors[name]['message']} |" for name in names]
        return "\n".join(["| Code | Name | Meaning |", "|-----:|------|---------|", *rows])

    def method(self, method: dict, everywhere: set[str]) -> list[str]:
        out = [f"### {method['name']}", "", method["summary"], ""]
        tables = []
        for parameter in method["params"]:
            absent = "" if parameter["required"] else " It may be left out."
            own = [name for name in self.named(parameter["schema"]) if self.uses[name] == 1]
            self.told.update(own)
            tables += [line for name in own for line in self.schema(name, described=False)]
            out.append(f"- **Takes** `{parameter['name']}`: {self.kind(parameter['schema'])}.{absent}")
        if not method["params"]:
            out.append("- **Takes** nothing.")
        subscription = method.get("x-subscription")
        if subscription:
            out.append(
                f"- **Answers** with the subscription's number, and then sends notifications `{subscription['notification']}`, each "
                f"with an {self.kind(subscription['item'])}, until `{subscription['unsubscribe']}` or the connection ends it."
            )
        else:
            out.append(f"- **Answers** with {self.kind(method['result']['schema'])}.")
        own = [name for name in self.errors_of(method) if name not in everywhere]
        if own:
            out.append("- **Errors** of its own: " + ", ".join(f"`{name}` ({self.errors[name]['code']})" for name in own) + ".")
        return [*out, "", *tables]

    def is_transparent(self, name: str) -> bool:
        """Whether a type is only another word for what it may be."""
        return not {"description", "properties", "oneOf"} & set(self.schemas[name])

    def named(self, schema: dict) -> list[str]:
        """The types of objects that a parameter may be."""
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            return self.named(self.schemas[name]) if self.is_transparent(name) else [name]
        return [name for one in schema.get("anyOf", []) for name in self.named(one)]

    def schema(self, name: str, described: bool = True) -> list[str]:
        schema = self.schemas[name]
        out = []
        if described and "description" in schema:
            out += [told(schema["description"]), ""]
        if schema.get("properties"):
            required = set(schema.get("required", []))
            out += ["| Member | | What it is |", "|---|---|---|"]
            for member, of in schema["properties"].items():
                mark = "<br>*always*" if member in required else ""
                out.append(f"| `{member}`{mark} | {cell(self.kind(of))} | {cell(told(of.get('description', '')))} |")
            out.append("")
        elif "oneOf" in schema and all("const" in one for one in schema["oneOf"]):
            out += ["| Value | |", "|---|---|"]
            out += [f"| `{one['const']}` | {cell(told(one.get('description', '')))} |" for one in schema["oneOf"]]
            out.append("")
        else:
            out += [f"It is {self.kind(schema)}.", ""]
        return out

    def kind(self, schema: dict | bool) -> str:
        """What a value may be, in words."""
        if schema in (True, {}):
            return "any JSON"
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            if self.is_transparent(name):
                return self.kind(self.schemas[name])
            return "the object below" if name in self.told else f"[{name}](#{name.lower()})"
        if "const" in schema:
            return f"`{json.dumps(schema['const'])}`"
        for word in ("anyOf", "oneOf", "allOf"):
            if word in schema:
                return " or ".join(self.kind(one) for one in schema[word] if one != {"type": "null"})
        if "enum" in schema:
            return " or ".join(f"`{json.dumps(one)}`" for one in schema["enum"] if one is not None)
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        words = [self.plain(kind, schema) for kind in kinds if kind != "null"]
        return " or ".join(words) or "any JSON"

    def plain(self, kind: str, schema: dict) -> str:
        match kind:
            case "array":
                return f"list of {self.kind(schema['items'])}" if isinstance(schema.get("items"), dict) else "list"
            case "object":
                of = schema.get("additionalProperties")
                return f"object of {self.kind(of)}" if isinstance(of, dict) else "object"
            case "integer":
                return "whole number"
            case "string":
                return "time" if schema.get("format") == "date-time" else "text"
            case "boolean":
                return "`true` or `false`"
            case other:
                return other


def told(text: str) -> str:
    """A description without the brackets that only rustdoc makes links of."""
    return text.replace("[`", "`").replace("`]", "`")


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
