// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/kvm.h>
#include <lkvm/options.h>
#include <lkvm/probe.h>
#include <lkvm/result.h>
#include <lkvm/util.h>

#include "builtin.h"

#define COLUMNS  80
#define CAPS_MAX 64

/* The exit statuses of this command. */
enum verdict {
	VERDICT_LINUX = 0,
	VERDICT_SMALL = 1,
	VERDICT_NONE = 2,
};

static const char *const verdict_names[] = { "linux", "small guests", "none" };

struct doctor_config {
	const char *dev;
	bool json;
	bool help;
};

struct doctor {
	const char *dev;
	bool present, permitted, usable; /* the device; usable: it is KVM with our API version */
	bool caps[CAPS_MAX];             /* as kvm_caps[] */
	bool probed;
	struct probe_facts probe;
	struct err err; /* why the device is not usable, or could not be probed */
	enum verdict verdict;
	char reason[ERR_MSG_LEN + 64]; /* one sentence, no full stop */
};

static const struct option_def option_defs[] = {
	{ .name = "dev",
	  .arg = "PATH",
	  .parse = option_string,
	  .off = offsetof(struct doctor_config, dev),
	  .help = "The KVM device to ask; /dev/kvm unless given." },
	{ .name = "json",
	  .parse = option_set,
	  .off = offsetof(struct doctor_config, json),
	  .help = "Print one JSON object." },
	{ .name = "help",
	  .letter = 'h',
	  .parse = option_set,
	  .off = offsetof(struct doctor_config, help),
	  .help = "Print this." },
};

static const struct option_table options = { .defs = option_defs,
					     .defs_nr = ARRAY_SIZE(option_defs) };

/* Finding out. */

static void doctor_ask(struct doctor *d)
{
	struct stat st;
	int fd;

	d->present = stat(d->dev, &st) == 0;
	d->permitted = access(d->dev, R_OK | W_OK) == 0;
	fd = kvm_open_dev(d->dev, &d->err);
	if (fd < 0)
		return;
	d->usable = true;
	/* The device answers for a VM of the default type, which is the one that lkvm makes. */
	for (unsigned int i = 0; i < kvm_caps_nr; i++)
		d->caps[i] = kvm_check_cap(&(struct kvm){ .dev_fd = fd, .vm_fd = fd },
					   kvm_caps[i].cap);
	d->probed = probe_run(fd, &d->probe, &d->err) == 0;
	close(fd);
}

/* "A, B and C": the needed capabilities that are missing. Returns how many. */
static unsigned int caps_missing(const struct doctor *d, char *buf, size_t len)
{
	unsigned int nr = 0;

	buf[0] = '\0';
	for (unsigned int i = 0; i < kvm_caps_nr; i++) {
		size_t used = strlen(buf);
		if (kvm_caps[i].needed && !d->caps[i])
			snprintf(buf + used, len - used, "%s%s", nr++ ? ", " : "",
				 kvm_caps[i].name);
	}
	return nr;
}

static void doctor_judge(struct doctor *d)
{
	char missing[256], why[PROBE_SENTENCE_LEN];

	d->verdict = VERDICT_NONE;
	if (d->usable && caps_missing(d, missing, sizeof(missing))) {
		snprintf(d->reason, sizeof(d->reason), "no guest can run here: KVM lacks %s",
			 missing);
	} else if (!d->probed) {
		snprintf(d->reason, sizeof(d->reason), "no guest can run here: %s", d->err.msg);
	} else if (probe_explain(&d->probe, why, sizeof(why))) {
		d->verdict = VERDICT_SMALL;
		snprintf(d->reason, sizeof(d->reason), "only small guests can run here: %s", why);
	} else {
		d->verdict = VERDICT_LINUX;
		snprintf(d->reason, sizeof(d->reason), "Linux can run here");
	}
}

/* For people. */

/* Prints `text` from column `at` on, broken at spaces, further lines indented by `indent`. */
static void print_wrapped(unsigned int at, unsigned int indent, const char *text)
{
	while (*text) {
		unsigned int len = strcspn(text, " ");
		if (at > indent && at + 1 + len > COLUMNS) {
			printf("\n%*s", (int)indent, "");
			at = indent;
		} else if (at > indent) {
			putchar(' ');
			at++;
		}
		printf("%.*s", (int)len, text);
		at += len;
		text += len + strspn(text + len, " ");
	}
	putchar('\n');
}

static void print_device(const struct doctor *d)
{
	printf("%s\n", d->dev);
	printf("  present      %s\n", d->present ? "yes" : "no");
	if (d->present)
		printf("  permitted    %s\n", d->permitted ? "yes" : "no");
	if (d->permitted)
		printf("  API version  %s\n", d->usable ? "12" : "none that lkvm can use");
}

static void print_caps(const struct doctor *d)
{
	puts("\nCapabilities (and what is lost without)");
	for (unsigned int i = 0; i < kvm_caps_nr; i++) {
		const struct kvm_cap *c = &kvm_caps[i];
		char text[256];
		snprintf(text, sizeof(text), "%s: %s", c->name, c->use);
		printf("  %-3s  %-8s  ", d->caps[i] ? "yes" : "no",
		       c->needed ? "needed" : "optional");
		print_wrapped(17, 17, text);
	}
}

