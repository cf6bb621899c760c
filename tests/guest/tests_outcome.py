# SPDX-License-Identifier: GPL-2.0
"""The outcomes: statuses, and what --result says of them."""
import importlib.machinery
import importlib.util
import os
import re
import signal
import stat
import subprocess
import time

import inputs
from harness import HANG_S, LAST_LINE, Skipped, Terminal, check, table, tail, test


def load_result_check():
    path = os.path.join(os.path.dirname(__file__), "..", "result-check")
    loader = importlib.machinery.SourceFileLoader("result_check", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("result_check", loader))
    loader.exec_module(module)
    return module


result_check = load_result_check()
CHECKER = result_check.load_checker()


def result_of(data, status=None, err=None, **fields):
    """A result that follows the schema and agrees with how lkvm ended; a field's name may have dots for "__"."""
    result = result_check.parse(data)
    faults = result_check.faults(CHECKER, result)
    check(not faults, "%s in %s" % (faults, data))
    if status is not None:
        check(result["status"] == (status if status >= 0 else 128 - status), "status %d: %s" % (status, data))
    if err is not None:
        last = err.decode("utf-8", "replace").splitlines()[-1].replace("lkvm: ", "", 1)
        check(result["message"] == last, "message %r, not %r" % (result["message"], last))
    for name, want in fields.items():
        have = result
        for key in name.split("__"):
            have = have[key]
        check(have == want, "%s is %r, not %r" % (name, have, want))
    # A command's init may be there before the console's first byte.
    for between in ("first_byte", "init"):
        times = [t for t in (result["times_ns"][k] for k in ("first_exit", between, "end")) if t is not None]
        check(times == sorted(times), "times %s" % times)
    return result


def read(path):
    with open(path, "rb") as f:
        return f.read()


def told(t, script, *args, **fds):
    """A guest that does as `script` says: text to print, and orders (cases-outcome.c)."""
    with open(inputs.write(t.path("script"), script.encode("latin-1")), "rb") as f:
        return t.start("told", *args, stdin=f, **fds)


def ends(t, script, args, status, outcome, **fields):
    path = t.path("result.json")
    r = told(t, script, "--result", path, *args).finish().expect(status, None, LAST_LINE)
    return result_of(read(path), r.status, r.err, outcome=outcome, **fields)


STAMP = "[    1.234567] "
BOOT = "[    0.000000] Linux version 6.1.0\n"
PANIC = STAMP + "Kernel panic - not syncing: why\n"
CAUSE = "Kernel panic - not syncing: why"
WARN = STAMP + "WARNING: CPU: 0 PID: 9 at kernel/a.c:1 warner+0x1/0x2\n"
OOPS = "".join(STAMP + line + "\n" for line in (
    "BUG: kernel NULL pointer dereference, address: 0000000000000000", "Oops: 0002 [#1] SMP", "RIP: 0010:culprit+0x5/0x10",
    "Call Trace:", " <TASK>", " caller+0x1/0x2 [module]", " </TASK>"))
OOPS_LINE = "BUG: kernel NULL pointer dereference, address: 0000000000000000"
FAKES = "Kernel panic - not syncing: fake\nBUG: unable to handle fake\nWARNING: CPU: 0 PID: 1 at fake.c:1 fake+0x0/0x0\n"
SPLAT = ("--fail-on", "splat")


# Each status, with what may stand beside it

