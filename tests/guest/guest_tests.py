# SPDX-License-Identifier: GPL-2.0
"""The guest tests: each is a function whose first line of text says what it shows."""
import json
import os
import re
import shlex
import signal
import subprocess
import time

import inputs
from harness import Failed, Skipped, Terminal, check, proc_facts, tail

TESTS = []
LAST_LINE = r"lkvm: [^\n]+\n\Z"


def test(fn=None, **kw):
    """Registers a test; alone=True keeps others away while it runs."""
    def register(f):
        f.options = kw
        TESTS.append((f.__name__.replace("_", "-"), f))
        return f
    return register(fn) if fn else register


def table(rows, **kw):
    """A test for each row: name and the arguments of the function."""
    def register(f):
        f.options = kw
        for name, *args in rows:
            TESTS.append(("%s-%s" % (f.__name__.replace("_", "-"), name), lambda t, a=args: f(t, *a)))
            TESTS[-1][1].options = kw
        return f
    return register


def stdin_file(t, data):
    return open(inputs.write(t.path("stdin"), data), "rb")


# Ways to start

@test
def boot_elf(t):
    """The 64-bit entry."""
    t.run("hello").expect(0, "hello from the 64-bit entry.*ok", LAST_LINE)


@test
def boot_pvh(t):
    """An ELF with a PVH note."""
    t.run("hello", kernel=t.payload_pvh).expect(0, "hello from PVH.*ok", LAST_LINE)


@table([(how, how) for how in ("auto", "vmlinux")])
def boot_choice_elf(t, how):
    t.run("hello", "--boot", how).expect(0, "hello.*ok")


@table([("bzimage", "bzimage", 0), ("auto", "auto", 1), ("vmlinux", "vmlinux", 1)])
def boot_choice_bz(t, how, cached):
    """A bzImage as it is, or what is inside it; only the latter is cached."""
    kernel = inputs.write(t.path("bz"), inputs.bzimage(t.payload_bytes(), inputs.gzip(t.payload_bytes())))
    for _ in range(2):
        t.run("hello", "--boot", how, kernel=kernel).expect(0, "hello from the 64-bit entry.*ok")
    check(bool(t.cache_files()) == bool(cached), "cache holds %s" % t.cache_files())


@test
def boot_kaslr(t):
    """--kaslr takes the bzImage path and caches nothing."""
    kernel = inputs.write(t.path("bz"), inputs.bzimage(t.payload_bytes(), inputs.gzip(t.payload_bytes())))
    t.run("hello", "--kaslr", kernel=kernel).expect(0, "hello.*ok")
    check(not t.cache_files(), "cache holds %s" % t.cache_files())


@table([(name, name) for name in inputs.COMPRESSORS])
def boot_compressed(t, name):
    """Each compression of a kernel inside a bzImage."""
    elf = t.payload_bytes()
    kernel = inputs.write(t.path("bz"), inputs.bzimage(elf, inputs.COMPRESSORS[name](elf)))
    t.run("hello", "--boot", "vmlinux", kernel=kernel).expect(0, "hello.*ok")


@test
def boot_cache_damaged(t):
    """A damaged cache entry is a miss, and is replaced."""
    kernel = inputs.write(t.path("bz"), inputs.bzimage(t.payload_bytes(), inputs.gzip(t.payload_bytes())))
    top = os.path.join(t.env["XDG_CACHE_HOME"], "lkvm")
    for damage in (b"", b"\x7fELF", b"x" * 70000):
        t.run("hello", kernel=kernel).expect(0, "hello.*ok")
        check(t.cache_files(), "nothing was cached")
        for name in t.cache_files():
            inputs.write(os.path.join(top, name), damage)
    for name in t.cache_files():
        with open(os.path.join(top, name), "r+b") as f:
            f.write(inputs.patched(t.payload_bytes(), "I", 0x1200, 0))
    t.run("hello", kernel=kernel).expect(0, "hello.*ok")