/* Three digits that matter, with a unit: 7.42 us. */
static void print_scaled(const char *what, uint64_t v, const char *const units[3])
{
	static const double scales[] = { 1, 1e3, 1e6 };
	unsigned int i = v >= 1000000 ? 2 : v >= 1000 ? 1 : 0;

	/* %g alone writes 3970 as 3.97e+03. */
	if (v >= 1000 * scales[i])
		printf("  %-23s %.0f %s\n", what, v / scales[i], units[i]);
	else if (v)
		printf("  %-23s %.3g %s\n", what, v / scales[i], units[i]);
	else
		printf("  %-23s not measured\n", what);
}

static void print_probe(const struct probe_facts *p)
{
	static const char *const rate[] = { "instructions/s", "thousand instructions/s",
					    "million instructions/s" };
	static const char *const time[] = { "ns", "us", "ms" };
	static const char *const results[] = { [PROBE_NOT_RUN] = "not tried",
					       [PROBE_WORKS] = "works",
					       [PROBE_NOT_OFFERED] = "not offered by CPUID",
					       [PROBE_FAILS] = "does not execute" };

	puts("\nMeasured with a small guest");
	print_scaled("speed", p->insns_per_sec, rate);
	print_scaled("port exit", p->pio_ns, time);
	print_scaled("MMIO exit", p->mmio_ns, time);
	print_scaled("ioeventfd write", p->doorbell_ns, time);
	for (unsigned int i = 0; i < p->insns_nr; i++)
		printf("  %-23s %s\n", p->insns[i].name, results[p->insns[i].result]);
}

static void print_text(const struct doctor *d)
{
	print_device(d);
	if (d->usable)
		print_caps(d);
	if (d->probed)
		print_probe(&d->probe);
	printf("\nVerdict:");
	print_wrapped(strlen("Verdict:"), 2, d->reason);
}

/* For programs. */

/* Bytes that are not ASCII may not be UTF-8 in a file name: each becomes the code point of its value. */
static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		unsigned char c = *s;
		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void json_field(const char *name, const char *value)
{
	printf("\"%s\": ", name);
	json_string(value);
}

static void json_bool(const char *name, bool value)
{
	printf("\"%s\": %s", name, value ? "true" : "false");
}

static void json_number(const char *name, uint64_t value)
{
	if (value)
		printf(", \"%s\": %llu", name, (unsigned long long)value);
	else
		printf(", \"%s\": null", name);
}

static void json_caps(const struct doctor *d)
{
	printf("\"capabilities\": [");
	for (unsigned int i = 0; d->usable && i < kvm_caps_nr; i++) {
		printf("%s{", i ? ", " : "");
		json_field("name", kvm_caps[i].name);
		printf(", ");
		json_bool("present", d->caps[i]);
		printf(", ");
		json_bool("needed", kvm_caps[i].needed);
		printf(", ");
		json_field("use", kvm_caps[i].use);
		printf("}");
	}
	printf("]");
}

static void json_probe(const struct doctor *d)
{
	static const char *const results[] = { [PROBE_NOT_RUN] = "not tried",
					       [PROBE_WORKS] = "works",
					       [PROBE_NOT_OFFERED] = "not offered",
					       [PROBE_FAILS] = "fails" };

	printf("\"instructions\": {");
	for (unsigned int i = 0; i < d->probe.insns_nr; i++) {
		printf("%s", i ? ", " : "");
		json_field(d->probe.insns[i].name, results[d->probe.insns[i].result]);
	}
	printf("}");
	json_number("instructions_per_second", d->probe.insns_per_sec);
	json_number("port_exit_ns", d->probe.pio_ns);
	json_number("mmio_exit_ns", d->probe.mmio_ns);
	json_number("ioeventfd_ns", d->probe.doorbell_ns);
}

static void print_json(const struct doctor *d)
{
	printf("{");
	json_field("verdict", verdict_names[d->verdict]);
	printf(", \"status\": %d, ", d->verdict);
	json_field("reason", d->reason);
	printf(", \"device\": {");
	json_field("path", d->dev);
	printf(", ");
	json_bool("present", d->present);
	printf(", ");
	json_bool("permitted", d->permitted);
	printf(", \"api_version\": %s}, ", d->usable ? "12" : "null");
	json_caps(d);
	printf(", ");
	json_probe(d);
	printf("}\n");
}

static int print_help(void)
{
	puts("usage: lkvm doctor [OPTIONS]\n\n"
	     "Says whether this host can run guests, and how well. Exit status: 0 Linux can\n"
	     "run, 1 only small guests can, 2 none can.\n");
	options_help(&options, stdout);
	return 0;
}

static int parse(int argc, char **argv, struct doctor_config *cfg, struct err *err)
{
	int rest, ret = options_parse(&options, cfg, argc - 1, argv + 1, &rest, err);

	if (ret == 0 && rest != argc - 1)
		ret = err_usage(err, "unexpected argument '%s'; doctor takes options only",
				argv[1 + rest]);
	return ret;
}

int cmd_doctor(int argc, char **argv)
{
	struct doctor_config cfg = { .dev = KVM_DEV_DEFAULT };
	struct doctor d = { .err = ERR_INIT };

	BUG_ON(kvm_caps_nr > CAPS_MAX);
	if (parse(argc, argv, &cfg, &d.err) < 0) {
		fprintf(stderr, "lkvm: %s\n", d.err.msg);
		return STATUS_USAGE;
	}
	if (cfg.help)
		return print_help();
	d.dev = cfg.dev;
	doctor_ask(&d);
	doctor_judge(&d);
	if (cfg.json)
		print_json(&d);
	else
		print_text(&d);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "lkvm: cannot write to standard output\n");
		return STATUS_HOST;
	}
	return d.verdict;
}
