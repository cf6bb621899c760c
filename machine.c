/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <lkvm/arch.h>
#include <lkvm/board.h>
#include <lkvm/bus.h>
#include <lkvm/chr.h>
#include <lkvm/coalesced.h>
#include <lkvm/devices.h>
#include <lkvm/gmem.h>
#include <lkvm/hvc.h>
#include <lkvm/kvm.h>
#include <lkvm/loop.h>
#include <lkvm/machine.h>
#include <lkvm/probe.h>
#include <lkvm/report.h>
#include <lkvm/result.h>
#include <lkvm/streams.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>
#include <lkvm/watch.h>

/* A reader of the console gets this long to take what is left when the VM has ended. */
#define CONSOLE_DRAIN_MS 2000
/* A console that prints nothing for this long has paused: what it printed last may be a prompt. */
#define PAUSE_NS (50 * NSEC_PER_SEC / 1000)

/* So many bytes on the console are more than a guest's greeting: there will be more. */
#define CONSOLE_BUSY 64

/* And so many from a command are more than a word. */
#define STREAMS_BUSY 256

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
	struct report report;
};

struct machine {
	const struct machine_config *cfg;
	struct loop *loop;
	struct stop stop;
	struct watch watch;
	struct chr *chr; /* the serial console */
	struct conlog conlog;
	struct hvc hvc;            /* with console_virtio */
	struct virtio_spec own[2]; /* devices that no option names */
	unsigned int own_nr;
	struct conlog hvc_log;              /* of that console; untouched without one */
	struct loop_post busy_post;         /* the console is in use */
	bool busy;                          /* busy_post was posted; under the console's lock */
	struct streams *streams;            /* of a command; NULL: there is none */
	struct loop_post streams_busy_post; /* they are in use */
	_Atomic uint64_t streams_fed;       /* bytes from the guest */
	_Atomic bool streams_busy;          /* streams_busy_post was posted */
	_Atomic bool pausing; /* pause_post was posted, and pause_timer has not fired yet */
	_Atomic uint64_t first_byte_ns, init_ns;
	struct loop_post pause_post; /* a line is not finished */
	struct loop_timer pause_timer;
	struct vm vm;
};

/* What the console says. On the thread that writes it, under conlog's lock. */

static void on_crash(void *arg, enum crash_kind kind, const char *text)
{
	struct machine *m = arg;

	if (kind == CRASH_PANIC) {
		stop_note(&m->stop, STOP_PANIC, "%s", text);
		watch_panicked(&m->watch);
	} else if (m->cfg->fail_on_splat) {
		stop_note(&m->stop, STOP_SPLAT, "%s", text);
	}
}

/* By the breakpoint. Its words on the console tell more, and come later: it is noted at the end. */
static void on_panic_called(void *arg)
{
	struct machine *m = arg;

	watch_panicked(&m->watch);
}

static void on_init(void *arg)
{
	struct machine *m = arg;

	if (!atomic_load(&m->init_ns))
		atomic_store(&m->init_ns, util_now_ns());
	watch_init_seen(&m->watch);
}

static void on_matched(void *arg, bool fail, const char *pattern, const char *line)
{
	struct machine *m = arg;

	(void)pattern;
	stop_request(&m->stop, fail ? STOP_FAIL : STOP_UNTIL, 0, "%s", line);
}

static const struct conlog_ops conlog_ops = {
	.crash = on_crash,
	.init = on_init,
	.matched = on_matched,
};

static void feed(struct machine *m, struct conlog *log, const uint8_t *buf, size_t len)
{
	if (!atomic_load_explicit(&m->first_byte_ns, memory_order_relaxed))
		atomic_store(&m->first_byte_ns, util_now_ns());
	if (conlog_feed(log, buf, len) && !atomic_exchange(&m->pausing, true))
		loop_post(m->loop, &m->pause_post);
}

/* The virtio console: its lines are looked at like the others, which may be on it for a second time. */
static void on_hvc(void *arg, const uint8_t *buf, size_t len)
{
	struct machine *m = arg;

	feed(m, &m->hvc_log, buf, len);
	if (m->cfg->ktap)
		ktap_feed(m->cfg->ktap, KTAP_CONSOLE, buf, len);
}