@test
def boot_cmdline(t):
    """-p appends to what the machine needs; --nodefaults drops that."""
    t.run("cmdline", "-p", "a=b c").expect(0, r"\[.*console=ttyS0.* test=cmdline a=b c\]")
    t.run("cmdline", "--nodefaults").expect(0, r"\[test=cmdline\]")


@test
def dry_run(t):
    """--dry-run describes the machine and starts nothing."""
    r = t.run("hello", "--dry-run").expect(0)
    check(b"hello" not in r.out.split(b"test=")[-1][5:] and len(r.out) > 200, tail(r.out))


# Ways to end

@test
def poweroff(t):
    t.run("nothing").expect(0, r"\A\Z", LAST_LINE)


@test
def poweroff_by_acpi_tables(t):
    """PM1a_CNT and \\_S5 as the tables say; the MADT has every CPU."""
    t.run("acpi", "-c", "3").expect(0, "cpus 3")


@table([(how, how) for how in ("cf9", "i8042", "a20")])
def reset(t, how):
    t.run("reset", "-p", "how=" + how).expect(200, "resetting", LAST_LINE)


@test
def reset_by_acpi_tables(t):
    t.run("acpi-reset").expect(200)


@test
def triple_fault(t):
    t.run("reset", "-p", "how=triple").expect(203, "resetting", LAST_LINE)


@test
def jump_to_hole(t):
    """Code where no memory is cannot run; KVM says so in one way or another, and lkvm ends."""
    r = t.run("jump-to-hole", "--timeout", "20")
    check(r.status in (203, 205, 212), "status %d" % r.status)


@table([("halt", "halt"), ("spin", "spin")])
def timeout(t, case):
    """205; every CPU's registers and the last console lines are on stderr."""
    t.run(case, "--timeout", "0.5", "-c", "2").expect(205, "ready", "vCPU 0.*rip +0*20[0-9a-f]{4}.*vCPU 1.*ready.*" + LAST_LINE)


@test
def timeout_not_reached(t):
    t.run("hello", "--timeout", "100").expect(0, "ok")


@table([(str(v), v, s) for v, s in ((0, 0), (1, 1), (7, 7), (126, 126), (192, 192), (193, 199), (255, 199))])
def debug_exit(t, value, status):
    r = t.run("debug-exit", "--debug-exit", "0xf4", "-p", "value=%d" % value).expect(status, "leaving", LAST_LINE)
    if status == 199:
        check(str(value).encode() in r.err.splitlines()[-1], "the value is not in %s" % tail(r.err))


@test
def debug_exit_off(t):
    """Without the option the port is like any other."""
    t.run("debug-exit", "-p", "value=3").expect(0, "FAIL the debug-exit port did nothing")


@test
def debug_exit_elsewhere(t):
    t.run("debug-exit", "--debug-exit", "0x501", "-p", "value=5 port=1281").expect(5)


@table([(how, how) for how in ("cf9", "i8042", "poweroff", "triple")])
def pvpanic(t, how):
    """Bit 0 outranks what follows, and the guest may still say its last words."""
    t.run("pvpanic", "-p", "how=" + how).expect(201, "last words", LAST_LINE)


@test
def pvpanic_crash_loaded(t):
    """Bit 1 says that the guest's own crash kernel takes over: no panic of ours."""
    t.run("pvpanic", "-p", "value=2 how=poweroff").expect(0, "last words")


@table([(how, how) for how in ("cf9", "i8042", "poweroff", "triple")])
def panic_line(t, how):
    """The kernel's panic line outranks what follows, and is quoted."""
    t.run("panic-line", "-p", "how=" + how).expect(201, "end Kernel panic", "Attempted to kill init![^\n]*\n\\Z")


@test
def panic_line_then_hang(t):
    t.run("panic-line", "-p", "how=halt", "--timeout", "1").expect(201, "end Kernel panic", LAST_LINE)


