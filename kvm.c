/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <lkvm/arch.h>
#include <lkvm/kvm.h>
#include <lkvm/log.h>
#include <lkvm/util.h>

#define API_VERSION 12 /* api.rst, 4.1: the only version that any kernel since 2.6.22 has */

int kvm_open_dev(const char *dev, struct err *err)
{
	int fd = open(dev, O_RDWR | O_CLOEXEC);

	if (fd < 0 && (errno == EACCES || errno == EPERM))
		return err_host(err, errno,
				"cannot open %s; join the group that owns it (usually kvm)", dev);
	if (fd < 0 && errno == ENOENT)
		return err_host(err, errno, "cannot open %s (is kvm-intel or kvm-amd loaded?)",
				dev);
	if (fd < 0)
		return err_host(err, errno, "cannot open %s", dev);

	/* A terminal or a disk answers other things to the same ioctl number: ask what it is first. */
	struct stat st;
	int version = -1;
	if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode))
		version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version == API_VERSION)
		return fd;
	close(fd);
	if (version < 0)
		return err_host(err, ENODEV, "%s is not a KVM device", dev);
	return err_host(err, EPROTO, "%s has KVM API version %d, lkvm needs %d", dev, version,
			API_VERSION);
}

int kvm_check_cap(const struct kvm *kvm, int cap)
{
	int ret = ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, cap);

	return ret > 0 ? ret : 0;
}

static int check_caps(struct kvm *kvm, const char *dev, struct err *err)
{
	for (unsigned int i = 0; i < kvm_caps_nr; i++) {
		const struct kvm_cap *c = &kvm_caps[i];

		if (kvm_check_cap(kvm, c->cap))
			continue;
		if (c->needed)
			return err_host(err, ENOTSUP, "%s lacks KVM_CAP_%s (%s); see `lkvm doctor`",
					dev, c->name, c->use);
		log_debug(kvm->log, "no KVM_CAP_%s: %s", c->name, c->use);
	}
	return 0;
}

/* KVM_CREATE_VM gives EINTR when a signal is pending, which says nothing about the host. */
static int create_vm(int dev_fd)
{
	unsigned long type = arch_vm_type(dev_fd);
	int fd;

	do
		fd = ioctl(dev_fd, KVM_CREATE_VM, type);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static int init_vm(struct kvm *kvm, const char *dev, struct err *err)
{
	kvm->vm_fd = create_vm(kvm->dev_fd);
	if (kvm->vm_fd < 0)
		return err_host(err, errno, "%s cannot make a VM", dev);

	int ret = check_caps(kvm, dev, err);
	if (ret)
		return ret;

	int run_len = ioctl(kvm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_len < (int)sizeof(struct kvm_run))
		return err_internal(err, "KVM_GET_VCPU_MMAP_SIZE gives %d", run_len);
	kvm->run_len = run_len;
	kvm->cpus_max = kvm_check_cap(kvm, KVM_CAP_MAX_VCPUS);
	if (!kvm->cpus_max)
		kvm->cpus_max = 4; /* api.rst, 4.7: what the lack of both capabilities means */
	kvm->coalesced_pio = kvm_check_cap(kvm, KVM_CAP_COALESCED_PIO);
	kvm->msi_devid = kvm_check_cap(kvm, KVM_CAP_MSI_DEVID);
	return arch_vm_init(kvm, err);
}

int kvm_init(struct kvm *kvm, const char *dev, const struct log *log, struct err *err)
{
	*kvm = (struct kvm){
		.dev_fd = -1, .vm_fd = -1, .irq_routes_lock = PTHREAD_MUTEX_INITIALIZER, .log = log
	};

	int ret = kvm_open_dev(dev, err);
	if (ret < 0)
		return ret;
	kvm->dev_fd = ret;
	ret = init_vm(kvm, dev, err);
	if (ret)
		kvm_release(kvm);
	return ret;
}

void kvm_release(struct kvm *kvm)
{
	arch_vm_release(kvm);
	if (kvm->vm_fd >= 0)
		close(kvm->vm_fd);
	if (kvm->dev_fd >= 0)
		close(kvm->dev_fd);
	kvm->vm_fd = kvm->dev_fd = -1;
}

int kvm_add_memory(struct kvm *kvm, uint64_t gpa, uint64_t size, void *host, bool readonly,
		   struct err *err)
{
	struct kvm_userspace_memory_region slot = {
		.slot = atomic_fetch_add(&kvm->slots_nr, 1),
		.flags = readonly ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot))
		return err_host(err, errno, "KVM refuses %llu KiB of guest memory at 0x%llx",
				(unsigned long long)(size / KIB), (unsigned long long)gpa);
	return slot.slot;
}

void kvm_del_memory(struct kvm *kvm, int slot)
{
	struct kvm_userspace_memory_region none = { .slot = slot };

	/* Of a slot that is there: KVM has no reason to refuse, and takes no memory for it. */
	if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &none))
		log_error(kvm->log, "KVM keeps memory slot %d: %s", slot, strerror(errno));
}
