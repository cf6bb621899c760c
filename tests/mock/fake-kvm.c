/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <linux/vhost.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fake-kvm.h"

static struct fake_kvm fake;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct fake_kvm *fake_kvm_start(void)
{
	fake = (struct fake_kvm){ .api_version = KVM_API_VERSION,
				  .cpuid_nr = 20,
				  .ipa_bits = 48,
				  .devices = ~0u,
				  .doorbells_max = FAKE_DOORBELLS,
				  .missing_cap = -1 };
	return &fake;
}

static int make_fd(size_t len)
{
	int fd = syscall(SYS_memfd_create, "fake-kvm", MFD_CLOEXEC);

	if (fd >= 0 && len && ftruncate(fd, len))
		return -1;
	return fd;
}

/* Makes, or with size 0 removes, a slot; KVM removes only what is there. */
static int set_slot(const struct kvm_userspace_memory_region *slot)
{
	if (slot->slot >= sizeof(fake.slots) / sizeof(fake.slots[0]) ||
	    !slot->memory_size == !fake.slots[slot->slot].memory_size) {
		errno = EINVAL;
		return -1;
	}
	fake.slots[slot->slot] = *slot;
	fake.slots_nr += slot->memory_size ? 1 : -1;
	return 0;
}

/* api.rst and virt/kvm/eventfd.c: what counts as the same place, and what is refused. */
static bool same_bus(const struct kvm_ioeventfd *a, const struct kvm_ioeventfd *b)
{
	return !((a->flags ^ b->flags) & KVM_IOEVENTFD_FLAG_PIO) && a->addr == b->addr;
}

static bool collides(const struct kvm_ioeventfd *a, const struct kvm_ioeventfd *b)
{
	return same_bus(a, b) &&
	       (!a->len || !b->len ||
		(a->len == b->len && (!(a->flags & b->flags & KVM_IOEVENTFD_FLAG_DATAMATCH) ||
				      a->datamatch == b->datamatch)));
}

static int refuse(int errnum)
{
	errno = errnum;
	return -1;
}

static int ioeventfd(const struct kvm_ioeventfd *e)
{
	bool match = e->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;

	if ((e->len & (e->len - 1)) || e->len > 8 || (!e->len && match))
		return refuse(EINVAL);
	for (unsigned int i = 0; i < fake.doorbells_nr; i++) {
		struct kvm_ioeventfd *d = &fake.doorbells[i];

		if (!collides(d, e))
			continue;
		if (!(e->flags & KVM_IOEVENTFD_FLAG_DEASSIGN))
			return refuse(EEXIST);
		if (d->fd != e->fd)
			continue;
		*d = fake.doorbells[--fake.doorbells_nr];
		return 0;
	}
	if (e->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
		return refuse(ENOENT);
	if (fake.doorbells_nr >= fake.doorbells_max)
		return refuse(ENOSPC);
	fake.doorbells[fake.doorbells_nr++] = *e;
	return 0;
}

bool fake_kvm_write(bool pio, uint64_t addr, unsigned int len, uint64_t data)
{
	uint64_t one = 1;
	int fd = -1;

	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < fake.doorbells_nr; i++) {
		const struct kvm_ioeventfd *d = &fake.doorbells[i];

		if (!!(d->flags & KVM_IOEVENTFD_FLAG_PIO) == pio && d->addr == addr &&
		    (!d->len || d->len == len) &&
		    (!(d->flags & KVM_IOEVENTFD_FLAG_DATAMATCH) || d->datamatch == data))
			fd = d->fd;
	}
	bool rang = fd >= 0 && write(fd, &one, sizeof(one)) == sizeof(one);
	fake.rang |= rang;
	pthread_mutex_unlock(&lock);
	return rang;
}

bool fake_kvm_rang(void)
{
	pthread_mutex_lock(&lock);
	bool rang = fake.rang;
	fake.rang = false;
	pthread_mutex_unlock(&lock);
	return rang;
}

static int set_routing(const struct kvm_irq_routing *r)
{
	if (r->nr > FAKE_ROUTES)
		return refuse(EINVAL);
	memcpy(fake.routes, r->entries, r->nr * sizeof(r->entries[0]));
	fake.routes_nr = r->nr;
	fake.routings++;
	return 0;
}

