/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/board.h>
#include <lkvm/bus.h>
#include <lkvm/chr.h>
#include <lkvm/coalesced.h>
#include <lkvm/devices.h>
#include <lkvm/gmem.h>
#include <lkvm/kvm.h>
#include <lkvm/loop.h>
#include <lkvm/machine.h>
#include <lkvm/probe.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

/* A reader of the console gets this long to take what is left when the VM has ended. */
#define CONSOLE_DRAIN_MS 2000
/* A panicked guest that neither resets nor prints for this long is over. */
#define PANIC_QUIET_NS (5 * NSEC_PER_SEC)

/* So many bytes on the console are more than a guest's greeting: there will be more. */
#define CONSOLE_BUSY 64

/* What lives from one start to one reset. */
struct vm {
	struct kvm kvm;
	struct gmem gm;
	struct bus pio, mmio;
	struct coalesced coalesced;
	struct vcpu *vcpus;
	unsigned int vcpus_nr; /* made so far */
	struct board *board;
	struct devices *devices;
};

struct machine {
	const struct machine_config *cfg;
	struct loop *loop;
	struct stop stop;
	struct chr *chr;
	struct conlog conlog;
	struct loop_timer timeout;
	struct loop_timer panic_timer;
	struct loop_post panic_post;
	struct loop_post busy_post; /* the console is in use */
	bool busy;                  /* busy_post was posted; under the console's lock */
	uint64_t panic_written;     /* console bytes when panic_timer was armed */
	struct loop_fd signal_fd;
	struct vm vm;
};

static void on_signal(struct loop_fd *lf, uint32_t events)
{
	struct machine *m = container_of(lf, struct machine, signal_fd);
	struct signalfd_siginfo si;

	(void)events;
	if (read(lf->fd, &si, sizeof(si)) == sizeof(si))
		stop_request(&m->stop, STOP_SIGNAL, si.ssi_signo, "%s", "");
}

static void on_timeout(struct loop_timer *t)
{
	struct machine *m = container_of(t, struct machine, timeout);

	stop_request(&m->stop, STOP_TIMEOUT, 0, "--timeout %.3g s expired",
		     (double)m->cfg->timeout_ns / NSEC_PER_SEC);
}

static uint64_t console_written(struct machine *m)
{
	struct chr_stats st;

	chr_stats(m->chr, &st);
	return st.written;
}

static void on_panic_timer(struct loop_timer *t)
{
	struct machine *m = container_of(t, struct machine, panic_timer);
	uint64_t written = console_written(m);

	/* Its last words, or those of a crash kernel: as long as it talks, it is not over. */
	if (written == m->panic_written)
		stop_request(&m->stop, STOP_PANIC, 0, "%s", "");
	m->panic_written = written;
	loop_timer_set(m->loop, t, util_now_ns() + PANIC_QUIET_NS);
}

static void on_panic_post(struct loop_post *p)
{
	struct machine *m = container_of(p, struct machine, panic_post);

	m->panic_written = console_written(m);
	loop_timer_set(m->loop, &m->panic_timer, util_now_ns() + PANIC_QUIET_NS);
}

/* On the thread that writes the console, under its lock. */
static void on_panic_line(void *arg, const char *line)
{
	struct machine *m = arg;

	stop_note_panic(&m->stop, "%s", line);
	loop_post(m->loop, &m->panic_post);
}

static void on_console(void *arg, const uint8_t *buf, size_t len)
{
	struct machine *m = arg;

	conlog_feed(&m->conlog, buf, len);
	if (!m->busy && m->conlog.fed >= CONSOLE_BUSY) {
		m->busy = true;
		loop_post(m->loop, &m->busy_post);
	}
}

static void on_busy_post(struct loop_post *p)
{
	struct machine *m = container_of(p, struct machine, busy_post);

	board_speed_up_console(m->vm.board);
}

static void on_escape(void *arg)
{
	struct machine *m = arg;

	stop_request(&m->stop, STOP_USER, 0, "Ctrl-A x");
}

