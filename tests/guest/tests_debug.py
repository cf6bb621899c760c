# SPDX-License-Identifier: GPL-2.0
"""What is told of a guest that failed: backtraces, the breakpoint on panic, the core."""
import importlib.machinery
import importlib.util
import os
import re

import inputs
from harness import LAST_LINE, Skipped, check, table, test
from tests_outcome import PANIC, CAUSE, ends, told


def load_core_check():
    path = os.path.join(os.path.dirname(__file__), "..", "core-check")
    loader = importlib.machinery.SourceFileLoader("core_check", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("core_check", loader))
    loader.exec_module(module)
    return module


core_check = load_core_check()
CALLED = "panic() was called on vCPU 0 (--symbols)"


def breaks(t):
    """The options with the payload's own symbols, where KVM stops at hardware breakpoints."""
    args = ("--symbols", t.payload)
    # QEMU's emulation of nested virtualization has none; every other KVM is to have them.
    if "LKVM_TEST_INSIDE" in os.environ and told(t, "@b!@p", *args).finish().status == 0:
        raise Skipped("this KVM takes hardware breakpoints and does not stop at them")
    return args


@table([("poweroff", "p"), ("reset", "r"), ("triple-fault", "t"), ("halted", "h"), ("spinning", "s"), ("asleep", "z")])
def debug_breakpoint(t, order):
    """A panic that only the breakpoint shows, whatever follows; the guest goes on after it."""
    args = breaks(t)
    ends(t, "@b!@" + order, args, 201, "panic", cause=CALLED, crash=None, exits__DEBUG=1)


@test
def debug_breakpoint_once(t):
    """Only the first call is an exit; the kernel's line on the console is the better cause; --until ends before."""
    args = breaks(t)
    r = told(t, "@b!@b?" + PANIC + "@p", *args).finish().expect(201, "!.*panicked.*\\?.*panicked")
    check(CAUSE.encode() in r.err and CALLED.encode() not in r.err, "the cause is not the kernel's")
    ends(t, "@b!" + PANIC + "@p", args, 201, "panic", cause=CAUSE, exits__DEBUG=1)
    ends(t, "ready\n@b!@p", (*args, "--until", "^ready$"), 0, "until")


@test
def debug_breakpoint_trace(t):
    """Where panic was called from, though it has returned since."""
    r = told(t, "@b!@s", "--timeout", "20", *breaks(t)).finish().expect(201)
    trace = r.err.decode().split("when it called panic:\n")[1]
    check(re.match(r"vCPU 0 backtrace:\n  panic\+0x0/0x[0-9a-f]+\n  \? calls_panic\+0x[0-9a-f]+/0x", trace), trace)


@test
def debug_backtrace(t):
    """Of every CPU, with names and without."""
    args = ("-c", "2", "--timeout", "2")
    r = told(t, "@s", *args, "--symbols", t.payload).finish().expect(205, None, LAST_LINE)
    check(re.search(rb"vCPU 0 backtrace:\n  spin\+0x[0-9a-f]+/0x[0-9a-f]+\n  \? t_told\+0x[0-9a-f]+/0x", r.err), r.err)
    check(b"vCPU 1: never started\n" in r.err and b"vCPU 1 backtrace" not in r.err, r.err)
    r = told(t, "@s", *args).finish().expect(205, None, LAST_LINE)
    check(re.search(rb"vCPU 0 backtrace:\n  [0-9a-f]{16}\n", r.err), r.err)


@test
def debug_core(t):
    """Memory and registers of a guest that spins: at the place that a backtrace names, with the payload's bytes."""
    path = t.path("core")
    r = told(t, "@s", "--timeout", "2", "-c", "2", "--core", path).finish().expect(205)
    core = core_check.Core(path)
    check(len(core.threads) == 2, "%d threads" % len(core.threads))
    rip = core.threads[0][core_check.RIP]
    check(rip == int(re.search(rb"rip  ([0-9a-f]{16})", r.err).group(1), 16), "rip is %#x" % rip)
    # The payload is linked where it is loaded; its first segment is code.
    elf = t.payload_bytes()
    off, vaddr = (int.from_bytes(elf[64 + i:64 + i + 8], "little") for i in (8, 16))
    check(core.at(vaddr, 4096) == elf[off:off + 4096], "the code is not in the core")
    check(core.at(rip, 2) == elf[off + rip - vaddr:off + rip - vaddr + 2], "rip leads elsewhere")
    check(os.stat(path).st_blocks * 512 < 4 << 20, "the core is not sparse")


@table([("poweroff", "p", 0, False), ("reset", "r", 200, False), ("triple-fault", "t", 203, True),
        ("halted", "h", 204, True)])
def debug_core_of(t, order, status, wanted):
    """Only of a failure; an older one is gone in either case."""
    path = t.path("core")
    for _ in range(2):
        told(t, "@" + order, "--core", path).finish().expect(status)
        check(os.path.exists(path) == wanted, "there is a core" if not wanted else "there is no core")
        if wanted:
            core_check.Core(path)
    check([f for f in os.listdir(t.root) if f.startswith("core")] == ["core"] * wanted, "something is left")


@test
def debug_core_too_large(t):
    """No room for it: 211, with the outcome beside it, and nothing is left."""
    path = t.path("core")
    with open(inputs.write(t.path("script"), b"@t"), "rb") as f:
        vm = t.command(["sh", "-c", 'ulimit -f 2048; exec "$@"', "sh", *t.argv("told", "--core", path)], stdin=f)
    vm.finish().expect(211, None, r"cannot write --core .*File too large \(.*triple fault.*\)\n")
    check(not [f for f in os.listdir(t.root) if f.startswith("core")], "a part of it is left")
