/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lkvm/gmem.h>
#include <lkvm/util.h>
#include <lkvm/virtio/vhost.h>

/*
 * Bits that mean something else here than to a driver: vhost-net makes a header itself (a tap has one already) with the
 * number of ANY_LAYOUT, and logs what it writes with 26.
 */
#define NOT_DRIVERS (VIRTIO_BIT(VHOST_NET_F_VIRTIO_NET_HDR) | VIRTIO_BIT(VHOST_F_LOG_ALL))

static int call(const struct vhost *v, unsigned long request, void *arg)
{
	return ioctl(v->fd, request, arg) ? -errno : 0;
}

/* --- making one --- */

static int open_dev(const char *dev, const char *option, struct err *err)
{
	int fd = open(dev, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT)
		return err_host(err, ENOENT,
				"%s: %s is missing: load the kernel's module with `modprobe "
				"vhost_net`, or leave %s out",
				option, dev, option);
	if (errno == EACCES || errno == EPERM)
		return err_host(err, errno,
				"%s: %s may not be opened: give this user read and write "
				"permission on it (the group kvm has it on most hosts), or leave "
				"%s out",
				option, dev, option);
	return err_host(err, errno, "%s: cannot open %s", option, dev);
}

static int set_memory(const struct vhost *v, const struct gmem *gm)
{
	union {
		struct vhost_memory m;
		uint8_t room[sizeof(struct vhost_memory) +
			     GMEM_REGIONS_MAX * sizeof(struct vhost_memory_region)];
	} u = { .m.nregions = gm->regions_nr };

	for (unsigned int i = 0; i < gm->regions_nr; i++)
		u.m.regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = gm->regions[i].gpa,
			.memory_size = gm->regions[i].size,
			.userspace_addr = (uintptr_t)gm->regions[i].host,
		};
	return call(v, VHOST_SET_MEM_TABLE, &u);
}

static void on_error(struct loop_fd *lf, uint32_t events)
{
	struct vhost *v = container_of(lf, struct vhost, error);
	uint64_t count;

	(void)events;
	if (read(lf->fd, &count, sizeof(count)) != sizeof(count))
		return;
	/* One that was given back meanwhile is nobody's fault. */
	for (unsigned int i = 0; i < VHOST_QUEUES_MAX; i++) {
		if (!v->started[i])
			continue;
		virtio_fault(v->vqs[i]->vd, "the kernel found one of its rings broken");
		return;
	}
}

int vhost_open(struct vhost *v, const char *dev, const char *option, const struct gmem *gm,
	       struct err *err)
{
	*v = (struct vhost){ .fd = -1, .error = { .fd = -1, .fn = on_error, .events = EPOLLIN } };
	int ret = open_dev(dev, option, err);