static int open_console(struct machine *m, struct err *err)
{
	const struct machine_config *cfg = m->cfg;
	struct chr_config chr = {
		.in_fd = cfg->in_fd,
		.out_fd = cfg->out_fd,
		.copy_fd = cfg->copy_fd,
		.escape = cfg->escape,
		.on_escape = on_escape,
		.tap = on_console,
		.arg = m,
	};

	m->chr = chr_new(&chr, m->loop, &cfg->log, err);
	return m->chr ? 0 : -ENOMEM;
}

/* Everything is with its reader, or lost for a reason that is told, before the outcome is. */
static void close_console(struct machine *m, struct machine_result *res)
{
	struct chr_stats st;

	chr_drain(m->chr, CONSOLE_DRAIN_MS);
	chr_stats(m->chr, &st);
	res->console_dropped = st.dropped;
	res->console_errno = st.out_errno;
	res->copy_errno = st.copy_errno;
}

static int watch_signals(struct machine *m, struct err *err)
{
	if (!m->cfg->signals)
		return 0;
	int fd = signalfd(-1, m->cfg->signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return err_host(err, errno, "signalfd");
	m->signal_fd = (struct loop_fd){ .fd = fd, .fn = on_signal, .events = EPOLLIN };
	int ret = loop_fd_add(m->loop, &m->signal_fd);
	return ret ? err_host(err, -ret, "cannot watch signals") : 0;
}

int machine_new(struct machine **out, const struct machine_config *cfg, struct err *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	if (!m)
		return err_host(err, ENOMEM, "cannot make a machine");
	m->cfg = cfg;
	m->signal_fd.fd = -1;
	m->timeout.fn = on_timeout;
	m->panic_timer.fn = on_panic_timer;
	m->panic_post.fn = on_panic_post;
	m->busy_post.fn = on_busy_post;
	conlog_init(&m->conlog, on_panic_line, m);
	m->loop = loop_new(err);
	stop_init(&m->stop, m->loop);

	int ret = m->loop ? watch_signals(m, err) : -ENOMEM;
	if (!ret)
		ret = open_console(m, err);
	if (ret) {
		machine_free(m);
		return ret;
	}
	*out = m;
	return 0;
}

void machine_free(struct machine *m)
{
	if (m->chr)
		chr_free(m->chr, 0);
	if (m->signal_fd.added)
		loop_fd_del(m->loop, &m->signal_fd);
	if (m->signal_fd.fd >= 0)
		close(m->signal_fd.fd);
	stop_release(&m->stop);
	if (m->loop)
		loop_free(m->loop);
	free(m);
}

static int make_memory(struct machine *m, struct err *err)
{
	const struct machine_config *cfg = m->cfg;
	struct gmem_region spans[GMEM_REGIONS_MAX];
	unsigned int nr = board_ram(cfg->mem, spans);
	struct gmem_backing backing = {
		.shared = cfg->mem_shared,
		.hugepages = true,
		.hugetlbfs = cfg->hugetlbfs,
	};

	int ret = gmem_init(&m->vm.gm, spans, nr, &backing, err);
	for (unsigned int i = 0; ret >= 0 && i < m->vm.gm.regions_nr; i++) {
		const struct gmem_region *r = &m->vm.gm.regions[i];

		ret = kvm_add_memory(&m->vm.kvm, r->gpa, r->size, r->host, false, err);
	}
	return MIN(ret, 0);
}

static int make_vcpus(struct machine *m, struct err *err)
{
	const struct machine_config *cfg = m->cfg;
	struct vm *vm = &m->vm;

	if (cfg->cpus_nr > vm->kvm.cpus_max)
		return err_usage(err, "--cpus %u: this host's KVM has at most %u", cfg->cpus_nr,
				 vm->kvm.cpus_max);
	vm->vcpus = calloc(cfg->cpus_nr, sizeof(vm->vcpus[0]));
	if (!vm->vcpus)
		return err_host(err, ENOMEM, "no memory for %u vCPUs", cfg->cpus_nr);
	for (; vm->vcpus_nr < cfg->cpus_nr; vm->vcpus_nr++) {
		struct vcpu *v = &vm->vcpus[vm->vcpus_nr];

		int ret = vcpu_init(v, &vm->kvm, vm->vcpus_nr, cfg->cpus_nr, err);
		if (ret)
			return ret;
		v->pio = &vm->pio;
		v->mmio = &vm->mmio;
		v->coalesced = &vm->coalesced;
		v->stop = &m->stop;
		if (cfg->affinity_nr)
			v->host_cpu = cfg->affinity[v->id % cfg->affinity_nr];
	}
	return 0;
}

static int make_board(struct machine *m, struct err *err)
{
	struct vm *vm = &m->vm;
	struct board_parts parts = {
		.cfg = m->cfg,
		.kvm = &vm->kvm,
		.gm = &vm->gm,
		.pio = &vm->pio,
		.mmio = &vm->mmio,
		.coalesced = &vm->coalesced,
		.loop = m->loop,
		.stop = &m->stop,
		.chr = m->chr,
		.boot_cpu = &vm->vcpus[0],
	};

	vm->board = board_new(&parts, err);
	return vm->board ? 0 : -EINVAL;
}

/*
 * Undoes vm_build(), whole or half done, in reverse. -EBUSY when a device's back end still holds guest memory: all is
 * left as it is then, since what is under way cannot be called back.
 */
static int vm_release(struct machine *m)
{
	struct vm *vm = &m->vm;

	if (vm->devices && devices_free(vm->devices))
		return -EBUSY;
	if (vm->board)
		board_free(vm->board);
	for (unsigned int i = vm->vcpus_nr; i-- > 0;)
		vcpu_release(&vm->vcpus[i]);
	free(vm->vcpus);
	coalesced_release(&vm->coalesced);
	bus_release(&vm->mmio);
	bus_release(&vm->pio);
	kvm_release(&vm->kvm);
	gmem_release(&vm->gm);
	*vm = (struct vm){ 0 };
	return 0;
}

/* What a VM consists of, in the order in which it comes to be. */
static int vm_build(struct machine *m, struct err *err)
{
	struct vm *vm = &m->vm;

	int ret = kvm_init(&vm->kvm, m->cfg->dev, &m->cfg->log, err);
	if (ret)
		return ret;
	bus_init(&vm->pio);
	bus_init(&vm->mmio);
	coalesced_init(&vm->coalesced, &vm->kvm, &vm->pio, &vm->mmio);

	ret = make_memory(m, err);
	if (!ret)
		ret = make_vcpus(m, err);
	if (!ret) {
		coalesced_attach(&vm->coalesced, vm->vcpus[0].run);
		ret = make_board(m, err);
	}
	if (!ret)
		ret = devices_new(&vm->devices, m->cfg, &vm->kvm, &vm->gm, board_pci(vm->board),
				  err);
	if (!ret)
		ret = board_load(vm->board, err);
	if (ret)
		vm_release(m);
	return ret;
}

static int start_vcpus(struct machine *m, struct err *err)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < m->vm.vcpus_nr; i++)
		ret = vcpu_start(&m->vm.vcpus[i], err);
	return ret;
}

