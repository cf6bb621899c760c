# SPDX-License-Identifier: GPL-2.0
"""The console on pipes, files and terminals."""
import os
import re
import signal
import subprocess
import time

import inputs
from harness import LAST_LINE, Skipped, Terminal, check, tail, test


def stdin_file(t, data):
    return open(inputs.write(t.path("stdin"), data), "rb")


# The console

@test
def input_from_pipe(t):
    vm = t.start("echo", stdin=subprocess.PIPE).wait_for(b"ready")
    vm.send(b"hello, guest")
    vm.wait_for(b"hello, guest")
    vm.send(b"q")
    vm.proc.stdin.close()
    vm.finish().expect(0, "ok")


@test
def input_before_the_guest_reads(t):
    """As in printf | lkvm: more than a FIFO, all there at once, end of file behind it. Nothing is lost."""
    text = b"".join(b"line %d\n" % i for i in range(100))
    t.run("echo", stdin=stdin_file(t, text + b"q")).expect(0, re.escape(text.decode()) + ".*ok")


@test
def input_end_of_file(t):
    """The end of the input is not the end of the VM."""
    vm = t.start("echo", "--timeout", "3", stdin=stdin_file(t, b"abc"))
    vm.finish().expect(205, "ready.*abc")


@test
def input_control_a_from_pipe(t):
    """Ctrl-A is an ordinary byte unless it comes from a terminal."""
    t.run("echo", stdin=stdin_file(t, b"\x01x\x01\x01q")).expect(0, "\x01x\x01\x01.*ok")


def output_lines(kib):
    return b"".join(b"%07d abcdefghijklmnopqrstuvw\n" % n for n in range(kib * 32))


@test
def output_1_mib(t):
    """Every byte in order, in the pipe and in --log."""
    r = t.run("output", "-p", "kib=1024", "--log", t.path("log")).expect(0)
    check(r.out.startswith(output_lines(1024)), "output differs")
    with open(t.path("log"), "rb") as f:
        check(f.read() == r.out, "--log differs from the output")


@test
def output_to_file(t):
    with open(t.path("out"), "wb") as f:
        t.run("output", "-p", "kib=64", stdout=f).expect(0)
    with open(t.path("out"), "rb") as f:
        check(f.read().startswith(output_lines(64)), "output differs")


@test
def output_slow_reader(t):
    """A reader that pauses gets everything; the descriptor stays blocking, as the shell had it."""
    r, w = os.pipe()
    vm = t.start("output", "-p", "kib=256", stdout=w)
    time.sleep(2)
    check(os.get_blocking(w), "lkvm made an inherited descriptor non-blocking")
    os.close(w)
    got = bytearray()
    while True:
        data = os.read(r, 16384)
        if not data:
            break
        got += data
        time.sleep(0.01)
    os.close(r)
    vm.finish().expect(0, None, LAST_LINE)
    check(bytes(got).startswith(output_lines(256)), "output differs: %d bytes" % len(got))


@test
def output_dead_reader(t):
    """Nobody reads, and the pipe stays open: the guest goes on, and lkvm ends all the same."""
    r, w = os.pipe()
    vm = t.start("output", "-p", "kib=128", stdout=w)
    os.close(w)
    res = vm.finish()
    os.close(r)
    res.expect(0, None, LAST_LINE)


@test
def output_closed_reader(t):
    """EPIPE ends the output and not the VM; --log still gets everything."""
    r, w = os.pipe()
    vm = t.start("output", "-p", "kib=128", "--log", t.path("log"), stdout=w)
    os.close(w)
    os.read(r, 100)
    os.close(r)
    vm.finish().expect(0, None, LAST_LINE)
    with open(t.path("log"), "rb") as f:
        check(f.read().startswith(output_lines(128)), "--log is not whole")


@test
def output_none(t):
    """--console none prints nothing, and the guest does not notice."""
    r = t.run("hello", "--console", "none").expect(0, r"\A\Z")
    r = t.command(["sh", "-c", 'exec "$@" >&- <&-', "sh", *t.argv("hello", "--console", "none")]).finish()
    r.expect(0, r"\A\Z")


@test
def stderr_closed(t):
    t.command(["sh", "-c", 'exec "$@" 2>&-', "sh", *t.argv("hello")]).finish().expect(0, "hello.*ok")


