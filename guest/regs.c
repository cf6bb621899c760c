/* SPDX-License-Identifier: GPL-2.0 */
#include <asm/fcntl.h>

#include <lkvm/cmd-abi.h>

#include "regs.h"
#include "sys.h"

#if defined(__x86_64__)
static bool allow(uint32_t base, bool on)
{
	return !sys_call(__NR_ioperm, base, CMD_REGS_LEN, on, 0, 0);
}

static uint32_t port_in(uint32_t port)
{
	uint32_t value;

	__asm__ volatile("inl %w1, %0" : "=a"(value) : "Nd"((uint16_t)port));
	return value;
}

static void port_out(uint32_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %w1" : : "a"(value), "Nd"((uint16_t)port));
}
#else
/* No program reaches ports by itself: they are memory that the kernel has mapped. */
static bool allow(uint32_t base, bool on)
{
	(void)base;
	(void)on;
	return false;
}

static uint32_t port_in(uint32_t port)
{
	(void)port;
	return 0;
}

static void port_out(uint32_t port, uint32_t value)
{
	(void)port;
	(void)value;
}
#endif

bool regs_open(struct regs *r, uint32_t base)
{
	*r = (struct regs){ .base = base, .fd = -1 };
	r->direct = allow(base, true);
	if (!r->direct)
		r->fd = sys_open("/dev/port", O_RDWR | O_CLOEXEC);
	return (r->direct || r->fd >= 0) && regs_read(r, CMD_REG_ID) == CMD_ID;
}

uint32_t regs_read(const struct regs *r, unsigned int reg)
{
	uint32_t value = 0;

	if (r->direct)
		value = port_in(r->base + reg);
	else
		sys_call(__NR_pread64, r->fd, (long)&value, sizeof(value), r->base + reg, 0);
	return value;
}

void regs_write(const struct regs *r, unsigned int reg, uint32_t value)
{
	if (r->direct)
		port_out(r->base + reg, value);
	else
		sys_call(__NR_pwrite64, r->fd, (long)&value, sizeof(value), r->base + reg, 0);
}

void regs_drop(const struct regs *r)
{
	if (r->direct)
		allow(r->base, false);
}