static void stop_vcpus(struct machine *m)
{
	for (unsigned int i = 0; i < m->vm.vcpus_nr; i++)
		vcpu_kick_out(&m->vm.vcpus[i]);
	for (unsigned int i = 0; i < m->vm.vcpus_nr; i++)
		vcpu_join(&m->vm.vcpus[i]);
	/* What the guest wrote last counts for the outcome. */
	coalesced_drain(&m->vm.coalesced);
}

static void log_exits(struct machine *m)
{
	uint64_t total = 0;

	for (unsigned int reason = 0; reason < VCPU_EXITS_NR; reason++) {
		uint64_t n = 0;

		for (unsigned int i = 0; i < m->vm.vcpus_nr; i++)
			n += m->vm.vcpus[i].exits[reason];
		if (n)
			log_debug(&m->cfg->log, "exits to user space: %s %" PRIu64,
				  vcpu_exit_name(reason), n);
		total += n;
	}
	log_debug(&m->cfg->log, "exits to user space: %" PRIu64 " in all", total);
}

static void write_report(struct machine *m, FILE *report)
{
	size_t len = CONLOG_KEEP + 1;
	char *tail = malloc(len);

	for (unsigned int i = 0; i < m->vm.vcpus_nr; i++)
		arch_vcpu_dump(&m->vm.vcpus[i], report);
	if (tail && conlog_tail(&m->conlog, tail, len))
		fprintf(report, "last console lines:\n%s\n", tail);
	free(tail);
	fflush(report);
}

