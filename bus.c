/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <string.h>

#include <lkvm/bus.h>
#include <lkvm/util.h>

void bus_init(struct bus *bus)
{
	pthread_rwlock_init(&bus->lock, NULL);
	bus->nr = 0;
}

void bus_release(struct bus *bus)
{
	pthread_rwlock_destroy(&bus->lock);
	bus->nr = 0;
}

/* Index of the first region that starts above `addr`. */
static unsigned int upper(const struct bus *bus, uint64_t addr)
{
	unsigned int lo = 0, hi = bus->nr;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (bus->regions[mid]->base <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *bus, struct bus_region *r)
{
	int ret = 0;

	BUG_ON(!r->size || r->base > UINT64_MAX - r->size || !r->read || !r->write);
	pthread_rwlock_wrlock(&bus->lock);
	unsigned int at = upper(bus, r->base);
	if (bus->nr == BUS_REGIONS_MAX) {
		ret = -ENOSPC;
	} else if ((at && r->base - bus->regions[at - 1]->base < bus->regions[at - 1]->size) ||
		   (at < bus->nr && bus->regions[at]->base - r->base < r->size)) {
		ret = -EEXIST;
	} else {
		memmove(&bus->regions[at + 1], &bus->regions[at],
			(bus->nr - at) * sizeof(bus->regions[0]));
		bus->regions[at] = r;
		bus->nr++;
	}
	pthread_rwlock_unlock(&bus->lock);
	return ret;
}

void bus_remove(struct bus *bus, struct bus_region *r)
{
	pthread_rwlock_wrlock(&bus->lock);
	for (unsigned int i = 0; i < bus->nr; i++) {
		if (bus->regions[i] != r)
			continue;
		bus->nr--;
		memmove(&bus->regions[i], &bus->regions[i + 1],
			(bus->nr - i) * sizeof(bus->regions[0]));
		break;
	}
	pthread_rwlock_unlock(&bus->lock);
}

/* Where an access goes. */
struct target {
	struct bus_region *r; /* NULL: nobody's */
	uint64_t off;
};

/*
 * The region that takes all of [addr, addr + len) at once, or, for one byte, that holds it. A region that
 * leaves the bus may come back at another base, so `off` is of the same moment as the region.
 */
static struct target find(struct bus *bus, uint64_t addr, unsigned int len)
{
	struct target t = { NULL, 0 };

	pthread_rwlock_rdlock(&bus->lock);
	unsigned int at = upper(bus, addr);
	if (at) {
		struct bus_region *r = bus->regions[at - 1];

		t.off = addr - r->base;
		if (len <= r->max_width && (len & (len - 1)) == 0 && range_ok(t.off, len, r->size))
			t.r = r;
	}
	pthread_rwlock_unlock(&bus->lock);
	return t;
}

void bus_read(struct bus *bus, uint64_t addr, void *data, unsigned int len)
{
	struct target t = find(bus, addr, len);
	uint8_t *bytes = data;

	if (t.r) {
		uint64_t v = htole64(t.r->read(t.r, t.off, len));
		memcpy(data, &v, len);
		return;
	}
	for (unsigned int i = 0; i < len; i++) {
		t = find(bus, addr + i, 1);
		bytes[i] = t.r ? t.r->read(t.r, t.off, 1) : 0xff;
	}
}

void bus_write(struct bus *bus, uint64_t addr, const void *data, unsigned int len)
{
	struct target t = find(bus, addr, len);
	const uint8_t *bytes = data;

	if (t.r) {
		uint64_t v = 0;
		memcpy(&v, data, len);
		t.r->write(t.r, t.off, len, le64toh(v));
		return;
	}
	for (unsigned int i = 0; i < len; i++) {
		t = find(bus, addr + i, 1);
		if (t.r)
			t.r->write(t.r, t.off, 1, bytes[i]);
	}
}
