/* SPDX-License-Identifier: GPL-2.0 */
// LINK: util/thread.c chr/chr.c chr/out.c chr/fd.c util/log.c util/util.c util/err.c
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/chr-fd.h>
#include <lkvm/chr.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/util.h>

/* A fake loop: the test turns it by hand and sees what is watched and what is posted. */

struct loop {
	struct loop_fd *watched;
	struct loop_post *posts[8];
	unsigned int posts_nr;
};

static struct loop loop;

int loop_fd_add(struct loop *l, struct loop_fd *lf)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int epoll_fd = epoll_create1(0);
	int ret = epoll_ctl(epoll_fd, EPOLL_CTL_ADD, lf->fd, &ev) < 0 ? -errno : 0;

	close(epoll_fd);
	if (ret < 0)
		return ret;
	ck_assert(!lf->added && !l->watched);
	lf->added = true;
	l->watched = lf;
	return 0;
}

void loop_fd_del(struct loop *l, struct loop_fd *lf)
{
	if (lf->added)
		l->watched = NULL;
	lf->added = false;
}

void loop_post(struct loop *l, struct loop_post *p)
{
	if (!p->queued)
		l->posts[l->posts_nr++] = p;
	p->queued = true;
}

void loop_post_cancel(struct loop *l, struct loop_post *p)
{
	if (p->queued)
		l->posts_nr = 0; /* there is one chr */
	p->queued = false;
}

/* One round. False when nothing is due. */
static bool turn(void)
{
	struct loop_fd *lf = loop.watched;
	bool busy = loop.posts_nr > 0;

	if (lf) {
		struct pollfd pfd = { .fd = lf->fd, .events = POLLIN };

		if (poll(&pfd, 1, 0) == 1) {
			busy = true;
			lf->fn(lf, (uint32_t)pfd.revents);
		}
	}
	for (unsigned int nr = loop.posts_nr; nr > 0; nr--) {
		struct loop_post *p = loop.posts[0];

		memmove(loop.posts, loop.posts + 1, --loop.posts_nr * sizeof(loop.posts[0]));
		p->queued = false;
		p->fn(p);
	}
	return busy;
}

static void turn_until_idle(void)
{
	for (int i = 0; turn(); i++)
		ck_assert_msg(i < 10000, "the loop spins");
}

/* Fixture: a chr, a frontend that keeps what it gets, a log that keeps its lines. */

static struct log log_to = { .fd = -1, .level = LOG_INFO };
static struct chr_config cfg;
static struct chr *chr;
static uint8_t got[65536];
static size_t got_len, room_len;
static unsigned int escapes;

static size_t fe_room(void *arg)
{
	(void)arg;
	return room_len;
}

static void fe_input(void *arg, const uint8_t *buf, size_t len)
{
	(void)arg;
	ck_assert_uint_gt(len, 0);
	ck_assert_uint_le(len, room_len);
	memcpy(got + got_len, buf, len);
	got_len += len;
	room_len -= len;
}

static void on_escape(void *arg)
{
	ck_assert_ptr_eq(arg, &cfg);
	escapes++;
}

static const struct chr_frontend fe = { fe_room, fe_input, NULL };

static void setup(void)
{
	cfg = (struct chr_config){
		.in_fd = -1, .out_fd = -1, .copy_fd = -1, .on_escape = on_escape, .arg = &cfg
	};
	room_len = sizeof(got);
}

static void start(void)
{
	struct err err = ERR_INIT;

	chr = chr_new(&cfg, &loop, &log_to, &err);
	ck_assert_msg(chr != NULL, "%s", err.msg);
	chr_set_frontend(chr, &fe);
}

static void end(unsigned int deadline_ms)
{
	chr_free(chr, deadline_ms);
	ck_assert_ptr_null(loop.watched);
	ck_assert_uint_eq(loop.posts_nr, 0);
}

static int temp_file(void)
{
	char path[] = "/tmp/test-chr-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	return fd;
}

