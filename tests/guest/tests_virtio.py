# SPDX-License-Identifier: GPL-2.0
"""Virtio devices on PCI, with KVM's own doorbells, interrupts and memory slots."""
import re
import signal
import subprocess

from harness import LAST_LINE, check, proc_facts, table, tail, test

# One thread for both devices: what one of them was asked first is done when the other one answers.
BOTH = ("--mini=iothread=a", "--rng=iothread=a")


def exits(r):
    """Exits to user space by reason."""
    return {m[0].decode(): int(m[1]) for m in re.findall(rb"exits to user space: (\w+) (\d+)\n", r.err)}


def exits_of(t, case, args, *options):
    r = t.run(case, "--debug", *options, "-p", args).expect(0, "ok")
    return exits(r)


# What an additional request costs, in exits.
DOORS = [
    # name, device, options of lkvm, of the case, exits a request
    ("mini", "mini", ("--mini",), "dev=mini door=mmio", 0),
    ("mini-byte", "mini", ("--mini",), "dev=mini door=mmio width=1", 0),
    ("mini-dword", "mini", ("--mini",), "dev=mini door=mmio width=4", 0),
    ("mini-qword", "mini", ("--mini",), "dev=mini door=mmio width=8", 0),
    ("mini-port", "mini", ("--mini=pio-notify=on",), "dev=mini door=pio", 0),
    ("mini-port-byte", "mini", ("--mini=pio-notify=on",), "dev=mini door=pio width=1", 1),
    ("mini-port-dword", "mini", ("--mini=pio-notify=on",), "dev=mini door=pio width=4", 1),
    ("mini-memory-beside-port", "mini", ("--mini=pio-notify=on",), "dev=mini door=mmio", 0),
    ("mini-window", "mini", ("--mini",), "dev=mini door=window", 4),
    ("mini-window-byte", "mini", ("--mini",), "dev=mini door=window width=1", 4),
    ("mini-window-dword", "mini", ("--mini",), "dev=mini door=window width=4", 4),
    ("mini-window-by-ports", "mini", ("--mini",), "dev=mini door=window access=conf1", 8),
    ("rng", "rng", ("--rng",), "dev=rng door=mmio", 0),
    ("rng-modern", "rng", ("--rng=trans=pci-modern",), "dev=rng door=mmio", 0),
    ("rng-legacy", "rng", ("--rng=trans=pci-legacy",), "dev=rng door=legacy", 0),
    ("rng-transitional-legacy", "rng", ("--rng",), "dev=rng door=legacy", 0),
    ("rng-window", "rng", ("--rng",), "dev=rng door=window", 4),
]


@table([(name, options, args, cost) for name, _, options, args, cost in DOORS])
def doorbell(t, options, args, cost):
    """ROW("PCI-58"): KVM's doorbell and the trapped ways serve alike; an armed doorbell costs no exit."""
    few, many = (sum(exits_of(t, "v-serve", "%s n=%d" % (args, n), *options).values()) for n in (20, 220))
    check(many - few == 200 * cost, "200 requests cost %d exits" % (many - few))


@table([(name + "-" + irq, options, args + " irq=" + irq) for name, _, options, args, _ in DOORS
        for irq in ("msix", "intx") if name in ("mini", "mini-port", "mini-window", "rng", "rng-legacy",
                                                "rng-transitional-legacy")])
def interrupt(t, options, args):
    """One interrupt a request, by a message or by the line."""
    t.run("v-serve", *options, "-p", args).expect(0, "ok")


@table([("msix", "v-msix", "irq=msix"), ("msix-by-ports", "v-msix", "irq=msix access=conf1"),
        ("intx", "v-intx", "irq=intx")])
def interrupt_masked(t, case, args):
    """Masks of a vector and of the function, Interrupt Disable: nothing is sent, nothing is lost."""
    t.run(case, "--mini", "-p", args).expect(0, "ok")


@test
def interrupt_line_shared(t):
    t.run("v-intx-shared", "--mini", *["--rng"] * 8, "-p", "irq=intx").expect(0, "ok")


@table([("ecam", ""), ("ports", "access=conf1")])
def window_registers(t, args):
    t.run("v-window", "--mini", "-p", args).expect(0, "ok")


@test
def ecam_reads_without_exit(t):
    """Configuration space is a memory slot: reading it more often costs nothing."""
    few, many = (exits_of(t, "v-ecam", "n=%d" % n, "--mini") for n in (100, 4100))
    check(few == many, "%s for 100 reads, %s for 4100" % (few, many))


