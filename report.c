/* SPDX-License-Identifier: GPL-2.0 */
#include <string.h>

#include <lkvm/arch.h>
#include <lkvm/backtrace.h>
#include <lkvm/config.h>
#include <lkvm/conlog.h>
#include <lkvm/core.h>
#include <lkvm/report.h>
#include <lkvm/result-file.h>
#include <lkvm/result.h>
#include <lkvm/stop.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

/* Of the console. */
#define REPORT_LINES 200

static void on_break(struct vcpu *vcpu, void *arg)
{
	struct report *r = arg;
	size_t len;

	if (!arch_vcpu_is_at_break(vcpu, r->cfg->panic_addr))
		return;
	arch_vcpu_break_at(vcpu, 0);
	if (atomic_exchange(&r->hit, true))
		return;
	r->hit_vcpu = vcpu->id;
	FILE *f = open_memstream(&r->hit_trace, &len);
	if (f) {
		backtrace_print(vcpu, r->gm, r->cfg->symbols, f);
		fclose(f);
	}
	r->panicked(r->arg);
}

void report_start(struct report *r)
{
	for (unsigned int i = 0; r->cfg->symbols && i < r->vcpus_nr; i++) {
		struct vcpu *v = &r->vcpus[i];

		v->on_break = on_break;
		v->break_arg = r;
		int ret = arch_vcpu_break_at(v, r->cfg->panic_addr);
		if (ret)
			log_warn(&r->cfg->log,
				 "--symbols: KVM sets no breakpoint on panic on vCPU %u: %s", i,
				 strerror(-ret));
	}
}

void report_release(struct report *r)
{
	free(r->hit_trace);
	*r = (struct report){ 0 };
}

bool report_wanted(const struct report *r, const struct stop_info *info, int status)
{
	switch (info->reason) {
	case STOP_TIMEOUT:
	case STOP_HANG:
	case STOP_PANIC:
	case STOP_HOST:
	case STOP_KVM:
		return true;
	case STOP_USER:
	case STOP_SIGNAL:
	case STOP_COMMAND:
		return false;
	case STOP_EARLY:
	case STOP_TRIPLE_FAULT:
		/* The console of a guest with a command is shown nowhere else. */
		return r->cfg->command || r->cfg->debug_on_fail;
	default:
		return r->cfg->debug_on_fail && status;
	}
}

void report_write(const struct report *r, struct conlog *console, FILE *out)
{
	size_t len = CONLOG_KEEP + 1;
	char *tail = malloc(len);

	for (unsigned int i = 0; i < r->vcpus_nr; i++) {
		arch_vcpu_dump(&r->vcpus[i], out);
		backtrace_print(&r->vcpus[i], r->gm, r->cfg->symbols, out);
	}
	if (r->hit_trace)
		fprintf(out, "when it called panic:\n%s", r->hit_trace);
	if (tail && conlog_tail(console, tail, len, REPORT_LINES))
		fprintf(out, "last console lines:\n%s\n", tail);
	free(tail);
	fflush(out);
}

static int fill_core(int fd, void *arg)
{
	const struct report *r = arg;
	struct core core = { .vcpus = r->vcpus, .vcpus_nr = r->vcpus_nr, .gm = r->gm };

	return core_write(&core, fd);
}

int report_core(const struct report *r, int status, struct err *err)
{
	bool failed = (status >= STATUS_PANIC && status <= STATUS_FAIL) || status == STATUS_EARLY ||
		      status == STATUS_INTERNAL;

	if (!r->cfg->core || !failed)
		return 0;
	return result_file_fill(r->cfg->core, fill_core, (void *)r, err);
}