#define ENOUGH_MS 30000 /* a deadline that a working test never meets */

/* Reads exactly `len` bytes, which blocks until they come. */
static void read_exactly(int fd, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		ck_assert_int_gt(n, 0);
		done += (size_t)n;
	}
}

/* Descriptors. */

static void fill(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	char block[4096] = { 0 };

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (write(fd, block, sizeof(block)) > 0)
		;
	while (write(fd, block, 1) > 0)
		;
	fcntl(fd, F_SETFL, flags);
}

/* A pair of blocking descriptors of each kind: [0] is read, [1] is written. */
static void make_pair(const char *what, int fd[2])
{
	struct termios raw;

	if (strcmp(what, "pipe") == 0)
		ck_assert_int_eq(pipe(fd), 0);
	else if (strcmp(what, "socket") == 0)
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	else
		ck_assert_int_eq(openpty(&fd[0], &fd[1], NULL, NULL, NULL), 0);
	if (strcmp(what, "pty") == 0) {
		tcgetattr(fd[1], &raw);
		cfmakeraw(&raw);
		tcsetattr(fd[1], TCSANOW, &raw);
	}
}

static const char *const kinds[] = { "pipe", "socket", "pty" };

START_TEST(fd_write_never_blocks)
{
	struct chr_fd cf;
	int fd[2], flags;
	ssize_t n;

	make_pair(kinds[_i], fd);
	flags = fcntl(fd[1], F_GETFL);
	fill(fd[1]);
	chr_fd_init(&cf, fd[1], O_WRONLY);
	ck_assert_int_eq(cf.kind, _i == 1 ? CHR_FD_SOCKET : CHR_FD_OWN);
	/* A terminal moves a little from buffer to buffer after it was full. */
	do
		n = chr_fd_write(&cf, "x", 1);
	while (_i == 2 && n == 1);
	ck_assert_int_eq(n, -EAGAIN);
	ck_assert_int_eq(fcntl(fd[1], F_GETFL), flags);
	chr_fd_release(&cf);
	ck_assert_int_eq(fcntl(fd[1], F_GETFL), flags);
}
END_TEST

START_TEST(fd_read_never_blocks)
{
	struct chr_fd cf;
	int fd[2], flags;
	char c = 0;

	make_pair(kinds[_i], fd);
	flags = fcntl(fd[0], F_GETFL);
	/* The terminal's own end is the one that lkvm has as stdin. */
	chr_fd_init(&cf, fd[_i == 2], O_RDONLY);
	ck_assert_int_eq(chr_fd_read(&cf, &c, 1), -EAGAIN);
	ck_assert_int_eq(write(fd[_i != 2], "x", 1), 1);
	ck_assert_int_eq(chr_fd_read(&cf, &c, 1), 1);
	ck_assert_int_eq(c, 'x');
	ck_assert_int_eq(fcntl(fd[0], F_GETFL), flags);
	chr_fd_release(&cf);
}
END_TEST

/* Where the file cannot be opened again: look first, and write no more than poll promises. */
START_TEST(fd_that_only_poll_knows)
{
	static char big[PIPE_BUF * 3];
	struct chr_fd cf = { .kind = CHR_FD_POLL };
	int fd[2];
	char c;

	make_pair("pipe", fd);
	cf.fd = fd[0];
	ck_assert_int_eq(chr_fd_read(&cf, &c, 1), -EAGAIN);
	cf.fd = fd[1];
	ck_assert_int_eq(chr_fd_write(&cf, big, sizeof(big)), PIPE_BUF);
	fill(fd[1]);
	ck_assert_int_eq(chr_fd_write(&cf, "x", 1), -EAGAIN);
	chr_fd_release(&cf);
	ck_assert_int_ge(fcntl(fd[1], F_GETFD), 0); /* it was not ours to close */
}
END_TEST