@table([(how, how, status) for how, status in (("cf9", 200), ("poweroff", 0), ("triple", 203))])
def end_by_second_cpu(t, how, status):
    t.run("smp", "-c", "2", "-p", "by=ap how=" + how).expect(status)


@table([(s.name, s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)])
def ended_by_signal(t, sig):
    """lkvm ends by the signal that it got, and says so."""
    vm = t.start("spin", "-c", "2").wait_for(b"ready")
    vm.proc.send_signal(sig)
    vm.finish().expect(-sig, "ready", LAST_LINE)


@test
def signal_before_the_guest(t):
    """A signal during the start ends lkvm too."""
    for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.04):
        vm = t.start("spin")
        time.sleep(delay)
        vm.proc.send_signal(signal.SIGTERM)
        vm.finish().expect(-signal.SIGTERM)


@test
def ignored_signal(t):
    """A signal that was ignored from the start (nohup) stays ignored."""
    vm = t.command(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *t.argv("spin")]).wait_for(b"ready")
    vm.proc.send_signal(signal.SIGHUP)
    vm.proc.send_signal(signal.SIGTERM)
    vm.finish().expect(-signal.SIGTERM)


# Restart

@test
def restart(t):
    """--on-reset restart begins again, until the guest powers off."""
    vm = t.start("ask", "--on-reset", "restart", stdin=subprocess.PIPE)
    for n in (1, 2, 3):
        vm.wait_for(b"boot", n)
        vm.send(b"r" if n < 3 else b"p")
    vm.finish().expect(0, "boot.*boot.*boot.*ok", LAST_LINE)


@test
def restart_leaks_nothing(t):
    """Descriptors, threads and memory of one process after 5 and after 105 restarts."""
    vm = t.start("reset", "-c", "2", "-p", "how=cf9", "--on-reset", "restart").wait_for(b"resetting", 5)
    facts = []
    for count in (5, 105):
        vm.wait_for(b"resetting", count)
        # a restart makes some anew: the most that is seen in a while, while restarts go on, is what counts
        seen = []
        while len(seen) < 40:
            seen.append(proc_facts(vm.proc.pid))
            time.sleep(0.005)
        facts.append({k: max(s[k] for s in seen) for k in seen[0]})
    vm.proc.terminate()
    vm.finish().expect(-signal.SIGTERM)
    before, after = facts
    check(after["fds"] <= before["fds"], "descriptors: %s, then %s" % (before, after))
    check(after["threads"] <= before["threads"], "threads: %s, then %s" % (before, after))
    check(after["size"] <= before["size"] + 1024, "address space: %s, then %s" % (before, after))
    check(after["rss"] <= before["rss"] + 4096, "memory: %s, then %s" % (before, after))


# Memory

def ram_total(r):
    return int(re.search(rb"total (\d+) MiB", r.out).group(1))


@table([("elf", False), ("pvh", True)])
def memory_above_4g(t, pvh):
    """6 GiB, whose top is above the hole below 4 GiB."""
    r = t.run("ram", mem="6G", kernel=t.payload_pvh if pvh else None).expect(0, "0x100000000 0xc0000000.*ok")
    check(ram_total(r) == 6143, tail(r.out))


@table([(m, m, mib) for m, mib in (("16", 16), ("100M", 100), ("128m", 128), ("3G", 3072), ("3073", 3073))])
def memory_size(t, mem, mib):
    r = t.run("ram", mem=mem).expect(0, "ok")
    check(ram_total(r) in (mib, mib - 1), tail(r.out))


@test
def memory_identity_map(t):
    """The boot protocol's page tables reach all 4 GiB."""
    t.run("identity-map").expect(0, "ok")


@table([("64M", "64"), ("3G", "3G"), ("5G", "5G")])
def memory_edges(t, mem):
    """Unbacked memory reads as ones, also in accesses that begin or end in RAM."""
    t.run("hole", mem=mem).expect(0, "ok")


