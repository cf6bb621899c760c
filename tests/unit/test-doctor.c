/* SPDX-License-Identifier: GPL-2.0 */
// LINK: builtin-doctor.c util/options.c util/option-types.c util/nearest.c util/err.c util/util.c
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lkvm/kvm.h>
#include <lkvm/probe.h>
#include <lkvm/util.h>

#include "builtin.h"
#include "unit.h"

/* The host, as the modules below the command would report it. */
static struct {
	int open_ret; /* 0 or -errno */
	bool cap[3];
	int probe_ret;
	enum probe_result insns[2];
	struct probe_facts measured;
	const char *dev;
} host;

const struct kvm_cap kvm_caps[] = {
	{ .cap = 0, .name = "FIRST", .needed = true, .use = "the first thing" },
	{ .cap = 1, .name = "SECOND", .needed = true, .use = "a \"quoted\" thing" },
	{ .cap = 2,
	  .name = "THIRD",
	  .needed = false,
	  .use = "something that is told in more words than a line of eighty columns has room "
		 "for" },
};
const unsigned int kvm_caps_nr = ARRAY_SIZE(kvm_caps);

int kvm_open_dev(const char *dev, struct err *err)
{
	host.dev = dev;
	return host.open_ret ? err_host(err, -host.open_ret, "cannot open it")
			     : open("/dev/null", O_RDONLY);
}

int kvm_check_cap(const struct kvm *kvm, int cap)
{
	ck_assert_int_ge(kvm->vm_fd, 0);
	return host.cap[cap];
}

int probe_run(int dev_fd, struct probe_facts *facts, struct err *err)
{
	ck_assert_int_ge(dev_fd, 0);
	*facts = host.measured;
	facts->insns_nr = 2;
	facts->insns[0] = (struct probe_insn){ "insn-a", host.insns[0] };
	facts->insns[1] = (struct probe_insn){ "insn-b", host.insns[1] };
	return host.probe_ret ? err_host(err, -host.probe_ret, "KVM refused a VM") : 0;
}

bool probe_explain(const struct probe_facts *facts, char *buf, size_t len)
{
	snprintf(buf, len, "it is slow");
	return facts->insns[0].result == PROBE_FAILS || facts->insns[1].result == PROBE_FAILS;
}

/* Runs the command with stdout in `out`; returns its exit status. */
static char out[16384];

static int doctor(int argc, char **argv)
{
	int fd = memfd_create("out", MFD_CLOEXEC), saved = dup(1), status;
	ssize_t len;

	fflush(stdout);
	dup2(fd, 1);
	status = cmd_doctor(argc, argv);
	fflush(stdout);
	dup2(saved, 1);
	len = pread(fd, out, sizeof(out) - 1, 0);
	ck_assert_int_ge(len, 0);
	out[len] = 0;
	close(fd);
	close(saved);
	return status;
}

