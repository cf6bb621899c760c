// SPDX-License-Identifier: GPL-2.0
// LINK: block/fault.c block/fault-plan.c block/iov.c util/loop.c util/log.c util/err.c util/util.c tests/mock/disk-user.c tests/mock/crash-disk.c
/* Fault plans: their grammar, and what they do to requests. */
#include "unit.h"

#include <errno.h>

#include <lkvm/util.h>

#include "../../block/fault-plan.h"
#include "../../block/fault.h"
#include "../mock/crash-disk.h"
#include "../mock/disk-user.h"

#define SIZE (64 * KIB)

static struct crash_disk d;
static struct disk_user u;
static uint8_t buf[SIZE];

static void begin(const char *plan)
{
	struct err err = ERR_INIT;
	int ret;

	crash_disk_init(&d, SIZE, 512);
	user_init(&u);
	ret = blk_fault_new(&u.be, &d.be, plan, &err);
	ck_assert_msg(ret == 0, "%s", err.msg);
	user_open(&u, 4);
}

static void end(void)
{
	user_release(&u);
	ck_assert_uint_eq(d.closes, 1);
	crash_disk_release(&d);
}

static int do_write(uint64_t sector, uint64_t nr)
{
	memset(buf, 0xaa, sizeof(buf));
	return user_do(&u, BLK_WRITE, sector * 512, buf, nr * 512);
}

static const struct {
	const char *plan, *sentence;
} wrong[] = {
	{ "", "fault plan: \"\" is not read, write, flush, discard, zeroes or any" },
	{ "reed:errno=EIO", "\"reed\" is not read, write" },
	{ "read:errno=EIO;;write:short", "\"\" is not read" },
	{ "read", "rule \"read\" does nothing" },
	{ "read:nth=3", "rule \"read:nth=3\" does nothing" },
	{ "read:nth=0:short", "\"nth=0\" is wrong" },
	{ "read:nth=:short", "\"nth=\" is wrong" },
	{ "read:nth:short", "\"nth\" is wrong" },
	{ "read:nth=1x:short", "\"nth=1x\" is wrong" },
	{ "read:nth=99999999999999999999:short", "is wrong" },
	{ "read:often:short", "\"often\" is not nth=N, from=N" },
	{ "read::short", "\"\" is not nth=N" },
	{ "read:errno=EWHAT", "\"errno=EWHAT\" is wrong" },
	{ "read:errno=5", "\"errno=5\" is wrong" },
	{ "read:delay=10", "\"delay=10\" is wrong" },
	{ "read:delay=0ms", "is wrong" },
	{ "read:delay=9999h", "is wrong" },
	{ "read:delay=3601s", "is wrong" },
	{ "read:sectors=9-8:short", "\"sectors=9-8\" is wrong" },
	{ "read:sectors=9x8:short", "is wrong" },
	{ "read:sectors=8-:short", "is wrong" },
	{ "read:short=4", "\"short=4\" is not" },
	{ "read:short:torn", "\"torn\" is wrong" },
	{ "flush:short", "rule \"flush:short\" is not for read or write" },
	{ "any:torn", "rule \"any:torn\" is not for read or write" },
	{ "write:torn:errno=EIO", "is torn, which is reported as done, and has an errno" },
	{ "write:nth=1:every=2:short", "has more than one of nth, from and every" },
	{ "flush:sectors=1-2:errno=EIO", "has sectors, which a flush has not" },
};

START_TEST(refuses_what_does_not_parse)
{
	struct err err = ERR_INIT;
	struct blk_backend *be;

	crash_disk_init(&d, SIZE, 512);
	ck_assert_int_eq(blk_fault_new(&be, &d.be, wrong[_i].plan, &err), -EINVAL);
	ck_assert_int_eq(err.kind, ERR_USAGE);
	ck_assert_msg(strstr(err.msg, wrong[_i].sentence), "%s", err.msg);
	ck_assert_uint_eq(d.closes, 1);
	crash_disk_release(&d);
}
END_TEST

