/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/gmem.h>
#include <lkvm/initrds.h>
#include <lkvm/src.h>
#include <lkvm/util.h>

#define INITRD_PAD 4

/* Bytes of all initrds with their padding, or an error when they are more than `max`. */
static int sum_initrds(const struct src *initrds, unsigned int nr, uint64_t max, uint64_t *sum,
		       struct err *err)
{
	*sum = 0;
	for (unsigned int i = 0; i < nr; i++) {
		const struct src *src = &initrds[i];

		if (src->size == 0)
			return err_usage(err, "initrd %s is empty", src->name);
		if (src->size > max - *sum)
			return err_usage(
				err,
				"initrd %s of %llu bytes does not fit into the %llu MiB of guest "
				"memory that the kernel leaves: give the guest more with -m",
				src->name, (unsigned long long)src->size,
				(unsigned long long)(max / MIB));
		/* `max` is a multiple of the padding. */
		*sum += align_up(src->size, INITRD_PAD);
	}
	return 0;
}

int initrds_load(const struct gmem *gm, const struct src *initrds, unsigned int nr, uint64_t start,
		 uint64_t end, uint64_t *gpa, uint64_t *len, struct err *err)
{
	*gpa = *len = 0;
	if (!nr)
		return 0;
	int ret = sum_initrds(initrds, nr, start < end ? end - start : 0, len, err);
	if (ret)
		return ret;
	*gpa = align_down(end - *len, INITRDS_PAGE);
	uint8_t *to = gmem_span(gm, *gpa, *len);
	for (unsigned int i = 0; i < nr && !ret; i++) {
		ret = src_read(&initrds[i], 0, to, initrds[i].size, err);
		to += align_up(initrds[i].size, INITRD_PAD);
	}
	return ret;
}