START_TEST(fd_files_and_devices)
{
	struct chr_fd cf;
	char c;
	int fd = temp_file();

	chr_fd_init(&cf, fd, O_RDONLY);
	ck_assert_int_eq(cf.kind, CHR_FD_FILE);
	ck_assert_int_eq(cf.fd, fd);
	ck_assert_int_eq(chr_fd_read(&cf, &c, 1), 0);

	fd = open("/dev/full", O_RDWR);
	chr_fd_init(&cf, fd, O_WRONLY);
	ck_assert_int_eq(cf.kind, CHR_FD_POLL);
	ck_assert_int_eq(chr_fd_write(&cf, "x", 1), -ENOSPC);

	chr_fd_init(&cf, 999, O_WRONLY);
	ck_assert_int_eq(chr_fd_write(&cf, "x", 1), -EBADF);
}
END_TEST

/* Output. */

START_TEST(output_arrives)
{
	int fd[2], flags;
	char buf[64];

	make_pair(kinds[_i], fd);
	flags = fcntl(fd[1], F_GETFL);
	cfg.out_fd = fd[1];
	start();
	chr_write(chr, "hello\n", 6);
	read_exactly(fd[0], buf, 6);
	ck_assert_int_eq(memcmp(buf, "hello\n", 6), 0);
	/* A prompt has no end of line and comes all the same. */
	chr_write(chr, "login: ", 7);
	read_exactly(fd[0], buf, 7);
	ck_assert_int_eq(memcmp(buf, "login: ", 7), 0);
	ck_assert_int_eq(fcntl(fd[1], F_GETFL), flags);
	end(ENOUGH_MS);
	ck_assert_int_eq(fcntl(fd[1], F_GETFL), flags);
}
END_TEST

/* A stream in which each place is known, and a reader that checks it, marks included. */

#define RECORD_LEN 8

static uint8_t stream_byte(size_t pos)
{
	char record[32];

	snprintf(record, sizeof(record), "%07zu\n", pos / RECORD_LEN);
	return (uint8_t)record[pos % RECORD_LEN];
}

static size_t stream_write(size_t pos, size_t len)
{
	uint8_t buf[1024];

	for (size_t i = 0; i < len; i++)
		buf[i] = stream_byte(pos + i);
	chr_write(chr, buf, len);
	return pos + len;
}

struct reader {
	int fd;
	pthread_t thread;
	uint64_t pos, dropped, marks;
	char mark[64];
	size_t mark_len;
	bool bad;
};

static void reader_byte(struct reader *r, char c)
{
	unsigned long n;

	if (c != '[' && r->mark_len == 0) {
		r->bad |= (uint8_t)c != stream_byte(r->pos++);
		return;
	}
	r->mark[r->mark_len++] = c;
	if (c != '\n' && r->mark_len < sizeof(r->mark) - 1)
		return;
	r->mark[r->mark_len] = '\0';
	r->mark_len = 0;
	n = strtoul(r->mark + strlen("[lkvm: "), NULL, 10);
	r->bad |= strncmp(r->mark, "[lkvm: ", 7) != 0 || !strstr(r->mark, " bytes dropped]\n") ||
		  !n;
	r->pos += n;
	r->dropped += n;
	r->marks++;
}