@table([
    ("poweroff", "bye\n@p", (), 0, "poweroff"),
    ("poweroff-with-splat", OOPS + "@p", (), 0, "poweroff"),
    ("status-0", "@x\0", ("--debug-exit", "0xf4"), 0, "status"),
    ("status-192", "@x\xc0", ("--debug-exit", "0xf4"), 192, "status"),
    ("until", "booting\nlogin: ready\n@s", ("--until", "^login: "), 0, "until"),
    ("until-second-pattern", "b\n@s", ("--until", "^a$", "--until", "^b$"), 0, "until"),
    ("until-prompt", "login: @s", ("--until", "^login: $"), 0, "until"),
    ("until-last-line", "done@p", ("--until", "^done$"), 0, "until"),
    ("reset", "bye\n@r", (), 200, "reset"),
    ("triple-fault", "@t", (), 203, "triple-fault"),
    ("halted", "@h", (), 204, "hang"),
    ("halted-2-cpus", "@h", ("-c", "2"), 204, "hang"),
    ("idle", "ready\n@s", ("--idle-timeout", "1"), 204, "hang"),
    ("idle-asleep", "@z", ("--idle-timeout", "1"), 204, "hang"),
    ("timeout", "@s", ("--timeout", "1"), 205, "timeout"),
    ("timeout-asleep", "@z", ("--timeout", "3"), 205, "timeout"),
    ("boot-timeout", BOOT + "@s", ("--boot-timeout", "1"), 205, "timeout"),
    ("fail", "ok 1\nnot ok 2\n@s", ("--fail", "^not ok"), 206, "fail"),
    ("early", "bye\n@p", ("--until", "login: "), 208, "early"),
    ("early-reset", "bye\n@r", ("--until", "login: "), 208, "early"),
    ("early-status-0", "@x\0", ("--until", "login: ", "--debug-exit", "0xf4"), 208, "early"),
])
def outcome(t, script, args, status, name):
    ends(t, script, args, status, name)


@test
def outcome_status_above_192(t):
    """199, and the true value in the result; for bytes that the script's file cannot have, too."""
    path = t.path("result.json")
    r = t.run("debug-exit", "--debug-exit", "0xf4", "-p", "value=200", "--result", path).expect(199, "leaving", "200")
    result_of(read(path), r.status, r.err, outcome="status", guest_status=200)


@table([("poweroff", "p"), ("reset", "r"), ("triple-fault", "t"), ("halted", "h"), ("spinning", "s"), ("asleep", "z")])
def outcome_panic(t, order):
    """The line, then the device, then both; whatever follows, with no other option."""
    ends(t, PANIC + "@" + order, (), 201, "panic", cause=CAUSE, crash__kind="panic", crash__line=CAUSE)
    if order in "prt":
        ends(t, "@v@" + order, (), 201, "panic", crash=None)
        ends(t, PANIC + "@v@" + order, (), 201, "panic", crash__line=CAUSE)


@test
def outcome_panic_is_told_at_length(t):
    """Registers and the console's end are on stderr."""
    r = told(t, "said before\n" + PANIC + "@h").finish()
    r.expect(201, "said before", "vCPU 0.*rip.*last console lines:.*said before.*not syncing: why.*" + LAST_LINE)


@table([("panic", ()), ("splat", SPLAT), ("quiet", ("-p", "quiet", *SPLAT))])
def outcome_fakes(t, args):
    """Lines of programs, which have no time stamp; before any of the kernel's, too."""
    ends(t, FAKES + "@p", args, 0, "poweroff", crash=None, splats=0)
    ends(t, BOOT + FAKES + "@p", args, 0, "poweroff", crash=None, splats=0)


NO_ROOT = STAMP + "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n@h"


@table([
    ("initrd", NO_ROOT, "no init in an initramfs: it lacks CONFIG_BLK_DEV_INITRD, or"),
    ("compression", STAMP + "Initramfs unpacking failed: compression method xz not configured\n" + NO_ROOT, "lacks CONFIG_RD_XZ"),
    ("old-compression", STAMP + "rootfs image is not initramfs (compression method bzip2 not configured); looks like an initrd\n" +
     NO_ROOT, "lacks CONFIG_RD_BZIP2"),
    ("damaged", STAMP + "Initramfs unpacking failed: junk in compressed archive\n" + NO_ROOT, "could not unpack the initrd: junk in"),
    ("format", STAMP + "Failed to execute /.lkvm/init (error -8)\n" + PANIC + "@h", "CONFIG_BINFMT_ELF"),
    ("early", STAMP + "Initramfs unpacking failed: junk in compressed archive\n@r", "could not unpack the initrd: junk in"),
])
def outcome_no_init(t, script, says):
    """What a kernel lacks to start what is in its initramfs is in the last line; when it got one, and no init of it ran."""
    initrd = inputs.write(t.path("initrd"), b"x")
    for args in (("-i", initrd), ("--add", initrd)):
        r = told(t, script, *args).finish()
        check(r.status in (200, 201) and says in r.err.decode().splitlines()[-1], tail(r.err))
    check(says not in told(t, script).finish().err.decode().splitlines()[-1], "a hint without an initrd")
    r = told(t, STAMP + "Run /init as init process\n" + script, "-i", initrd).finish()
    check(says not in r.err.decode().splitlines()[-1], tail(r.err))


