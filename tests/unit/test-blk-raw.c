// SPDX-License-Identifier: GPL-2.0
// LINK: block/raw.c block/step.c block/file.c block/magic.c block/lock.c block/io.c block/iov.c block/pool.c block/uring.c util/loop.c util/log.c util/err.c util/util.c util/thread.c tests/mock/disk-user.c
// LIBS: -Wl,--wrap=fdatasync -Wl,--wrap=fallocate64 -Wl,--wrap=fcntl64
/* Opening images: what is refused and how, locks, sizes; and what becomes of a host that fails. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "../../block/iov.h"
#include "../../block/raw.h"
#include "../mock/disk-user.h"

static char dir[64];
static struct disk_user u;

/* What fails, until it is 0. */
static int sync_errno, fallocate_errno, lock_errno;
static int fallocate_flags; /* of the last call that was let through */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	if (!sync_errno)
		return __real_fdatasync(fd);
	errno = sync_errno;
	return -1;
}

int __real_fallocate64(int fd, int mode, off_t off, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len)
{
	if (!fallocate_errno) {
		fallocate_flags = mode;
		return __real_fallocate64(fd, mode, off, len);
	}
	errno = fallocate_errno;
	return -1;
}

int __real_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (lock_errno && cmd == F_OFD_SETLK) {
		errno = lock_errno;
		return -1;
	}
	return __real_fcntl64(fd, cmd, arg);
}

static void setup(void)
{
	strcpy(dir, "/tmp/lkvm-test-blk-raw-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
	user_init(&u);
}

static void teardown(void)
{
	char cmd[80];

	user_release(&u);
	ck_assert_int_eq(chdir("/"), 0);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static void put(const char *path, const void *head, size_t len, off_t size)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, head, len, 0), len);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	close(fd);
}

static struct blk_file_opts opts(const char *path)
{
	return (struct blk_file_opts){ .path = path, .block_size = 512, .log = &u.log };
}

/* Opens by threads, so that the calls above are the ones that are made. */
static void open_image(const struct blk_file_opts *o)
{
	struct err err = ERR_INIT;
	int ret = blk_raw_open(&u.be, o, &err);

	ck_assert_msg(ret == 0, "%s", err.msg);
	blk_raw_tune(u.be, (struct blk_raw_tuning){ .threads = true, .no_inline = true });
	user_open(&u, 8);
}

static void refused(const struct blk_file_opts *o, enum err_kind kind, const char *sentence)
{
	unsigned int fds = user_fds();
	struct blk_backend *be;
	struct err err = ERR_INIT;

	ck_assert_int_lt(blk_raw_open(&be, o, &err), 0);
	ck_assert_int_eq(err.kind, kind);
	ck_assert_msg(strstr(err.msg, sentence), "%s", err.msg);
	ck_assert_ptr_eq(strchr(err.msg, '\n'), NULL);
	ck_assert_uint_eq(user_fds(), fds);
}

START_TEST(refuses_what_is_no_image)
{
	struct blk_file_opts o = opts("missing");

	refused(&o, ERR_HOST, "cannot open disk missing: No such file or directory");
	o.path = dir;
	refused(&o, ERR_USAGE, "is a directory");
	o.ro = true;
	refused(&o, ERR_USAGE, "is a directory");
	o.ro = false;
	put("empty", "", 0, 0);
	o.path = "empty";
	refused(&o, ERR_USAGE, "disk empty is empty");
	put("small", "", 0, 511);
	o.path = "small";
	refused(&o, ERR_USAGE, "disk small is smaller than one block of 512 bytes");
	put("4k", "", 0, 4095);
	o.path = "4k";
	o.block_size = 4096;
	refused(&o, ERR_USAGE, "disk 4k is smaller than one block of 4096 bytes");
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	o.path = "fifo";
	refused(&o, ERR_USAGE, "disk fifo is neither a file nor a block device");
	o.path = "/dev/zero";
	refused(&o, ERR_USAGE, "is neither a file nor a block device");
}
END_TEST

