/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/err.h>
#include <lkvm/kvm.h>
#include <lkvm/util.h>

#include "gic.h"
#include "memmap.h"
#include "v2m.h"

#define GICV2_CPUS_MAX 8

/* Its devices have descriptors of their own. */
struct arch_vm {
	int gic_fd, its_fd; /* -1: none */
};

unsigned long arch_vm_type(int dev_fd)
{
	int bits = ioctl(dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);

	/* 0 means 40 bits, which few hosts have fewer than. */
	return bits > 0 && bits < IPA_BITS_DEFAULT ? (unsigned long)bits : 0;
}

int arch_vm_init(struct kvm *kvm, struct err *err)
{
	kvm->arch = malloc(sizeof(*kvm->arch));
	if (!kvm->arch)
		return err_host(err, ENOMEM, "cannot make a VM");
	*kvm->arch = (struct arch_vm){ -1, -1 };
	return 0;
}

void arch_vm_release(struct kvm *kvm)
{
	if (!kvm->arch)
		return;
	if (kvm->arch->its_fd >= 0)
		close(kvm->arch->its_fd);
	if (kvm->arch->gic_fd >= 0)
		close(kvm->arch->gic_fd);
	free(kvm->arch);
	kvm->arch = NULL;
}

int arch_irq_line(struct kvm *kvm, uint32_t gsi, int level)
{
	struct kvm_irq_level irq = {
		.irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (GIC_SPI_FIRST + gsi),
		.level = level,
	};

	return ioctl(kvm->vm_fd, KVM_IRQ_LINE, &irq) ? -errno : 0;
}

/* Lines are set by their numbers and need no route here. */
unsigned int arch_irq_routes(struct kvm_irq_routing_entry *entries, unsigned int max)
{
	(void)entries;
	(void)max;
	return 0;
}

/* The interrupt is one of edges, so its line is up for a moment only. */
static void send_v2m(struct kvm *kvm, uint32_t devid, uint64_t addr, uint32_t data)
{
	(void)devid;
	if (addr != GPA_V2M + V2M_SETSPI || !v2m_has(data))
		return;
	arch_irq_line(kvm, data - GIC_SPI_FIRST, 1);
	arch_irq_line(kvm, data - GIC_SPI_FIRST, 0);
}

static void send_nowhere(struct kvm *kvm, uint32_t devid, uint64_t addr, uint32_t data)
{
	(void)kvm;
	(void)devid;
	(void)addr;
	(void)data;
}

static const struct kind {
	const char *name;
	uint32_t device; /* of KVM */
	bool its;
	void (*msi_send)(struct kvm *kvm, uint32_t devid, uint64_t addr, uint32_t data);
} kinds[] = {
	[IRQCHIP_GICV3] = { "gicv3", KVM_DEV_TYPE_ARM_VGIC_V3, false, send_nowhere },
	[IRQCHIP_GICV3_ITS] = { "gicv3-its", KVM_DEV_TYPE_ARM_VGIC_V3, true, NULL },
	[IRQCHIP_GICV2] = { "gicv2", KVM_DEV_TYPE_ARM_VGIC_V2, false, send_nowhere },
	[IRQCHIP_GICV2M] = { "gicv2m", KVM_DEV_TYPE_ARM_VGIC_V2, false, send_v2m },
};

const char *gic_name(enum irqchip kind)
{
	return kinds[kind].name;
}

static bool offers(const struct kvm *kvm, uint32_t device)
{
	struct kvm_create_device test = { .type = device, .flags = KVM_CREATE_DEVICE_TEST };

	return !ioctl(kvm->vm_fd, KVM_CREATE_DEVICE, &test);
}

static bool offers_kind(const struct kvm *kvm, enum irqchip kind)
{
	return offers(kvm, kinds[kind].device) &&
	       (!kinds[kind].its || offers(kvm, KVM_DEV_TYPE_ARM_VGIC_ITS));
}