@test
def outcome_without_stamps(t):
    """A kernel that was told to leave them out; and one that lkvm tells nothing, before its first line."""
    for args in (("-p", "printk.time=0"), ("--nodefaults",)):
        ends(t, "Kernel panic - not syncing: why\n@p", args, 201, "panic", cause=CAUSE)
    ends(t, BOOT + FAKES + "@p", ("--nodefaults", *SPLAT), 0, "poweroff", crash=None)


@test
def outcome_splat(t):
    """Only where it is asked for; the result has it in either case."""
    for args, status, name in (((), 0, "poweroff"), (SPLAT, 202, "splat")):
        trace = STAMP + "Call Trace:\n" + STAMP + " warner+0x1/0x2\n"
        ends(t, WARN + trace + OOPS + "@p", args, status, name, crash__kind="warning", crash__line=WARN[len(STAMP):-1],
             crash__fingerprint=["warner"], splats=2)
        ends(t, OOPS + "@p", args, status, name, crash__kind="oops", crash__line=OOPS_LINE,
             crash__fingerprint=["culprit", "caller"], splats=1)


@test
def outcome_fatal_oops(t):
    """A panic that follows from an oops has the oops' trace."""
    ends(t, OOPS + PANIC + "@r", SPLAT, 201, "panic", crash__kind="panic", crash__fingerprint=["culprit", "caller"], splats=1)


# Several at once: the first of 212, 211, 207, 201, 202, 206, 203, 204, 205, 208, 200

UNTIL, FAIL = ("--until", "^never$"), ("--fail", "^bad$")


@table([
    ("panic-splat", OOPS + PANIC + "@p", SPLAT, 201, "panic"),
    ("panic-fail", PANIC + "bad\n@p", FAIL, 201, "panic"),
    ("panic-matched", PANIC + "@s", ("--fail", "panic"), 201, "panic"),
    ("panic-until", PANIC + "@s", ("--until", "panic"), 201, "panic"),
    ("panic-unmatched", PANIC + "@p", UNTIL, 201, "panic"),
    ("panic-idle", PANIC + "@s", ("--idle-timeout", "1"), 201, "panic"),
    ("panic-timeout", PANIC + "@z", ("--timeout", "2"), 201, "panic"),
    ("panic-status", PANIC + "@x\x07", ("--debug-exit", "0xf4"), 201, "panic"),
    ("splat-fail", WARN + "bad\n@p", SPLAT + FAIL, 202, "splat"),
    ("splat-until", WARN + "done\n@s", SPLAT + ("--until", "^done$"), 202, "splat"),
    ("splat-unmatched", WARN + "@p", SPLAT + UNTIL, 202, "splat"),
    ("splat-reset", WARN + "@r", SPLAT, 202, "splat"),
    ("splat-triple-fault", WARN + "@t", SPLAT, 202, "splat"),
    ("splat-halted", WARN + "@h", SPLAT, 202, "splat"),
    ("splat-timeout", WARN + "@s", SPLAT + ("--timeout", "1"), 202, "splat"),
    ("splat-status", WARN + "@x\x07", SPLAT + ("--debug-exit", "0xf4"), 202, "splat"),
    ("fail-until", "bad\n@s", FAIL + ("--until", "bad"), 206, "fail"),
    ("fail-halted", "bad\n@h", FAIL, 206, "fail"),
    ("fail-at-the-end", "bad@t", FAIL, 206, "fail"),
    ("triple-fault-unmatched", "@t", UNTIL, 203, "triple-fault"),
    ("halted-unmatched", "@h", UNTIL, 204, "hang"),
    ("timeout-unmatched", "@s", UNTIL + ("--timeout", "1"), 205, "timeout"),
    ("status-unmatched", "@x\x07", UNTIL + ("--debug-exit", "0xf4"), 7, "status"),
    ("until-then-panic", "done\n" + PANIC + "@r", ("--until", "^done$"), 0, "until"),
    ("until-then-splat", "done\n" + WARN + "@r", SPLAT + ("--until", "^done$"), 0, "until"),
    ("until-then-fail", "done\nbad\n@r", FAIL + ("--until", "^done$"), 0, "until"),
    ("until-then-triple-fault", "done\n@t", ("--until", "^done$"), 0, "until"),
    ("fail-then-panic", "bad\n" + PANIC + "@r", FAIL, 206, "fail"),
])
def outcome_order(t, script, args, status, name):
    ends(t, script, args, status, name)