START_TEST(refuses_too_many_rules)
{
	char plan[FAULT_RULES_MAX * 12 + 20] = "";
	static struct fault_plan p;
	struct err err = ERR_INIT;

	for (int i = 0; i < FAULT_RULES_MAX; i++)
		strcat(plan, "read:short;");
	ck_assert_int_eq(fault_plan_parse(&p, plan, &err), 0);
	strcat(plan, "read:short");
	ck_assert_int_eq(fault_plan_parse(&p, plan, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "more than 32 rules"));
}
END_TEST

/* Which of twelve writes fail: a letter each. */
static void expect_writes(const char *plan, const char *which)
{
	char got[13] = "";

	begin(plan);
	for (unsigned int i = 0; i < 12; i++) {
		int ret = do_write(i, 1);

		got[i] = ret == 0 ? '.' : ret == -EIO ? 'x' : ret == -ENOSPC ? 'n' : '?';
		/* What fails is not written. */
		ck_assert_int_eq(d.now[i * 512], ret == 0 ? 0xaa : 0);
	}
	ck_assert_str_eq(got, which);
	end();
}

START_TEST(which_requests_fail)
{
	expect_writes("write:errno=EIO", "xxxxxxxxxxxx");
	expect_writes("any:errno=ENOSPC", "nnnnnnnnnnnn");
	expect_writes("write:nth=3:errno=EIO", "..x.........");
	expect_writes("write:from=10:errno=EIO", ".........xxx");
	expect_writes("write:every=4:errno=ENOSPC", "...n...n...n");
	expect_writes("write:sectors=5-6:errno=EIO", ".....xx.....");
	expect_writes("write:sectors=5:errno=EIO", ".....x......");
	expect_writes("write:sectors=4-99:nth=2:errno=EIO", ".....x......");
	expect_writes("write:nth=2:errno=EIO;write:every=2:errno=ENOSPC", ".x.n.n.n.n.n");
	expect_writes("read:errno=EIO;flush:errno=EIO;discard:errno=EIO;zeroes:errno=EIO",
		      "............");
}
END_TEST

START_TEST(each_kind)
{
	begin("read:nth=1:errno=EIO;flush:nth=2:errno=ENOMEM;discard:errno=EROFS;zeroes:errno="
	      "ENOSPC");
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 512), -EIO);
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 512), 0);
	ck_assert_int_eq(user_do(&u, BLK_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(user_do(&u, BLK_FLUSH, 0, NULL, 0), -ENOMEM);
	ck_assert_int_eq(user_do(&u, BLK_DISCARD, 0, NULL, 512), -EROFS);
	ck_assert_int_eq(user_do(&u, BLK_WRITE_ZEROES, 0, NULL, 512), -ENOSPC);
	ck_assert_int_eq(do_write(0, 1), 0);
	end();
}
END_TEST

START_TEST(touching_sectors)
{
	begin("write:sectors=8-15:errno=EIO");
	ck_assert_int_eq(do_write(0, 8), 0);
	ck_assert_int_eq(do_write(0, 9), -EIO);
	ck_assert_int_eq(do_write(15, 4), -EIO);
	ck_assert_int_eq(do_write(16, 4), 0);
	ck_assert_int_eq(do_write(0, 128), -EIO);
	end();
}
END_TEST

START_TEST(short_and_torn)
{
	uint8_t in[2048];
	struct iovec *iov;
	struct user_request q = { .r = { .op = BLK_READ, .len = 2048 } };

	begin("write:nth=1:short;write:nth=2:torn;write:nth=3:short:errno=ENOSPC;"
	      "write:nth=4:torn;read:nth=1:torn;read:nth=2:short");
	ck_assert_int_eq(do_write(0, 5), -EIO);
	ck_assert_int_eq(d.now[2 * 512 - 1], 0xaa);
	ck_assert_int_eq(d.now[2 * 512], 0);
	ck_assert_int_eq(do_write(8, 4), 0);
	ck_assert_int_eq(d.now[10 * 512 - 1], 0xaa);
	ck_assert_int_eq(d.now[10 * 512], 0);
	/* Half a block is none. */
	ck_assert_int_eq(do_write(20, 1), -ENOSPC);
	ck_assert_int_eq(do_write(20, 1), 0);
	ck_assert_int_eq(d.now[20 * 512], 0);

	/* A torn read through buffers that the cut goes through. */
	ck_assert_int_eq(do_write(0, 4), 0);
	memset(in, 1, sizeof(in));
	iov = q.iov;
	iov[0] = (struct iovec){ in, 1000 };
	iov[1] = (struct iovec){ in + 1000, 1048 };
	q.r.iov = iov;
	q.r.iov_nr = 2;
	user_submit_as_is(&u, &q);
	user_wait(&u);
	ck_assert_int_eq(q.ret, 0);
	for (int i = 0; i < 2048; i++)
		ck_assert_int_eq(in[i], i < 1024 ? 0xaa : 0);
	memset(in, 1, sizeof(in));
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, in, 2048), -EIO);
	ck_assert_int_eq(in[1023], 0xaa);
	ck_assert_int_eq(in[1024], 1);
	end();
}
END_TEST

