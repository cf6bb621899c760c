/* SPDX-License-Identifier: GPL-2.0 */
// LINK: gmem.c util/err.c util/util.c
// LIBS: -Wl,--wrap=memfd_create
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lkvm/gmem.h>
#include <lkvm/util.h>

#include "unit.h"

/* Two regions that touch, a hole, and a region at the end of the address space. */
#define A     0x0ULL
#define A_LEN 0x200000ULL
#define B     0x200000ULL
#define B_LEN 0x1000ULL
#define C     0x100000000ULL
#define C_LEN 0x2000ULL
#define D     (0xffffffffffffffffULL - 0xfff)
#define D_LEN 0x1000ULL

/* Another holder of shared memory. */
static int other_fd = -1;

int __real_memfd_create(const char *name, unsigned int flags);
int __wrap_memfd_create(const char *name, unsigned int flags);
int __wrap_memfd_create(const char *name, unsigned int flags)
{
	int fd = __real_memfd_create(name, flags);

	other_fd = dup(fd);
	return fd;
}

static const struct gmem_backing plain = { 0 };

static struct gmem make(void)
{
	static const struct gmem_region spans[] = {
		{ .gpa = A, .size = A_LEN },
		{ .gpa = B, .size = B_LEN },
		{ .gpa = C, .size = C_LEN },
	};
	struct gmem gm;
	struct err err = ERR_INIT;

	ck_assert_int_eq(gmem_init(&gm, spans, ARRAY_SIZE(spans), &plain, &err), 0);
	return gm;
}

static const struct {
	uint64_t gpa, len;
	bool ok;
} ranges[] = {
	{ A, 1, true },
	{ A, A_LEN, true },
	{ B - 1, 2, true }, /* over two regions that touch */
	{ A, A_LEN + B_LEN, true },
	{ B + B_LEN - 1, 1, true },
	{ B + B_LEN - 1, 2, false }, /* into the hole */
	{ A, A_LEN + B_LEN + 1, false },
	{ B + B_LEN, 1, false },
	{ C - 1, 1, false },
	{ C - 1, 2, false },
	{ C, C_LEN, true },
	{ C + C_LEN - 1, 1, true },
	{ C, C_LEN + 1, false },
	{ C + C_LEN, 1, false },
	{ UINT64_MAX, 1, false },
	{ UINT64_MAX, 2, false },
	{ C, UINT64_MAX, false }, /* wraps */
	{ C + 1, UINT64_MAX - C, false },
	{ 1, UINT64_MAX, false },
	{ 0x8000000000000000ULL, 0x8000000000000000ULL, false },
};

START_TEST(ranges_are_checked)
{
	struct gmem gm = make();
	uint64_t gpa = ranges[_i].gpa, len = ranges[_i].len;
	struct iovec iov[4];
	unsigned int nr = 0;
	int want = ranges[_i].ok ? 0 : -EFAULT;

	ck_assert_int_eq(gmem_map(&gm, gpa, len, iov, &nr, 4), want);
	ck_assert_uint_eq(nr == 0, !ranges[_i].ok);
	ck_assert_int_eq(gmem_zero(&gm, gpa, len), want);
	/* Lengths that cannot be a buffer of ours are refused before the buffer is touched. */
	uint8_t *buf = malloc(ranges[_i].ok ? len : 16);
	ck_assert_int_eq(gmem_read(&gm, gpa, buf, len), want);
	ck_assert_int_eq(gmem_write(&gm, gpa, buf, len), want);
	free(buf);
	gmem_release(&gm);
}
END_TEST

START_TEST(a_length_of_zero_is_fine_anywhere)
{
	struct gmem gm = make();
	struct iovec iov[1];
	unsigned int nr = 0;

	ck_assert_int_eq(gmem_read(&gm, UINT64_MAX, NULL, 0), 0);
	ck_assert_int_eq(gmem_write(&gm, B + B_LEN, NULL, 0), 0);
	ck_assert_int_eq(gmem_zero(&gm, C - 1, 0), 0);
	ck_assert_int_eq(gmem_map(&gm, UINT64_MAX, 0, iov, &nr, 1), 0);
	ck_assert_uint_eq(nr, 0);
	gmem_release(&gm);
}
END_TEST

