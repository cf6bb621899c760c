/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <linux/kvm.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lkvm/ioeventfd.h>
#include <lkvm/kvm.h>
#include <lkvm/util.h>

static int assign(const struct ioeventfd *e, uint32_t flags)
{
	struct kvm_ioeventfd args = {
		.datamatch = e->place.data,
		.addr = e->place.addr,
		.len = e->place.len,
		.fd = e->lf.fd,
		.flags = flags | (e->place.pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (e->place.match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
	};

	return ioctl(e->kvm->vm_fd, KVM_IOEVENTFD, &args) ? -errno : 0;
}

/* Whether it ever rang. */
static bool has_rung(const struct ioeventfd *e)
{
	uint64_t count;
	ssize_t n;

	do
		n = read(e->lf.fd, &count, sizeof(count));
	while (n < 0 && errno == EINTR);
	return n == sizeof(count);
}

static void on_event(struct loop_fd *lf, uint32_t events)
{
	struct ioeventfd *e = container_of(lf, struct ioeventfd, lf);

	/* Each ring is an edge, so the count need not be taken, which would be a system call a kick. */
	(void)events;
	e->fn(e);
}

struct watch_call {
	struct ioeventfd *e;
	int ret;
};

static void watch(void *arg)
{
	struct watch_call *c = arg;

	c->ret = loop_fd_add(c->e->loop, &c->e->lf);
}

static void unwatch(void *arg)
{
	struct ioeventfd *e = arg;

	loop_fd_del(e->loop, &e->lf);
	/* What rang before KVM let go of it may not have been heard. */
	if (has_rung(e))
		e->fn(e);
}

int ioeventfd_add(struct ioeventfd *e, struct kvm *kvm, struct loop *loop,
		  const struct ioeventfd_place *place, void (*fn)(struct ioeventfd *e))
{
	struct watch_call c = { .e = e };

	*e = (struct ioeventfd){
		.kvm = kvm,
		.loop = loop,
		.place = *place,
		.fn = fn,
		.lf = { .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
			.fn = on_event,
			.events = EPOLLIN | EPOLLET },
	};
	if (e->lf.fd < 0)
		return -errno;
	/* Watched first: from the moment KVM has it, it may ring. */
	loop_call(loop, watch, &c);
	int ret = c.ret ?: assign(e, 0);
	if (ret) {
		loop_call(loop, unwatch, e);
		close(e->lf.fd);
		return ret;
	}
	e->added = true;
	return 0;
}

int ioeventfd_add_fd(struct ioeventfd *e, struct kvm *kvm, int fd,
		     const struct ioeventfd_place *place)
{
	*e = (struct ioeventfd){ .kvm = kvm, .place = *place, .lf = { .fd = fd } };
	int ret = assign(e, 0);
	e->added = !ret;
	return ret;
}

void ioeventfd_remove(struct ioeventfd *e)
{
	if (!e->added)
		return;
	/* It cannot fail for what was assigned, and when it returns no vCPU is in it. */
	assign(e, KVM_IOEVENTFD_FLAG_DEASSIGN);
	e->added = false;
	if (!e->loop)
		return;
	loop_call(e->loop, unwatch, e);
	close(e->lf.fd);
}
