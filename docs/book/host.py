"""A host on loopback, with a folder of its own, for as long as a `with` lasts."""

import os
import pathlib
import subprocess
import threading

from pages import Wrong

READY_SECONDS = 30
END_SECONDS = 30


class Host:
    def __init__(self, programs: pathlib.Path, home: pathlib.Path, environment: dict[str, str] | None = None):
        self.programs = programs
        self.home = home
        self.environment = environment or dict(os.environ)
        self.address = ""

    def __enter__(self) -> "Host":
        self.home.mkdir(parents=True)
        self.log = open(self.home / "log", "w+")
        words = ["--data-dir", self.home / "data", "--socket", self.home / "taskhost.sock", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [self.programs / "taskhost", *words], stdout=subprocess.PIPE, stderr=self.log, text=True, env=self.environment
        )
        # A host that hangs at its start would keep the reader below for ever.
        alarm = threading.Timer(READY_SECONDS, self.process.kill)
        alarm.start()
        for line in self.process.stdout:
            if line.startswith("listening on 127."):
                self.address = line.split()[-1]
            if line.strip() == "ready":
                alarm.cancel()
                return self
        alarm.cancel()
        self.process.wait()
        raise Wrong(f"no host: {(self.home / 'log').read_text()}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