@test
def outcome_order_host(t):
    """What lkvm could not write outranks a panic; the line has both."""
    r = ends(t, PANIC + "@r", ("--log", "/dev/full"), 211, "host", crash__kind="panic")
    check("--log /dev/full" in r["message"] and "not syncing: why" in r["message"], r["message"])


@test
def outcome_user(t):
    """Ctrl-A x outranks a panic."""
    term = Terminal()
    try:
        vm = t.start_on(term, "told", "--result", t.path("result.json"))
        deadline = time.monotonic() + HANG_S
        while not term.is_raw(): # before, it would echo
            check(time.monotonic() < deadline, "the terminal is not raw; stderr %s" % tail(vm.err))
            time.sleep(0.01)
        term.write(PANIC.encode() + b"@s")
        term.read_until(b"not syncing: why", vm)
        term.write(b"\x01x")
        vm.finish().expect(207)
        result_of(read(t.path("result.json")), 207, outcome="user", cause="Ctrl-A x", crash__kind="panic")
    finally:
        term.close()


@test
def outcome_signal(t):
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        vm = told(t, "ready\n@s", "--result", t.path("result.json")).wait_for(b"ready")
        vm.proc.send_signal(sig)
        vm.finish().expect(-sig)
        result_of(read(t.path("result.json")), -sig, vm.err, outcome="signal", signal=sig.name)


@test
def outcome_internal(t):
    """KVM failed: on hosts that interpret their guests, by an instruction that they lack."""
    if t.doctor()[1]["instructions"]["cmpxchg16b"] == "works":
        raise Skipped("this host executes every instruction")
    r = t.run("cx16", "--result", t.path("result.json")).expect(212)
    result_of(read(t.path("result.json")), r.status, r.err, outcome="internal")


@test
def outcome_usage_and_host(t):
    """A machine that could not be made has a result too; a wrong command line has none, and removes none."""
    path = t.path("result.json")
    for args, status, name in ((("-i", t.root), 210, "usage"), (("-i", t.path("missing")), 211, "host"),
                               (("-c", "200000"), 210, None), (("--until", "("), 210, None)):
        before = inputs.write(path, b"old") and b"old"
        r = t.run("hello", "--result", path, *args).expect(status, r"\A\Z")
        if name:
            result_of(read(path), r.status, r.err, outcome=name, cause=None, exits={}, devices=[])
        else:
            check(read(path) == before, "a wrong command line has touched the result")


# What else the result says

@test
def result_fields(t):
    path = t.path("result.json")
    vm = told(t, BOOT + STAMP + "Run /init as init process\nhello\n@p", "--result", path, "--rng", "--name", "a.name",
              "-p", "odd=\x7f\u20ac\"\\\t")
    r = vm.finish().expect(0)
    result = result_of(read(path), name="a.name", outcome="poweroff", restarts=0, console={"bytes": len(r.out), "dropped": 0},
                       devices=[{"device": "rng", "slot": 1, "requests": 0}], cwd=os.getcwd(), argv=vm.proc.args)
    check(r.err.decode() == "lkvm: a.name: %s\n" % result["message"], tail(r.err))
    check(all(result["times_ns"].values()), "times %s" % result["times_ns"])
    check(result["exits"].get("IO", 0) > 0, "exits %s" % result["exits"])


@test
def result_argv_reproduces(t):
    """Its command line, in its folder, does the same again."""
    path = t.path("result.json")
    script = inputs.write(t.path("script"), b"not ok\n@s")
    for _ in range(2):
        argv = result_of(read(path))["argv"] if os.path.exists(path) else \
            t.argv("told", "--fail", "not ok", "--result", path)
        with open(script, "rb") as f:
            t.command(argv, stdin=f).finish().expect(206)


