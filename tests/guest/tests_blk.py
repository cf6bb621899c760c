# SPDX-License-Identifier: GPL-2.0
"""Disks: what a killed lkvm leaves in the image, images that many share, and images that go wrong under a guest."""
import hashlib
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time

import inputs
from harness import Skipped, check, proc_facts, table, tail, test

SECTOR = 512
LONG = bool(os.environ.get("LKVM_TEST_LONG"))
STOPPED = "lkvm: guest powered off"


def mix(v):
    """journal_mix() of journal.h."""
    mask = 2**64 - 1
    v = (v ^ v >> 31) * 0x9e3779b97f4a7c15 & mask
    v = (v ^ v >> 29) * 0xbf58476d1ce4e5b9 & mask
    return v ^ v >> 32


def stamped(seed, nr, sectors):
    """An image of sectors with journal_stamp() at both ends."""
    image = bytearray()
    magic = 0x6c6b766d6a6f7572 ^ seed
    for s in range(sectors):
        one = struct.pack("<QQQQ", magic, s, nr, mix(magic ^ s << 20 ^ nr))
        image += one + bytes(SECTOR - 2 * len(one)) + one
    return bytes(image)


def sparse(path, size):
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def number(r, what):
    m = re.search(rb"^%s (\d+)\r?$" % what.encode(), r.out, re.M)
    check(m, "no %r in %s" % (what, tail(r.out)))
    return int(m[1])


# lkvm is killed: what was reported as stable is in the image

KILLS = [
    # keys of --disk, arguments of the case, in memory
    ("", "every=1", False),
    (",queue-size=64,trans=pci-legacy", "door=legacy every=2", False),
    (",wce=off", "sync=0 every=1", False),           # each write is stable when it is acknowledged
    ("", "flush=0 every=1", False),                  # a driver that cannot flush: written through
    (",direct", "every=3", False),
    ("", "every=1", True),                           # a file system in memory is written on the loop
    (",wce=off,direct", "flush=0 every=1", False),
    ("", "sync=0 every=1", False),                   # in the host's page cache, which a kill leaves alone
]


