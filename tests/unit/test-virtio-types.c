// SPDX-License-Identifier: GPL-2.0
// LINK: virtio/port-type.c virtio/console.c virtio/console-ctrl.c chr/port.c chr/out.c chr/fd.c
// LINK: virtio/net-type.c virtio/net.c virtio/net-io.c virtio/late.c virtio/net-ctrl.c virtio/net-vhost.c virtio/vhost.c net/user.c net/user-check.c net/user-fds.c net/user-lib.c net/forward.c net/passt.c net/pcap.c net/tap.c net/socket.c net/script.c
// LINK: virtio/blk-type.c virtio/blk.c virtio/blk-config.c
// LINK: block/fault-plan.c block/fault.c block/file.c block/io.c block/iov.c block/lock.c block/magic.c block/open.c block/overlay.c block/pool.c block/raw.c block/step.c block/uring.c
// LINK: virtio/types.c virtio/rng.c virtio/mini.c virtio/device.c virtio/registers.c virtio/legacy.c virtio/queue.c gmem.c
// LINK: util/thread.c util/loop.c util/log.c util/err.c util/util.c util/options.c util/json.c util/option-types.c util/option-keys.c util/nearest.c
/* The table of device types, and the keys that all of them share: the same words and sentences for each. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <lkvm/util.h>
#include <lkvm/virtio/rng.h>
#include <lkvm/virtio/types.h>

static struct virtio_spec spec;
static struct err err;

/* What a type cannot do without. */
static const struct {
	const char *option, *value;
} needed[] = { { "disk", "image" }, { "network", "mode=none" }, { "port", "x,out=1" } };

static int parse(const struct virtio_type *type, const char *arg)
{
	char whole[256];

	for (unsigned int i = 0; i < ARRAY_SIZE(needed); i++) {
		if (strcmp(type->option, needed[i].option))
			continue;
		snprintf(whole, sizeof(whole), "%s%s%.200s", needed[i].value, arg ? "," : "",
			 arg ?: "");
		arg = whole;
	}
	err = ERR_INIT;
	return virtio_spec_parse(&spec, type, arg, &err);
}

static unsigned int types_nr(void)
{
	unsigned int n = 0;

	while (virtio_types[n])
		n++;
	return n;
}

START_TEST(each_type_is_complete)
{
	ck_assert_uint_gt(types_nr(), 0);
	for (unsigned int i = 0; i < types_nr(); i++) {
		const struct virtio_type *t = virtio_types[i];

		ck_assert(t->option && *t->option);
		ck_assert(t->help && *t->help);
		ck_assert_ptr_nonnull(t->make);
		ck_assert_ptr_nonnull(t->destroy);
		/* Every device has keys, so no option needs a value, or none takes one. */
		ck_assert_ptr_nonnull(t->arg);
		for (unsigned int k = 0; k < i; k++)
			ck_assert_str_ne(t->option, virtio_types[k]->option);
		/* A type's own key would hide one that all have. */
		for (unsigned int k = 0; k < t->keys_nr; k++)
			for (unsigned int c = 0; c < virtio_common_keys_nr; c++)
				ck_assert_str_ne(t->keys[k].name, virtio_common_keys[c].name);
	}
}

START_TEST(without_keys_each_has_its_defaults)
{
	for (unsigned int i = 0; i < types_nr(); i++) {
		ck_assert_msg(!parse(virtio_types[i], NULL), "%s", err.msg);
		ck_assert_ptr_eq(spec.type, virtio_types[i]);
		ck_assert_uint_eq(spec.common.trans, 0);
		ck_assert_ptr_null(spec.common.iothread);
		ck_assert_uint_eq(spec.common.vectors, VIRTIO_VECTORS_AUTO);
		ck_assert_uint_eq(spec.common.pio_notify, VIRTIO_PCI_PIO_NOTIFY_AUTO);
		virtio_spec_release(&spec);
		ck_assert_ptr_null(spec.opts);
		ck_assert_ptr_null(spec.text);
	}
}