static void *reader_fn(void *arg)
{
	struct reader *r = arg;
	char buf[777];
	ssize_t n;

	while ((n = read(r->fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			reader_byte(r, buf[i]);
	return NULL;
}

/*
 * Nobody reads until all was written, or a reader keeps pulling meanwhile: what is missing is exactly
 * what the marks say, where they say it.
 */
START_TEST(drops_are_marked_in_place)
{
	bool meanwhile = _i & 1;
	size_t buf_len = _i & 2 ? 4096 : 20000, pos = 0;
	struct reader reader = { 0 };
	struct chr_stats st;
	int fd[2];

	make_pair("pipe", fd);
	fcntl(fd[1], F_SETPIPE_SZ, 4096);
	cfg.out_fd = fd[1];
	cfg.buf_len = buf_len;
	reader.fd = fd[0];
	start();
	if (meanwhile)
		pthread_create(&reader.thread, NULL, reader_fn, &reader);
	for (size_t i = 0; i < 2000; i++)
		pos = stream_write(pos, 1 + i * 37 % 400);
	if (!meanwhile)
		pthread_create(&reader.thread, NULL, reader_fn, &reader);
	chr_drain(chr, ENOUGH_MS);
	chr_stats(chr, &st);
	end(0);
	close(fd[1]);
	pthread_join(reader.thread, NULL);

	ck_assert(!reader.bad);
	ck_assert_uint_eq(reader.pos, pos);
	ck_assert_uint_eq(st.written, pos);
	ck_assert_uint_eq(reader.dropped, st.dropped);
	ck_assert_int_eq(st.out_errno, 0);
	/* Pipe, buffer and what the writer holds; and marks do not swamp the output. */
	if (!meanwhile)
		ck_assert_uint_gt(st.dropped, pos - buf_len - 60000);
	ck_assert_uint_le(reader.marks, 2000);
}
END_TEST

static void reader_read(struct reader *r, size_t len)
{
	char buf[4096];

	for (; len > 0; len -= sizeof(buf)) {
		read_exactly(r->fd, buf, sizeof(buf));
		for (size_t i = 0; i < sizeof(buf); i++)
			reader_byte(r, buf[i]);
	}
}

/*
 * A full buffer takes nothing more until a quarter is free, else a slow reader would get a mark for every
 * few bytes; then it does.
 */
START_TEST(gap_ends_at_a_quarter)
{
	const size_t len = 1 << 20;
	struct reader reader = { 0 };
	struct chr_stats st;
	uint64_t dropped;
	size_t pos = 0;
	int fd[2];

	make_pair("pipe", fd);
	fcntl(fd[1], F_SETPIPE_SZ, 4096);
	cfg.out_fd = fd[1];
	cfg.buf_len = len;
	reader.fd = fd[0];
	start();
	do {
		pos = stream_write(pos, 1024);
		chr_stats(chr, &st);
	} while (!st.dropped);
	for (int i = 0; i < 40; i++) {
		reader_read(&reader, 4096);
		pos = stream_write(pos, 1000);
	}
	chr_stats(chr, &st);
	dropped = st.dropped;
	ck_assert_uint_ge(dropped, 40 * 1000);
	reader_read(&reader, len / 2);
	pos = stream_write(pos, 1000);
	chr_stats(chr, &st);
	ck_assert_uint_eq(st.dropped, dropped);
	pthread_create(&reader.thread, NULL, reader_fn, &reader);
	end(ENOUGH_MS);
	close(fd[1]);
	pthread_join(reader.thread, NULL);
	ck_assert(!reader.bad);
	ck_assert_uint_eq(reader.marks, 1);
	ck_assert_uint_eq(reader.dropped, dropped);
	ck_assert_uint_eq(reader.pos, pos);
}
END_TEST

/* A guest that falls silent after a drop: the mark comes without a further write. */
START_TEST(mark_comes_by_itself)
{
	static char big[100000];
	struct reader reader = { 0 };
	int fd[2];
	char c;

	memset(big, 'x', sizeof(big));
	make_pair("pipe", fd);
	fcntl(fd[1], F_SETPIPE_SZ, 4096);
	cfg.out_fd = fd[1];
	cfg.buf_len = 4096;
	start();
	chr_write(chr, big, sizeof(big));
	do
		read_exactly(fd[0], &c, 1);
	while (c == 'x');
	for (; c != '\n'; read_exactly(fd[0], &c, 1))
		reader.mark[reader.mark_len++] = c;
	ck_assert_int_eq(strncmp(reader.mark, "[lkvm: 95904 bytes dropped]", 27), 0);
	end(ENOUGH_MS);
}
END_TEST

START_TEST(dead_reader_spares_the_copy)
{
	int fd[2], copy = temp_file();
	struct chr_stats st;
	size_t pos = 0;

	make_pair(kinds[_i], fd);
	cfg.out_fd = fd[1];
	cfg.copy_fd = copy;
	start();
	close(fd[0]);
	for (size_t i = 0; i < 1000; i++)
		pos = stream_write(pos, 100);
	chr_drain(chr, ENOUGH_MS);
	chr_stats(chr, &st);
	ck_assert_int_eq(st.out_errno, _i == 2 ? EIO : EPIPE);
	ck_assert_int_eq(st.copy_errno, 0);
	ck_assert_uint_eq(st.copy_dropped, 0);
	ck_assert_int_eq(lseek(copy, 0, SEEK_END), (off_t)pos);
	end(0);
}
END_TEST

START_TEST(full_disk_spares_the_output)
{
	struct chr_stats st;
	char buf[64], line[256] = "";
	int fd[2], log_fd[2];

	make_pair("pipe", fd);
	make_pair("pipe", log_fd);
	log_to.fd = log_fd[1];
	cfg.out_fd = fd[1];
	cfg.copy_fd = open("/dev/full", O_WRONLY);
	start();
	chr_write(chr, "first\n", 6);
	/* The one line that says so; then output goes on. */
	for (size_t i = 0; !strchr(line, '\n'); i++)
		read_exactly(log_fd[0], line + i, 1);
	ck_assert_str_eq(line, "lkvm: warning: the console log ends: No space left on device\n");
	chr_write(chr, "second\n", 7);
	read_exactly(fd[0], buf, 13);
	ck_assert_int_eq(memcmp(buf, "first\nsecond\n", 13), 0);
	chr_drain(chr, ENOUGH_MS);
	chr_stats(chr, &st);
	ck_assert_int_eq(st.copy_errno, ENOSPC);
	ck_assert_int_eq(st.out_errno, 0);
	end(0);
}
END_TEST

/* A reader that was stopped: neither a write nor the end waits for it, and the copy is complete. */
START_TEST(stopped_reader_holds_nobody)
{
	int fd[2], copy = temp_file();
	struct chr_stats st;
	size_t pos = 0;

	make_pair(kinds[_i], fd);
	fill(fd[1]);
	cfg.out_fd = fd[1];
	cfg.copy_fd = copy;
	start();
	for (size_t i = 0; i < 2000; i++)
		pos = stream_write(pos, 100);
	while (lseek(copy, 0, SEEK_END) < (off_t)pos)
		poll(NULL, 0, 1);
	chr_drain(chr, 50);
	chr_stats(chr, &st);
	ck_assert_uint_ge(st.dropped, _i == 2 ? pos - 65536 : pos);
	ck_assert_uint_le(st.dropped, pos);
	ck_assert_int_eq(st.out_errno, 0);
	ck_assert_int_eq(lseek(copy, 0, SEEK_END), (off_t)pos);
	end(0);
}
END_TEST

START_TEST(closed_stdout)
{
	struct chr_stats st;

	cfg.out_fd = 999;
	start();
	chr_write(chr, "x\n", 2);
	chr_drain(chr, ENOUGH_MS);
	chr_stats(chr, &st);
	ck_assert_int_eq(st.out_errno, EBADF);
	end(0);
}
END_TEST

START_TEST(nothing_after_the_end)
{
	int copy = temp_file();

	cfg.copy_fd = copy;
	start();
	chr_write(chr, "a\n", 2);
	chr_drain(chr, ENOUGH_MS);
	chr_write(chr, "b\n", 2);
	chr_drain(chr, ENOUGH_MS);
	end(ENOUGH_MS);
	ck_assert_int_eq(lseek(copy, 0, SEEK_END), 2);
	chr_free(NULL, 0);
}
END_TEST

static size_t tapped;
static bool tap_bad;

static void tap(void *arg, const uint8_t *buf, size_t len)
{
	ck_assert_ptr_eq(arg, &cfg);
	for (size_t i = 0; i < len; i++)
		tap_bad |= buf[i] != stream_byte(tapped++);
}

/* The panic line must be seen also when the reader is slow. */
START_TEST(tap_sees_what_is_dropped)
{
	size_t pos = 0;
	int fd[2];

	make_pair("pipe", fd);
	fill(fd[1]);
	cfg.out_fd = fd[1];
	cfg.buf_len = 4096;
	cfg.tap = tap;
	start();
	for (size_t i = 0; i < 1000; i++)
		pos = stream_write(pos, 333);
	ck_assert_uint_eq(tapped, pos);
	ck_assert(!tap_bad);
	end(0);
}
END_TEST

static void *write_thread(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2000; i++)
		chr_write(chr, "0123456789abcde\n", 16);
	return NULL;
}

/* Writes of several vCPUs do not mix within a write, and both outputs have the same order. */
START_TEST(writers_do_not_mix)
{
	int copy = temp_file(), out = temp_file();
	static char a[4 * 2000 * 16], b[sizeof(a)];
	pthread_t threads[4];

	cfg.copy_fd = copy;
	cfg.out_fd = out;
	start();
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, write_thread, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	end(ENOUGH_MS);
	ck_assert_int_eq(pread(copy, a, sizeof(a), 0), (ssize_t)sizeof(a));
	ck_assert_int_eq(pread(out, b, sizeof(b), 0), (ssize_t)sizeof(b));
	ck_assert_int_eq(memcmp(a, b, sizeof(a)), 0);
	for (size_t i = 0; i < sizeof(a); i += 16)
		ck_assert_int_eq(memcmp(a + i, "0123456789abcde\n", 16), 0);
}
END_TEST

/* KiB of the mapping that is `len` bytes long which are resident. */
static long resident(size_t len)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start_addr, end_addr;
	bool found = false;
	char line[512];
	long kib = -1;

	while (kib < 0 && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start_addr, &end_addr) == 2)
			found = end_addr - start_addr == len;
		else if (found)
			sscanf(line, "Rss: %ld kB", &kib);
	}
	fclose(f);
	return kib;
}