static int irqfd(const struct kvm_irqfd *e)
{
	bool deassign = e->flags & KVM_IRQFD_FLAG_DEASSIGN;

	for (unsigned int i = 0; i < fake.irqfds_nr; i++) {
		if (fake.irqfds[i].fd != e->fd)
			continue;
		if (!deassign)
			return refuse(EBUSY);
		fake.irqfds[i] = fake.irqfds[--fake.irqfds_nr];
		return 0;
	}
	/* KVM takes back what is not there without a word. */
	if (deassign)
		return 0;
	if (fake.irqfds_nr == FAKE_IRQFDS)
		return refuse(ENOSPC);
	fake.irqfds[fake.irqfds_nr++] = *e;
	return 0;
}

unsigned int fake_kvm_irqfds(void (*fn)(const struct kvm_irq_routing_entry *e))
{
	unsigned int nr = 0;
	uint64_t count;

	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < fake.irqfds_nr; i++) {
		if (read((int)fake.irqfds[i].fd, &count, sizeof(count)) != sizeof(count))
			continue;
		for (unsigned int r = 0; r < fake.routes_nr; r++)
			if (fake.routes[r].gsi == fake.irqfds[i].gsi) {
				fn(&fake.routes[r]);
				nr++;
			}
	}
	pthread_mutex_unlock(&lock);
	return nr;
}

static int check_extension(long cap)
{
	if (cap == fake.missing_cap)
		return 0;
	switch (cap) {
	case KVM_CAP_COALESCED_MMIO:
		return FAKE_RING_PAGE;
	case KVM_CAP_IRQ_ROUTING:
		return FAKE_ROUTES;
	case KVM_CAP_MAX_VCPUS:
		return 8;
	case KVM_CAP_ARM_VM_IPA_SIZE:
		return fake.ipa_bits;
	default:
		return 1;
	}
}

/* What one architecture alone has. */
#if defined(__x86_64__)
static int supported_cpuid(struct kvm_cpuid2 *c)
{
	if (c->nent < fake.cpuid_nr) {
		errno = E2BIG;
		return -1;
	}
	c->nent = fake.cpuid_nr;
	for (unsigned int i = 0; i < fake.cpuid_nr; i++)
		c->entries[i] = (struct kvm_cpuid_entry2){ .function = i };
	return 0;
}

static int answer_arch(unsigned long request, void *arg)
{
	switch (request) {
	case KVM_GET_SUPPORTED_CPUID:
		return supported_cpuid(arg);
	case KVM_GET_LAPIC:
		memset(arg, 0, sizeof(struct kvm_lapic_state));
		return 0;
	case KVM_GET_SREGS:
		memset(arg, 0, sizeof(struct kvm_sregs));
		return 0;
	case KVM_SET_SREGS:
		fake.sregs = *(struct kvm_sregs *)arg;
		return 0;
	case KVM_GET_REGS:
		*(struct kvm_regs *)arg = fake.regs;
		if (fake.mp_state != KVM_MP_STATE_RUNNABLE)
			((struct kvm_regs *)arg)->rflags = fake.halted_flags;
		return 0;
	case KVM_SET_REGS:
		fake.regs = *(struct kvm_regs *)arg;
		return 0;
	case KVM_TRANSLATE: {
		struct kvm_translation *t = arg;
		uint64_t gpa = 0;

		t->valid = fake.translate && fake.translate(t->linear_address, &gpa);
		t->physical_address = gpa;
		return 0;
	}
	case KVM_SET_GUEST_DEBUG:
		fake.debug = *(struct kvm_guest_debug *)arg;
		return 0;
	default:
		return 0;
	}
}
#elif defined(__aarch64__)
static int create_device(struct kvm_create_device *d)
{
	if (!(fake.devices & 1u << d->type))
		return refuse(ENODEV);
	if (d->flags & KVM_CREATE_DEVICE_TEST)
		return 0;
	int fd = make_fd(0);
	d->fd = (uint32_t)fd;
	return fd < 0 ? -1 : 0;
}