START_TEST(each_takes_the_common_keys)
{
	for (unsigned int i = 0; i < types_nr(); i++) {
		char arg[] = "trans=pci-legacy,iothread=a-1:B.2:c_3,vectors=0,pio-notify=on";

		ck_assert_msg(!parse(virtio_types[i], arg), "%s", err.msg);
		/* The spec has what it needs in a copy of its own. */
		memset(arg, 'x', sizeof(arg));
		ck_assert_uint_eq(spec.common.trans, 1 + VIRTIO_TRANS_PCI_LEGACY);
		ck_assert_str_eq(spec.common.iothread, "a-1:B.2:c_3");
		ck_assert_uint_eq(spec.common.vectors, 0);
		ck_assert_uint_eq(spec.common.pio_notify, VIRTIO_PCI_PIO_NOTIFY_ON);
		virtio_spec_release(&spec);
	}
}

static const struct {
	const char *arg;
	unsigned int trans, pio_notify;
	uint32_t vectors;
} good[] = {
	{ "trans=pci", 1 + VIRTIO_TRANS_PCI, 0, VIRTIO_VECTORS_AUTO },
	{ "trans=pci-modern", 1 + VIRTIO_TRANS_PCI_MODERN, 0, VIRTIO_VECTORS_AUTO },
	{ "pio-notify=off", 0, VIRTIO_PCI_PIO_NOTIFY_OFF, VIRTIO_VECTORS_AUTO },
	{ "pio-notify=auto", 0, VIRTIO_PCI_PIO_NOTIFY_AUTO, VIRTIO_VECTORS_AUTO },
	{ "vectors=64", 0, 0, 64 },
	{ "vectors=1,trans=pci", 1 + VIRTIO_TRANS_PCI, 0, 1 },
	{ "iothread=fifteen-letters", 0, 0, VIRTIO_VECTORS_AUTO },
};

START_TEST(takes)
{
	for (unsigned int i = 0; i < types_nr(); i++) {
		ck_assert_msg(!parse(virtio_types[i], good[_i].arg), "%s", err.msg);
		ck_assert_uint_eq(spec.common.trans, good[_i].trans);
		ck_assert_uint_eq(spec.common.pio_notify, good[_i].pio_notify);
		ck_assert_uint_eq(spec.common.vectors, good[_i].vectors);
		virtio_spec_release(&spec);
	}
}

/* %s is the type's option. */
static const struct {
	const char *arg, *says;
} bad[] = {
	{ "trans=mmio", "option --%s, trans: \"mmio\" is none of pci, pci-modern, pci-legacy" },
	{ "trans=", "option --%s, trans needs its pci|pci-modern|pci-legacy" },
	{ "vectors=1,trans", "option --%s, trans needs its pci|pci-modern|pci-legacy" },
	{ "trans=pci,trans=pci", "option --%s: trans is given twice" },
	{ "vectors=65", "option --%s, vectors: \"65\" is too large: at most 64" },
	{ "vectors=-1", "option --%s, vectors: \"-1\" is not a number" },
	{ "vectors=4294967295", "option --%s, vectors: \"4294967295\" is too large: at most 64" },
	{ "vectors=many", "option --%s, vectors: \"many\" is not a number" },
	{ "pio-notify=yes", "option --%s, pio-notify: \"yes\" is none of auto, on, off" },
	{ "iothread=", "option --%s, iothread needs its NAME[:NAME...]" },
	{ "iothread=:", "option --%s, iothread: \":\" is not NAME or NAME:NAME..., of 1 to 15 of "
			"a-z A-Z 0-9 . _ - "
			"each" },
	{ "iothread=a:", "option --%s, iothread: \"a:\" is not NAME or NAME:NAME..., of 1 to 15 of "
			 "a-z A-Z 0-9 . _ "
			 "- each" },
	{ "iothread=a::b", "option --%s, iothread: \"a::b\" is not NAME or NAME:NAME..., of 1 to "
			   "15 of a-z A-Z 0-9 . "
			   "_ - each" },
	{ "iothread=a b", "option --%s, iothread: \"a b\" is not NAME or NAME:NAME..., of 1 to 15 "
			  "of a-z A-Z 0-9 . _ "
			  "- each" },
	{ "iothread=sixteen--letters",
	  "option --%s, iothread: \"sixteen--letters\" is not NAME or NAME:NAME..., of 1 to 15 of "
	  "a-z A-Z 0-9 . _ - each" },
	{ "vector=1", "option --%s: unknown key \"vector\": did you mean vectors?" },
	{ "queue-magic=1", "option --%s: unknown key \"queue-magic\": `lkvm help run` lists them" },
};

