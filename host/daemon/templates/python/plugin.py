"""A taskhost plugin: greets whom the setting `name` says, and counts how often."""

from failure import catching
from wit_world import exports
from wit_world.imports import atomics, wasi_config_store as config, wasi_keyvalue_store as kv
from wit_world.imports.types import Tick


class Guest(exports.Guest):
    @catching
    def run(self, tick: Tick) -> str | None:
        """Called for each tick: returns a summary, or raises a `failure`."""
        name = config.get("name") or "world"
        print(f"hello {name}, it is {tick.due_local}")
        return f"greeted {atomics.increment(kv.open('default'), 'greeted', 1)} times"
