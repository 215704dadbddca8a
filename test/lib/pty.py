"""Runs a command in a terminal of its own and prints the result as JSON.

The argument is JSON: argv; size, [rows, columns]; steps, each done once `expect` has appeared since the step before:
`send` types a text, `resize` is another size. With `stdout`, a path, only stderr is the terminal.
"""

import errno
import fcntl
import json
import os
import select
import signal
import struct
import sys
import termios
import time

DEADLINE_S = 40


def resize(fd, size):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[0], size[1], 0, 0))


def main():
    order = json.loads(sys.argv[1])
    fd, terminal = os.openpty()
    resize(fd, order["size"])
    pid = os.fork()
    if pid == 0:
        os.login_tty(terminal)
        if order.get("stdout"):
            os.dup2(os.open(order["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.execvp(order["argv"][0], order["argv"])
    os.close(terminal)
    steps = order.get("steps", [])
    output, since = "", 0
    deadline = time.monotonic() + DEADLINE_S
    while True:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError as error:
                # The last process has closed the other end.
                if error.errno != errno.EIO:
                    raise
                break
            output += data.decode("utf-8", "replace")
        if steps and steps[0]["expect"] in output[since:]:
            step = steps.pop(0)
            since = len(output)
            if "resize" in step:
                resize(fd, step["resize"])
            if "send" in step:
                os.write(fd, step["send"].encode())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps({"output": output, "code": status, "left": len(steps)}))


main()