static void on_console(void *arg, const uint8_t *buf, size_t len)
{
	struct machine *m = arg;

	feed(m, &m->conlog, buf, len);
	/* Of two consoles programs have the other one, and the kernel is on both. */
	if (m->cfg->ktap && !m->cfg->console_virtio)
		ktap_feed(m->cfg->ktap, KTAP_CONSOLE, buf, len);
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

/* Any vCPU's thread; several streams at once. */
static void on_stream(void *arg, enum cmd_stream stream, const uint8_t *buf, size_t len)
{
	struct machine *m = arg;

	if (m->cfg->ktap && stream != CMD_STDERR)
		ktap_feed(m->cfg->ktap, stream == CMD_STDIO ? KTAP_STDOUT : KTAP_RESULTS, buf, len);
	if (atomic_fetch_add(&m->streams_fed, len) >= STREAMS_BUSY &&
	    !atomic_exchange(&m->streams_busy, true))
		loop_post(m->loop, &m->streams_busy_post);
}

static void on_streams_busy_post(struct loop_post *p)
{
	struct machine *m = container_of(p, struct machine, streams_busy_post);

	board_speed_up_streams(m->vm.board);
}

static void on_pause_post(struct loop_post *p)
{
	struct machine *m = container_of(p, struct machine, pause_post);

	loop_timer_set(m->loop, &m->pause_timer, util_now_ns() + PAUSE_NS);
}

static void on_pause_timer(struct loop_timer *t)
{
	struct machine *m = container_of(t, struct machine, pause_timer);

	/* In this order: what comes after the look posts anew. */
	atomic_store(&m->pausing, false);
	bool waits = conlog_pause(&m->conlog);
	if (m->cfg->console_virtio)
		waits |= conlog_pause(&m->hvc_log);
	if (waits && !atomic_exchange(&m->pausing, true))
		loop_timer_set(m->loop, t, util_now_ns() + PAUSE_NS);
}

/* What the watch asks. */

static uint64_t console_bytes(void *arg)
{
	struct machine *m = arg;
	struct chr_stats st;

	chr_stats(m->chr, &st);
	uint64_t n = st.written;
	if (m->hvc.chr) {
		chr_stats(m->hvc.chr, &st);
		n += st.written;
	}
	return n;
}

static uint64_t progress(void *arg)
{
	struct machine *m = arg;
	uint64_t n = console_bytes(m) + devices_requests(m->vm.devices);

	for (unsigned int i = 0; i < m->vm.vcpus_nr; i++)
		n += atomic_load_explicit(&m->vm.vcpus[i].writes, memory_order_relaxed);
	return n;
}

static bool all_stuck(void *arg)
{
	struct machine *m = arg;
	bool all = true;

	/* Each is asked. */
	for (unsigned int i = 0; i < m->vm.vcpus_nr; i++)
		all &= vcpu_poll_stuck(&m->vm.vcpus[i]);
	return all;
}

static const struct watch_ops watch_ops = {
	.console = console_bytes,
	.progress = progress,
	.stuck = all_stuck,
};

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

	if (cfg->console_virtio) {
		struct chr_config hvc = chr;

		hvc.copy_fd = -1;
		hvc.tap = on_hvc;
		int ret = hvc_init(&m->hvc, cfg, &hvc, m->loop, err);
		if (ret)
			return ret;
		m->own[m->own_nr++] = m->hvc.spec;
		chr.in_fd = chr.out_fd = -1;
	}
	m->chr = chr_new(&chr, m->loop, &cfg->log, err);
	return m->chr ? 0 : -ENOMEM;
}

static int open_streams(struct machine *m, struct err *err)
{
	struct streams_config cfg = m->cfg->streams;

	if (!m->cfg->command)
		return 0;
	cfg.on_escape = on_escape;
	/* With "quiet" the console does not say so. */
	cfg.started = on_init;
	cfg.tap = on_stream;
	cfg.arg = m;
	m->streams = streams_new(&cfg, m->loop, &m->stop, &m->cfg->log, err);
	if (!m->streams)
		return -ENOMEM;
	if (streams_console(m->streams))
		m->own[m->own_nr++] = (struct virtio_spec){ .type = &virtio_console_type,
							    .common.vectors = VIRTIO_VECTORS_AUTO,
							    .opts = streams_console(m->streams) };
	return 0;
}

