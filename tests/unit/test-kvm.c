// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: tests/mock/fake-kvm.c kvm.c irq.c x86/irqchip.c x86/caps.c util/err.c util/log.c util/util.c
#include <errno.h>
#include <pthread.h>

#include <lkvm/irq.h>
#include <lkvm/kvm.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

#include "tests/mock/fake-kvm.h"
#include "unit.h"

static struct fake_kvm *fake;
static struct kvm kvm;
static _Alignas(4096) uint8_t page[4096];

static void setup(void)
{
	static const struct log log = { .fd = -1 };
	struct err err = ERR_INIT;

	fake = fake_kvm_start();
	ck_assert_int_eq(kvm_init(&kvm, FAKE_KVM_DEV, &log, &err), 0);
}

static void teardown(void)
{
	kvm_release(&kvm);
}

static int add(uint64_t gpa, bool readonly)
{
	struct err err = ERR_INIT;

	return kvm_add_memory(&kvm, gpa, sizeof(page), page, readonly, &err);
}

START_TEST(memory_slots_come_and_go)
{
	int a = add(0x1000, false), b = add(0x5000, true);

	ck_assert_int_ge(a, 0);
	ck_assert_int_ge(b, 0);
	ck_assert_int_ne(a, b);
	ck_assert_uint_eq(fake->slots_nr, 2);
	ck_assert_uint_eq(fake->slots[a].flags, 0);
	ck_assert_uint_eq(fake->slots[b].flags, KVM_MEM_READONLY);
	ck_assert_uint_eq(fake->slots[b].guest_phys_addr, 0x5000);
	ck_assert_uint_eq(fake->slots[b].memory_size, sizeof(page));
	ck_assert_uint_eq(fake->slots[b].userspace_addr, (uintptr_t)page);
	kvm_del_memory(&kvm, a);
	ck_assert_uint_eq(fake->slots_nr, 1);
	ck_assert_uint_eq(fake->slots[a].memory_size, 0);
	ck_assert_uint_eq(fake->slots[b].memory_size, sizeof(page));
	kvm_del_memory(&kvm, a); /* KVM refuses: a line in the log, no more */
	ck_assert_uint_eq(fake->slots_nr, 1);
}
END_TEST

START_TEST(a_refused_slot_is_an_error)
{
	struct err err = ERR_INIT;

	fake->fail_at = fake->calls + 1;
	fake->fail_errno = EEXIST;
	ck_assert_int_eq(kvm_add_memory(&kvm, 0x1000, sizeof(page), page, true, &err), -EEXIST);
	ck_assert_int_eq(err.kind, ERR_HOST);
	ck_assert_uint_eq(fake->slots_nr, 0);
}
END_TEST

static void *adder(void *arg)
{
	for (uint64_t i = 0; i < 4; i++)
		ck_assert_int_ge(add(((uintptr_t)arg + i) * 0x1000, false), 0);
	return NULL;
}

START_TEST(threads_get_slots_of_their_own)
{
	pthread_t t;

	pthread_create(&t, NULL, adder, (void *)1);
	adder((void *)8);
	pthread_join(t, NULL);
	ck_assert_uint_eq(fake->slots_nr, 8);
}
END_TEST

START_TEST(a_message_goes_to_kvm)
{
	irq_msi_send(&kvm, 0x18, 0x1234567890abcdefull, 0xdeadbeef);
	ck_assert_uint_eq(fake->msis, 1);
	ck_assert_uint_eq(fake->msi.address_hi, 0x12345678);
	ck_assert_uint_eq(fake->msi.address_lo, 0x90abcdef);
	ck_assert_uint_eq(fake->msi.data, 0xdeadbeef);
	ck_assert_uint_eq(fake->msi.flags, KVM_MSI_VALID_DEVID);
	ck_assert_uint_eq(fake->msi.devid, 0x18);
}
END_TEST

START_TEST(the_sender_is_named_only_to_a_kvm_that_asks)
{
	struct err err = ERR_INIT;

	kvm_release(&kvm);
	fake->missing_cap = KVM_CAP_MSI_DEVID;
	ck_assert_int_eq(kvm_init(&kvm, FAKE_KVM_DEV, NULL, &err), 0);
	irq_msi_send(&kvm, 0x18, 0xfee00000, 1);
	ck_assert_uint_eq(fake->msi.flags, 0);
	ck_assert_uint_eq(fake->msi.devid, 0);
}
END_TEST

UNIT_SUITE("kvm", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, memory_slots_come_and_go);
	tcase_add_test(tc, a_refused_slot_is_an_error);
	tcase_add_test(tc, threads_get_slots_of_their_own);
	tcase_add_test(tc, a_message_goes_to_kvm);
	tcase_add_test(tc, the_sender_is_named_only_to_a_kvm_that_asks);
})
