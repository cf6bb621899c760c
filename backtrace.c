/* SPDX-License-Identifier: GPL-2.0 */
#include <inttypes.h>

#include <lkvm/arch.h>
#include <lkvm/backtrace.h>
#include <lkvm/gmem.h>
#include <lkvm/symbols.h>
#include <lkvm/util.h>
#include <lkvm/vcpu.h>

#define LINE_LEN   (SYMBOL_NAME_MAX + 64)
#define CHUNK_LEN  512
#define STACK_STEP sizeof(uint64_t)

void backtrace_name(const struct symbols *symbols, uint64_t addr, char *buf, size_t len)
{
	struct symbol_at at;

	if (!symbols || !symbols_at(symbols, addr, &at))
		snprintf(buf, len, "%016" PRIx64, addr);
	else if (at.size)
		snprintf(buf, len, "%s+0x%" PRIx64 "/0x%" PRIx64, at.name, at.off, at.size);
	else
		snprintf(buf, len, "%s+0x%" PRIx64, at.name, at.off);
}

/* A return address: something was called before it, so no function begins there. */
static bool may_return_to(const struct symbols *symbols, uint64_t addr)
{
	struct symbol_at at;

	return symbols ? symbols_at(symbols, addr, &at) && at.off : arch_may_be_kernel_code(addr);
}

void backtrace_print(struct vcpu *vcpu, const struct gmem *gm, const struct symbols *symbols,
		     FILE *out)
{
	uint64_t words[CHUNK_LEN / STACK_STEP], pc, sp;
	unsigned int lines = 0;
	char line[LINE_LEN];

	if (!arch_vcpu_where(vcpu, &pc, &sp))
		return;
	backtrace_name(symbols, pc, line, sizeof(line));
	fprintf(out, "vCPU %u backtrace:\n  %s\n", vcpu->id, line);
	sp = align_up(sp, STACK_STEP);
	for (size_t off = 0; off < BACKTRACE_STACK && lines < BACKTRACE_LINES; off += CHUNK_LEN) {
		size_t got = arch_vcpu_read(vcpu, gm, sp + off, words, sizeof(words));

		for (size_t i = 0; i < got / STACK_STEP && lines < BACKTRACE_LINES; i++) {
			uint64_t addr = arch_return_address(le64toh(words[i]));

			if (!may_return_to(symbols, addr))
				continue;
			backtrace_name(symbols, addr, line, sizeof(line));
			fprintf(out, "  ? %s\n", line);
			lines++;
		}
		if (got < sizeof(words))
			break;
	}
}
