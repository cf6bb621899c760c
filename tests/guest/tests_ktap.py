# SPDX-License-Identifier: GPL-2.0
"""--ktap: test results on the console and in a command's streams become the status, and --junit and --tap have them."""
import os
import shutil
import subprocess

import inputs
from harness import LAST_LINE, Skipped, check, table, tail, test
from tests_outcome import BOOT, PANIC, STAMP, read, result_of, told

JUNIT_CHECK = os.path.join(os.path.dirname(__file__), "..", "junit-check")


def stamped(text):
    """As KUnit prints it."""
    return "".join(STAMP + line + "\n" for line in text.splitlines())


SUITES = """KTAP version 1
1..2
    KTAP version 1
    # Subtest: first
    1..3
    ok 1 a
    ok 2 b # SKIP no such device
        KTAP version 1
        # Subtest: c
        1..2
        ok 1 even
        not ok 2 odd
    not ok 3 c
not ok 1 first
    KTAP version 1
    # Subtest: second
    1..1
    ok 1 d
ok 2 second
"""
# name, text, status, outcome, tests of the result, what the last line has
ROWS = [
    ("pass", "TAP version 13\n1..2\nok 1 a\nok 2 b\n", 0, (2, 0, 0, 0), ""),
    ("fail", "TAP version 13\n1..2\nok 1 a\nnot ok 2 b\n", 206, (1, 1, 0, 0), "tests failed: 1 of 2, the first: b"),
    ("short", "TAP version 13\n1..3\nok 1 a\nok 2 b\n", 206, (2, 0, 0, 0), "2 results for a plan of 3 tests"),
    ("long", "1..1\nok 1 a\nok 2 b\n", 206, (2, 0, 0, 0), "2 results for a plan of 1 tests"),
    ("no-plan", "KTAP version 1\nok 1 a\n", 206, (1, 0, 0, 0), "ended without a plan"),
    ("bail-out", "1..9\nok 1 a\nBail out! no disk\n", 206, (1, 0, 0, 0), "the tests bailed out: no disk"),
    ("nested", SUITES, 206, (3, 1, 1, 0), "1 of 5, the first: first/c/odd"),
    ("skip-and-todo", "1..4\nok 1 a # SKIP x\nnot ok 2 b # todo\nnot ok 3 c # XFAIL\nok 4 d\n", 0, (1, 0, 1, 2), ""),
    ("all-skipped", "1..0 # SKIP nothing to test\n", 0, (0, 0, 1, 0), ""),
    ("none", "hello\nok then\n", 208, (0, 0, 0, 0), "without a test result"),
]


def agrees(t, r, tests, says):
    """The result, the JUnit report and the TAP of a run have these tests."""
    result = result_of(read(t.path("r.json")), r.status, r.err or None)
    have = tuple(result["tests"][k] for k in ("passed", "failed", "skipped", "expected"))
    check(have == tests, "the tests are %s, not %s" % (have, tests))
    check(says in result["message"], result["message"])
    with open(t.path("r.xml"), "rb") as f:
        p = subprocess.run(["python3", JUNIT_CHECK], stdin=f, capture_output=True)
    check(p.returncode == 0, "JUnit: %s" % tail(p.stderr))
    check(read(t.path("r.xml")).count(b"<testcase") == 1 + sum(tests), "JUnit has other tests: %s" % tail(read(t.path("r.xml")), 2000))
    if not shutil.which("prove"):
        raise Skipped("there is no prove")
    p = subprocess.run(["prove", "-e", "cat", t.path("r.tap")], capture_output=True)
    check((p.returncode == 0) == (r.status == 0), "prove ends with %d: %s" % (p.returncode, tail(p.stdout)))
    check(b"Parse errors" not in p.stdout and b"Tests=%d" % (1 + sum(tests)) in p.stdout, tail(p.stdout))


def files(t):
    return ("--ktap", "--result", t.path("r.json"), "--junit", t.path("r.xml"), "--tap", t.path("r.tap"))


@table([("%s-%s" % (name, how), text if how == "program" else stamped(text), *rest)
        for name, text, *rest in ROWS for how in ("program", "kernel")])
def ktap_console(t, text, status, tests, says):
    """Of a program, and of the kernel with its time stamps, in the midst of what else they say."""
    r = told(t, BOOT + text + "bye\n@p", *files(t)).finish().expect(status, None, LAST_LINE)
    agrees(t, r, tests, says)


@table([("%s-%s" % (name, to), to, text, *rest) for name, text, *rest in ROWS for to in ("stdout", "results", "console")])
def ktap_command(t, to, text, status, tests, says):
    """The same of a command that ends well: on its stdout, in its results and on the console."""
    with open(inputs.write(t.path("in"), text.encode()), "rb") as f:
        r = t.run("cmd-cat", "-p", "to=" + to, *files(t), "--", "x", stdin=f).expect(status)
    check(r.out == (text.encode() if to == "stdout" else b""), tail(r.out))
    agrees(t, r, tests, says)


@test
def ktap_stderr(t):
    """Stderr is for people."""
    with open(inputs.write(t.path("in"), b"1..1\nnot ok 1 x\n"), "rb") as f:
        r = t.run("cmd-cat", "-p", "to=stderr", *files(t), "--", "x", stdin=f).expect(208)
    result_of(read(t.path("r.json")), outcome="early", tests__failed=0)
    check(r.err.startswith(b"1..1\nnot ok 1 x\n"), tail(r.err))


@test
def ktap_results_file(t):
    """--results gets them too."""
    text = b"1..1\nnot ok 1 x\n"
    with open(inputs.write(t.path("in"), text), "rb") as f:
        t.run("cmd-cat", "-p", "to=results", "--ktap", "--results", t.path("results"), "--", "x", stdin=f).expect(206)
    check(read(t.path("results")) == text, "the results are others")


@table([("passed", "1..1\nok 1 x\n", 7), ("none", "hello\n", 7), ("failed", "1..1\nnot ok 1 x\n", 206)])
def ktap_command_fails(t, text, status):
    """A command's own failure is the status, unless a test failed."""
    with open(inputs.write(t.path("in"), text.encode()), "rb") as f:
        t.run("cmd-cat", "-p", "value=7", "--ktap", "--", "x", stdin=f).expect(status)


@table([("panic", PANIC + "@r", (), 201, "panic"), ("reset", "@r", (), 206, "fail"), ("triple-fault", "@t", (), 206, "fail"),
        ("hang", "@h", (), 206, "fail"), ("timeout", "@s", ("--timeout", "1"), 206, "fail"),
        ("fail", "bad\n@s", ("--fail", "^bad$"), 206, "fail"), ("until", "done\n@s", ("--until", "^done$"), 206, "fail")])
def ktap_ends_in_the_middle(t, script, args, status, outcome):
    """The kernel crashes, or ends otherwise, between two tests: what is missing is a failure, or worse."""
    r = told(t, BOOT + stamped("KTAP version 1\n1..3\nok 1 a\nok 2 b") + script, *files(t), *args).finish()
    r.expect(status, None, LAST_LINE)
    result = result_of(read(t.path("r.json")), r.status, r.err, outcome=outcome, tests__passed=2, tests__failed=0)
    if outcome == "fail" and not args:
        check("2 results for a plan of 3 tests" in result["message"], result["message"])
