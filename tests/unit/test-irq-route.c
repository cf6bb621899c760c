// SPDX-License-Identifier: GPL-2.0
// ARCH: x86
// LINK: irq-route.c tests/mock/fake-kvm.c x86/irqchip.c util/err.c
/* Routes of messages on a KVM without a CPU: the table that KVM gets, whole, and only when it changed. */
#include <errno.h>
#include <string.h>

#include <lkvm/arch.h>
#include <lkvm/irq-route.h>
#include <lkvm/kvm.h>
#include <lkvm/util.h>

#include "../mock/fake-kvm.h"
#include "unit.h"

#define FIXED 40 /* 24 pins of the I/O APIC, 16 of the two PICs */

static struct fake_kvm *f;
static struct kvm kvm;
static int max_routes;

int kvm_check_cap(const struct kvm *k, int cap)
{
	(void)k;
	return cap == KVM_CAP_IRQ_ROUTING ? max_routes : 0;
}

static void setup(void)
{
	f = fake_kvm_start();
	f->fail_errno = EINVAL;
	kvm = (struct kvm){ .vm_fd = -1, .irq_routes_lock = PTHREAD_MUTEX_INITIALIZER };
	max_routes = 4096;
}

static void teardown(void)
{
	ck_assert_ptr_null(kvm.irq_routes);
}

static const struct kvm_irq_routing_entry *entry(uint32_t gsi)
{
	const struct kvm_irq_routing_entry *e = NULL;

	for (unsigned int i = FIXED; i < f->routes_nr; i++)
		if (f->routes[i].gsi == gsi)
			e = &f->routes[i];
	return e;
}

/* Lines must go where they went before: KVM's table is replaced as a whole. */
START_TEST(the_lines_stay)
{
	struct irq_route r;
	unsigned int pins[3] = { 0 };

	ck_assert_int_eq(irq_route_init(&r, &kvm), 0);
	ck_assert_uint_eq(f->routings, 0);
	ck_assert_int_eq(irq_route_set(&r, 8, 0xfee00000, 0x41), 0);
	ck_assert_uint_eq(f->routes_nr, FIXED + 1);
	for (unsigned int i = 0; i < FIXED; i++) {
		const struct kvm_irq_routing_entry *e = &f->routes[i];

		ck_assert_uint_eq(e->type, KVM_IRQ_ROUTING_IRQCHIP);
		ck_assert_uint_eq(e->u.irqchip.pin,
				  e->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC ? e->gsi : e->gsi % 8);
		if (e->u.irqchip.irqchip != KVM_IRQCHIP_IOAPIC)
			ck_assert_uint_eq(e->u.irqchip.irqchip, e->gsi / 8);
		pins[e->u.irqchip.irqchip]++;
	}
	ck_assert(pins[0] == 8 && pins[1] == 8 && pins[2] == 24);
	ck_assert_uint_eq(r.gsi, 24);
	irq_route_release(&r);
	irq_route_release(&r);
}
END_TEST

START_TEST(told_when_it_changes)
{
	struct irq_route a, b;

	ck_assert_int_eq(irq_route_init(&a, &kvm), 0);
	ck_assert_int_eq(irq_route_init(&b, &kvm), 0);
	ck_assert_uint_ne(a.gsi, b.gsi);
	kvm.msi_devid = true;
	for (unsigned int i = 0; i < 10; i++)
		ck_assert_int_eq(irq_route_set(&a, 8, 0x1fee00000, 0x41), 0);
	ck_assert_uint_eq(f->routings, 1);
	ck_assert_uint_eq(f->routes_nr, FIXED + 1);
	ck_assert_int_eq(irq_route_set(&b, 16, 0xfee01000, 0x42), 0);
	ck_assert_uint_eq(f->routes_nr, FIXED + 2);
	const struct kvm_irq_routing_entry *e = entry(a.gsi);
	ck_assert_uint_eq(e->type, KVM_IRQ_ROUTING_MSI);
	ck_assert_uint_eq(e->u.msi.address_lo, 0xfee00000);
	ck_assert_uint_eq(e->u.msi.address_hi, 1);
	ck_assert_uint_eq(e->u.msi.data, 0x41);
	ck_assert_uint_eq(e->flags, KVM_MSI_VALID_DEVID);
	ck_assert_uint_eq(e->u.msi.devid, 8);
	ck_assert_uint_eq(entry(b.gsi)->u.msi.data, 0x42);
	/* The number is free again, and its message is gone with the next change. */
	uint32_t was = a.gsi;
	irq_route_release(&a);
	ck_assert_int_eq(irq_route_set(&b, 16, 0xfee01000, 0x43), 0);
	ck_assert_uint_eq(f->routes_nr, FIXED + 1);
	ck_assert_int_eq(irq_route_init(&a, &kvm), 0);
	ck_assert_uint_eq(a.gsi, was);
	ck_assert(!a.set);
	irq_route_release(&a);
	irq_route_release(&b);
}
END_TEST