/* Megabytes pass and one page is touched while the reader keeps up; a backlog is given back. */
START_TEST(memory_stays_small)
{
	const size_t len = (16u << 20) + 7 * 4096;
	static char big[1 << 20], back[sizeof(big)];
	int fd[2];

	make_pair("pipe", fd);
	cfg.out_fd = fd[1];
	cfg.buf_len = len;
	start();
	for (int i = 0; i < 1024; i++) {
		chr_write(chr, big, 4096);
		read_exactly(fd[0], back, 4096);
		if (i == 40 || i == 1023)
			ck_assert_int_le(resident(len), 8);
	}
	chr_write(chr, big, sizeof(big));
	ck_assert_int_ge(resident(len), 512);
	read_exactly(fd[0], back, sizeof(big));
	ck_assert_int_eq(resident(len), 0);
	end(ENOUGH_MS);
}
END_TEST

/* Input. */

static int feed(const char *kind)
{
	int fd[2];

	make_pair(kind, fd);
	/* lkvm has the terminal's end, the user the other. */
	cfg.in_fd = strcmp(kind, "pty") == 0 ? fd[1] : fd[0];
	return strcmp(kind, "pty") == 0 ? fd[0] : fd[1];
}

START_TEST(input_arrives)
{
	int user = feed(kinds[_i]);
	int flags = fcntl(cfg.in_fd, F_GETFL);

	start();
	turn_until_idle();
	ck_assert_int_eq(write(user, "abc", 3), 3);
	turn_until_idle();
	ck_assert_int_eq(write(user, "\001d", 2), 2); /* no escape: just bytes */
	turn_until_idle();
	ck_assert_uint_eq(got_len, 5);
	ck_assert_int_eq(memcmp(got, "abc\001d", 5), 0);
	ck_assert_int_eq(fcntl(cfg.in_fd, F_GETFL), flags);

	/* The end of input: nothing is watched any more, nothing spins, output still works. */
	ck_assert_ptr_nonnull(loop.watched);
	close(user);
	turn_until_idle();
	ck_assert_ptr_null(loop.watched);
	chr_input_ready(chr);
	turn_until_idle();
	chr_write(chr, "x", 1);
	end(ENOUGH_MS);
}
END_TEST

