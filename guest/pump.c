/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/errno.h>

#include "pump.h"
#include "sys.h"

bool pump_wants_input(const struct pump *p)
{
	return p->from >= 0 && p->to >= 0 && p->off == p->len;
}

bool pump_wants_output(const struct pump *p)
{
	return p->to >= 0 && p->off < p->len;
}

static bool waits(long ret)
{
	return ret == -EAGAIN || ret == -EINTR;
}

size_t pump_fill(struct pump *p)
{
	long n;

	if (!pump_wants_input(p))
		return 0;
	n = sys_read(p->from, p->buf, p->most ? p->most : sizeof(p->buf));
	if (waits(n))
		return 0;
	if (n <= 0) {
		pump_close_from(p);
		return 0;
	}
	p->off = 0;
	p->len = (size_t)n;
	return p->len;
}

size_t pump_drain(struct pump *p)
{
	size_t moved = 0;

	while (pump_wants_output(p)) {
		long n = sys_write(p->to, p->buf + p->off, p->len - p->off);

		if (waits(n))
			break;
		if (n <= 0) {
			pump_close(p);
			break;
		}
		p->off += (size_t)n;
		moved += (size_t)n;
	}
	return moved;
}

void pump_close_from(struct pump *p)
{
	if (p->from >= 0)
		sys_close(p->from);
	p->from = -1;
}

void pump_close(struct pump *p)
{
	pump_close_from(p);
	if (p->to >= 0)
		sys_close(p->to);
	p->to = -1;
	p->off = p->len = 0;
}
