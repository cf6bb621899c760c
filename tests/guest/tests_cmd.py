# SPDX-License-Identifier: GPL-2.0
"""A command's status and streams, with a guest that uses the registers itself."""
import json
import os
import re
import shutil
import subprocess

import inputs
from harness import LAST_LINE, Skipped, check, table, tail, test

COMMAND = ("--", "what")


@table([("%d%s" % (v, "-bytes" if b else ""), v, s, b) for b in (False, True)
        for v, s in ((0, 0), (1, 1), (7, 7), (127, 127), (192, 192), (193, 199), (255, 199), (256, 199), (4294967295, 199))])
def cmd_status(t, value, status, by_bytes):
    """0 to 192 as it is, without a word; else 199, and the value in the last line and in the result."""
    r = t.run("cmd-status" + ("-bytes" if by_bytes else ""), "-p", "value=%d" % value, "--result", t.path("r"), *COMMAND)
    r.expect(status, r"\A\Z", r"\A\Z" if status != 199 else r"\Alkvm: the command's status: %d\n\Z" % value)
    with open(t.path("r")) as f:
        text = f.read()
    check('"guest_status":%d' % value in text.replace(" ", "") and '"command"' in text, tail(text))


@test
def cmd_verbose(t):
    """The console and the last line are on stderr, and stdout has the command's bytes alone."""
    r = t.run("cmd-streams", "--verbose", *COMMAND).expect(3, None, r"console.*lkvm: the command's status: 3\n\Z")
    check(r.out == b"to stdout\n" + bytes(range(256)), tail(r.out))


@test
def cmd_streams(t):
    """Three streams and the console: each by itself, every byte of it."""
    r = t.run("cmd-streams", "--results", t.path("results"), "--log", t.path("log"), *COMMAND).expect(3)
    check(r.out == b"to stdout\n" + bytes(range(256)), tail(r.out))
    check(r.err == b"to stderr\n" + bytes(range(255, -1, -1)), tail(r.err))
    with open(t.path("results"), "rb") as f:
        check(f.read() == b"to results\n" + bytes(range(256)), "the results are others")
    with open(t.path("log"), "rb") as f:
        check(f.read() == b"console\r\n", "the log is another")


