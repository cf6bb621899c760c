/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lkvm/cpio.h>
#include <lkvm/util.h>

#define CPIO_ALIGN 4

int cpio_begin(struct cpio *c, struct err *err)
{
	*c = (struct cpio){ 0 };
	c->out = open_memstream(&c->data, &c->len);
	return c->out ? 0 : err_host(err, errno, "no memory for an initramfs");
}

static void pad(struct cpio *c, size_t len)
{
	static const char zeros[CPIO_ALIGN];

	fwrite(zeros, 1, align_up(len, CPIO_ALIGN) - len, c->out);
}

void cpio_add(struct cpio *c, const char *path, uint32_t mode, const void *data, uint32_t len)
{
	size_t name_len = strlen(path) + 1;

	/* magic, then ino, mode, uid, gid, nlink, mtime, filesize, four device numbers, namesize, check */
	int head = fprintf(c->out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
			   ++c->files_nr, mode, 0, 0, 1, 0, len, 0, 0, 0, 0, (unsigned int)name_len,
			   0);
	fwrite(path, 1, name_len, c->out);
	pad(c, (size_t)head + name_len);
	fwrite(data, 1, len, c->out);
	pad(c, len);
}

int cpio_end(struct cpio *c, struct err *err)
{
	cpio_add(c, "TRAILER!!!", 0, "", 0);
	bool failed = ferror(c->out);
	failed |= fclose(c->out) != 0;
	c->out = NULL;
	return failed ? err_host(err, ENOMEM, "no memory for an initramfs") : 0;
}

void cpio_release(struct cpio *c)
{
	if (c->out)
		fclose(c->out);
	free(c->data);
	*c = (struct cpio){ 0 };
}