START_TEST(no_permission)
{
	struct blk_file_opts o = opts("readable");
	int status;
	pid_t pid;

	put("readable", "", 0, 4096);
	ck_assert_int_eq(chmod("readable", 0444), 0);
	ck_assert_int_eq(chmod(".", 0755), 0);
	pid = fork();
	if (pid == 0) {
		struct err err = ERR_INIT;
		struct blk_backend *be;
		int ok;

		if (getuid() == 0 && setuid(65534) < 0)
			_exit(3);
		ok = blk_raw_open(&be, &o, &err) == -EACCES && err.kind == ERR_HOST &&
		     strstr(err.msg, "for writing (ro or overlay=ephemeral only read it): "
				     "Permission denied");
		o.ro = true;
		ok = ok && blk_raw_open(&be, &o, &err) == 0;
		_exit(ok ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(size_is_whole_blocks)
{
	struct blk_file_opts o = opts("odd");
	uint8_t buf[512];

	put("odd", "", 0, 4096 + 100);
	open_image(&o);
	ck_assert_uint_eq(u.info.size, 4096);
	ck_assert(user_logged(&u, "disk odd: its last 100 bytes are no whole block of 512"));
	ck_assert_int_eq(user_do(&u, BLK_READ, 4096 - 512, buf, 512), 0);
	user_close(&u);
	o.block_size = 4096;
	put("odd", "", 0, 3 * 4096 + 512);
	open_image(&o);
	ck_assert_uint_eq(u.info.size, 3 * 4096);
	ck_assert_uint_eq(u.info.block_size, 4096);
	ck_assert_uint_eq(u.info.discard_align % 4096, 0);
	ck_assert(u.info.flush && u.info.write_zeroes && !u.info.readonly && !u.info.one_channel);
}
END_TEST

static const struct {
	uint32_t off;
	const char *magic;
	uint32_t len;
	const char *name;
} magics[] = {
	{ 0, "QFI\xfb\0\0\0\3", 8, "is a qcow or qcow2 image, which comes later: convert it" },
	{ 0, "KDMV", 4, "is a vmdk image" },
	{ 0, "COWD", 4, "is a vmdk image" },
	{ 0, "# Disk DescriptorFile", 21, "is a vmdk image" },
	{ 64, "\x7f\x10\xda\xbe", 4, "is a vdi image" },
	{ 0, "vhdxfile", 8, "is a vhdx image" },
	{ 0, "conectix", 8, "is a vhd image" },
	{ 0, "WithoutFreeSpace", 16, "is a parallels image" },
	{ 0, "WithouFreSpacExt", 16, "is a parallels image" },
	{ 0, "Bochs Virtual HD Image", 22, "is a bochs image" },
	{ 0, "QED\0", 4, "is a qed image" },
	{ 0, "OOOM", 4, "is a cow image" },
	{ 0, "\x1f\x8b\x08", 3, "is compressed with gzip: decompress it" },
	{ 0,
	  "\xfd"
	  "7zXZ\0",
	  6, "is compressed with xz" },
	{ 0, "\x28\xb5\x2f\xfd", 4, "is compressed with zstd" },
	{ 0, "BZh", 3, "is compressed with bzip2" },
};

/* A guest may have written the header: it is never followed. */
START_TEST(refuses_other_formats)
{
	ROW("HD-188");
	struct blk_file_opts o = opts("image");
	char head[128] = "";

	memcpy(head + magics[_i].off, magics[_i].magic, magics[_i].len);
	put("image", head, sizeof(head), 512);
	refused(&o, ERR_USAGE, magics[_i].name);
	refused(&o, ERR_USAGE, "give format=raw to take its bytes as they are");
	o.direct = true;
	o.block_size = 4096;
	put("image", head, sizeof(head), 8192);
	refused(&o, ERR_USAGE, magics[_i].name);
	o.any_format = true;
	open_image(&o);
}
END_TEST

START_TEST(second_writer_is_told_who)
{
	struct blk_file_opts o = opts("image");
	char who[64];
	int pipefd[2], status;
	pid_t pid;
	char c;

	put("image", "", 0, 4096);
	/* Somebody else writes it. */
	ck_assert_int_eq(pipe(pipefd), 0);
	pid = fork();
	if (pid == 0) {
		struct err err = ERR_INIT;

		prctl(PR_SET_NAME, "a \x1b writer");
		status = blk_raw_open(&u.be, &o, &err);
		c = status == 0 ? 'y' : 'n';
		if (write(pipefd[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	ck_assert_int_eq(read(pipefd[0], &c, 1), 1);
	ck_assert_int_eq(c, 'y');
	snprintf(who, sizeof(who), "disk image is in use by process %d (a ? writer); stop it", pid);
	refused(&o, ERR_HOST, who);
	o.ro = true;
	snprintf(who, sizeof(who), "disk image is being written by process %d (", pid);
	refused(&o, ERR_HOST, who);
	/* A lock goes with its process. */
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	open_image(&o);
	close(pipefd[0]);
	close(pipefd[1]);
}
END_TEST

START_TEST(locks_within_one_run)
{
	struct blk_file_opts o = opts("image"), ro = o;
	struct blk_backend *second;
	struct err err = ERR_INIT;

	ro.ro = true;
	put("image", "", 0, 4096);
	open_image(&o);
	refused(&o, ERR_USAGE, "disk image is given twice, and one of them writes");
	refused(&ro, ERR_USAGE, "disk image is given twice, and one of them writes");
	user_close(&u);
	open_image(&ro);
	refused(&o, ERR_USAGE, "is given twice");
	ck_assert_int_eq(blk_raw_open(&second, &ro, &err), 0);
	second->ops->close(second);
	user_close(&u);
	open_image(&o);
}
END_TEST

START_TEST(file_system_without_locks)
{
	struct blk_file_opts o = opts("image");

	put("image", "", 0, 4096);
	lock_errno = ENOLCK;
	open_image(&o);
	ck_assert(
		user_logged(&u, "disk image cannot be locked (No locks available): nothing keeps"));
}
END_TEST

/* The lock of a process that is gone, while the kernel still holds its file. */
START_TEST(lock_without_a_holder_is_reported)
{
	struct blk_file_opts o = opts("image");

	put("image", "", 0, 4096);
	lock_errno = EAGAIN;
	refused(&o, ERR_HOST, "disk image is in use by another process; stop it");
}
END_TEST

START_TEST(read_only)
{
	struct blk_file_opts o = opts("image");
	uint8_t buf[512];

	put("image", "data", 4, 4096);
	o.ro = true;
	open_image(&o);
	ck_assert(u.info.readonly && !u.info.discard && !u.info.write_zeroes);
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 512), 0);
	ck_assert_mem_eq(buf, "data", 5);
	ck_assert_int_eq(user_do(&u, BLK_WRITE, 0, buf, 512), -EROFS);
	ck_assert_int_eq(user_do(&u, BLK_DISCARD, 0, NULL, 512), -EROFS);
	ck_assert_int_eq(user_do(&u, BLK_WRITE_ZEROES, 0, NULL, 512), -EROFS);
	ck_assert_int_eq(user_do(&u, BLK_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 0), 0);
}
END_TEST

/* The kernel reports a failed write-back once. What it covered stays lost. */
START_TEST(failed_flush_is_not_forgotten)
{
	struct blk_file_opts o = opts("image");
	uint8_t buf[512] = "x";

	put("image", "", 0, 4096);
	open_image(&o);
	ck_assert_int_eq(user_do(&u, BLK_WRITE, 0, buf, 512), 0);
	sync_errno = ENOSPC;
	ck_assert_int_eq(user_do(&u, BLK_FLUSH, 0, NULL, 0), -ENOSPC);
	sync_errno = 0;
	ck_assert_int_eq(user_do(&u, BLK_FLUSH, 0, NULL, 0), -EIO);
	ck_assert(user_logged(&u,
			      "disk image: the host failed to make writes stable (No space left "
			      "on device); from now on each flush fails"));
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 512), 0);
}
END_TEST

START_TEST(zeroes_without_the_call)
{
	struct blk_file_opts o = opts("image");
	uint8_t *buf = malloc(3 * MIB), *zero = calloc(3, MIB);

	put("image", "", 0, 4 * MIB);
	fallocate_errno = EOPNOTSUPP;
	open_image(&o);
	ck_assert(!u.info.discard && u.info.write_zeroes);
	for (int unmap = 0; unmap < 2; unmap++) {
		struct user_request q = {
			.r = { .op = BLK_WRITE_ZEROES, .off = 512, .len = 3 * MIB - 1024 }
		};

		memset(buf, 7, 3 * MIB);
		ck_assert_int_eq(user_do(&u, BLK_WRITE, 0, buf, 3 * MIB), 0);
		q.r.unmap = unmap;
		q.r.fua = true;
		user_submit_as_is(&u, &q);
		user_wait(&u);
		ck_assert_int_eq(q.ret, 0);
		ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 3 * MIB), 0);
		ck_assert_mem_eq(buf + 512, zero, 3 * MIB - 1024);
		ck_assert_int_eq(buf[511], 7);
		ck_assert_int_eq(buf[3 * MIB - 512], 7);
	}
	/* A discard that nobody can do is none. */
	ck_assert_int_eq(user_do(&u, BLK_DISCARD, 0, NULL, 512), 0);
	ck_assert_int_eq(user_do(&u, BLK_READ, 0, buf, 512), 0);
	ck_assert_int_eq(buf[0], 7);
	free(buf);
	free(zero);
}
END_TEST

START_TEST(full_file_system)
{
	struct blk_file_opts o = opts("image");

	put("image", "", 0, 4 * MIB);
	open_image(&o);
	fallocate_errno = ENOSPC;
	ck_assert_int_eq(user_do(&u, BLK_WRITE_ZEROES, 0, NULL, 4096), -ENOSPC);
	ck_assert_int_eq(user_do(&u, BLK_DISCARD, 0, NULL, 4096), -ENOSPC);
	fallocate_errno = 0;
	ck_assert_int_eq(user_do(&u, BLK_WRITE_ZEROES, 0, NULL, 4096), 0);
	ck_assert_int_eq(fallocate_flags, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
}
END_TEST

START_TEST(iov_helpers)
{
	char a[8] = "abcdefg", b[4] = "xyz", out[16] = "";
	struct iovec iov[] = { { a, 3 }, { b, 0 }, { b, 2 }, { a + 3, 4 } };
	struct blk_iov v = { iov, 4 }, first;
	struct blk_iov_cut cut;

	blk_iov_read(v, out, 16);
	ck_assert_str_eq(out, "abcxydefg");
	first = blk_iov_cut(v, 4, &cut);
	ck_assert_uint_eq(first.nr, 3);
	ck_assert_uint_eq(first.iov[2].iov_len, 1);
	blk_iov_advance(&first, 4);
	ck_assert_uint_eq(first.nr, 0);
	v = blk_iov_uncut(&cut);
	ck_assert_uint_eq(v.nr, 2);
	memset(out, 0, sizeof(out));
	blk_iov_read(v, out, 16);
	ck_assert_str_eq(out, "ydefg");
	/* A cut between buffers, and one at the end. */
	first = blk_iov_cut(v, 1, &cut);
	ck_assert_uint_eq(first.nr, 1);
	v = blk_iov_uncut(&cut);
	ck_assert_uint_eq(v.nr, 1);
	first = blk_iov_cut(v, 4, &cut);
	ck_assert_uint_eq(first.nr, 1);
	ck_assert_uint_eq(blk_iov_uncut(&cut).nr, 0);
	blk_iov_write(v, "1234", 3);
	ck_assert_str_eq(a, "abc123g");
	blk_iov_zero(v);
	ck_assert_str_eq(a, "abc");
	ck_assert(
		!blk_iov_aligned((struct blk_iov){ &(struct iovec){ (void *)4096, 100 }, 1 }, 512));
	ck_assert(
		!blk_iov_aligned((struct blk_iov){ &(struct iovec){ (void *)4100, 512 }, 1 }, 512));
	ck_assert(
		blk_iov_aligned((struct blk_iov){ &(struct iovec){ (void *)4096, 512 }, 1 }, 512));
}
END_TEST

UNIT_SUITE("blk-raw", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, refuses_what_is_no_image);
	tcase_add_test(tc, no_permission);
	tcase_add_test(tc, size_is_whole_blocks);
	tcase_add_loop_test(tc, refuses_other_formats, 0, (int)ARRAY_SIZE(magics));
	tcase_add_test(tc, second_writer_is_told_who);
	tcase_add_test(tc, locks_within_one_run);
	tcase_add_test(tc, file_system_without_locks);
	tcase_add_test(tc, lock_without_a_holder_is_reported);
	tcase_add_test(tc, read_only);
	tcase_add_test(tc, failed_flush_is_not_forgotten);
	tcase_add_test(tc, zeroes_without_the_call);
	tcase_add_test(tc, full_file_system);
	tcase_add_test(tc, iov_helpers);
})