@table([("%d-by-%d" % (n, w), n, w) for n, w in ((0, 64), (1, 1), (10, 1), (1500, 7), (3000, 2048))])
def cmd_stdin(t, count, window):
    """All bytes of stdin, of all values, zeros at the end included, in a guest that has little room; then its end."""
    data = os.urandom(count // 2) + bytes(count - count // 2)
    with open(t.path("in"), "wb") as f:
        f.write(data)
    with open(t.path("in"), "rb") as f:
        r = t.run("cmd-cat", "-p", "window=%d" % window, *COMMAND, stdin=f).expect(0)
    check(r.out == data, "%d bytes came back of %d" % (len(r.out), count))


@test
def cmd_stdin_pipe(t):
    """The same from a writer that pauses."""
    vm = t.start("cmd-cat", *COMMAND, stdin=subprocess.PIPE)
    for part in (b"first\n", b"\0\0\n", b"last\0"):
        vm.send(part)
        vm.wait_for(part)
    vm.proc.stdin.close()
    r = vm.finish().expect(0)
    check(r.out == b"first\n\0\0\nlast\0", tail(r.out))


@test
def cmd_stdin_is_left(t):
    """What the guest has not asked for stays with the descriptor, for whoever reads it next."""
    with open(t.path("in"), "wb") as f:
        f.write(b"x" * 100000)
    with open(t.path("in"), "rb") as f:
        r = t.run("cmd-status", *COMMAND, stdin=f).expect(0)
        check(f.tell() == 0, "%d bytes were taken" % f.tell())
        r = t.run("cmd-no-credit", *COMMAND, stdin=f).expect(0)
    check(r.out == b"xxx", tail(r.out))


@test
def cmd_hostile(t):
    """The first status counts, and what else is written there does nothing to lkvm."""
    t.run("cmd-hostile", "-c", "2", *COMMAND).expect(5, r"\A\Z", r"\A\Z")


@table([(x, x) for x in ("off", "reset")])
def cmd_status_then(t, then):
    """A status that came stays, whatever the guest does next."""
    t.run("cmd-status-then", "-p", "then=" + then, *COMMAND).expect(9, r"\Awritten\n\Z", r"\A\Z")


@table([("off", "off", 208), ("reset", "reset", 208), ("triple", "triple", 203)])
def cmd_no_status(t, then, status):
    """The guest ends before the status has come: the console is shown."""
    r = t.run("cmd-no-status", "-p", "then=" + then, *COMMAND)
    r.expect(status, r"\Awritten\n\Z", "last words.*" + LAST_LINE)
    if status == 208:
        check(b"before the command's status came: guest " in r.err, tail(r.err))


@test
def cmd_timeout(t):
    t.run("halt", "--timeout", "2", *COMMAND).expect(205, r"\A\Z", "ready.*" + LAST_LINE)


@test
def cmd_panic(t):
    """A panic outranks the rest."""
    t.run("panic-line", *COMMAND).expect(201, r"\A\Z", "Kernel panic.*" + LAST_LINE)


@test
def cmd_reader_gone(t):
    """Who reads stdout leaves: the guest is told, and lkvm ends as the command does."""
    r = t.command(["sh", "-c", '"$@" | head -n 1', "sh", *t.argv("cmd-reader-gone", *COMMAND)]).finish()
    r.expect(0, r"\Aline\n\Z", r"\Agone\n\Z")


@test
def cmd_full_disk(t):
    """A command's output that cannot be written is a failure of the host, whatever its status."""
    with open("/dev/full", "wb") as full:
        t.run("cmd-streams", *COMMAND, stdout=full).expect(211, None, "cannot write what the command writes: No space left")


@test
def cmd_closed_stdin(t):
    t.command(["sh", "-c", '"$@" <&-', "sh", *t.argv("cmd-cat", *COMMAND)]).finish().expect(0, r"\A\Z")


@table([("env", ["--env", "A=b"], "--env is about"), ("cwd", ["--cwd", "/"], "--cwd is about"),
        ("user", ["--user", "1"], "--user is about"), ("verbose", ["--verbose"], "--verbose is about"),
        ("results", ["--results", "x"], "--results is about"),
        ("init", ["--init", "/x", *COMMAND], "--init excludes"), ("init-blank", ["--init", "/x y"], "blanks"),
        ("restart", ["--on-reset", "restart", *COMMAND], "--on-reset restart excludes"),
        ("env-name", ["--env", "=x", *COMMAND], "has no name"), ("env-unset", ["--env", "NOT_SET_HERE", *COMMAND], "not set"),
        ("user-name", ["--user", "root", *COMMAND], '"root" is not a number'),
        ("user-range", ["--user", "4294967295", *COMMAND], "is not a number"),
        ("user-colon", ["--user", "1:", *COMMAND], "is not a number"), ("word", ["what"], "after --")])
def cmd_bad_options(t, args, says):
    r = t.run("hello", *args).expect(210, r"\A\Z", re.escape(says))
    check(len(r.err.splitlines()) == 1, tail(r.err))


@test
def cmd_bad_results(t):
    t.run("hello", "--results", "/nowhere/x", *COMMAND).expect(211, r"\A\Z", "cannot write --results /nowhere/x")


@test
def cmd_dry_run(t):
    """--dry-run shows where things are, and opens nothing."""
    t.run("hello", "--dry-run", "--results", "/nowhere/x", *COMMAND).expect(0, r"command .*port 0x510.*initrd .*rdinit=/.lkvm/init")


@test
def init_option(t):
    """--init is the kernel's rdinit=, with and without lkvm's own parameters."""
    t.run("cmdline", "--init", "/sbin/x", "-p", "a -- b").expect(0, r"earlycon=\S+ rdinit=/sbin/x -- b\]")
    t.run("cmdline", "--init", "/sbin/x", "--nodefaults", "-p", "a -- b").expect(0, r"\[test=cmdline a +rdinit=/sbin/x -- b\]")
    t.run("cmdline", "--init", "/sbin/x", "--nodefaults").expect(0, r"\[test=cmdline rdinit=/sbin/x\]")


@test
def sandbox(t):
    """The program, by its path and with its libraries, is in the initramfs; a status is passed on as with run."""
    argv = [t.lkvm, "sandbox", "-k", t.payload, "-m", "64", "-p", "test=cmd-status value=9", "--result", t.path("r"), "--", "id", "-u"]
    t.command(argv).finish().expect(9, r"\A\Z", r"\A\Z")
    with open(t.path("r")) as f:
        check(json.load(f)["argv"] == argv, "its command line is another")
    size = {}
    for args in (["run", "-k", t.payload, "--dry-run"], ["sandbox", "-k", t.payload, "--dry-run", "--", "id"],
                 ["sandbox", "-k", t.payload, "--dry-run", "--add-exec", shutil.which("id"), "--", "id"]):
        r = t.command([t.lkvm, *args]).finish().expect(0)
        found = re.search(rb"initrd +0x\S+ (\d+) KiB", r.out)
        size[" ".join(args)] = int(found.group(1)) if found else 0
    none, once, twice = size.values()
    check(none == 0 and once > 100 and twice == once, str(size))


@test
def sandbox_script(t):
    """A script goes with its interpreter."""
    os.chmod(inputs.write(t.path("script"), b"#!/bin/sh\necho x\n"), 0o755)
    argv = [t.lkvm, "sandbox", "-k", t.payload, "-m", "64", "-p", "test=cmd-status value=3"]
    t.command([*argv, "--", t.path("script"), "x"]).finish().expect(3, r"\A\Z", r"\A\Z")
    os.chmod(inputs.write(t.path("script"), b"#!/no/shell\n"), 0o755)
    t.command([*argv, "--", t.path("script")]).finish().expect(210, r"\A\Z", r"script .*/script: there is no program /no/shell here")


@test
def setup_and_root(t):
    """A root folder is made once, and goes into the initramfs."""
    busybox = shutil.which("busybox")
    if not busybox:
        raise Skipped("there is no busybox")
    home = t.env["HOME"]
    r = t.command([t.lkvm, "setup", "--busybox", busybox, "name"]).finish().expect(0, None, r"\A\Z")
    check(r.out.decode() == "%s/.lkvm/name is made; lkvm run --root name boots it\n" % home, tail(r.out))
    t.command([t.lkvm, "setup", "--busybox", busybox, "name"]).finish().expect(210, r"\A\Z", "name is there already; remove it")
    r = t.run("hello", "--root", "name", "--dry-run").expect(0)
    size = int(re.search(rb"initrd +0x\S+ (\d+) KiB", r.out).group(1))
    check(abs(size - os.path.getsize(busybox) // 1024) < 64, "the initrd has %d KiB" % size)
    os.symlink("/nowhere", os.path.join(home, ".lkvm/name/own"))
    os.mkfifo(os.path.join(home, ".lkvm/name/fifo"))
    t.run("hello", "--root", "name").expect(210, r"\A\Z", r"--root: \S+/fifo is neither a file nor")
    shutil.rmtree(os.path.join(home, ".lkvm"))