@test
def result_restarts(t):
    path = t.path("result.json")
    vm = t.start("ask", "--result", path, "--on-reset", "restart", stdin=subprocess.PIPE)
    for n in (1, 2, 3):
        vm.wait_for(b"boot", n)
        vm.send(b"r" if n < 3 else b"p")
    r = vm.finish().expect(0)
    result_of(read(path), r.status, r.err, outcome="poweroff", restarts=2, console__bytes=len(r.out))


# Where it goes

@test
def result_to_descriptor(t):
    """To a pipe that a script reads; stdout has the console alone."""
    r, w = os.pipe()
    argv = t.argv("hello", "--result", "fd:%d" % w)
    proc = subprocess.run(argv, pass_fds=[w], env=t.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=HANG_S)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        result_of(f.read(), proc.returncode, proc.stderr, outcome="poweroff")
    check(proc.returncode == 0 and proc.stdout.endswith(b"ok\r\n"), tail(proc.stdout))


@test
def result_to_shell_descriptor(t):
    """As in the README: 3>&1 >/dev/null."""
    r = t.command(["sh", "-c", 'exec "$@" --result fd:3 3>&1 >/dev/null', "sh", *t.argv("hello")]).finish().expect(0)
    result_of(r.out, r.status, r.err, outcome="poweroff")


@test
def result_replaces_file(t):
    """An old result is gone while the guest runs; the new one appears whole, with the rights of a new file."""
    path = inputs.write(t.path("result.json"), b"old")
    vm = told(t, "ready\n", "--result", path).wait_for(b"ready")
    check(not os.path.exists(path), "the old result is still there")
    vm.proc.terminate()
    vm.finish()
    result_of(read(path), outcome="signal")
    umask = os.umask(0o022)
    os.umask(umask)
    check(stat.S_IMODE(os.stat(path).st_mode) == 0o666 & ~umask, "mode %o" % os.stat(path).st_mode)


@test
def result_by_link_and_fifo(t):
    os.mkdir(t.path("elsewhere"))
    inputs.write(t.path("elsewhere/file"), b"old")
    os.symlink("elsewhere/file", t.path("link"))
    t.run("hello", "--result", t.path("link")).expect(0)
    check(os.path.islink(t.path("link")), "the link is a link no more")
    result_of(read(t.path("elsewhere/file")), outcome="poweroff")
    check(os.listdir(t.path("elsewhere")) == ["file"], "left: %s" % os.listdir(t.path("elsewhere")))
    os.mkfifo(t.path("fifo"))
    fd = os.open(t.path("fifo"), os.O_RDONLY | os.O_NONBLOCK)
    t.run("hello", "--result", t.path("fifo")).expect(0)
    result_of(os.read(fd, 1 << 16), outcome="poweroff")
    os.close(fd)


@table([("missing", "{D}/no/result", "No such file"), ("directory", "{D}", "directory"), ("fifo", "{D}/fifo", "{D}/fifo"),
        ("fd-closed", "fd:99", "fd:99"), ("fd-reading", "fd:0", "reading")])
def result_unwritable(t, where, pattern):
    """211, one sentence, and no boot: the console is empty."""
    os.mkfifo(t.path("fifo"))
    where, pattern = where.replace("{D}", t.root), pattern.replace("{D}", re.escape(t.root))
    with open("/dev/null", "rb") as f:
        t.run("hello", "--result", where, stdin=f).expect(211, r"\A\Z", r"\Alkvm: [^\n]*--result[^\n]*%s[^\n]*\n\Z" % pattern)


@test
def result_in_full(t):
    """What cannot be written at the end is told with the outcome, in the status 211."""
    t.run("hello", "--result", "/dev/full").expect(211, "ok", r"\Alkvm: [^\n]*--result[^\n]*No space[^\n]*powered off[^\n]*\n\Z")


# The parent, and kill -9

def wait_for_result(path):
    deadline = time.monotonic() + HANG_S
    while not os.path.exists(path):
        check(time.monotonic() < deadline, "no result came")
        time.sleep(0.01)
    return read(path)


