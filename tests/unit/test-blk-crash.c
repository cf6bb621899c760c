// SPDX-License-Identifier: GPL-2.0
// LINK: block/fault.c block/fault-plan.c block/iov.c block/raw.c block/step.c block/file.c block/magic.c block/lock.c block/io.c block/pool.c block/uring.c util/loop.c util/log.c util/err.c util/util.c util/thread.c tests/mock/disk-user.c tests/mock/crash-disk.c
// LIBS: -Wl,--wrap=fdatasync -Wl,--wrap=pwritev64v2 -Wl,--wrap=fallocate64
/*
 * Cuts of power. The crash-simulating disk against its own promises, then what a layer above it may not
 * weaken, then the calls that make a raw image's writes stable.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "../../block/fault.h"
#include "../../block/raw.h"
#include "../mock/crash-disk.h"
#include "../mock/disk-user.h"

#define SECTORS 64u
#define SIZE    (SECTORS * 512u)
#define STEPS   60u

static struct crash_disk d;
static struct disk_user u;

/*
 * Every sector that is ever written gets a number of its own, so that a sector tells which write it is
 * from: sector s of write n is filled with n.
 */
struct history {
	uint32_t stable[SECTORS]; /* the oldest write that may be seen */
	uint32_t last[SECTORS];   /* the last that was submitted */
	uint32_t acked[SECTORS];  /* the last that was done */
};

static uint32_t rnd(unsigned int *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 16;
}

static void note_done(struct history *h, const struct user_request *q, uint32_t first, uint32_t nr,
		      uint32_t n, bool fua)
{
	for (uint32_t s = first; q->ret == 0 && s < first + nr; s++) {
		h->acked[s] = n;
		if (fua)
			h->stable[s] = n;
	}
}

/* Writes, writes with fua, and flushes until the power is cut; one at a time. */
static void live(struct history *h, unsigned int seed)
{
	uint32_t buf[SIZE / 4];
	struct user_request q;

	memset(h, 0, sizeof(*h));
	for (uint32_t n = 1; n <= STEPS; n++) {
		uint32_t kind = rnd(&seed) % 8, nr = 1 + rnd(&seed) % 8;
		uint32_t first = rnd(&seed) % (SECTORS - nr + 1);

		if (kind == 0) {
			user_submit(&u, &q, BLK_FLUSH, 0, NULL, 0);
			user_wait(&u);
			if (q.ret == 0)
				memcpy(h->stable, h->acked, sizeof(h->stable));
			continue;
		}
		for (uint32_t i = 0; i < nr * 128; i++)
			buf[i] = n;
		for (uint32_t s = first; s < first + nr; s++)
			h->last[s] = n;
		q = (struct user_request){ .r = { .op = BLK_WRITE,
						  .fua = kind == 1,
						  .off = first * 512ull,
						  .len = nr * 512ull } };
		q.iov[0] = (struct iovec){ buf, nr * 512ull };
		q.r.iov = q.iov;
		q.r.iov_nr = 1;
		user_submit_as_is(&u, &q);
		user_wait(&u);
		note_done(h, &q, first, nr, n, kind == 1);
	}
}

/* Whether each sector is from a write that may be seen; counts what was lost, as it may be. */
static void judge(const struct history *h, const uint8_t *disk, unsigned int *lost)
{
	bool ok = true;

	for (uint32_t s = 0; s < SECTORS; s++) {
		uint32_t words[128];

		memcpy(words, disk + s * 512, 512);
		/* All the same, and from a write that may be seen. */
		ok &= memcmp(words, words + 1, 508) == 0;
		ok &= words[0] >= h->stable[s] && words[0] <= h->last[s];
		*lost += words[0] < h->acked[s];
	}
	ck_assert(ok);
}

/* `plan` NULL: the disk alone. */
static void cut_at_every_step(const char *plan, unsigned int *lost)
{
	static uint8_t disk[SIZE];
	struct err err = ERR_INIT;
	struct history h;

	for (uint64_t cut = 1; cut <= STEPS + 1; cut++) {
		crash_disk_init(&d, SIZE, 512);
		d.cut_at = cut;
		user_init(&u);
		u.be = &d.be;
		if (plan)
			ck_assert_int_eq(blk_fault_new(&u.be, &d.be, plan, &err), 0);
		user_open(&u, 8);
		live(&h, (unsigned int)cut);
		for (unsigned int seed = 0; seed < 20; seed++) {
			crash_disk_survives(&d, seed * 7919, disk);
			judge(&h, disk, lost);
		}
		user_release(&u);
		ck_assert_uint_eq(d.closes, 1);
		crash_disk_release(&d);
	}
}

START_TEST(what_was_stable_survives)
{
	unsigned int lost = 0;

	cut_at_every_step(NULL, &lost);
	/* And the simulation is worth something: what was not made stable is lost now and then. */
	ck_assert_uint_gt(lost, 1000);
}
END_TEST

/* A flush that a layer fails must not count, a write that it loses must not surface as stable. */
START_TEST(also_through_failing_requests)
{
	unsigned int lost = 0;

	cut_at_every_step("flush:every=2:errno=EIO;write:every=3:errno=ENOSPC;write:every=5:short",
			  &lost);
}
END_TEST