/* What came before the end of file is delivered, also when the device takes its time. */
START_TEST(input_waits_for_room)
{
	char sent[10000];
	int user = feed("pipe");

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)stream_byte(i);
	ck_assert_int_eq(write(user, sent, sizeof(sent)), sizeof(sent));
	close(user);
	room_len = 0;
	start();
	turn_until_idle();
	ck_assert_uint_eq(got_len, 0);
	ck_assert_ptr_null(loop.watched); /* level-triggered: it would spin */
	while (got_len < sizeof(sent)) {
		size_t before = got_len;

		room_len = 1 + got_len % 700;
		chr_input_ready(chr);
		turn_until_idle();
		ck_assert_uint_gt(got_len, before);
	}
	ck_assert_uint_eq(got_len, sizeof(sent));
	ck_assert_int_eq(memcmp(got, sent, sizeof(sent)), 0);
	end(0);
}
END_TEST

START_TEST(input_is_bounded)
{
	char sent[CHR_IN_LEN * 3] = { 0 };
	int user = feed("pipe"), left;

	ck_assert_int_eq(write(user, sent, sizeof(sent)), sizeof(sent));
	room_len = 0;
	start();
	turn_until_idle();
	ck_assert_int_eq(ioctl(cfg.in_fd, FIONREAD, &left), 0);
	ck_assert_int_eq(left, CHR_IN_LEN * 2);
	end(0);
}
END_TEST

