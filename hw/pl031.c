/* SPDX-License-Identifier: GPL-2.0 */
#include <time.h>

#include <lkvm/pl031.h>
#include <lkvm/util.h>

/* DDI 0224, table 3-1. */
enum {
	REG_DATA = 0x00,
	REG_MATCH = 0x04,
	REG_LOAD = 0x08,
	REG_CONTROL = 0x0c, /* reads as 1: it always runs */
	REG_MASK = 0x10,
	REG_RAW = 0x14,
	REG_MASKED = 0x18,
	REG_CLEAR = 0x1c,
	REG_ID = 0xfe0, /* eight, to the end */
};

#define IRQ_BIT 1u

/* Tables 3-9 to 3-16: the peripheral's, then the cell's. */
static const uint8_t ids[] = { 0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

static uint64_t host_now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec;
}

static uint32_t now_locked(const struct pl031 *p)
{
	return (uint32_t)p->now_s() + p->offset;
}

static uint32_t reg_read_locked(struct pl031 *p, uint64_t reg)
{
	switch (reg) {
	case REG_DATA:
		return now_locked(p);
	case REG_MATCH:
		return p->match;
	case REG_LOAD:
		return p->load;
	case REG_CONTROL:
		return 1;
	case REG_MASK:
		return p->mask;
	case REG_RAW:
		return now_locked(p) == p->match ? IRQ_BIT : 0;
	case REG_MASKED:
		return now_locked(p) == p->match ? p->mask & IRQ_BIT : 0;
	default:
		return reg >= REG_ID ? ids[(reg - REG_ID) / 4] : 0;
	}
}

static uint64_t pl031_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct pl031 *p = container_of(r, struct pl031, region);

	pthread_mutex_lock(&p->lock);
	uint32_t v = reg_read_locked(p, off & ~UINT64_C(3));
	pthread_mutex_unlock(&p->lock);
	v >>= 8 * (off & 3);
	return width < 4 ? v & ((1u << 8 * width) - 1) : v;
}

static void pl031_bus_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct pl031 *p = container_of(r, struct pl031, region);
	uint32_t v = (uint32_t)value;

	/* The registers are words: 2.2 (AMBA APB interface). */
	if (width != 4 || off % 4)
		return;
	pthread_mutex_lock(&p->lock);
	switch (off) {
	case REG_MATCH:
		p->match = v;
		break;
	case REG_LOAD:
		p->load = v;
		p->offset = v - (uint32_t)p->now_s();
		break;
	case REG_MASK:
		p->mask = v & IRQ_BIT;
		break;
	default: /* read-only, or without an effect */
		break;
	}
	pthread_mutex_unlock(&p->lock);
}

int pl031_init(struct pl031 *p, struct bus *mmio, uint64_t gpa, struct err *err)
{
	*p = (struct pl031){ .mmio = mmio, .now_s = host_now_s };
	p->region = (struct bus_region){
		.name = "pl031",
		.base = gpa,
		.size = PL031_LEN,
		.max_width = 4,
		.read = pl031_bus_read,
		.write = pl031_bus_write,
	};
	pthread_mutex_init(&p->lock, NULL);
	if (bus_add(mmio, &p->region)) {
		pthread_mutex_destroy(&p->lock);
		return err_internal(err, "pl031: the page at 0x%llx is taken",
				    (unsigned long long)gpa);
	}
	return 0;
}

void pl031_release(struct pl031 *p)
{
	bus_remove(p->mmio, &p->region);
	pthread_mutex_destroy(&p->lock);
}