static int vm_run(struct machine *m, struct err *err)
{
	int ret = devices_start(m->vm.devices, err);

	if (!ret)
		ret = start_vcpus(m, err);
	if (!ret) {
		coalesced_start(&m->vm.coalesced, m->loop);
		ret = loop_run(m->loop);
		if (ret)
			err_host(err, -ret, "the event loop failed");
		coalesced_stop(&m->vm.coalesced);
	}
	stop_vcpus(m);
	/* It is about the board that ends here; a restarted guest's console is busy anew. */
	loop_post_cancel(m->loop, &m->busy_post);
	return ret;
}

static bool wants_report(enum stop_reason reason)
{
	return reason == STOP_TIMEOUT || reason == STOP_KVM || reason == STOP_HOST;
}

int machine_run(struct machine *m, struct machine_result *res, FILE *report, struct err *err)
{
	int ret;

	*res = (struct machine_result){ 0 };
	if (m->cfg->timeout_ns)
		loop_timer_set(m->loop, &m->timeout, util_now_ns() + m->cfg->timeout_ns);
	for (;;) {
		m->busy = false;
		ret = vm_build(m, err);
		if (ret)
			break;
		ret = vm_run(m, err);
		stop_get(&m->stop, &res->stop);
		log_exits(m);
		if (!ret && wants_report(res->stop.reason))
			write_report(m, report);
		/* A host that only interprets guests is the cause, more often than a bug. */
		if (res->stop.reason == STOP_KVM)
			probe_explain_host(m->vm.kvm.dev_fd, res->host_note,
					   sizeof(res->host_note));
		bool restart = !ret && res->stop.reason == STOP_RESET && m->cfg->restart;
		if (vm_release(m) && restart) {
			stop_request(&m->stop, STOP_HOST, 0,
				     "a device does not let go of the guest's memory, so it cannot "
				     "start again");
			stop_get(&m->stop, &res->stop);
			restart = false;
		}
		if (!restart)
			break;
		log_info(&m->cfg->log, "guest reset: starting again");
		stop_clear(&m->stop);
	}
	loop_timer_cancel(m->loop, &m->timeout);
	loop_timer_cancel(m->loop, &m->panic_timer);

	close_console(m, res);
	return ret;
}

int machine_describe(struct machine *m, FILE *out, struct err *err)
{
	const struct machine_config *cfg = m->cfg;

	int ret = vm_build(m, err);
	if (ret)
		return ret;
	fprintf(out, "cpus       %u\n", cfg->cpus_nr);
	for (unsigned int i = 0; i < m->vm.gm.regions_nr; i++)
		fprintf(out, "memory     0x%09" PRIx64 " %" PRIu64 " KiB\n",
			m->vm.gm.regions[i].gpa, m->vm.gm.regions[i].size / KIB);
	board_describe(m->vm.board, out);
	devices_describe(m->vm.devices, out);
	fprintf(out, "cmdline    %s\n", cfg->cmdline);
	vm_release(m);
	return 0;
}
