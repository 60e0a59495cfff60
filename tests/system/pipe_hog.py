"""Holds pipes of 1 MiB until its user's ration (fs.pipe-user-pages-soft) is used up, says so, and waits for a signal."""
import fcntl
import os
import signal

PIPE_BYTES = 1 << 20
PIPES_MAX = 400

pipes = []
try:
    while len(pipes) < PIPES_MAX:
        pipes.append(os.pipe())
        fcntl.fcntl(pipes[-1][1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
except OSError as refused:
    print(f"the ration is used up after {len(pipes)} pipes: {refused}", flush=True)
else:
    print("no ration", flush=True)
signal.pause()