@test
def memory_shared(t):
    t.run("ram", "--mem-shared", mem="5G").expect(0, "ok")


def hugepages(change=0):
    path = "/proc/sys/vm/nr_hugepages"
    with open(path) as f:
        nr = int(f.read())
    if change:
        with open(path, "w") as f:
            f.write(str(nr + change))
    return nr


@test(alone=True)
def memory_hugetlbfs(t):
    """Guest memory from reserved huge pages, and a sentence when there are not enough."""
    mount = t.path("huge")
    os.mkdir(mount)
    if subprocess.run(["mount", "-t", "hugetlbfs", "none", mount], stderr=subprocess.DEVNULL).returncode:
        raise Skipped("cannot mount hugetlbfs")
    try:
        before = hugepages()
        try:
            hugepages(32)
        except OSError as e:
            raise Skipped("cannot reserve huge pages: %s" % e.strerror)
        try:
            if hugepages() < before + 32:
                raise Skipped("the host has no 32 huge pages to spare")
            t.run("ram", "--hugetlbfs", mount, mem="64").expect(0, "ok")
            t.run("ram", "--hugetlbfs", mount, mem="2T").expect(211, r"\A\Z", r"\Alkvm: [^\n]*huge[^\n]*\n\Z")
            check(not os.listdir(mount), "left in the mount: %s" % os.listdir(mount))
        finally:
            hugepages(before - hugepages())
    finally:
        subprocess.run(["umount", mount], check=True)


# CPUs and interrupts

@table([("x2apic", "apic=x2", "x2apic"), ("xapic", "apic=x", "xapic")])
def interrupt_timer(t, arg, out):
    """The local APIC's timer, with the CPU asleep in between."""
    t.run("timer", "-p", arg).expect(0, out + ".*ok")


@table([("ioapic", "via=ioapic"), ("pic", "via=pic")])
def interrupt_serial(t, arg):
    """The transmitter-empty interrupt of ttyS0."""
    t.run("serial-irq", "-p", arg).expect(0, "ok")


@table([("2", 2, "apic=x2"), ("2-xapic", 2, "apic=x"), ("8", 8, "apic=x2"), ("64", 64, "apic=x")])
def cpus(t, nr, arg):
    """INIT and start-up IPIs reach every CPU."""
    t.run("smp", "-c", str(nr), "-p", "cpus=%d %s" % (nr, arg)).expect(0, "cpus %d of %d\r?\n.*ok" % (nr, nr))


@test
def cpus_affinity(t):
    t.run("smp", "-c", "2", "--vcpu-affinity", "0", "-p", "cpus=2").expect(0, "ok")


@test
def cpus_without_acpi(t):
    t.run("smp", "-c", "2", "--no-acpi", "-p", "cpus=2").expect(0, "ok")


@test
def instruction_not_emulated(t):
    """cmpxchg16b: works, or ends with 212, the registers and why this host is to blame."""
    status, facts = t.doctor()
    r = t.run("cx16")
    if facts["instructions"]["cmpxchg16b"] == "works":
        r.expect(0, "before.*ok")
    else:
        r.expect(212, "before", "rip +0*20[0-9a-f]{4}.*cannot execute cmpxchg16b.*Linux needs.*" + LAST_LINE)


# A hostile guest

@table([("1", 1), ("2", 2), ("4", 4)])
def sweep_ports(t, width):
    """Every port is read and written (but those that end the VM), and the VM goes on."""
    t.run("port-sweep", "-p", "width=%d" % width).expect(0, "swept.*ok")


@test
def sweep_port_strings(t):
    t.run("port-strings").expect(0, "swept.*ok")


@table([("64M", "64"), ("5G", "5G")])
def sweep_mmio(t, mem):
    """Random accesses of every width outside RAM."""
    t.run("mmio-sweep", mem=mem).expect(0, "swept.*ok")


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
    vm = t.start("echo", "--timeout", "0.7", stdin=stdin_file(t, b"abc"))
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
    term.read_until(b"ready")
    check(term.is_raw(), "the terminal is not raw")
    term.write(b"\x01x")
    vm.finish().expect(207, None, LAST_LINE)
    check(term.is_restored(), "the terminal was not restored")


