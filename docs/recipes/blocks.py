"""Executes the fenced blocks of a page, in order and in one shell, and compares what they print.

A block of sh is a recipe. A block of text right after it is all that it must print, where … stands for
anything within a line. A block of python with file=PATH must be that file. Other blocks are an error.
"""
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

SECONDS = 100  # that a recipe may take; the longest download


def blocks(page):
    """Yields heading, language, file and text of each fenced block, and whether it follows the last at once."""
    heading, fence, text, adjacent = "", None, [], False
    for line in page.splitlines():
        if fence is not None:
            if line == "```":
                language, _, name = fence.partition(" file=")
                yield heading, language, name, "".join(text), adjacent
                fence, text, adjacent = None, [], True
            else:
                text.append(line + "\n")
        elif line.startswith("```"):
            fence = line[3:]
        elif line.strip():
            adjacent = False
            if line.startswith("#"):
                heading = line.lstrip("# ")
    if fence is not None:
        raise ValueError(f"a block of {fence} under {heading} has no end")


class Shell:
    """A shell as a reader has it open: variables and functions stay."""

    def __init__(self, folder):
        self.script, self.errors = folder / "block", folder / "stderr"
        self.bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.errors.open("a"), start_new_session=True)

    def run(self, text):
        """Returns what was printed and the exit code, None for a block that does not end."""
        self.script.write_text(text)
        os.truncate(self.errors, 0)
        end = f"--- end {time.monotonic_ns()}"
        self.bash.stdin.write(f". '{self.script}' </dev/null\nprintf '%s %d\\n' '{end}' $?\n".encode())
        self.bash.stdin.flush()
        printed, deadline = b"", time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if not select.select([self.bash.stdout], [], [], 1)[0]:
                continue
            more = os.read(self.bash.stdout.fileno(), 1 << 16)
            printed += more
            before, found, after = printed.decode(errors="replace").partition(end)
            if found and after.endswith("\n"):
                return before, int(after)
            if not more:
                break
        self.close()
        return printed.decode(errors="replace"), None

    def close(self):
        try:
            os.killpg(self.bash.pid, signal.SIGKILL)  # the group is the shell's own
        except ProcessLookupError:
            pass
        self.bash.wait()


def matches(want, got):
    pattern = ".*".join(re.escape(part) for part in want.split("…"))
    return re.fullmatch(pattern, got) is not None


def recipes(page):
    """Returns [heading, text, what it must print or None], and what is wrong with the page."""
    found, wrong = [], []
    for heading, language, name, text, adjacent in blocks(page):
        if language == "sh":
            found.append([heading, text, None])
        elif language == "text" and adjacent and found and found[-1][2] is None:
            found[-1][2] = text
        elif language == "python" and name:
            if pathlib.Path(name).read_text() != text:
                wrong.append(f"{heading}: the page shows another {name} than there is")
        else:
            wrong.append(f"{heading}: a block of {language or 'nothing'} that is neither recipe nor what one prints")
    return found, wrong


def main(path):
    found, failures = recipes(pathlib.Path(path).read_text())
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        shell = Shell(pathlib.Path(folder))
        for n, (heading, text, want) in enumerate(found, 1):
            began = time.monotonic()
            if shell.bash.poll() is not None:
                failures.append(f"{n} {heading}: not run, the shell is gone")
                continue
            got, code = shell.run(text)
            took = f"{time.monotonic() - began:.1f} s"
            if code == 0 and (want is None or matches(want, got)):
                passed += 1
                print(f"passed {n} {heading} ({took})", flush=True)
                continue
            ended = f"exit {code}" if code is not None else "did not end"
            failures.append(f"{n} {heading}: {ended} after {took}\n{text}--- want\n{want or ''}--- got\n{got}--- stderr\n{shell.errors.read_text()[-2000:]}")
        shell.close()
    for failure in failures:
        print(f"FAILED {failure}")
    if not found:
        failures.append("no recipe")
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
