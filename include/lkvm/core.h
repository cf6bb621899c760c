/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM as an ELF core, which gdb opens beside a vmlinux: a thread for each vCPU, and all RAM, at the kernel's virtual
 * addresses where those are known, else at the physical ones. Pages of zeros are holes in the file.
 */
#ifndef LKVM_CORE_H
#define LKVM_CORE_H

struct gmem;
struct vcpu;

struct core {
	struct vcpu *vcpus; /* none in KVM_RUN */
	unsigned int vcpus_nr;
	const struct gmem *gm;
};

/* Into an empty regular file. Returns 0 or -errno. */
int core_write(const struct core *core, int fd);

#endif