@with_terminal
def terminal_literal_ctrl_a(t, term):
    """Ctrl-A Ctrl-A sends one; Ctrl-C is the guest's."""
    vm = t.start_on(term, "echo")
    term.read_until(b"ready")
    term.write(b"<\x01\x01\x03>q")
    term.read_until(b"ok")
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
    term.read_until(b"abc")
    check(term.is_restored(), "the terminal was changed")
    vm.proc.terminate()
    vm.finish().expect(-signal.SIGTERM)


@with_terminal
def terminal_killed(t, term):
    """SIGKILL: the terminal is restored although lkvm is gone."""
    vm = t.start_on(term, "spin")
    term.read_until(b"ready")
    check(term.is_raw(), "the terminal is not raw")
    vm.proc.kill()
    vm.finish()
    restored(term)


@with_terminal
def terminal_after_signal(t, term):
    vm = t.start_on(term, "spin")
    term.read_until(b"ready")
    vm.proc.send_signal(signal.SIGTERM)
    vm.finish().expect(-signal.SIGTERM)
    check(term.is_restored(), "the terminal was not restored")


@with_terminal
def terminal_after_error(t, term):
    """An error that comes late in the start leaves the terminal alone too."""
    vm = t.start_on(term, "hello", "-i", t.path("missing"))
    vm.finish().expect(211)
    check(term.is_restored(), "the terminal was not restored")


# Several, and many

@test
def two_at_once(t):
    """Two VMs of one user know nothing of each other."""
    vms = [t.start("echo", "--name", "same", stdin=subprocess.PIPE) for _ in range(2)]
    for i, vm in enumerate(vms):
        vm.wait_for(b"ready").send(b"number %d" % i)
    for i, vm in enumerate(vms):
        vm.wait_for(b"number %d" % i).send(b"q")
        vm.finish().expect(0, r"\Aready\r\nnumber %d" % i)


