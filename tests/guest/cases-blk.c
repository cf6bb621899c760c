/* SPDX-License-Identifier: GPL-2.0 */
/* A disk: requests of three buffers, several at a time, and what is written to it under all kinds of ends. */
#include "journal.h"
#include "virtio.h"

#define SECTOR      512
#define SLOTS       JOURNAL_WRITERS
#define BLK_F_FLUSH (1u << 9)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4 };
enum { S_OK = 0, S_IOERR = 1, S_NONE = 0xaa };

/* A request that can be out; its descriptors are 3 i to 3 i + 2. */
static struct slot {
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	uint8_t status;
	_Alignas(SECTOR) uint8_t data[JOURNAL_CELL * SECTOR];
} slots[SLOTS];

static struct vdev dev;
static uint64_t seed;

static uint64_t disk_sectors(void)
{
	if (dev.legacy)
		return bar_read(&dev, 0, dev.irq == IRQ_MSIX ? 0x18 : 0x14, 4);
	return bar_read(&dev, dev.config.bar, dev.config.off, 4);
}

static void disk_from_args(void)
{
	bool legacy = arg_is("door", "legacy");

	irqs_init();
	vdev_find(&dev, VIRTIO_BLK, 0, true);
	dev.features = arg_num("flush", 1) ? BLK_F_FLUSH : 0;
	vdev_start(&dev, legacy ? DOOR_LEGACY : DOOR_MMIO, IRQ_NONE);
	seed = arg_num("seed", 1);
}

static void put(unsigned int i, uint32_t type, uint64_t sector, uint32_t len)
{
	struct slot *s = &slots[i];
	struct desc *d = &dev.ring->desc[3 * i];
	uint16_t at = 3 * i, n = 0;

	s->header.type = type;
	s->header.sector = sector;
	s->status = S_NONE;
	d[n++] = (struct desc){ (uint64_t)&s->header, sizeof(s->header), DESC_NEXT, at + 1 };
	if (len) {
		d[n] = (struct desc){ (uint64_t)s->data, len,
				      DESC_NEXT | (type == T_IN ? DESC_WRITE : 0), at + n + 1 };
		n++;
	}
	d[n] = (struct desc){ (uint64_t)&s->status, 1, DESC_WRITE, 0 };
	dev.ring->avail.ring[dev.posted % RING_SIZE] = at;
	__atomic_store_n(&dev.ring->avail.idx, ++dev.posted, __ATOMIC_SEQ_CST);
}

static void serve(void)
{
	vdev_kick(&dev);
	while (!vdev_done(&dev))
		cpu_pause();
}

static uint8_t request(uint32_t type, uint64_t sector, uint32_t len)
{
	put(0, type, sector, len);
	serve();
	return slots[0].status;
}

static void flush(void)
{
	if (request(T_FLUSH, 0, 0) != S_OK)
		fail("a flush fails", slots[0].status);
}

static void stamp(uint8_t *data, uint64_t sector, uint64_t nr)
{
	struct journal_stamp s = journal_stamp(seed, sector, nr);

	memcpy(data, &s, sizeof(s));
	memcpy(data + SECTOR - sizeof(s), &s, sizeof(s));
}

/* Whether both ends of the sector are this stamp. */
static bool is_stamped(const uint8_t *data, uint64_t sector, uint64_t nr)
{
	struct journal_stamp want = journal_stamp(seed, sector, nr);
	const struct journal_stamp *a = (const void *)data;
	const struct journal_stamp *b = (const void *)(data + SECTOR - sizeof(*b));

	return a->sum == want.sum && b->sum == want.sum && a->sector == sector && a->nr == nr;
}

static void say(const char *what, uint64_t n)
{
	print(what);
	print_num(n);
	print("\n");
}

/* Rounds of a write by each writer for ever. "stable N": the first N rounds are where a cut of power leaves them. */
static void t_journal(void)
{
	uint64_t every = arg_num("every", 1), cells;

	disk_from_args();
	cells = disk_sectors() / (JOURNAL_WRITERS * JOURNAL_CELL);
	for (uint64_t nr = 0;; nr++) {
		for (uint32_t i = 0; i < SLOTS; i++) {
			struct journal_write w = journal_at(seed, i, nr, cells);
			for (uint32_t k = 0; k < w.sectors; k++)
				stamp(slots[i].data + k * SECTOR, w.sector + k, nr);
			put(i, T_OUT, w.sector, w.sectors * SECTOR);
		}
		serve();
		for (uint32_t i = 0; i < SLOTS; i++)
			if (slots[i].status != S_OK)
				fail("a write fails", i);
		if ((nr + 1) % every)
			continue;
		if ((dev.features & BLK_F_FLUSH) && arg_num("sync", 1))
			flush();
		say("stable ", nr + 1);
	}
}