/* Everything is with its reader, or lost for a reason that is told, before the outcome is. */
static void close_console(struct machine *m, struct machine_result *res)
{
	struct chr_stats st;

	if (m->streams)
		res->streams_lost = streams_drain(m->streams, CONSOLE_DRAIN_MS,
						  &res->streams_errno);
	chr_drain(m->chr, CONSOLE_DRAIN_MS);
	chr_stats(m->chr, &st);
	res->copy_errno = st.copy_errno;
	if (m->hvc.chr) {
		chr_drain(m->hvc.chr, CONSOLE_DRAIN_MS);
		chr_stats(m->hvc.chr, &st);
	}
	res->console_dropped = st.dropped;
	res->console_errno = st.out_errno;
}

int machine_new(struct machine **out, const struct machine_config *cfg, struct err *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	if (!m)
		return err_host(err, ENOMEM, "cannot make a machine");
	m->cfg = cfg;
	m->busy_post.fn = on_busy_post;
	m->streams_busy_post.fn = on_streams_busy_post;
	m->pause_post.fn = on_pause_post;
	m->pause_timer.fn = on_pause_timer;
	bool stamps = classify_told_stamps(cfg->cmdline);
	conlog_init(&m->conlog, &conlog_ops, m, cfg->fail, cfg->until, stamps);
	if (cfg->console_virtio)
		conlog_init(&m->hvc_log, &conlog_ops, m, cfg->fail, cfg->until, stamps);
	m->loop = loop_new(err);
	stop_init(&m->stop, m->loop);

	int ret = m->loop ? watch_init(&m->watch, cfg, m->loop, &m->stop, &watch_ops, m, err)
			  : -ENOMEM;
	if (!ret)
		ret = open_console(m, err);
	if (!ret)
		ret = open_streams(m, err);
	if (ret) {
		machine_free(m);
		return ret;
	}
	*out = m;
	return 0;
}

void machine_free(struct machine *m)
{
	streams_free(m->streams);
	if (m->chr)
		chr_free(m->chr, 0);
	hvc_release(&m->hvc);
	watch_release(&m->watch);
	if (m->cfg->console_virtio)
		conlog_release(&m->hvc_log);
	conlog_release(&m->conlog);
	stop_release(&m->stop);
	if (m->loop)
		loop_free(m->loop);
	free(m);
}