START_TEST(a_write_tears_at_sectors)
{
	uint8_t buf[4096], out[4096];
	bool torn = false;

	crash_disk_init(&d, 4096, 4096);
	d.cut_at = 1;
	user_init(&u);
	u.be = &d.be;
	user_open(&u, 8);
	memset(buf, 1, sizeof(buf));
	ck_assert_int_eq(user_do(&u, BLK_WRITE, 0, buf, 4096), -EIO);
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 4096), -EIO);
	for (unsigned int seed = 0; seed < 50; seed++) {
		unsigned int there = 0;

		crash_disk_survives(&d, seed * 7919, out);
		for (int s = 0; s < 8; s++)
			there += out[s * 512] == 1 && out[s * 512 + 511] == 1;
		torn |= there > 0 && there < 8;
	}
	ck_assert(torn);
	user_release(&u);
	crash_disk_release(&d);
}
END_TEST

START_TEST(out_of_order)
{
	struct user_request q[3];
	uint8_t a = 0, bufs[3][512];

	crash_disk_init(&d, SIZE, 512);
	user_init(&u);
	u.be = &d.be;
	user_open(&u, 8);
	d.hold = true;
	for (int i = 0; i < 3; i++) {
		memset(bufs[i], i + 1, 512);
		user_submit(&u, &q[i], i == 1 ? BLK_FLUSH : BLK_WRITE, 0, i == 1 ? NULL : bufs[i],
			    i == 1 ? 0 : 512);
	}
	/* The second write, the flush, and after it the first write, which it does not cover. */
	crash_disk_serve(&d, 2);
	crash_disk_serve(&d, 1);
	crash_disk_serve(&d, 0);
	ck_assert_uint_eq(u.inflight, 0);
	a = d.stable[0];
	ck_assert_uint_eq(a, 3);
	ck_assert_uint_eq(d.now[0], 1);
	user_submit(&u, &q[0], BLK_READ, 0, bufs[0], 512);
	u.be->ops->cancel(u.ch);
	ck_assert_int_eq(q[0].ret, -ECANCELED);
	user_release(&u);
	crash_disk_release(&d);
}
END_TEST

/* What a raw image asks of the host, in order: w write, W write with RWF_DSYNC, z zeroes, s sync. */
static char calls[32];

static void note(char c)
{
	size_t len = strlen(calls);

	if (len + 1 < sizeof(calls))
		calls[len] = c;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	note('s');
	return __real_fdatasync(fd);
}

ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int nr, off_t off, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int nr, off_t off, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int nr, off_t off, int flags)
{
	note(flags & RWF_DSYNC ? 'W' : 'w');
	return __real_pwritev64v2(fd, iov, nr, off, flags);
}

int __real_fallocate64(int fd, int mode, off_t off, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len)
{
	note('z');
	return __real_fallocate64(fd, mode, off, len);
}

static void do_fua(enum blk_op op, void *buf)
{
	struct user_request q = { .r = { .op = op, .fua = true, .len = 4096 } };

	q.iov[0] = (struct iovec){ buf, 4096 };
	q.r.iov = q.iov;
	q.r.iov_nr = buf ? 1 : 0;
	user_submit_as_is(&u, &q);
	user_wait(&u);
	ck_assert_int_eq(q.ret, 0);
}

START_TEST(raw_images_are_made_stable)
{
	char path[] = "/tmp/lkvm-test-blk-crash-XXXXXX";
	uint8_t buf[4096] = { 1 };
	struct err err = ERR_INIT;
	struct blk_file_opts o = { .path = path, .block_size = 512, .log = &u.log };
	int fd = mkstemp(path);

	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	close(fd);
	user_init(&u);
	ck_assert_int_eq(blk_raw_open(&u.be, &o, &err), 0);
	blk_raw_tune(u.be, (struct blk_raw_tuning){ .threads = true });
	user_open(&u, 8);
	memset(calls, 0, sizeof(calls));
	ck_assert_int_eq(user_do(&u, BLK_WRITE, 0, buf, 4096), 0);
	ck_assert_str_eq(calls, "w");
	ck_assert_int_eq(user_do(&u, BLK_FLUSH, 0, NULL, 0), 0);
	ck_assert_str_eq(calls, "ws");
	do_fua(BLK_WRITE, buf);
	ck_assert_str_eq(calls, "wsW");
	do_fua(BLK_WRITE_ZEROES, NULL);
	ck_assert(strcmp(calls, "wsWzs") == 0 || strcmp(calls, "wsWzws") == 0);
	memset(calls, 0, sizeof(calls));
	do_fua(BLK_DISCARD, NULL);
	ck_assert_str_eq(calls, "zs");
	user_release(&u);
	unlink(path);
}
END_TEST

UNIT_SUITE("blk-crash", {
	tcase_add_test(tc, what_was_stable_survives);
	tcase_add_test(tc, also_through_failing_requests);
	tcase_add_test(tc, a_write_tears_at_sectors);
	tcase_add_test(tc, out_of_order);
	tcase_add_test(tc, raw_images_are_made_stable);
})