/*
 * Writes its own stamps to every `step`th sector of a disk that others have too, and finds them when the others have
 * written theirs; all else is as the image was made: stamps of seed 0.
 */
static void t_share(void)
{
	uint64_t sectors, own, step = arg_num("step", 7), first;

	disk_from_args();
	own = seed;
	first = own % step;
	sectors = disk_sectors();
	for (uint64_t s = first; s < sectors; s += step) {
		stamp(slots[0].data, s, own);
		if (request(T_OUT, s, SECTOR) != S_OK)
			fail("cannot write sector", s);
	}
	flush();
	checkpoint();
	for (uint64_t s = 0; s < sectors; s++) {
		if (s % JOURNAL_CELL == 0 && request(T_IN, s, JOURNAL_CELL * SECTOR) != S_OK)
			fail("cannot read sector", s);
		seed = s % step == first ? own : 0;
		if (!is_stamped(slots[0].data + s % JOURNAL_CELL * SECTOR, s, seed))
			fail("a sector is not what it should be:", s);
	}
	pass();
}

/* Whether each sector of the disk was acknowledged, a bit each. */
static uint64_t acknowledged[(64 * MIB / SECTOR) / 64];

static uint32_t write_all(uint64_t sectors, uint64_t nr)
{
	uint32_t errors = 0;

	for (uint64_t s = 0; s < sectors; s++) {
		stamp(slots[0].data, s, nr);
		if (request(T_OUT, s, SECTOR) == S_OK)
			acknowledged[s / 64] |= 1ULL << s % 64;
		else if (slots[0].status == S_IOERR)
			errors++;
		else
			fail("the status of a write is", slots[0].status);
	}
	return errors;
}

/* Reads all sectors that were acknowledged: each is there, and nothing else is asked of the others than an answer. */
static uint32_t read_all(uint64_t sectors, uint64_t nr)
{
	uint32_t errors = 0;

	for (uint64_t s = 0; s < sectors; s++) {
		bool written = acknowledged[s / 64] >> s % 64 & 1;
		uint8_t status = request(T_IN, s, SECTOR);

		if (status == S_OK ? written && !is_stamped(slots[0].data, s, nr) : written)
			fail("an acknowledged sector is lost:", s);
		errors += status != S_OK;
	}
	return errors;
}

/* A disk whose host runs out of room: writes fail, the acknowledged ones stay, and writing over them goes on. */
static void t_full(void)
{
	uint64_t sectors;

	disk_from_args();
	sectors = disk_sectors();
	say("sectors ", sectors);
	say("write errors ", write_all(sectors, 1));
	say("read errors ", read_all(sectors, 1));
	if (arg_num("again", 1)) {
		for (uint64_t s = 0; s < 8; s++) {
			stamp(slots[0].data, s, 1);
			if (request(T_OUT, s, SECTOR) != S_OK)
				fail("cannot write over sector", s);
		}
		flush();
	}
	pass();
}

/* Writes all, stops while the test does something to the image, then reads and writes all again. */
static void t_pulled(void)
{
	uint64_t sectors;

	disk_from_args();
	sectors = disk_sectors();
	say("write errors ", write_all(sectors, 1));
	checkpoint();
	memset(acknowledged, 0, sizeof(acknowledged));
	say("read errors ", read_all(sectors, 1));
	say("later write errors ", write_all(sectors, 2));
	say("later read errors ", read_all(sectors, 2));
	pass();
}

/* Says how the disk looks, and the status of each kind of request at its start. */
static void t_probe(void)
{
	disk_from_args();
	say("sectors ", disk_sectors());
	say("read ", request(T_IN, 0, arg_num("block", SECTOR)));
	say("last ", request(T_IN, disk_sectors() - 1, SECTOR));
	say("beyond ", request(T_IN, disk_sectors(), SECTOR));
	say("write ", request(T_OUT, 0, arg_num("block", SECTOR)));
	say("flush ", request(T_FLUSH, 0, 0));
	pass();
}

const struct guest_case cases_blk[] = {
	{ "d-journal", t_journal }, { "d-share", t_share }, { "d-full", t_full },
	{ "d-pulled", t_pulled },   { "d-probe", t_probe }, { NULL, NULL },
};