@test(alone=True, slow=True)
def thousand_starts(t):
    """1,000 guests, one after the other: each ends 0, and nothing is left."""
    argv = t.argv("nothing")
    for i in range(1000):
        p = subprocess.run(argv, env=t.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        check(p.returncode == 0, "start %d ended with %d: %s" % (i, p.returncode, tail(p.stderr)))


# lkvm doctor

@test
def doctor_json(t):
    """One valid object, which agrees with the exit status and with the text."""
    status, facts = t.doctor()
    check(facts["status"] == status and status in (0, 1), "status %d, %s" % (status, facts))
    check(all(v in ("works", "fails", "not offered") for v in facts["instructions"].values()), str(facts))
    check((status == 1) == ("fails" in facts["instructions"].values()), str(facts))
    check(all(facts[k] > 0 for k in ("instructions_per_second", "port_exit_ns", "mmio_exit_ns")), str(facts))
    check(all(c["present"] for c in facts["capabilities"] if c["needed"]), str(facts))
    r = t.command([t.lkvm, "doctor"]).finish().expect(status, "Verdict: ", r"\A\Z")
    check(max(len(line) for line in r.out.splitlines()) <= 80, "a line is longer than 80 columns")
    check(facts["reason"].split() == r.out.decode().split("Verdict:")[1].split(), "two verdicts")


@table([("missing", "{D}/none"), ("null", "/dev/null"), ("file", "{D}/file"), ("quoted", '{D}/a"b\\c\n\xff')])
def doctor_without_kvm(t, dev):
    inputs.write(t.path("file"), b"")
    dev = dev.replace("{D}", t.root)
    r = t.command([t.lkvm, "doctor", "--json", "--dev", dev]).finish().expect(2)
    facts = json.loads(r.out)
    check(facts["status"] == 2 and facts["verdict"] == "none", str(facts))
    t.command([t.lkvm, "doctor", "--dev", dev]).finish().expect(2, "Verdict: no guest can run")


# Bad input: one sentence, the status, and nothing left

def expect_sentence(t, name, argv, status, pattern):
    r = t.command(argv).finish()
    check(re.fullmatch(status, str(r.status)), "%s: status %d, not %s; %s" % (name, r.status, status, tail(r.err)))
    check(re.fullmatch(rb"lkvm: [^\n]{10,}\n", r.err), "%s: not one sentence: %s" % (name, tail(r.err, 2000)))
    check(re.search(pattern.encode(), r.err), "%s: %s does not match %r" % (name, tail(r.err), pattern))
    check(not r.out, "%s: stdout has %s" % (name, tail(r.out)))
    check(not t.left_behind(), "%s: left %s" % (name, t.left_behind()))


def bad_rows():
    with open(os.path.join(os.path.dirname(__file__), "bad-input.txt")) as f:
        for nr, line in enumerate(f, 1):
            if line.strip() and not line.startswith("#"):
                status, pattern, args = line.rstrip("\n").split(" | ")
                yield "%d:%s" % (nr, args), status, pattern, args


@table(bad_rows())
def bad_input(t, status, pattern, args):
    inputs.write_misc(t.root, t.payload_bytes())
    def fill(text, quote):
        text = re.sub(r"\{X(\d+)\}", lambda m: "x" * int(m.group(1)), text)
        return text.replace("{K}", quote(t.payload)).replace("{D}", quote(t.root))
    argv = [t.lkvm] + shlex.split(fill(args, shlex.quote))
    expect_sentence(t, args, argv, status, fill(pattern, re.escape))


def bad_kernels(t, files, *args):
    """All of them are tried, so that one look shows every one that is wrong."""
    wrong = []
    for name, data in files:
        try:
            path = inputs.write(t.path(name), data)
            expect_sentence(t, name, t.argv("hello", *args, kernel=path), "210", re.escape(name))
        except Failed as e:
            wrong.append(str(e))
    check(not wrong, "; ".join(wrong))


@test
def bad_elf(t):
    """Damaged ELF files."""
    bad_kernels(t, inputs.bad_elves(t.payload_bytes()))


@test
def bad_bzimage(t):
    """bzImages cut at every boundary of the header, and with wrong fields."""
    bad_kernels(t, inputs.bad_bzimages(t.payload_bytes()))
    bad_kernels(t, inputs.bad_bzimages(t.payload_bytes()), "--boot", "bzimage")
    bad_kernels(t, inputs.bad_places(t.payload_bytes()), "--boot", "bzimage")


@test
def bad_payload(t):
    """Compressed kernels that are damaged, cut, or claim to be huge."""
    bad_kernels(t, inputs.bad_payloads(t.payload_bytes()), "--boot", "vmlinux")


@test
def bad_stdout_closed(t):
    expect_sentence(t, "stdout", ["sh", "-c", 'exec "$@" >&-', "sh", *t.argv("hello")], "211", "stdout")


@test
def bad_permission(t):
    """The device is there and not for us."""
    if os.getuid() == 0:
        lkvm = t.path("lkvm")
        payload = inputs.write(t.path("payload"), t.payload_bytes())
        with open(t.lkvm, "rb") as f:
            inputs.write(lkvm, f.read())
        os.chmod(lkvm, 0o755)
        argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", lkvm, "run", "-k", payload]
        if os.stat("/dev/kvm").st_mode & 0o006:
            raise Skipped("/dev/kvm is open to everybody")
    else:
        inputs.write(t.path("kvm"), b"")
        os.chmod(t.path("kvm"), 0)
        argv = t.argv("hello", "--dev", t.path("kvm"))
    expect_sentence(t, "permission", argv, "211", "/kvm.*(ermission|group)")