START_TEST(says_what_is_wrong)
{
	for (unsigned int i = 0; i < types_nr(); i++) {
		const char *mark = strstr(bad[_i].says, "%s");
		char sentence[256];

		snprintf(sentence, sizeof(sentence), "%.*s%s%s", (int)(mark - bad[_i].says),
			 bad[_i].says, virtio_types[i]->option, mark + 2);
		ck_assert_int_eq(parse(virtio_types[i], bad[_i].arg), -EINVAL);
		ck_assert_int_eq(err.kind, ERR_USAGE);
		ck_assert_str_eq(err.msg, sentence);
		/* Nothing is left to release. */
		ck_assert_ptr_null(spec.opts);
		ck_assert_ptr_null(spec.text);
	}
}

/* --- what a type has of its own --- */

static const struct virtio_type *find(const char *option)
{
	for (unsigned int i = 0; i < types_nr(); i++)
		if (!strcmp(virtio_types[i]->option, option))
			return virtio_types[i];
	ck_abort_msg("no type %s", option);
	return NULL;
}

START_TEST(rng_has_a_source_and_a_rate)
{
	ck_assert_int_eq(parse(find("rng"), "/dev/hwrng,rate=1000,iothread=r"), 0);
	const struct rng_opts *o = spec.opts;
	ck_assert_str_eq(o->source, "/dev/hwrng");
	ck_assert_uint_eq(o->rate, 1000);
	virtio_spec_release(&spec);
	ck_assert_int_eq(parse(find("rng"), NULL), 0);
	o = spec.opts;
	ck_assert_ptr_null(o->source);
	ck_assert_uint_eq(o->rate, 0);
	virtio_spec_release(&spec);
}

static const char *const bad_rates[] = { "0",    "-1",         "1.5",
					 "fast", "1073741825", "18446744073709551616",
					 "1k" };

START_TEST(rates_that_are_none)
{
	char arg[64], sentence[128];

	snprintf(arg, sizeof(arg), "rate=%s", bad_rates[_i]);
	snprintf(sentence, sizeof(sentence),
		 "option --rng, rate: \"%s\" is not 1 to 1073741824 bytes a second", bad_rates[_i]);
	ck_assert_int_eq(parse(find("rng"), arg), -EINVAL);
	ck_assert_str_eq(err.msg, sentence);
}

START_TEST(mini_has_no_value)
{
	ck_assert_int_eq(parse(find("mini"), "file"), -EINVAL);
	ck_assert_str_eq(err.msg,
			 "option --mini: unknown key \"file\": `lkvm help run` lists them");
	ck_assert(find("mini")->hidden);
}

UNIT_SUITE("virtio-types", {
	tcase_add_test(tc, each_type_is_complete);
	tcase_add_test(tc, without_keys_each_has_its_defaults);
	tcase_add_test(tc, each_takes_the_common_keys);
	tcase_add_loop_test(tc, takes, 0, ARRAY_SIZE(good));
	tcase_add_loop_test(tc, says_what_is_wrong, 0, ARRAY_SIZE(bad));
	tcase_add_test(tc, rng_has_a_source_and_a_rate);
	tcase_add_loop_test(tc, rates_that_are_none, 0, ARRAY_SIZE(bad_rates));
	tcase_add_test(tc, mini_has_no_value);
})