static int choose(const struct kvm *kvm, enum irqchip *kind, unsigned int cpus_nr, struct err *err)
{
	static const enum irqchip best_first[] = { IRQCHIP_GICV3_ITS, IRQCHIP_GICV3,
						   IRQCHIP_GICV2M };

	for (size_t i = 0; i < ARRAY_SIZE(best_first) && *kind == IRQCHIP_AUTO; i++)
		if (offers_kind(kvm, best_first[i]))
			*kind = best_first[i];
	if (*kind == IRQCHIP_AUTO)
		return err_host(err, ENODEV, "KVM has neither a GICv3 nor a GICv2 for guests here");
	if (!offers_kind(kvm, *kind))
		return err_host(err, ENODEV,
				"--irqchip %s: this host's KVM has none for guests; auto takes "
				"what it has",
				gic_name(*kind));
	if (kinds[*kind].device == KVM_DEV_TYPE_ARM_VGIC_V2 && cpus_nr > GICV2_CPUS_MAX)
		return err_usage(err, "--cpus %u: a guest with %s has at most %d", cpus_nr,
				 gic_name(*kind), GICV2_CPUS_MAX);
	return 0;
}

static int make_device(const struct kvm *kvm, uint32_t type)
{
	struct kvm_create_device make = { .type = type };

	return ioctl(kvm->vm_fd, KVM_CREATE_DEVICE, &make) ? -1 : (int)make.fd;
}

/* One setting; `value` is NULL for one that has none. */
static int set(int fd, uint32_t group, uint64_t attr, const void *value, struct err *err)
{
	struct kvm_device_attr a = { .group = group, .attr = attr, .addr = (uintptr_t)value };

	if (ioctl(fd, KVM_SET_DEVICE_ATTR, &a))
		return err_host(err, errno,
				"KVM refuses to set up the interrupt controller (group %u, "
				"attribute %llu)",
				group, (unsigned long long)attr);
	return 0;
}

static int place(int fd, uint64_t attr, uint64_t gpa, struct err *err)
{
	return set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, attr, &gpa, err);
}

static int init_gic(int fd, uint32_t device, struct err *err)
{
	bool v3 = device == KVM_DEV_TYPE_ARM_VGIC_V3;
	uint32_t irqs_nr = GIC_NR_IRQS;

	int ret = place(fd, v3 ? KVM_VGIC_V3_ADDR_TYPE_DIST : KVM_VGIC_V2_ADDR_TYPE_DIST, GPA_GICD,
			err);
	if (!ret)
		ret = v3 ? place(fd, KVM_VGIC_V3_ADDR_TYPE_REDIST, GPA_GICR, err)
			 : place(fd, KVM_VGIC_V2_ADDR_TYPE_CPU, GPA_GICC, err);
	if (!ret)
		ret = set(fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &irqs_nr, err);
	if (!ret)
		ret = set(fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL, err);
	return ret;
}

static int init_its(int fd, struct err *err)
{
	int ret = place(fd, KVM_VGIC_ITS_ADDR_TYPE, GPA_ITS, err);

	return ret ? ret
		   : set(fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL, err);
}

int gic_init(struct kvm *kvm, enum irqchip *kind, unsigned int cpus_nr, struct err *err)
{
	struct arch_vm *vm = kvm->arch;

	int ret = choose(kvm, kind, cpus_nr, err);
	if (ret)
		return ret;
	const struct kind *k = &kinds[*kind];
	kvm->msi_send = k->msi_send;
	kvm->msi_devid = k->its; /* KVM tells only once there is one */
	vm->gic_fd = make_device(kvm, k->device);
	if (vm->gic_fd < 0)
		return err_host(err, errno, "KVM cannot make a %s", k->name);
	ret = init_gic(vm->gic_fd, k->device, err);
	if (ret || !k->its)
		return ret;
	vm->its_fd = make_device(kvm, KVM_DEV_TYPE_ARM_VGIC_ITS);
	if (vm->its_fd < 0)
		return err_host(err, errno, "KVM cannot make a %s", k->name);
	return init_its(vm->its_fd, err);
}