def verify(t, image, seed, journal):
    return subprocess.run([os.path.join(os.path.dirname(t.payload), "write-verify"), "check", image, str(seed)],
                          input=journal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def kill_once(t, n, image):
    """One run, killed at a moment of its own. Returns the check's line."""
    keys, args, _ = KILLS[n % len(KILLS)]
    seed = n + 1
    if "direct" in keys and not direct_works(os.path.dirname(image)):
        keys = keys.replace(",direct", "")
    vm = t.start("d-journal", "--disk", image + keys, "-p", "%s seed=%d" % (args, seed))
    vm.wait_for(b"stable ")
    time.sleep(random.Random(seed).uniform(0, 0.4))
    os.kill(vm.proc.pid, signal.SIGKILL)
    r = vm.finish()
    check(r.status == -signal.SIGKILL, "run %d ended before it was killed: %d %s" % (n, r.status, tail(r.out)))
    checked = verify(t, image, seed, r.out)
    check(checked.returncode == 0, "run %d with \"%s\" and \"%s\": %s" % (n, keys, args, tail(checked.stdout)))
    return checked.stdout


def direct_works(folder):
    try:
        fd, path = tempfile.mkstemp(dir=folder)
        os.close(fd)
        os.close(os.open(path, os.O_RDWR | os.O_DIRECT))
        return True
    except OSError:
        return False
    finally:
        os.unlink(path)


@table([(str(part), part) for part in range(8)])
def killed_loses_nothing(t, part):
    """Each part is one kind of disk; LKVM_TEST_LONG=1: 200 kills in all."""
    in_memory = KILLS[part][2] and os.access("/dev/shm", os.W_OK)
    folder = tempfile.mkdtemp(prefix="guest-test.", dir="/dev/shm") if in_memory else t.root
    writes = 0
    try:
        for n in range(part, 200 if LONG else 24, len(KILLS)):
            image = sparse(os.path.join(folder, "disk"), 4 << 20)
            writes += int(re.search(rb"(\d+) writes stable", kill_once(t, n, image))[1])
    finally:
        if in_memory:
            shutil.rmtree(folder)
    check(writes > 0, "no write was stable in any run")


@table([("torn", "write:every=40:torn"), ("all-from-some-point", "write:from=400:torn")])
def killed_check_finds(t, plan):
    """Writes that a fault plan says are done, and are not, are found missing: the check can fail."""
    image = sparse(t.path("disk"), 4 << 20)
    vm = t.start("d-journal", "--disk", image + ",fault=" + plan, "-p", "seed=1").wait_for(b"stable ", 40)
    os.kill(vm.proc.pid, signal.SIGKILL)
    checked = verify(t, image, 1, vm.finish().out)
    check(checked.returncode == 1 and b" 0 sectors lost" not in checked.stdout, tail(checked.stdout))


@test
def killed_leaves_no_lock(t):
    """The kernel takes the ring of a killed process apart some time later; the next run waits for that."""
    image = sparse(t.path("disk"), 4 << 20)
    for n in range(6):
        vm = t.start("d-journal", "--disk", image, "-p", "seed=%d" % n).wait_for(b"stable ")
        os.kill(vm.proc.pid, signal.SIGKILL)
        vm.proc.wait()
        t.run("d-probe", "--disk", image).expect(0, "ok", STOPPED)


# One base image for many

@test(alone=True)
def hundred_share_a_base(t):
    """A hundred runs at once, each with its own writes, none of which another sees."""
    count, sectors = 100, 96
    base = inputs.write(t.path("base"), stamped(0, 0, sectors))
    before = digest(base)
    vms = []
    for n in range(count):
        vms.append(t.start("d-share", "--disk", base + ",overlay=ephemeral", "-p", "seed=%d step=7" % (n + 1), mem="16",
                           stdin=subprocess.PIPE))
        if n % 10 == 9:
            # Stopped, as a guest that waits for its console polls, and a hundred of them would keep each other waiting.
            for vm in vms[-10:]:
                vm.wait_for(b"checkpoint").proc.send_signal(signal.SIGSTOP)
    # All of them have written, and none has read. Nothing that they wrote has a name.
    check(not t.left_behind(), "while they run: %s" % t.left_behind())
    facts = [proc_facts(vm.proc.pid) for vm in vms]
    check(max(f["fds"] for f in facts) == min(f["fds"] for f in facts), "open files differ: %s" % facts)
    for vm in vms:
        vm.send(b"g")
        vm.proc.send_signal(signal.SIGCONT)
    for vm in vms:
        vm.finish().expect(0, "ok", STOPPED)
    check(digest(base) == before, "the base has changed")


@test
def overlay_needs_no_permission_to_write(t):
    """The base is opened for reading, and so is a `ro` disk; several kinds of readers share it."""
    base = inputs.write(t.path("base"), stamped(0, 0, 512))
    os.chmod(base, 0o444)
    first = t.start("d-share", "--disk", base + ",overlay=ephemeral", "-p", "seed=3", stdin=subprocess.PIPE)
    first.wait_for(b"checkpoint")
    r = t.run("d-probe", "--disk", base + ",ro").expect(0, "ok", STOPPED)
    check((number(r, "read"), number(r, "last"), number(r, "beyond"), number(r, "write"), number(r, "flush")) ==
          (0, 0, 1, 1, 0), "a read-only disk answers %s" % tail(r.out))
    t.run("d-probe", "--disk", base).expect(211, None, "in use by process [0-9]+ \\(lkvm\\)")
    first.send(b"g")
    first.finish().expect(0, "ok", STOPPED)


# Images that go wrong

@test
def disk_locked(t):
    """Two writers are impossible; the second gets a sentence that names the first."""
    image = sparse(t.path("disk"), 1 << 20)
    first = t.start("d-journal", "--disk", image).wait_for(b"stable ")
    for keys in ("", ",ro", ",overlay=ephemeral"):
        r = t.run("d-probe", "--disk", image + keys).expect(211, r"\A\Z", r"\Alkvm: [^\n]*/disk is [^\n]*\n\Z")
        check(("process %d " % first.proc.pid).encode() in r.err, tail(r.err))
    first.kill()


@table([("512", 512, 2 * 512 + 100, 2, "100 bytes"), ("4096", 4096, 2 * 4096 + 512, 16, "512 bytes")])
def disk_odd_size(t, block, size, sectors, rest):
    """Served up to the last whole block, with a warning."""
    image = sparse(t.path("disk"), size)
    r = t.run("d-probe", "--disk", "%s,block-size=%d" % (image, block), "-p", "block=%d" % block)
    r.expect(0, "ok", r"warning[^\n]*/disk: its last %s[^\n]*\n" % rest)
    check((number(r, "sectors"), number(r, "read"), number(r, "write")) == (sectors, 0, 0), tail(r.out))
    check(os.path.getsize(image) == size, "the file is %d bytes now" % os.path.getsize(image))


def in_small_tmpfs(t, size, command, **kw):
    """Runs a command in a mount namespace where $ROOT/small is a file system of `size` bytes."""
    os.mkdir(t.path("small"))
    unshare = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-r", "-m"]
    if subprocess.run(unshare + ["true"], stderr=subprocess.DEVNULL).returncode:
        raise Skipped("no mount namespace can be made here")
    script = "mount -t tmpfs -o size=%d small %s && truncate -s 1M %s && exec \"$@\"" % (
        size, t.path("small"), t.path("small/disk"))
    return t.command(unshare + ["sh", "-c", script, "sh"] + command, **kw)


@table([("image", "{small}/disk"), ("image-written-through", "{small}/disk,wce=off"),
        ("overlay", "{root}/base,overlay=ephemeral")])
def disk_full(t, disk):
    """Writes fail as I/O errors, and what was acknowledged stays."""
    sparse(t.path("base"), 1 << 20)
    t.env["TMPDIR"] = t.path("small")
    disk = disk.format(small=t.path("small"), root=t.root)
    r = in_small_tmpfs(t, 256 << 10, t.argv("d-full", "--disk", disk)).finish().expect(0, "ok", STOPPED)
    check(0 < number(r, "write errors") < number(r, "sectors"), tail(r.out))


@table([("on-disk", None), ("in-memory", "/dev/shm")])
def disk_limited_by_ulimit(t, folder):
    """A limit of a file's size (512 blocks of 512 bytes) is an error of the write, and not the end of lkvm."""
    if folder and not os.access(folder, os.W_OK):
        raise Skipped("no %s to write to" % folder)
    image = tempfile.NamedTemporaryFile(prefix="guest-test.", dir=folder or t.root)
    image.truncate(512 << 10)
    argv = ["sh", "-c", 'ulimit -f 512 && exec "$@"', "sh"] + t.argv("d-full", "--disk", image.name)
    r = t.command(argv).finish().expect(0, "ok", STOPPED)
    check((number(r, "sectors"), number(r, "write errors")) == (1024, 512), tail(r.out))
    image.close()


@test
def overlay_limited_by_ulimit(t):
    """An overlay's file has the image's size, so that a limit below it is known at once."""
    image = sparse(t.path("disk"), 1 << 20)
    argv = ["sh", "-c", 'ulimit -f 1 && exec "$@"', "sh"] + t.argv("d-probe", "--disk", image + ",overlay=ephemeral")
    t.command(argv).finish().expect(211, r"\A\Z", r"\Alkvm: cannot make the overlay's file of 1048576 bytes[^\n]*\n\Z")


@test
def disk_truncated(t):
    """What is no more there reads as an I/O error; the rest goes on, and writes make it grow again."""
    image = sparse(t.path("disk"), 256 << 10)
    vm = t.start("d-pulled", "--disk", image, stdin=subprocess.PIPE).wait_for(b"checkpoint")
    os.truncate(image, 128 << 10)
    vm.send(b"g")
    r = vm.finish().expect(0, "ok", STOPPED)
    check((number(r, "read errors"), number(r, "later write errors"), number(r, "later read errors")) == (256, 0, 0),
          tail(r.out))


@test
def disk_removed(t):
    """The open file stays as it is."""
    image = sparse(t.path("disk"), 256 << 10)
    vm = t.start("d-pulled", "--disk", image, stdin=subprocess.PIPE).wait_for(b"checkpoint")
    os.unlink(image)
    vm.send(b"g")
    r = vm.finish().expect(0, "ok", STOPPED)
    check((number(r, "read errors"), number(r, "later write errors")) == (0, 0), tail(r.out))


@test
def disk_fault_plan(t):
    """The plan fails what it says, and nothing else."""
    image = sparse(t.path("disk"), 256 << 10)
    r = t.run("d-full", "--disk", image + ",fault=write:sectors=100-109:errno=EIO;read:nth=7:errno=EIO;"
              "flush:delay=10ms", "-p", "again=0")
    # Read 7 is of a sector that was written, which the guest says.
    check(b"an acknowledged sector is lost: 0x6" in r.out and number(r, "write errors") == 10, tail(r.out))


@test
def disk_no_permission(t):
    """The file is there and not for us."""
    image = sparse(t.path("disk"), 1 << 20)
    os.chmod(image, 0o444)
    argv = t.argv("d-probe", "--disk", image)
    if os.getuid() == 0:
        # Still its owner, but bound to what the owner may do.
        argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] + argv
    t.command(argv).finish().expect(211, r"\A\Z", r"\Alkvm: [^\n]*/disk for writing[^\n]*\n\Z")


MAGICS = [("qcow2", b"QFI\xfb\0\0\0\3"), ("vmdk", b"KDMV"), ("vdi", bytes(64) + b"\x7f\x10\xda\xbe"),
          ("vhdx", b"vhdxfile"), ("vhd", b"conectix"), ("parallels", b"WithoutFreeSpace"), ("qed", b"QED\0"),
          ("bochs", b"Bochs Virtual HD Image"), ("gzip", b"\x1f\x8b\x08"), ("xz", b"\xfd7zXZ\0"),
          ("zstd", b"\x28\xb5\x2f\xfd")]


@test
def disk_of_another_format(t):
    """A known magic is refused with what to do, unless format=raw says that it is no accident."""
    for name, magic in MAGICS:
        image = inputs.write(t.path("disk"), magic + bytes((1 << 20) - len(magic)))
        t.run("d-probe", "--disk", image).expect(210, r"\A\Z", r"\Alkvm: [^\n]*/disk is [^\n]*%s[^\n]*format=raw[^\n]*\n\Z" %
                                                 name)
    r = t.run("d-probe", "--disk", image + ",format=raw").expect(0, "ok", STOPPED)
    check(number(r, "read") == 0, tail(r.out))
