/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Queues that the kernel serves: the eventfds by which it is kicked and interrupts. What it interrupts by is read here
 * whenever KVM does not take it: without MSI-X, while the vector is masked or none, and when KVM has no number left.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lkvm/util.h>

#include "transport.h"

static void on_call(struct loop_fd *lf, uint32_t events)
{
	struct virtio_pci_fds *f = container_of(lf, struct virtio_pci_fds, call);
	uint8_t state = atomic_load(&f->vp->vd->state);
	uint64_t count;

	(void)events;
	if (read(lf->fd, &count, sizeof(count)) != sizeof(count))
		return;
	/* What is left from before a reset, or a fault, is of nobody's interest. */
	if (pci_irqfd_is_direct(&f->irq) || !f->vq->running ||
	    (state != VIRTIO_RUNNING && state != VIRTIO_LIVE))
		return;
	virtio_pci_irq_queue(f->vp->vd, f->vq->index);
}

struct watch_call {
	struct virtio_pci_fds *f;
	int ret;
};

static void watch(void *arg)
{
	struct watch_call *c = arg;

	c->ret = loop_fd_add(c->f->vq->loop, &c->f->call);
}

static void unwatch(void *arg)
{
	struct virtio_pci_fds *f = arg;

	loop_fd_del(f->vq->loop, &f->call);
}

static int open_fds(struct virtio_pci_fds *f, struct kvm *kvm)
{
	struct watch_call c = { .f = f };

	f->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->call.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->kick < 0 || f->call.fd < 0)
		return -errno;
	pci_irqfd_init(&f->irq, &f->vp->pd, kvm, f->call.fd);
	loop_call(f->vq->loop, watch, &c);
	return c.ret;
}

int virtio_pci_fds_init(struct virtio_pci *vp, struct kvm *kvm)
{
	uint16_t nr = virtio_queues_nr(vp->vd);
	int ret = 0;

	pthread_mutex_init(&vp->fds_lock, NULL);
	for (uint16_t i = 0; i < nr && !ret; i++) {
		struct virtqueue *vq = &vp->vd->vqs[i];

		if (!vq->vhost)
			continue;
		if (!vp->fds && !(vp->fds = calloc(nr, sizeof(vp->fds[0]))))
			return -ENOMEM;
		vp->fds[i] = (struct virtio_pci_fds){
			.vp = vp,
			.vq = vq,
			.kick = -1,
			.call = { .fd = -1, .fn = on_call, .events = EPOLLIN },
			.irq = { .vector = PCI_NO_VECTOR },
		};
		ret = open_fds(&vp->fds[i], kvm);
	}
	return ret;
}

static void close_fds(struct virtio_pci_fds *f)
{
	pci_irqfd_release(&f->irq);
	if (f->call.added)
		loop_call(f->vq->loop, unwatch, f);
	if (f->call.fd >= 0)
		close(f->call.fd);
	if (f->kick >= 0)
		close(f->kick);
}

void virtio_pci_fds_release(struct virtio_pci *vp)
{
	for (uint16_t i = 0; vp->fds && i < virtio_queues_nr(vp->vd); i++)
		if (vp->fds[i].vq)
			close_fds(&vp->fds[i]);
	free(vp->fds);
	vp->fds = NULL;
	pthread_mutex_destroy(&vp->fds_lock);
}

void virtio_pci_queue_fds(struct virtio_device *vd, uint16_t queue, struct virtio_queue_fds *fds)
{
	const struct virtio_pci *vp = vd->transport_priv;

	*fds = (struct virtio_queue_fds){ .kick = vp->fds[queue].kick,
					  .call = vp->fds[queue].call.fd };
}

void virtio_pci_fds_vector(struct virtio_pci *vp, uint16_t queue)
{
	if (!vp->fds || queue >= virtio_queues_nr(vp->vd) || !vp->fds[queue].vq)
		return;
	pthread_mutex_lock(&vp->fds_lock);
	/* Read here, so that whoever comes last has seen the last value. */
	uint16_t vector = atomic_load(&vp->queue_vector[queue]);
	pci_irqfd_set_vector(&vp->fds[queue].irq, vector == NO_VECTOR ? PCI_NO_VECTOR : vector);
	pthread_mutex_unlock(&vp->fds_lock);
}
