# SPDX-License-Identifier: GPL-2.0
"""Bad input and `lkvm doctor`."""
import json
import os
import re
import shlex

import inputs
from harness import Failed, Skipped, check, table, tail, test


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