@test
def log_truncates(t):
    inputs.write(t.path("log"), b"old text " * 1000)
    t.run("hello", "--log", t.path("log")).expect(0, "ok")
    with open(t.path("log"), "rb") as f:
        check(re.fullmatch(rb"hello from the 64-bit entry\r\nok\r\n", f.read()), "the log is wrong")


@test
def log_full(t):
    """A log that could not be written is told in one line, and in the status."""
    t.run("hello", "--log", "/dev/full").expect(211, "hello.*ok", r"--log /dev/full.*No space[^\n]*\n\Z")


@test
def log_read_only(t):
    """A read-only file system under --log."""
    script = 'mount -t tmpfs -o ro none "$1" && shift && exec "$@"'
    mount = t.path("ro")
    os.mkdir(mount)
    argv = ["unshare", "-m", "sh", "-c", script, "sh", mount]
    if subprocess.run(argv + ["true"], stderr=subprocess.DEVNULL).returncode:
        raise Skipped("cannot mount in a namespace of its own")
    r = t.command(argv + t.argv("hello", "--log", mount + "/log")).finish()
    r.expect(211, r"\A\Z", r"\Alkvm: [^\n]*--log[^\n]*Read-only[^\n]*\n\Z")


# The terminal

def with_terminal(fn):
    def body(t):
        term = Terminal()
        try:
            fn(t, term)
        finally:
            term.close()
    body.__name__, body.__doc__ = fn.__name__, fn.__doc__
    return test(body)


def restored(term):
    deadline = time.monotonic() + 20
    while not term.is_restored():
        check(time.monotonic() < deadline, "the terminal was not restored")
        time.sleep(0.01)


@with_terminal
def terminal_escape(t, term):
    """Ctrl-A x stops with 207; the terminal is raw meanwhile, and then as before."""
    vm = t.start_on(term, "echo")
    term.read_until(b"ready", vm)
    check(term.is_raw(), "the terminal is not raw")
    term.write(b"\x01x")
    vm.finish().expect(207, None, LAST_LINE)
    check(term.is_restored(), "the terminal was not restored")


@with_terminal
def terminal_literal_ctrl_a(t, term):
    """Ctrl-A Ctrl-A sends one; Ctrl-C is the guest's."""
    vm = t.start_on(term, "echo")
    term.read_until(b"ready", vm)
    term.write(b"<\x01\x01\x03>q")
    term.read_until(b"ok", vm)
    vm.finish().expect(0)
    check(b"<\x01\x03>" in term.out, tail(term.out))
    check(term.is_restored(), "the terminal was not restored")


@with_terminal
def terminal_stdin_only(t, term):
    """stdin a terminal, stdout a pipe."""
    vm = t.start_on(term, "echo", stdout=subprocess.PIPE).wait_for(b"ready")
    term.write(b"abcq")
    vm.finish().expect(0, "abc.*ok")
    check(term.is_restored(), "the terminal was not restored")


@with_terminal
def terminal_stdout_only(t, term):
    """stdout a terminal, stdin a file: nothing is changed, and Ctrl-A is data."""
    vm = t.start_on(term, "echo", stdin=stdin_file(t, b"\x01xabc"))
    term.read_until(b"abc", vm)
    check(term.is_restored(), "the terminal was changed")
    vm.proc.terminate()
    vm.finish().expect(-signal.SIGTERM)


@with_terminal
def terminal_killed(t, term):
    """SIGKILL: the terminal is restored although lkvm is gone."""
    vm = t.start_on(term, "spin")
    term.read_until(b"ready", vm)
    check(term.is_raw(), "the terminal is not raw")
    vm.proc.kill()
    vm.finish()
    restored(term)


@with_terminal
def terminal_after_signal(t, term):
    vm = t.start_on(term, "spin")
    term.read_until(b"ready", vm)
    vm.proc.send_signal(signal.SIGTERM)
    vm.finish().expect(-signal.SIGTERM)
    check(term.is_restored(), "the terminal was not restored")


@with_terminal
def terminal_after_error(t, term):
    """An error that comes late in the start leaves the terminal alone too."""
    vm = t.start_on(term, "hello", "-i", t.path("missing"))
    vm.finish().expect(211)
    check(term.is_restored(), "the terminal was not restored")
