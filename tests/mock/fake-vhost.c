/* SPDX-License-Identifier: GPL-2.0 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "fake-kvm.h"
#include "fake-vhost.h"

static struct fake_vhost fake;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define ALL (UINT64_C(1) << 15 | UINT64_C(1) << 24 | 0xfull << 26 | 3ull << 32)

struct fake_vhost *fake_vhost_start(void)
{
	fake = (struct fake_vhost){ .features = ALL, .fail_errno = EIO };
	return &fake;
}

static struct fake_vhost_dev *dev_of(int fd, bool fresh)
{
	struct fake_vhost_dev *d = NULL;

	for (unsigned int i = 0; i < fake.devs_nr; i++)
		if (fake.devs[i].fd == fd)
			d = &fake.devs[i];
	if (!d && fake.devs_nr < FAKE_VHOSTS)
		d = &fake.devs[fake.devs_nr++];
	if (d && (fresh || d->fd != fd)) {
		*d = (struct fake_vhost_dev){ .fd = fd };
		for (unsigned int i = 0; i < 2; i++)
			d->vring[i].kick = d->vring[i].call = d->vring[i].err =
				d->vring[i].backend = -1;
	}
	return d;
}

static int set_backend(struct fake_vhost_dev *d, struct fake_vring *v, int fd)
{
	if (fd < 0) {
		v->backend = -1;
		fake.stops++;
		return 0;
	}
	if (!v->num || !v->addr.desc_user_addr || v->kick < 0 || v->call < 0 || !d->regions_nr)
		return -EFAULT;
	v->backend = fd;
	fake.starts++;
	return 0;
}

static int set_addr(struct fake_vring *v, const struct vhost_vring_addr *a)
{
	if (a->flags || a->avail_user_addr % 2 || a->used_user_addr % 4)
		return -EINVAL;
	v->addr = *a;
	return 0;
}

static int of_vring(struct fake_vhost_dev *d, unsigned long request, void *arg)
{
	/* All of them begin with the index. */
	unsigned int index = *(const unsigned int *)arg;

	if (index > 1)
		return -ENOBUFS;
	struct fake_vring *v = &d->vring[index];
	struct vhost_vring_state *state = arg;
	const struct vhost_vring_file *file = arg;
	bool busy = v->backend >= 0;

	switch (request) {
	case VHOST_SET_VRING_NUM:
		if (busy || !state->num || (state->num & (state->num - 1)))
			return busy ? -EBUSY : -EINVAL;
		v->num = state->num;
		return 0;
	case VHOST_SET_VRING_BASE:
		if (busy || state->num > 0xffff)
			return busy ? -EBUSY : -EINVAL;
		v->base = (uint16_t)state->num;
		return 0;
	case VHOST_GET_VRING_BASE:
		state->num = v->base;
		return 0;
	case VHOST_SET_VRING_ADDR:
		return set_addr(v, arg);
	case VHOST_SET_VRING_KICK:
		v->kick = file->fd;
		return 0;
	case VHOST_SET_VRING_CALL:
		v->call = file->fd;
		return 0;
	case VHOST_SET_VRING_ERR:
		v->err = file->fd;
		return 0;
	case VHOST_NET_SET_BACKEND:
		return set_backend(d, v, file->fd);
	}
	return -ENOTTY;
}

static int answer(int fd, unsigned long request, void *arg)
{
	struct fake_vhost_dev *d = dev_of(fd, request == VHOST_SET_OWNER);

	if (!d || (request == VHOST_SET_OWNER && d->owned))
		return -EBUSY;
	if (request == VHOST_SET_OWNER)
		d->owned = true;
	if (!d->owned)
		return -EPERM;
	switch (request) {
	case VHOST_SET_OWNER:
		return 0;
	case VHOST_GET_FEATURES:
		*(uint64_t *)arg = fake.features;
		return 0;
	case VHOST_SET_FEATURES:
		if (*(const uint64_t *)arg & ~fake.features)
			return -EOPNOTSUPP;
		d->features = *(const uint64_t *)arg;
		return 0;
	case VHOST_SET_MEM_TABLE:
		d->regions_nr = ((const struct vhost_memory *)arg)->nregions;
		return 0;
	}
	return of_vring(d, request, arg);
}

int fake_vhost_ioctl(int fd, unsigned long request, void *arg)
{
	pthread_mutex_lock(&lock);
	int ret = ++fake.calls == fake.fail_at ? -fake.fail_errno : answer(fd, request, arg);
	pthread_mutex_unlock(&lock);
	return ret;
}

/* --- the worker --- */

/* VIRTIO 1.3, 2.7, as the kernel's side sees a ring. */
static unsigned int serve_ring(struct fake_vring *v)
{
	const uint16_t *avail = (const uint16_t *)(uintptr_t)v->addr.avail_user_addr;
	uint16_t *used = (uint16_t *)(uintptr_t)v->addr.used_user_addr;
	uint16_t idx = le16toh(__atomic_load_n(&used[1], __ATOMIC_RELAXED));
	unsigned int nr = 0;

	while (v->base != le16toh(__atomic_load_n(&avail[1], __ATOMIC_ACQUIRE))) {
		uint32_t *elem = (uint32_t *)(used + 2) + 2 * (size_t)(idx % v->num);

		elem[0] = htole32(le16toh(avail[2 + v->base % v->num]));
		elem[1] = 0;
		v->base++;
		__atomic_store_n(&used[1], htole16(++idx), __ATOMIC_RELEASE);
		nr++;
	}
	v->served += nr;
	return nr;
}

unsigned int fake_vhost_serve(void)
{
	static const uint64_t one = 1;
	unsigned int total = 0;
	uint64_t count;

	pthread_mutex_lock(&lock);
	for (unsigned int i = 0; i < 2 * fake.devs_nr; i++) {
		struct fake_vring *v = &fake.devs[i / 2].vring[i % 2];

		if (v->kick < 0 || read(v->kick, &count, sizeof(count)) != sizeof(count))
			continue;
		v->kicks++;
		/* Without a backend the kernel takes the kick and does nothing. */
		unsigned int nr = v->backend >= 0 ? serve_ring(v) : 0;
		total += nr;
		if (nr && write(v->call, &one, sizeof(one)) != sizeof(one))
			total = 0;
	}
	pthread_mutex_unlock(&lock);
	return total;
}
