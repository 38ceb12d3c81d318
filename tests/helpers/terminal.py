"""What a user's terminal shows: a program in a real pseudo-terminal, and its screen read back."""

import fcntl
import os
import pty
import re
import struct
import termios

COLUMNS = 120
_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


def shown(line: list[str], **environment: str) -> list[str]:
    """Run a program in a terminal of its own; the lines of the screen at its end, with all that scrolled away."""
    process, terminal = pty.fork()
    if process == 0:
        own = {"COLUMNS": str(COLUMNS), "LINES": "50", "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"}
        os.execve(line[0], line, {**os.environ, **own, **environment})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's word for the end
            break
        if not part:
            break
        written += part
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    text = written.decode(errors="replace")
    assert status == 0, text[-3000:]
    return screen(text)


def screen(text: str) -> list[str]:
    """The lines that a terminal shows after ``text``: carriage returns, cursor up and erased lines are obeyed."""
    lines, row, column, at = [""], 0, 0, 0
    while at < len(text):
        found = _CONTROL.match(text, at)
        if found:
            count = int(found[1]) if found[1].isdigit() else 1
            if found[2] == "A":
                row = max(0, row - count)
            elif found[2] == "K":
                lines[row] = "" if found[1] == "2" else lines[row][:column]
            at = found.end()
            continue
        sign = text[at]
        at += 1
        if sign == "\r":
            column = 0
        elif sign == "\n":
            row += 1
        elif sign >= " ":
            lines[row] = f"{lines[row]:<{column}}"[:column] + sign + lines[row][column + 1 :]
            column += 1
        lines += [""] * (row + 1 - len(lines))
    return lines