@test
def ecam_traps_after_window(t):
    """Whose access window was written reads by exits from then on, and reads right."""
    few, many = (exits_of(t, "v-ecam", "window=1 n=%d" % n, "--mini") for n in (100, 1100))
    check(many["MMIO"] - few["MMIO"] == 2000, "%s for 100 reads, %s for 1100" % (few, many))


# BARs that move: what holds the doorbell or the MSI-X table, how it is rung, and the options.
MOVED = [
    ("memory", "dev=mini door=mmio", BOTH),
    ("port", "dev=mini door=pio", ("--mini=iothread=a,pio-notify=on", "--rng=iothread=a")),
    ("legacy", "dev=rng door=legacy", BOTH),
    ("msix", "dev=mini door=mmio bar=msix irq=msix", BOTH),
    ("memory-msix", "dev=rng door=mmio irq=msix", BOTH),
]


def steady(t, case, args, *options):
    """A case that stops before and after what it does: lkvm holds then what it held before."""
    vm = t.start(case, *options, "-p", args + " count=1", stdin=subprocess.PIPE)
    facts = []
    for n in (1, 2):
        vm.wait_for(b"checkpoint", n)
        facts.append({k: v for k, v in proc_facts(vm.proc.pid).items() if k in ("fds", "threads")})
        vm.send(b"g")
    vm.finish().expect(0, "ok", LAST_LINE)
    check(facts[0] == facts[1], "lkvm held %s before, and %s after" % tuple(facts))


@table([(what + "-" + name, what, args, options) for name, args, options in MOVED
        for what in ("move", "over-fixed", "size", "decode")])
def live_bar(t, what, args, options):
    """ROW("PLT-3", "PLT-4", "HD-143", "HD-145", "HD-147", "HD-150", "HD-151")"""
    steady(t, "m-" + what, args, *options)


@table([("memory", "dev=mini door=mmio", BOTH), ("memory-by-ports", "dev=mini door=mmio access=conf1", BOTH),
        ("memory-upper", "dev=rng door=mmio", BOTH),
        ("legacy", "dev=mini door=pio beside=legacy", ("--mini=iothread=a,pio-notify=on", "--rng=iothread=a"))])
def bar_over_bar(t, args, options):
    """ROW("HD-141", "HD-145"): one of them answers, and both when they part."""
    steady(t, "m-overlap", args, *options)


@test
def bar_over_part_of_bar(t):
    """ROW("HD-141")"""
    steady(t, "m-overlap-part", "dev=mini door=mmio irq=msix", *BOTH)


@table([("memory", "dev=mini door=mmio"), ("msix", "dev=mini door=mmio bar=msix irq=msix")])
def bar_over_ram(t, args):
    """ROW("HD-140")"""
    steady(t, "m-over-ram", args, *BOTH)


@table([row for row in MOVED if row[0] in ("memory", "port", "legacy")])
def bar_moved_doorbell_costs_no_exit(t, args, options):
    """ROW("HD-145"): KVM has the doorbell at the new place, where it is free to be."""
    few, many = (exits_of(t, "m-serve-there", args + " n=%d" % n, *options) for n in (20, 220))
    check(few == many, "%s for 20 requests, %s for 220" % (few, many))


# Two CPUs

@table([("memory-upper", "seed=1"), ("memory", "seed=2"), ("msix", "irq=msix seed=3")])
def bar_race(t, args):
    """ROW("HD-145", "HD-155"): one CPU moves the BAR of running queues while the other one uses the device."""
    options = BOTH if "upper" not in args else ("--rng=iothread=a", "--mini=iothread=a")
    t.run("h-race", "-c", "2", *options, "-p", args + " dev=mini").expect(0, "ok", LAST_LINE)


@table([(str(seed), seed) for seed in range(1, 7)])
def garbage(t, seed):
    """Garbage in every register, in configuration space and in the rings, from two CPUs; then all works again."""
    vm = t.start("h-garbage", "-c", "2", "--mini=pio-notify=on", "--rng", "-p", "seed=%d n=3000" % seed,
                 stdin=subprocess.PIPE)
    facts = []
    for n in (1, 2):
        vm.wait_for(b"checkpoint", n)
        facts.append(proc_facts(vm.proc.pid))
        vm.send(b"g")
    r = vm.finish().expect(0, "ok", LAST_LINE)
    for what, more in (("fds", 0), ("threads", 0), ("rss", 4096)):
        check(facts[1][what] <= facts[0][what] + more, "%s: %s, then %s" % (what, *facts))
    check(len(r.err) < 100000, "%d bytes of messages" % len(r.err))