START_TEST(input_from_a_file)
{
	char sent[10000];

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)stream_byte(i);
	cfg.in_fd = temp_file();
	cfg.escape = _i; /* no difference */
	ck_assert_int_eq(pwrite(cfg.in_fd, sent, sizeof(sent), 0), sizeof(sent));
	room_len = 0;
	start();
	turn_until_idle();
	ck_assert_int_eq(lseek(cfg.in_fd, 0, SEEK_CUR), CHR_IN_LEN);
	while (got_len < sizeof(sent)) {
		room_len = 333;
		chr_input_ready(chr);
		turn_until_idle();
	}
	room_len = 1;
	chr_input_ready(chr);
	turn_until_idle();
	ck_assert_uint_eq(got_len, sizeof(sent));
	ck_assert_int_eq(memcmp(got, sent, sizeof(sent)), 0);
	end(0);
}
END_TEST

START_TEST(input_that_is_none)
{
	static const char *const paths[] = { "/dev/null", "/", "" };

	cfg.in_fd = *paths[_i] ? open(paths[_i], O_RDONLY) : 999;
	start();
	turn_until_idle();
	ck_assert_ptr_null(loop.watched);
	ck_assert_uint_eq(got_len, 0);
	end(0);
}
END_TEST

/* Each line in one read, and cut at every place into two. */
START_TEST(escapes_at_every_cut)
{
	static const struct {
		const char *typed, *want;
		unsigned int escapes;
	} rows[] = {
		{ "ab", "ab", 0 },
		{ "\001x", "", 1 },
		{ "a\001xb", "ab", 1 },
		{ "\001\001", "\001", 0 },
		{ "a\001\001xb", "a\001xb", 0 },
		{ "\001\001\001x", "\001", 1 },
		{ "\001b", "\001b", 0 },
		{ "x\001", "x", 0 },
		{ "\001x\001x", "", 2 },
		{ "\001X", "", 1 },
		{ "\001\001\001\001", "\001\001", 0 },
	};

	for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
		size_t len = strlen(rows[row].typed);

		for (size_t cut = 0; cut <= len; cut++) {
			int user = feed("pipe");

			cfg.escape = true;
			got_len = escapes = 0;
			start();
			ck_assert_int_eq(write(user, rows[row].typed, cut), (ssize_t)cut);
			turn_until_idle();
			ck_assert_int_eq(write(user, rows[row].typed + cut, len - cut),
					 (ssize_t)(len - cut));
			turn_until_idle();
			ck_assert_uint_eq(got_len, strlen(rows[row].want));
			ck_assert_int_eq(memcmp(got, rows[row].want, got_len), 0);
			ck_assert_uint_eq(escapes, rows[row].escapes);
			end(0);
			close(user);
			close(cfg.in_fd);
		}
	}
}
END_TEST

