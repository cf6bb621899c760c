// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: x86/mptable.c x86/memmap.c gmem.c util/err.c
#include <errno.h>
#include <string.h>

#include <lkvm/gmem.h>
#include <lkvm/util.h>

#include "x86/memmap.h"
#include "x86/mptable.h"

#include "unit.h"

static struct gmem gm;

static void setup(void)
{
	const struct gmem_region span = { .gpa = 0, .size = 2 * MIB };
	struct err err = ERR_INIT;

	ck_assert_int_eq(gmem_init(&gm, &span, 1, &(struct gmem_backing){ 0 }, &err), 0);
}

static void teardown(void)
{
	gmem_release(&gm);
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

/* Searches as Linux does: 16-byte steps in the first KiB, then in the last KiB below 640 KiB. */
static const uint8_t *find_pointer(void)
{
	static const uint64_t places[] = { 0, 639 * KIB };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		const uint8_t *p = gmem_span(&gm, places[i], KIB);

		for (size_t off = 0; off < KIB; off += 16)
			if (!memcmp(p + off, "_MP_", 4) && p[off + 8] == 1 && !sum(p + off, 16))
				return p + off;
	}
	return NULL;
}

/* What the entries said. */
struct seen {
	unsigned int cpus, buses, ioapics, lints, isa, pci;
	int isa_pin[16];
	int pci_gsi[32][4];
};

static void read_int(struct seen *s, const uint8_t *p)
{
	ck_assert_uint_eq(p[1], 0); /* vectored */
	ck_assert_uint_eq(p[6], IOAPIC_ID);
	ck_assert_uint_lt(p[7], GSI_NR);
	if (p[4] == 0) { /* the PCI bus */
		int *gsi = &s->pci_gsi[p[5] >> 2 & 31][p[5] & 3];

		ck_assert_uint_lt(p[5], 128);
		ck_assert_uint_eq(get_le16(p + 2), 0x0f); /* active low, level */
		ck_assert_int_eq(*gsi, -1);
		*gsi = p[7];
		s->pci++;
	} else {
		ck_assert_uint_eq(p[4], 1);
		ck_assert_uint_lt(p[5], 16);
		ck_assert_uint_eq(get_le16(p + 2), 0);
		ck_assert_int_eq(s->isa_pin[p[5]], -1);
		s->isa_pin[p[5]] = p[7];
		s->isa++;
	}
}

static void read_entry(struct seen *s, const uint8_t *p)
{
	switch (p[0]) {
	case 0:
		ck_assert_uint_eq(p[1], s->cpus);
		ck_assert_uint_eq(p[3], s->cpus ? 1 : 3); /* enabled; the first is the boot CPU */
		s->cpus++;
		break;
	case 1:
		ck_assert_uint_eq(p[1], s->buses);
		ck_assert_mem_eq(p + 2, s->buses ? "ISA   " : "PCI   ", 6);
		s->buses++;
		break;
	case 2:
		ck_assert_uint_eq(p[1], IOAPIC_ID);
		ck_assert_uint_eq(p[3], 1);
		ck_assert_uint_eq(get_le32(p + 4), GPA_IOAPIC);
		s->ioapics++;
		break;
	case 3:
		read_int(s, p);
		break;
	case 4: /* LINT0 is the PIC, LINT1 the NMI, of every local APIC */
		ck_assert_uint_eq(p[1], s->lints ? 1 : 3);
		ck_assert_uint_eq(p[6], 0xff);
		ck_assert_uint_eq(p[7], s->lints);
		s->lints++;
		break;
	default:
		ck_abort_msg("entry of type %u", p[0]);
	}
}

static void check_table(unsigned int cpus_nr)
{
	struct seen s = { 0 };
	struct err err = ERR_INIT;
	unsigned int entries = 0;
	uint8_t type = 0;

	memset(s.isa_pin, -1, sizeof(s.isa_pin));
	memset(s.pci_gsi, -1, sizeof(s.pci_gsi));
	ck_assert_msg(mptable_build(&gm, cpus_nr, &err) == 0, "%s", err.msg);
	const uint8_t *mpf = find_pointer();
	ck_assert_ptr_nonnull(mpf);
	ck_assert_uint_eq(get_le32(mpf + 4), GPA_MPTABLE);
	ck_assert_uint_eq(mpf[9], 4);
	ck_assert_uint_eq(mpf[11], 0); /* no default configuration */
	ck_assert_uint_eq(mpf[12], 0); /* virtual wire mode */

	const uint8_t *t = gmem_span(&gm, GPA_MPTABLE, GPA_MPTABLE_LEN);
	size_t len = get_le16(t + 4);
	ck_assert_mem_eq(t, "PCMP", 4);
	ck_assert_uint_eq(t[6], 4);
	ck_assert_uint_eq(sum(t, len), 0);
	ck_assert_uint_eq(get_le32(t + 36), GPA_LAPIC);
	ck_assert_uint_eq(get_le16(t + 40), 0); /* no extended table */
	size_t off = 44;
	for (; off < len; off += type == 0 ? 20 : 8, entries++) {
		ck_assert_uint_ge(t[off], type); /* ascending: 4.3 */
		type = t[off];
		read_entry(&s, t + off);
	}
	ck_assert_uint_eq(off, len);
	ck_assert_uint_eq(entries, get_le16(t + 34));
	ck_assert_uint_eq(s.cpus, cpus_nr);
	ck_assert_uint_eq(s.buses, 2);
	ck_assert_uint_eq(s.ioapics, 1);
	ck_assert_uint_eq(s.lints, 2);
	for (int irq = 0; irq < 16; irq++)
		ck_assert_int_eq(s.isa_pin[irq], irq == 2 ? -1 : irq);
	for (unsigned int slot = 0; slot < 32; slot++)
		for (unsigned int pin = 0; pin < 4; pin++)
			ck_assert_int_eq(s.pci_gsi[slot][pin], memmap_pci_gsi(slot, pin));
}

START_TEST(describes_the_machine)
{
	static const unsigned int cpus[] = { 1, 2, 3, 8, 254 };

	for (size_t i = 0; i < ARRAY_SIZE(cpus); i++)
		check_table(cpus[i]);
}
END_TEST

START_TEST(refuses_cpu_counts_that_do_not_fit)
{
	static const unsigned int cpus[] = { 0, 255, 256, 100000, UINT32_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(cpus); i++) {
		struct err err = ERR_INIT;

		ck_assert_int_eq(mptable_build(&gm, cpus[i], &err), -EIO);
		ck_assert_int_eq(err.kind, ERR_INTERNAL);
		ck_assert_ptr_null(find_pointer());
	}
}
END_TEST

START_TEST(needs_guest_memory)
{
	/* Without the EBDA, and with it but without the table's place. */
	static const uint64_t sizes[] = { 64 * KIB, GPA_LOW_END };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		const struct gmem_region span = { .gpa = 0, .size = sizes[i] };
		struct err err = ERR_INIT;
		struct gmem small;

		ck_assert_int_eq(gmem_init(&small, &span, 1, &(struct gmem_backing){ 0 }, &err), 0);
		ck_assert_int_eq(mptable_build(&small, 1, &err), -EIO);
		ck_assert_int_eq(err.kind, ERR_INTERNAL);
		gmem_release(&small);
	}
}
END_TEST

UNIT_SUITE("mptable", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, describes_the_machine);
	tcase_add_test(tc, refuses_cpu_counts_that_do_not_fit);
	tcase_add_test(tc, needs_guest_memory);
})