START_TEST(delays_add_up)
{
	uint64_t start;

	begin("write:delay=20ms;write:nth=2:delay=30ms:errno=EIO");
	start = util_now_ns();
	ck_assert_int_eq(do_write(0, 1), 0);
	ck_assert_uint_ge(util_now_ns() - start, 20000000);
	start = util_now_ns();
	ck_assert_int_eq(do_write(1, 1), -EIO);
	ck_assert_uint_ge(util_now_ns() - start, 50000000);
	end();
}
END_TEST

/* More than the channel's depth of 4: held below, delayed, and waiting; then all are cancelled. */
START_TEST(cancel_ends_what_waits)
{
	struct user_request q[12];

	begin("write:every=2:delay=3600s");
	d.hold = true;
	for (int i = 0; i < 12; i++)
		user_submit(&u, &q[i], BLK_WRITE, 0, buf, 512);
	ck_assert_uint_eq(d.held_nr, 2);
	crash_disk_serve(&d, 1);
	ck_assert_int_eq(q[2].dones, 1);
	/* Its place is taken by the next that waited. */
	ck_assert_uint_eq(d.held_nr, 2);
	u.be->ops->cancel(u.ch);
	ck_assert_uint_eq(u.inflight, 0);
	for (int i = 0; i < 12; i++) {
		ck_assert_uint_eq(q[i].dones, 1);
		ck_assert_int_eq(q[i].ret, i == 2 ? 0 : -ECANCELED);
	}
	d.hold = false;
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 512), 0);
	end();
}
END_TEST

START_TEST(a_plan_that_never_holds_changes_nothing)
{
	uint8_t *model = calloc(1, SIZE);
	struct user_chaos c = { .seed = 3, .rounds = 50, .max_len = 8 * KIB, .zeroing = true };

	begin("any:nth=1000000:errno=EIO");
	user_chaos(&u, model, &c);
	ck_assert_mem_eq(d.now, model, SIZE);
	end();
	free(model);
}
END_TEST

UNIT_SUITE("blk-fault", {
	tcase_add_loop_test(tc, refuses_what_does_not_parse, 0, (int)ARRAY_SIZE(wrong));
	tcase_add_test(tc, refuses_too_many_rules);
	tcase_add_test(tc, which_requests_fail);
	tcase_add_test(tc, each_kind);
	tcase_add_test(tc, touching_sectors);
	tcase_add_test(tc, short_and_torn);
	tcase_add_test(tc, delays_add_up);
	tcase_add_test(tc, cancel_ends_what_waits);
	tcase_add_test(tc, a_plan_that_never_holds_changes_nothing);
})