static int make_memory(struct machine *m, struct err *err)
{
	const struct machine_config *cfg = m->cfg;
	struct gmem_region spans[GMEM_REGIONS_MAX];
	int nr = board_ram(&m->vm.kvm, cfg->mem, spans, err);
	struct gmem_backing backing = {
		.shared = cfg->mem_shared,
		.hugepages = true,
		.hugetlbfs = cfg->hugetlbfs,
	};

	if (nr < 0)
		return nr;
	int ret = gmem_init(&m->vm.gm, spans, (unsigned int)nr, &backing, err);
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
		.streams = m->streams,
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
	report_release(&vm->report);
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
		ret = devices_new(&vm->devices, m->cfg, m->own, m->own_nr, &vm->kvm, &vm->gm,
				  board_pci(vm->board), err);
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

/* What the VM that ends adds to the result. */
static void count_vm(struct machine *m, struct machine_result *res)
{
	struct vm *vm = &m->vm;

	for (unsigned int i = 0; i < vm->vcpus_nr; i++) {
		const struct vcpu *v = &vm->vcpus[i];
		uint64_t first = v->first_exit_ns;

		for (unsigned int reason = 0; reason < VCPU_EXITS_NR; reason++)
			res->exits[reason] += v->exits[reason];
		if (first && (!res->times.first_exit || first < res->times.first_exit))
			res->times.first_exit = first;
	}
	res->devices_nr = devices_add_stats(vm->devices, res->devices, MACHINE_DEVICES_MAX);
}

void machine_result_release(struct machine_result *res)
{
	for (unsigned int i = 0; i < res->devices_nr; i++)
		free(res->devices[i].own);
	res->devices_nr = 0;
}

static void log_exits(struct machine *m, const struct machine_result *res)
{
	uint64_t total = 0;

	for (unsigned int reason = 0; reason < VCPU_EXITS_NR; reason++) {
		if (res->exits[reason])
			log_debug(&m->cfg->log, "exits to user space: %s %" PRIu64,
				  vcpu_exit_name(reason), res->exits[reason]);
		total += res->exits[reason];
	}
	log_debug(&m->cfg->log, "exits to user space: %" PRIu64 " in all", total);
}

static int vm_run(struct machine *m, struct err *err)
{
	int ret = devices_start(m->vm.devices, err);

	m->vm.report = (struct report){
		.cfg = m->cfg,
		.vcpus = m->vm.vcpus,
		.vcpus_nr = m->vm.vcpus_nr,
		.gm = &m->vm.gm,
		.panicked = on_panic_called,
		.arg = m,
	};
	report_start(&m->vm.report);
	if (!ret)
		ret = start_vcpus(m, err);
	if (!ret) {
		coalesced_start(&m->vm.coalesced, m->loop);
		watch_vm_on(&m->watch);
		ret = loop_run(m->loop);
		if (ret)
			err_host(err, -ret, "the event loop failed");
		coalesced_stop(&m->vm.coalesced);
	}
	stop_vcpus(m);
	watch_vm_off(&m->watch);
	/* They are about the board that ends here; a restarted guest's console is busy anew. */
	loop_post_cancel(m->loop, &m->busy_post);
	loop_post_cancel(m->loop, &m->streams_busy_post);
	loop_post_cancel(m->loop, &m->pause_post);
	loop_timer_cancel(m->loop, &m->pause_timer);
	m->pausing = false;
	return ret;
}

/* A guest may power off while the last bytes of its command are on their way to a reader. */
static void use_status(struct machine *m, struct stop_info *info)
{
	uint32_t status;

	if (streams_status(m->streams, &status)) {
		if (info->reason < STOP_COMMAND)
			*info = (struct stop_info){ .reason = STOP_COMMAND, .value = status };
	} else {
		result_early(info, EARLY_COMMAND);
	}
}

/* How this VM ended; no console byte follows. */
static void get_outcome(struct machine *m, struct machine_result *res)
{
	conlog_end(&m->conlog);
	if (m->cfg->console_virtio)
		conlog_end(&m->hvc_log);
	if (m->cfg->ktap)
		ktap_end(m->cfg->ktap);
	if (m->vm.report.hit)
		stop_note(&m->stop, STOP_PANIC, "%s", "");
	stop_get(&m->stop, &res->stop);
	/* What ended it may have had no words, and the console none that tell more. */
	if (m->vm.report.hit && res->stop.reason == STOP_PANIC && !res->stop.detail[0])
		snprintf(res->stop.detail, sizeof(res->stop.detail),
			 "panic() was called on vCPU %u (--symbols)", m->vm.report.hit_vcpu);
	bool restarts = res->stop.reason == STOP_RESET && m->cfg->restart;
	if (m->streams)
		use_status(m, &res->stop);
	if (m->cfg->until && m->cfg->until->nr && !restarts)
		result_early(&res->stop, EARLY_UNTIL);
	if (m->cfg->ktap && !restarts)
		result_tests(&res->stop, m->cfg->ktap);
}

/* One life of the VM. Returns 1 when another is to follow, 0 when it was the last, or -errno. */
static int run_once(struct machine *m, struct machine_result *res, FILE *report, struct err *err)
{
	m->busy = false;
	int ret = vm_build(m, err);
	if (ret)
		return ret;
	ret = vm_run(m, err);
	get_outcome(m, res);
	count_vm(m, res);
	if (!ret && report_wanted(&m->vm.report, &res->stop, result_status(&res->stop)))
		report_write(&m->vm.report, &m->conlog, report);
	/* A host that only interprets guests is the cause, more often than a bug. */
	if (res->stop.reason == STOP_KVM)
		probe_explain_host(m->vm.kvm.dev_fd, res->host_note, sizeof(res->host_note));
	bool restart = !ret && res->stop.reason == STOP_RESET && m->cfg->restart;
	if (!ret && !restart)
		report_core(&m->vm.report, result_status(&res->stop), &res->core_err);
	if (vm_release(m) && restart) {
		stop_request(&m->stop, STOP_HOST, 0,
			     "a device does not let go of the guest's memory, so it cannot "
			     "start again");
		stop_get(&m->stop, &res->stop);
		restart = false;
	}
	return ret ? ret : restart;
}

int machine_run(struct machine *m, struct machine_result *res, FILE *report, struct err *err)
{
	int ret;

	*res = (struct machine_result){ 0 };
	watch_start(&m->watch);
	while ((ret = run_once(m, res, report, err)) > 0) {
		log_info(&m->cfg->log, "guest reset: starting again");
		stop_clear(&m->stop);
		conlog_restart(&m->conlog);
		if (m->cfg->console_virtio)
			conlog_restart(&m->hvc_log);
		res->restarts++;
	}
	log_exits(m, res);
	res->times.first_byte = m->first_byte_ns;
	res->times.init = m->init_ns;
	res->times.end = util_now_ns();
	conlog_report(&m->conlog, &res->console);
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
