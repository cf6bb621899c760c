# SPDX-License-Identifier: GPL-2.0
"""How a VM starts and ends, its memory, its CPUs, and a guest that means harm."""
import os
import re
import signal
import subprocess
import time

import inputs
from harness import LAST_LINE, Skipped, check, proc_facts, table, tail, test


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
    t.run("cmdline", "-p", "a=b c").expect(0, r"\[.*console=ttyS0.* test=cmdline a=b c earlycon=.*\]")
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
    t.run(case, "--timeout", "2", "-c", "2").expect(205, "ready", "vCPU 0.*rip +0*20[0-9a-f]{4}.*vCPU 1.*ready.*" + LAST_LINE)


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
    t.run("panic-line", "-p", "how=halt", "--timeout", "3").expect(201, "end Kernel panic", LAST_LINE)


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
        # what a machine has comes and goes; the most that is seen during some restarts is one machine's
        seen = []
        while len(seen) < 40:
            seen.append(proc_facts(vm.proc.pid))
            time.sleep(0.005)
        facts.append({k: max(s[k] for s in seen) for k in seen[0]})
    vm.proc.terminate()
    vm.finish().expect(-signal.SIGTERM)
    before, after = facts
    # less than one of each for a restart, and more than a sample can miss of one machine
    for what, more in (("fds", 20), ("threads", 20), ("size", 128 << 10), ("rss", 16 << 10)):
        check(after[what] <= before[what] + more, "%s: %s, then %s" % (what, before, after))


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
        r.expect(212, "before", "rip +0*20[0-9a-f]{4}.*lkvm: [^\n]*cannot execute cmpxchg16b[^\n]*Linux needs\n\\Z")


# A hostile guest

@table([("1", 1), ("2", 2), ("4", 4)])
def sweep_ports(t, width):
    """Every port is read and written (but those that end the VM), and the VM goes on."""
    t.run("port-sweep", "-p", "width=%d" % width).expect(0, "swept.*ok")


@test
def sweep_port_strings(t):
    t.run("port-strings").expect(0, "swept.*ok")


@test
def pci_ecam(t):
    """PCI configuration space by ports and by memory is one."""
    t.run("pci-ecam").expect(0, "ok")


@table([("64M", "64"), ("5G", "5G")])
def sweep_mmio(t, mem):
    """Random accesses of every width outside RAM."""
    t.run("mmio-sweep", mem=mem).expect(0, "swept.*ok")


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