	if (ret < 0)
		return ret;
	v->fd = ret;
	ret = call(v, VHOST_SET_OWNER, NULL);
	ret = ret ?: call(v, VHOST_GET_FEATURES, &v->features);
	if (ret)
		ret = err_host(err, -ret, "%s: %s is no vhost device", option, dev);
	else if ((ret = set_memory(v, gm)))
		ret = err_host(err, -ret, "%s: %s does not take the guest's memory", option, dev);
	v->features &= ~NOT_DRIVERS;
	if (!ret && (v->error.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		ret = err_host(err, errno, "%s: no more descriptors", option);
	if (ret)
		vhost_close(v);
	return ret;
}

static void unwatch(void *arg)
{
	struct vhost *v = arg;

	loop_fd_del(v->vqs[0]->loop, &v->error);
}

void vhost_close(struct vhost *v)
{
	if (v->error.added)
		loop_call(v->vqs[0]->loop, unwatch, v);
	if (v->error.fd >= 0)
		close(v->error.fd);
	if (v->fd >= 0)
		close(v->fd);
	v->fd = v->error.fd = -1;
}

void vhost_add_queue(struct vhost *v, unsigned int i, struct virtqueue *vq)
{
	BUG_ON(i >= VHOST_QUEUES_MAX);
	v->vqs[i] = vq;
	vq->vhost = true;
}

int vhost_set_features(struct vhost *v, uint64_t features)
{
	/* Those of the device's own are nothing to the kernel, which refuses what it does not know. */
	features &= v->features;
	return call(v, VHOST_SET_FEATURES, &features);
}

/* --- handing over, and back --- */

static struct virtio_queue_fds fds_of(const struct virtqueue *vq)
{
	struct virtio_queue_fds fds;

	vq->vd->transport->queue_fds(vq->vd, vq->index, &fds);
	return fds;
}

static int set_file(const struct vhost *v, unsigned long request, unsigned int i, int fd)
{
	struct vhost_vring_file file = { .index = i, .fd = fd };

	return call(v, request, &file);
}

/* The areas are in RAM as a whole: vq_start() has seen to it. */
static int set_ring(struct vhost *v, unsigned int i)
{
	const struct virtqueue *vq = v->vqs[i];
	struct vhost_vring_state size = { .index = i, .num = vq->size };
	struct vhost_vring_state base = { .index = i, .num = vq->next_avail };
	struct vhost_vring_addr addr = {
		.index = i,
		.desc_user_addr = (uintptr_t)vq->desc,
		.avail_user_addr = (uintptr_t)vq->avail,
		.used_user_addr = (uintptr_t)vq->used,
	};
	struct virtio_queue_fds fds = fds_of(vq);
	int ret = call(v, VHOST_SET_VRING_NUM, &size);

	ret = ret ?: call(v, VHOST_SET_VRING_BASE, &base);
	ret = ret ?: call(v, VHOST_SET_VRING_ADDR, &addr);
	ret = ret ?: set_file(v, VHOST_SET_VRING_ERR, i, v->error.fd);
	ret = ret ?: set_file(v, VHOST_SET_VRING_CALL, i, fds.call);
	return ret ?: set_file(v, VHOST_SET_VRING_KICK, i, fds.kick);
}

void vhost_net_start(struct vhost *v, unsigned int i, int backend)
{
	struct virtqueue *vq = v->vqs[i];
	int ret = 0;

	if (v->started[i])
		return;
	if (!v->error.added)
		ret = loop_fd_add(vq->loop, &v->error);
	ret = ret ?: set_ring(v, i);
	ret = ret ?: set_file(v, VHOST_NET_SET_BACKEND, i, backend);
	if (ret) {
		virtio_fault(vq->vd, "queue %u: vhost refuses it: %s", vq->index, strerror(-ret));
		return;
	}
	v->started[i] = true;
	/* The driver may have filled it already, and its kick gone to nobody. */
	vhost_kick(v, i);
}

void vhost_net_stop(struct vhost *v, unsigned int i)
{
	struct virtqueue *vq = v->vqs[i];
	struct vhost_vring_state base = { .index = i };

	if (!v->started[i])
		return;
	v->started[i] = false;
	/* Returns when the kernel's worker has let go of the ring; then it says where it was. */
	int ret = set_file(v, VHOST_NET_SET_BACKEND, i, -1);
	ret = ret ?: call(v, VHOST_GET_VRING_BASE, &base);
	vq->next_avail = (uint16_t)base.num;
	if (!ret)
		return;
	/* Without the instance nothing of it is served, and what starts it again fails. */
	close(v->fd);
	v->fd = -1;
	virtio_fault(vq->vd, "queue %u: vhost does not give it back: %s", vq->index,
		     strerror(-ret));
}

void vhost_kick(struct vhost *v, unsigned int i)
{
	static const uint64_t one = 1;

	/* It fails only when so many kicks wait that one more says nothing. */
	if (write(fds_of(v->vqs[i]).kick, &one, sizeof(one)) < 0)
		return;
}
