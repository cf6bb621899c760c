# SPDX-License-Identifier: GPL-2.0
"""Starts lkvm for the guest tests, and looks at what it leaves behind."""
import json
import os
import pty
import re
import select
import shutil
import subprocess
import tempfile
import termios
import threading
import time

# A guest interprets at about 2 million instructions a second on the slowest hosts, which may be busy too:
# this only ends tests that would never end.
# In the lab a byte on the console takes a thousand times longer.
HANG_S = 600 if "LKVM_TEST_INSIDE" in os.environ else 120


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def check(condition, reason):
    if not condition:
        raise Failed(reason)


def tail(data, length=300):
    return repr(data[-length:])


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def expect(self, status, out=None, err=None):
        """The exit status (negative: ended by that signal), and what must be found in the output."""
        check(self.status == status, "status %d, not %d; stdout %s; stderr %s" %
              (self.status, status, tail(self.out), tail(self.err)))
        for name, data, pattern in (("stdout", self.out, out), ("stderr", self.err, err)):
            if pattern is not None:
                check(re.search(pattern.encode(), data, re.S),
                      "%s does not match %r: %s" % (name, pattern, tail(data)))
        return self


class Running:
    """A VM that the test talks to. Output is collected in the background."""

    def __init__(self, argv, env, **fds):
        self.fds = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.fds.update(fds)
        self.proc = subprocess.Popen(argv, env=env, **self.fds)
        self.out, self.err = bytearray(), bytearray()
        self.more = threading.Condition()
        self.readers = []
        self.collect(self.proc.stdout, self.out)
        self.collect(self.proc.stderr, self.err)

    def collect(self, stream, into):
        if not stream:
            return
        def body():
            while True:
                data = os.read(stream.fileno(), 65536)
                with self.more:
                    into.extend(data)
                    self.more.notify_all()
                if not data:
                    return
        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        self.readers.append(thread)

    def wait_for(self, text, count=1):
        """Waits until stdout holds `text` so many times."""
        deadline = time.monotonic() + HANG_S
        with self.more:
            while self.out.count(text) < count:
                left = deadline - time.monotonic()
                check(left > 0 and self.proc.poll() is None or self.out.count(text) >= count,
                      "%r did not come; status %s; stdout %s; stderr %s" %
                      (text, self.proc.poll(), tail(self.out), tail(self.err)))
                self.more.wait(min(left, 0.5))
        return self

    def send(self, data):
        self.proc.stdin.write(data)
        self.proc.stdin.flush()

    def finish(self):
        try:
            status = self.proc.wait(HANG_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed("hung; stdout %s; stderr %s" % (tail(self.out), tail(self.err)))
        for thread in self.readers:
            thread.join(HANG_S)
        return Result(status, bytes(self.out), bytes(self.err))

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()


class Terminal:
    """A pseudo terminal; everything written to it is collected."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.out = bytearray()

    def read_until(self, text, vm):
        deadline = time.monotonic() + HANG_S
        while text not in self.out:
            ended = vm.proc.poll() is not None
            if select.select([self.master], [], [], 0 if ended else 0.5)[0]:
                self.out.extend(os.read(self.master, 65536))
            else:
                check(not ended and time.monotonic() < deadline, "%r did not come: %s, stderr %s" %
                      (text, tail(self.out), tail(vm.err)))

    def write(self, data):
        os.write(self.master, data)

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def is_restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        os.close(self.master)
        os.close(self.slave)


class Test:
    """What one test gets: a place of its own, and lkvm in it."""

    def __init__(self, opts):
        self.opts = opts
        self.lkvm = os.path.abspath(opts.lkvm)
        self.payload = os.path.join(os.path.abspath(opts.payload), "payload.elf")
        self.payload_pvh = os.path.join(os.path.abspath(opts.payload), "payload-pvh.elf")
        self.root = tempfile.mkdtemp(prefix="guest-test.")
        os.chmod(self.root, 0o755)
        self.running = []
        self.env = dict(os.environ)
        for var in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            self.env[var] = self.path("env-" + var)
            os.mkdir(self.env[var], 0o700)

    def path(self, name):
        return os.path.join(self.root, name)

    def payload_bytes(self):
        with open(self.payload, "rb") as f:
            return f.read()

    def argv(self, case, *args, kernel=None, mem="64"):
        return [self.lkvm, "run", "-k", kernel or self.payload, "-m", mem, "-p", "test=" + case, *args]

    def start(self, case, *args, kernel=None, mem="64", **fds):
        return self.command(self.argv(case, *args, kernel=kernel, mem=mem), **fds)

    def command(self, argv, **fds):
        vm = Running(argv, self.env, **fds)
        self.running.append(vm)
        return vm

    def run(self, case, *args, **kw):
        return self.start(case, *args, **kw).finish()

    def start_on(self, term, case, *args, **fds):
        """With `term` as stdin and stdout, unless told otherwise; as stdin it is the controlling one."""
        fds = {"stdin": term.slave, "stdout": term.slave, **fds}
        session = ["setsid", "-c"] if fds["stdin"] == term.slave else []
        return self.command(session + self.argv(case, *args), **fds)

    def doctor(self):
        r = self.command([self.lkvm, "doctor", "--json"]).finish()
        return r.status, json.loads(r.out)

    def cache_files(self):
        top = os.path.join(self.env["XDG_CACHE_HOME"], "lkvm")
        return sorted(os.listdir(top)) if os.path.isdir(top) else []

    def left_behind(self):
        """Files in the places where a program puts them, but for the kernel cache."""
        found = []
        for var, top in self.env.items():
            if not top.startswith(self.root):
                continue
            for where, dirs, files in os.walk(top):
                if var == "XDG_CACHE_HOME" and where.startswith(os.path.join(top, "lkvm")):
                    continue
                found += [os.path.relpath(os.path.join(where, f), self.root) for f in files]
                found += [os.path.relpath(os.path.join(where, d), self.root) for d in dirs
                          if (var, d) != ("XDG_CACHE_HOME", "lkvm")]
        return found

    def close(self):
        for vm in self.running:
            vm.kill()
        shutil.rmtree(self.root, ignore_errors=True)


def proc_facts(pid):
    """Open descriptors, threads, and KiB of address space and of resident memory."""
    with open("/proc/%d/status" % pid) as f:
        fields = dict(line.split(":", 1) for line in f)
    return {"fds": len(os.listdir("/proc/%d/fd" % pid)), "threads": int(fields["Threads"]),
            "size": int(fields["VmSize"].split()[0]), "rss": int(fields["VmRSS"].split()[0])}


TESTS = [] # name and function
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