#define DOCTOR(...)                                                                                \
	doctor(sizeof((char *[]){ "doctor", ##__VA_ARGS__ }) / sizeof(char *),                     \
	       (char *[]){ "doctor", ##__VA_ARGS__, NULL })

/* RFC 8259, as far as an emitter can get it wrong. Each returns what follows the value, or NULL. */
static const char *json_value(const char *p);

static const char *json_skip(const char *p)
{
	return p + strspn(p, " \n");
}

static const char *json_text(const char *p)
{
	if (*p++ != '"')
		return NULL;
	for (; *p != '"'; p++) {
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			return NULL;
		if (*p != '\\')
			continue;
		p++;
		if (*p == 'u') {
			for (int i = 0; i < 4; i++)
				if (!isxdigit((unsigned char)*++p))
					return NULL;
		} else if (!*p || !strchr("\"\\/bfnrt", *p)) {
			return NULL;
		}
	}
	return p + 1;
}

static const char *json_members(const char *p, char end)
{
	p = json_skip(p);
	if (*p == end)
		return p + 1;
	for (;;) {
		if (end == '}') {
			p = json_text(json_skip(p));
			if (!p || *json_skip(p) != ':')
				return NULL;
			p = json_skip(p) + 1;
		}
		p = json_value(p);
		if (!p)
			return NULL;
		p = json_skip(p);
		if (*p == end)
			return p + 1;
		if (*p++ != ',')
			return NULL;
	}
}

static const char *json_value(const char *p)
{
	static const char *const words[] = { "true", "false", "null" };

	p = json_skip(p);
	for (unsigned int i = 0; i < 3; i++)
		if (!strncmp(p, words[i], strlen(words[i])))
			return p + strlen(words[i]);
	if (*p == '{' || *p == '[')
		return json_members(p + 1, *p == '{' ? '}' : ']');
	if (*p == '"')
		return json_text(p);
	if (*p == '0')
		return p + 1;
	return strspn(p, "0123456789") ? p + strspn(p, "0123456789") : NULL;
}

static void assert_json(const char *text)
{
	const char *end = json_value(text);

	ck_assert_msg(text[0] == '{' && end && !strcmp(end, "\n"), "no JSON object: %s", text);
}

static void assert_columns(const char *text)
{
	while (*text) {
		ck_assert_uint_le(strcspn(text, "\n"), 80);
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
}

static void host_good(void)
{
	memset(&host, 0, sizeof(host));
	host.cap[0] = host.cap[1] = host.cap[2] = true;
	host.insns[0] = host.insns[1] = PROBE_WORKS;
	host.measured = (struct probe_facts){
		.insns_per_sec = 2000000, .pio_ns = 8600, .mmio_ns = 8300, .doorbell_ns = 950
	};
}

/* One combination of facts; returns the status that it must give. */
static int host_combination(unsigned int n)
{
	bool fails = false;

	host_good();
	host.open_ret = n % 2 ? -EACCES : 0;
	n /= 2;
	for (int i = 0; i < 3; i++, n /= 2)
		host.cap[i] = n % 2;
	host.probe_ret = n % 2 ? -ENOSPC : 0;
	n /= 2;
	for (int i = 0; i < 2; i++, n /= 4) {
		host.insns[i] = n % 4;
		fails |= n % 4 == PROBE_FAILS;
	}
	return host.open_ret || !host.cap[0] || !host.cap[1] || host.probe_ret ? 2 : fails;
}

/* All of them: 2 devices, 8 sets of capabilities, 2 ends of the probe, 16 pairs of results. */
START_TEST(verdicts)
{
	static const char *const text[] = { "Verdict: Linux can run here\n",
					    "Verdict: only small guests can run here: it is slow\n",
					    "Verdict: no guest can run here: " };
	static const char *const json[] = { "\"verdict\": \"linux\", \"status\": 0,",
					    "\"verdict\": \"small guests\", \"status\": 1,",
					    "\"verdict\": \"none\", \"status\": 2," };

	for (unsigned int n = 0; n < 2 * 8 * 2 * 16; n++) {
		int want = host_combination(n);
		ck_assert_int_eq(DOCTOR(), want);
		ck_assert_msg(strstr(out, text[want]), "%u: %s", n, out);
		assert_columns(out);
		ck_assert_int_eq(DOCTOR("--json"), want);
		ck_assert_msg(strstr(out, json[want]), "%u: %s", n, out);
		assert_json(out);
	}
}
END_TEST

/* The reason names the cause that comes first: the device, then what it lacks, then what it refused. */
START_TEST(reasons)
{
	host_good();
	host.open_ret = -ENOENT;
	host.cap[0] = false;
	DOCTOR();
	ck_assert_msg(strstr(out, "here: cannot open it: No such file"), "%s", out);
	host.open_ret = 0;
	host.cap[1] = false;
	host.probe_ret = -ENOSPC;
	DOCTOR();
	ck_assert_msg(strstr(out, "here: KVM lacks FIRST, SECOND\n"), "%s", out);
	host.cap[0] = host.cap[1] = true;
	DOCTOR();
	ck_assert_msg(strstr(out, "here: KVM refused a VM: No space"), "%s", out);
}
END_TEST

START_TEST(prints_what_it_found)
{
	static const char *const lines[] = {
		"yes  needed    FIRST: the first thing\n",
		"no   optional  THIRD: something that is told in more words",
		"speed                   2 million instructions/s\n",
		"port exit               8.6 us\n",
		"MMIO exit               8.3 us\n",
		"ioeventfd write         950 ns\n",
		"insn-a                  works\n",
		"insn-b                  not offered by CPUID\n",
	};

	host_good();
	host.cap[2] = false;
	host.insns[1] = PROBE_NOT_OFFERED;
	ck_assert_int_eq(DOCTOR(), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(lines); i++)
		ck_assert_msg(strstr(out, lines[i]), "no %s in %s", lines[i], out);
	host.measured.insns_per_sec = 3970000000; /* more digits than three */
	DOCTOR();
	ck_assert_msg(strstr(out, "speed                   3970 million instructions/s\n"), "%s",
		      out);
	host.measured = (struct probe_facts){ 0 };
	DOCTOR();
	ck_assert_msg(strstr(out, "speed                   not measured\n"), "%s", out);
	DOCTOR("--json");
	ck_assert_msg(strstr(out, "\"port_exit_ns\": null"), "%s", out);
	assert_json(out);
}
END_TEST

START_TEST(json_has_every_fact)
{
	static const char *const facts[] = {
		"\"api_version\": 12",
		"{\"name\": \"SECOND\", \"present\": true, \"needed\": true, ",
		"\"use\": \"a \\\"quoted\\\" thing\"}",
		"\"instructions\": {\"insn-a\": \"fails\", \"insn-b\": \"works\"}",
		"\"instructions_per_second\": 2000000",
		"\"port_exit_ns\": 8600",
		"\"mmio_exit_ns\": 8300",
		"\"ioeventfd_ns\": 950",
	};

	host_good();
	host.insns[0] = PROBE_FAILS;
	ck_assert_int_eq(DOCTOR("--json"), 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(facts); i++)
		ck_assert_msg(strstr(out, facts[i]), "no %s in %s", facts[i], out);
}
END_TEST

/* A path may hold any byte but 0. */
START_TEST(json_of_any_path)
{
	char path[] = "/x";

	host_good();
	host.open_ret = -ENOENT;
	for (int byte = 1; byte < 256; byte++) {
		path[1] = byte;
		ck_assert_int_eq(DOCTOR("--json", "--dev", path), 2);
		ck_assert_str_eq(host.dev, path);
		assert_json(out);
	}
}
END_TEST

START_TEST(device_present_and_permitted)
{
	host_good();
	host.open_ret = -ENOENT;
	DOCTOR("--json", "--dev", "/nonexistent/kvm");
	ck_assert_msg(
		strstr(out, "\"present\": false, \"permitted\": false, \"api_version\": null"),
		"%s", out);
	DOCTOR("--dev", "/nonexistent/kvm");
	ck_assert_msg(strstr(out, "/nonexistent/kvm\n  present      no\n\nVerdict"), "%s", out);
	host.open_ret = -EPROTO;
	DOCTOR("--json", "--dev", "/dev/null");
	ck_assert_msg(strstr(out, "\"present\": true, \"permitted\": true, \"api_version\": null"),
		      "%s", out);
}
END_TEST

START_TEST(options)
{
	host_good();
	ck_assert_int_eq(DOCTOR("--help"), 0);
	ck_assert_ptr_nonnull(strstr(out, "--json"));
	ck_assert_ptr_null(host.dev);
	ck_assert_int_eq(DOCTOR("--jsn"), 210);
	ck_assert_int_eq(DOCTOR("--dev"), 210);
	ck_assert_int_eq(DOCTOR("stray"), 210);
	ck_assert_int_eq(DOCTOR("--json", "stray"), 210);
	ck_assert_str_eq(out, "");
	ck_assert_int_eq(DOCTOR(), 0);
	ck_assert_str_eq(host.dev, "/dev/kvm");
}
END_TEST

START_TEST(output_that_cannot_be_written)
{
	char *argv[] = { "doctor", NULL };
	int full = open("/dev/full", O_WRONLY), saved = dup(1);

	host_good();
	fflush(stdout);
	dup2(full, 1);
	int status = cmd_doctor(1, argv);
	dup2(saved, 1);
	clearerr(stdout);
	ck_assert_int_eq(status, 211);
}
END_TEST

UNIT_SUITE("doctor", {
	tcase_add_test(tc, verdicts);
	tcase_add_test(tc, reasons);
	tcase_add_test(tc, prints_what_it_found);
	tcase_add_test(tc, json_has_every_fact);
	tcase_add_test(tc, json_of_any_path);
	tcase_add_test(tc, device_present_and_permitted);
	tcase_add_test(tc, options);
	tcase_add_test(tc, output_that_cannot_be_written);
})