static uint64_t *one_reg(uint64_t id)
{
	unsigned int i;

	for (i = 0; i < fake.one_regs_nr; i++)
		if (fake.one_regs[i].id == id)
			return &fake.one_regs[i].value;
	if (i < FAKE_ONE_REGS)
		fake.one_regs_nr++;
	i %= FAKE_ONE_REGS;
	fake.one_regs[i].id = id;
	fake.one_regs[i].value = 0;
	return &fake.one_regs[i].value;
}

static int answer_arch(unsigned long request, void *arg)
{
	const struct kvm_device_attr *attr = arg;
	const struct kvm_one_reg *reg = arg;

	switch (request) {
	case KVM_CREATE_DEVICE:
		return create_device(arg);
	case KVM_SET_DEVICE_ATTR:
		fake.attrs[fake.attrs_nr++ % FAKE_ATTRS] = *attr;
		return 0;
	case KVM_ARM_VCPU_INIT:
		fake.features = ((struct kvm_vcpu_init *)arg)->features[0];
		return 0;
	case KVM_GET_ONE_REG:
		*(uint64_t *)(uintptr_t)reg->addr = *one_reg(reg->id);
		return 0;
	case KVM_SET_ONE_REG:
		*one_reg(reg->id) = *(uint64_t *)(uintptr_t)reg->addr;
		return 0;
	default:
		return 0;
	}
}
#endif

static int answer(unsigned long request, void *arg)
{
	switch (request) {
	case KVM_GET_API_VERSION:
		return fake.api_version;
	case KVM_CREATE_VM:
		memset(fake.slots, 0, sizeof(fake.slots));
		fake.slots_nr = 0;
		return make_fd(0);
	case KVM_CREATE_VCPU:
		return make_fd(FAKE_RUN_LEN);
	case KVM_GET_VCPU_MMAP_SIZE:
		return FAKE_RUN_LEN;
	case KVM_CHECK_EXTENSION:
		return check_extension((long)arg);
	case KVM_SET_USER_MEMORY_REGION:
		return set_slot(arg);
	case KVM_REGISTER_COALESCED_MMIO:
		fake.zones[fake.zones_nr++ % 8] = *(struct kvm_coalesced_mmio_zone *)arg;
		return 0;
	case KVM_IOEVENTFD:
		return ioeventfd(arg);
	case KVM_SET_GSI_ROUTING:
		return set_routing(arg);
	case KVM_IRQFD:
		return irqfd(arg);
	case KVM_IRQ_LINE:
		fake.irq = ((struct kvm_irq_level *)arg)->irq;
		fake.irq_level = ((struct kvm_irq_level *)arg)->level;
		fake.irqs++;
		return 0;
	case KVM_SIGNAL_MSI:
		fake.msi = *(struct kvm_msi *)arg;
		fake.msis++;
		return 1;
	case KVM_GET_MP_STATE:
		((struct kvm_mp_state *)arg)->mp_state = fake.mp_state;
		return 0;
	default:
		return answer_arch(request, arg);
	}
}

static int run_vcpu(int fd)
{
	struct kvm_run *run = mmap(NULL, FAKE_RUN_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int ret = -EINTR;

	if (run == MAP_FAILED)
		return -1;
	if (!__atomic_load_n(&run->immediate_exit, __ATOMIC_SEQ_CST) && fake.run)
		ret = fake.run(&fake, 0, run);
	munmap(run, FAKE_RUN_LEN);
	if (ret < 0)
		errno = -ret;
	return ret < 0 ? -1 : 0;
}

/* Stands in for libc's. */
int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;

	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(request) == VHOST_VIRTIO && fake_vhost_ioctl) {
		int ret = fake_vhost_ioctl(fd, request, arg);

		errno = ret < 0 ? -ret : errno;
		return ret < 0 ? -1 : ret;
	}
	if (_IOC_TYPE(request) != KVMIO)
		return syscall(SYS_ioctl, fd, request, arg);
	if (request == KVM_RUN) {
		__atomic_fetch_add(&fake.runs, 1, __ATOMIC_RELAXED);
		return run_vcpu(fd);
	}
	pthread_mutex_lock(&lock);
	int ret;
	if (++fake.calls == fake.fail_at) {
		errno = fake.fail_errno;
		ret = -1;
	} else {
		ret = answer(request, arg);
	}
	pthread_mutex_unlock(&lock);
	return ret;
}