@test
def parent_killed(t):
    """kill -9 of the shell between: lkvm stops the machine, and its result says why."""
    path = t.path("result.json")
    argv = ["sh", "-c", '"$@"; exit 1', "sh", *t.argv("spin", "--die-with-parent", "--result", path)]
    vm = t.command(argv).wait_for(b"ready")
    vm.proc.kill()
    vm.finish().expect(-signal.SIGKILL, "ready", r"lkvm: [^\n]*parent process has ended[^\n]*\n\Z")
    result = result_of(wait_for_result(path), 207, outcome="user")
    check("--die-with-parent" in result["cause"], result["cause"])


@test
def parent_thread_ends(t):
    """The thread that started lkvm ends, and its process does not: the machine goes on."""
    script = ("import subprocess, sys, threading\n"
              "thread = threading.Thread(target=lambda: vms.append(subprocess.Popen(sys.argv[1:])))\n"
              "vms = []\nthread.start()\nthread.join()\nprint('thread ended', flush=True)\nsys.exit(vms[0].wait())")
    argv = ["python3", "-c", script, *t.argv("told", "--die-with-parent")]
    vm = t.command(argv, stdin=subprocess.PIPE)
    vm.send(b"ready\n")
    vm.wait_for(b"ready").wait_for(b"thread ended")
    vm.send(b"@p")
    vm.finish().expect(0)


@test
def killed_leaves_nothing(t):
    """kill -9 of lkvm, with everything that has a name: the same command then works."""
    disks = [inputs.write(t.path(name), b"\0" * (1 << 20)) for name in ("disk", "base")]
    os.mkdir(t.path("out"))
    path = t.path("out/result.json")
    args = ("--result", path, "--log", t.path("out/log"), "--name", "same", "--mem-shared", "--disk", disks[0],
            "--disk", disks[1] + ",overlay=ephemeral,serial=b", "--network", "mode=socket,server,path=" + t.path("out/wire"))
    for _ in range(3):
        vm = told(t, "ready\n@s", *args).wait_for(b"ready")
        vm.proc.kill()
        vm.finish().expect(-signal.SIGKILL)
        check(not os.path.exists(path), "a run that was killed has a result")
        check(set(os.listdir(t.path("out"))) <= {"log", "wire"}, "left: %s" % os.listdir(t.path("out")))
    told(t, "@p", *args).finish().expect(0)
    result_of(read(path), outcome="poweroff", name="same")


# Many at once

KINDS = (("@p", 0, "poweroff"), ("@r", 200, "reset"), ("@t", 203, "triple-fault"), (PANIC + "@r", 201, "panic"),
         ("@x\x07", 7, "status"), ("bad\n@s", 206, "fail"), (WARN + "@p", 202, "splat"), ("@h", 204, "hang"))


@test(alone=True, slow=True)
def parallel_200(t):
    """All are started before the first is waited for. None waits in the guest, as 200 that poll would starve each other."""
    vms = []
    try:
        for i in range(200):
            script = b"number %d\n%s" % (i, KINDS[i % len(KINDS)][0].encode())
            argv = t.argv("told", "--result", t.path("%d.json" % i), "--debug-exit", "0xf4", "--fail", "^bad$", *SPLAT, mem="16")
            with open(inputs.write(t.path("%d.in" % i), script), "rb") as stdin, open(t.path("%d.out" % i), "wb") as out, \
                    open(t.path("%d.err" % i), "wb") as err:
                vms.append(subprocess.Popen(argv, env=t.env, stdin=stdin, stdout=out, stderr=err))
        for i, proc in enumerate(vms):
            _, status, name = KINDS[i % len(KINDS)]
            proc.wait(5 * HANG_S)
            out, err = read(t.path("%d.out" % i)), read(t.path("%d.err" % i))
            check(proc.returncode == status, "guest %d ended with %d, not %d: %s" % (i, proc.returncode, status, tail(err)))
            check(out.startswith(b"number %d\n" % i), "guest %d said %s" % (i, tail(out)))
            result_of(read(t.path("%d.json" % i)), status, err, outcome=name, argv=proc.args, console__bytes=len(out))
    finally:
        for proc in vms:
            if proc.poll() is None:
                proc.kill()
                proc.wait()