/* What KVM refused is not in what it is asked next. */
START_TEST(a_refusal_changes_nothing)
{
	struct irq_route a, b;

	ck_assert_int_eq(irq_route_init(&a, &kvm), 0);
	ck_assert_int_eq(irq_route_init(&b, &kvm), 0);
	ck_assert_int_eq(irq_route_set(&a, 8, 0xfee00000, 1), 0);
	f->fail_at = f->calls + 1;
	ck_assert_int_eq(irq_route_set(&a, 8, 0xbad, 2), -EINVAL);
	f->fail_at = f->calls + 1;
	ck_assert_int_eq(irq_route_set(&b, 8, 0xbad, 3), -EINVAL);
	ck_assert(!b.set);
	ck_assert_int_eq(irq_route_set(&b, 8, 0xfee00000, 4), 0);
	ck_assert_uint_eq(entry(a.gsi)->u.msi.data, 1);
	/* And it is asked again. */
	f->fail_at = f->calls + 1;
	ck_assert_int_eq(irq_route_set(&a, 8, 0xbad, 2), -EINVAL);
	irq_route_release(&a);
	irq_route_release(&b);
}
END_TEST

START_TEST(numbers_run_out)
{
	static struct irq_route r[IRQ_ROUTES_MAX + 1];
	struct irq_route one;

	for (unsigned int limit = 0; limit <= 4096; limit += 1024) {
		unsigned int nr = 0;

		max_routes = limit ? (int)limit : FIXED + 3;
		while (nr <= IRQ_ROUTES_MAX && irq_route_init(&r[nr], &kvm) == 0) {
			ck_assert_int_eq(irq_route_set(&r[nr], 0, nr, nr), 0);
			nr++;
		}
		ck_assert_uint_eq(nr, limit ? IRQ_ROUTES_MAX : 3);
		ck_assert_int_eq(irq_route_init(&one, &kvm), -ENOSPC);
		ck_assert_ptr_null(one.kvm);
		ck_assert_uint_eq(f->routes_nr, FIXED + nr);
		irq_route_release(&r[1]);
		ck_assert_int_eq(irq_route_init(&r[1], &kvm), 0);
		while (nr-- > 0)
			irq_route_release(&r[nr]);
	}
	max_routes = 0;
	ck_assert_int_eq(irq_route_init(&one, &kvm), -ENOTSUP);
	ck_assert_int_eq(irq_route_init(&one, NULL), -ENOTSUP);
	max_routes = FIXED;
	ck_assert_int_eq(irq_route_init(&one, &kvm), -ENOSPC);
}
END_TEST

START_TEST(an_eventfd_is_bound)
{
	struct irq_route r;

	ck_assert_int_eq(irq_route_init(&r, &kvm), 0);
	ck_assert_int_eq(irq_route_bind(&r, 99), 0);
	ck_assert_uint_eq(f->irqfds_nr, 1);
	ck_assert_uint_eq(f->irqfds[0].gsi, r.gsi);
	ck_assert_int_eq(irq_route_bind(&r, 99), -EBUSY);
	irq_route_unbind(&r, 99);
	ck_assert_uint_eq(f->irqfds_nr, 0);
	irq_route_release(&r);
}
END_TEST

UNIT_SUITE("irq-route", {
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_lines_stay);
	tcase_add_test(tc, told_when_it_changes);
	tcase_add_test(tc, a_refusal_changes_nothing);
	tcase_add_test(tc, numbers_run_out);
	tcase_add_test(tc, an_eventfd_is_bound);
})