START_TEST(copies_cross_regions_that_touch)
{
	struct gmem gm = make();
	uint8_t in[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, out[8] = { 0 };

	ck_assert_int_eq(gmem_write(&gm, B - 4, in, 8), 0);
	ck_assert_int_eq(gmem_read(&gm, B - 4, out, 8), 0);
	ck_assert_mem_eq(in, out, 8);
	uint8_t *low = gmem_span(&gm, B - 4, 4), *high = gmem_span(&gm, B, 4);
	ck_assert_mem_eq(low, in, 4);
	ck_assert_mem_eq(high, in + 4, 4);
	ck_assert_int_eq(gmem_zero(&gm, B - 1, 2), 0);
	ck_assert_uint_eq(low[3], 0);
	ck_assert_uint_eq(high[0], 0);
	ck_assert_uint_eq(low[2], 3);
	ck_assert_uint_eq(high[1], 6);
	gmem_release(&gm);
}
END_TEST

START_TEST(a_failed_copy_changes_nothing)
{
	struct gmem gm = make();
	uint8_t in[16] = { 0xaa }, out[16] = { 0x55 };
	uint8_t *end = gmem_span(&gm, B + B_LEN - 1, 1);

	ck_assert_int_eq(gmem_write(&gm, B + B_LEN - 1, in, 16), -EFAULT);
	ck_assert_uint_eq(*end, 0);
	*end = 7;
	ck_assert_int_eq(gmem_read(&gm, B + B_LEN - 1, out, 16), -EFAULT);
	ck_assert_uint_eq(out[0], 0x55);
	ck_assert_int_eq(gmem_zero(&gm, B + B_LEN - 1, 2), -EFAULT);
	ck_assert_uint_eq(*end, 7);
	gmem_release(&gm);
}
END_TEST

START_TEST(a_span_stays_in_one_region)
{
	struct gmem gm = make();

	ck_assert_ptr_nonnull(gmem_span(&gm, A, A_LEN));
	ck_assert_ptr_null(gmem_span(&gm, A, A_LEN + 1));
	ck_assert_ptr_null(gmem_span(&gm, B - 1, 2));
	ck_assert_ptr_null(gmem_span(&gm, C, C_LEN + 1));
	ck_assert_ptr_null(gmem_span(&gm, C + C_LEN, 1));
	ck_assert_ptr_null(gmem_span(&gm, C, UINT64_MAX));
	gmem_release(&gm);
}
END_TEST

START_TEST(iovecs_are_all_or_nothing)
{
	struct gmem gm = make();
	struct iovec iov[2];
	unsigned int nr = 1;

	iov[0].iov_len = 99;
	ck_assert_int_eq(gmem_map(&gm, B - 1, 2, iov, &nr, 2), -E2BIG);
	ck_assert_uint_eq(nr, 1);
	ck_assert_uint_eq(iov[0].iov_len, 99);
	ck_assert_int_eq(gmem_map(&gm, B - 1, 1, iov, &nr, 2), 0);
	ck_assert_uint_eq(nr, 2);
	ck_assert_uint_eq(iov[1].iov_len, 1);
	/* full */
	iov[1].iov_len = 98;
	ck_assert_int_eq(gmem_map(&gm, B - 1, 1, iov, &nr, 1), -E2BIG);
	ck_assert_int_eq(gmem_map(&gm, B - 1, 1, iov, &nr, 2), -E2BIG);
	ck_assert_uint_eq(nr, 2);
	ck_assert_uint_eq(iov[1].iov_len, 98);
	nr = 0;
	ck_assert_int_eq(gmem_map(&gm, B - 1, 2, iov, &nr, 2), 0);
	ck_assert_uint_eq(nr, 2);
	ck_assert_uint_eq(iov[0].iov_len, 1);
	ck_assert_uint_eq(iov[1].iov_len, 1);
	ck_assert_ptr_eq(iov[1].iov_base, gmem_span(&gm, B, 1));
	gmem_release(&gm);
}
END_TEST

START_TEST(a_region_at_the_end_of_the_space)
{
	static const struct gmem_region span = { .gpa = D, .size = D_LEN };
	struct gmem gm;
	struct err err = ERR_INIT;
	uint8_t b[2];

	ck_assert_int_eq(gmem_init(&gm, &span, 1, &plain, &err), 0);
	ck_assert_int_eq(gmem_read(&gm, UINT64_MAX, b, 1), 0);
	ck_assert_int_eq(gmem_read(&gm, UINT64_MAX, b, 2), -EFAULT);
	ck_assert_int_eq(gmem_read(&gm, D - 1, b, 2), -EFAULT);
	gmem_release(&gm);
}
END_TEST

START_TEST(ram_is_aligned_to_huge_pages)
{
	struct gmem gm = make();

	ck_assert_uint_eq((uintptr_t)gmem_span(&gm, A, 1) % (2 * MIB), 0);
	ck_assert_uint_eq(gmem_size(&gm), A_LEN + B_LEN + C_LEN);
	gmem_release(&gm);
}
END_TEST

START_TEST(shared_ram_is_sealed_memory)
{
	ROW("HD-86");
	static const struct gmem_region span = { .gpa = 0, .size = 0x4000 };
	struct gmem_backing shared = { .shared = true };
	struct gmem gm;
	struct err err = ERR_INIT;
	uint32_t v = 0x12345678, w = 0;

	ck_assert_int_eq(gmem_init(&gm, &span, 1, &shared, &err), 0);
	ck_assert_int_eq(gmem_write(&gm, 0x3ffc, &v, 4), 0);
	ck_assert_int_eq(gmem_read(&gm, 0x3ffc, &w, 4), 0);
	ck_assert_uint_eq(v, w);
	/* It cannot be cut under the mapping, which would be a SIGBUS here. */
	ck_assert_int_eq(ftruncate(other_fd, 0), -1);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_eq(ftruncate(other_fd, 0x8000), -1);
	close(other_fd);
	gmem_release(&gm);
}
END_TEST

START_TEST(too_much_memory_is_an_error)
{
	static const struct gmem_region span = { .gpa = 0, .size = 1ULL << 60 };
	static const struct gmem_region wrap = { .gpa = 0, .size = UINT64_MAX - 0xfff };
	struct gmem gm;
	struct err err = ERR_INIT;

	ck_assert_int_eq(gmem_init(&gm, &span, 1, &plain, &err), -ENOMEM);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_ptr_nonnull(strstr(err.msg, "--mem"));
	err = ERR_INIT;
	ck_assert_int_eq(gmem_init(&gm, &wrap, 1, &plain, &err), -ENOMEM);
}
END_TEST

START_TEST(hugetlbfs_names_the_option)
{
	static const struct gmem_region span = { .gpa = 0, .size = 2 * MIB };
	struct gmem_backing huge = { .hugetlbfs = "/nonexistent" };
	struct gmem gm;
	struct err err = ERR_INIT;

	ck_assert_int_eq(gmem_init(&gm, &span, 1, &huge, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.msg, "--hugetlbfs /nonexistent"));
	err = ERR_INIT;
	huge.hugetlbfs = "/";
	ck_assert_int_eq(gmem_init(&gm, &span, 1, &huge, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "hugetlbfs mount"));
}
END_TEST

UNIT_SUITE("gmem", {
	tcase_add_loop_test(tc, ranges_are_checked, 0, ARRAY_SIZE(ranges));
	tcase_add_test(tc, a_length_of_zero_is_fine_anywhere);
	tcase_add_test(tc, copies_cross_regions_that_touch);
	tcase_add_test(tc, a_failed_copy_changes_nothing);
	tcase_add_test(tc, a_span_stays_in_one_region);
	tcase_add_test(tc, iovecs_are_all_or_nothing);
	tcase_add_test(tc, a_region_at_the_end_of_the_space);
	tcase_add_test(tc, ram_is_aligned_to_huge_pages);
	tcase_add_test(tc, shared_ram_is_sealed_memory);
	tcase_add_test(tc, too_much_memory_is_an_error);
	tcase_add_test(tc, hugetlbfs_names_the_option);
})