/* A guest that hangs takes no input; the user must still get out. */
START_TEST(escape_from_a_hung_guest)
{
	char sent[CHR_IN_LEN * 2];
	int user = feed("pipe");

	memset(sent, 'a', sizeof(sent));
	cfg.escape = true;
	room_len = 0;
	start();
	ck_assert_int_eq(write(user, sent, sizeof(sent)), sizeof(sent));
	ck_assert_int_eq(write(user, "\001x", 2), 2);
	turn_until_idle();
	ck_assert_uint_eq(escapes, 1);
	ck_assert_uint_eq(got_len, 0);
	room_len = sizeof(got);
	chr_input_ready(chr);
	turn_until_idle();
	ck_assert_uint_eq(got_len, CHR_IN_LEN);
	end(0);
}
END_TEST

/* Life. */

static unsigned int fds_nr(void)
{
	unsigned int nr = 0;

	for (int fd = 0; fd < 256; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

START_TEST(nothing_left_open)
{
	int in[2], out[2];
	unsigned int before;

	make_pair("pipe", in);
	make_pair("pipe", out);
	cfg.in_fd = in[0];
	cfg.out_fd = out[1];
	cfg.copy_fd = out[1];
	before = fds_nr();
	for (int i = 0; i < 10; i++) {
		start();
		turn_until_idle();
		chr_write(chr, "x\n", 2);
		end(ENOUGH_MS);
	}
	ck_assert_uint_eq(fds_nr(), before);
}
END_TEST

START_TEST(no_memory)
{
	struct err err = ERR_INIT;
	int fd[2];

	make_pair("pipe", fd);
	cfg.out_fd = fd[1];
	cfg.buf_len = (size_t)1 << 60;
	ck_assert_ptr_null(chr_new(&cfg, &loop, &log_to, &err));
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_uint_eq(loop.posts_nr, 0);
}
END_TEST

UNIT_SUITE("chr", {
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_loop_test(tc, fd_write_never_blocks, 0, 3);
	tcase_add_loop_test(tc, fd_read_never_blocks, 0, 3);
	tcase_add_test(tc, fd_that_only_poll_knows);
	tcase_add_test(tc, fd_files_and_devices);
	tcase_add_loop_test(tc, output_arrives, 0, 3);
	tcase_add_loop_test(tc, drops_are_marked_in_place, 0, 4);
	tcase_add_test(tc, gap_ends_at_a_quarter);
	tcase_add_test(tc, mark_comes_by_itself);
	tcase_add_loop_test(tc, dead_reader_spares_the_copy, 0, 3);
	tcase_add_test(tc, full_disk_spares_the_output);
	tcase_add_loop_test(tc, stopped_reader_holds_nobody, 0, 3);
	tcase_add_test(tc, closed_stdout);
	tcase_add_test(tc, nothing_after_the_end);
	tcase_add_test(tc, tap_sees_what_is_dropped);
	tcase_add_test(tc, writers_do_not_mix);
	tcase_add_test(tc, memory_stays_small);
	tcase_add_loop_test(tc, input_arrives, 0, 3);
	tcase_add_test(tc, input_waits_for_room);
	tcase_add_test(tc, input_is_bounded);
	tcase_add_loop_test(tc, input_from_a_file, 0, 2);
	tcase_add_loop_test(tc, input_that_is_none, 0, 3);
	tcase_add_test(tc, escapes_at_every_cut);
	tcase_add_test(tc, escape_from_a_hung_guest);
	tcase_add_test(tc, nothing_left_open);
	tcase_add_test(tc, no_memory);
})
