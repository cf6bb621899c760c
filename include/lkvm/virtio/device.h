/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The virtio core: life cycle, status, features, configuration space, queues of one device.
 *
 * It stands between a transport, which turns register accesses into the calls below, and a device type,
 * which turns requests into work. The transport's calls are by value and check everything, so a
 * transport has nothing to index; a device type never sees a register.
 *
 * Threads. A transport calls on any vCPU's thread; each call takes the device's lock. Queues are served
 * by their owner's thread (queue.h), which takes no lock of the device: the state and the status are
 * atomic. virtio_config_changed() may be called on any thread; virtio_fault() by the owner of a queue that runs
 * and under the device's lock, since a reset waits for both.
 *
 * Source: VIRTIO 1.3, chapters 2, 3 and 6; rows of the project's checklist are named as GEN-n and HD-n.
 */
#ifndef LKVM_VIRTIO_DEVICE_H
#define LKVM_VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lkvm/err.h>
#include <lkvm/log.h>
#include <lkvm/virtio/queue.h>

struct gmem;
struct virtio_device;

#define VIRTIO_QUEUES_MAX 64

/* 2.1 */
enum virtio_status {
	VIRTIO_ACKNOWLEDGE = 0x01,
	VIRTIO_DRIVER = 0x02,
	VIRTIO_DRIVER_OK = 0x04,
	VIRTIO_FEATURES_OK = 0x08,
	VIRTIO_NEEDS_RESET = 0x40,
	VIRTIO_FAILED = 0x80,
};

/* Feature bits of chapter 6 that the core knows. */
#define VIRTIO_F_ANY_LAYOUT      27 /* legacy only */
#define VIRTIO_F_INDIRECT_DESC   28
#define VIRTIO_F_EVENT_IDX       29
#define VIRTIO_F_VERSION_1       32
#define VIRTIO_F_ACCESS_PLATFORM 33
#define VIRTIO_F_RING_RESET      40
#define VIRTIO_BIT(f)            (UINT64_C(1) << (f))

/* Which of a transitional device's faces the driver uses: the first to write its status or features. */
enum virtio_iface { VIRTIO_IFACE_NONE, VIRTIO_IFACE_MODERN, VIRTIO_IFACE_LEGACY };

/* The life of a device; the table of transitions is in device.c. */
enum virtio_state {
	VIRTIO_ABSENT,     /* nothing exists */
	VIRTIO_REALIZED,   /* host resources are held; the guest sees nothing */
	VIRTIO_PLUGGED,    /* on a transport, status 0 or being negotiated */
	VIRTIO_NEGOTIATED, /* FEATURES_OK: the features are frozen */
	VIRTIO_RUNNING,    /* queues are served; kicks trap */
	VIRTIO_LIVE,       /* the same, and doorbells are armed */
	VIRTIO_BROKEN,     /* NEEDS_RESET: rings are not touched */
	VIRTIO_RESETTING,  /* a reset waits for requests in flight */
	VIRTIO_STATES_NR,
};

enum virtio_event {
	VIRTIO_EV_REALIZE,
	VIRTIO_EV_UNREALIZE,
	VIRTIO_EV_PLUG,
	VIRTIO_EV_UNPLUG,
	VIRTIO_EV_FEATURES_OK,
	VIRTIO_EV_LEGACY_START,
	VIRTIO_EV_DRIVER_OK,
	VIRTIO_EV_DOORBELLS_ON,
	VIRTIO_EV_DOORBELLS_OFF,
	VIRTIO_EV_FAULT,
	VIRTIO_EV_RESET,
	VIRTIO_EV_DRAINED,
	VIRTIO_EVENTS_NR,
};

/* The state after `ev` in `state`, or -1 where it cannot happen. */
int virtio_state_next(enum virtio_state state, enum virtio_event ev);

/* A feature and those of which one, at least, must be there with it (2.2.1). */
struct virtio_feature_dep {
	uint8_t bit;
	uint64_t needs_any;
};

/* One per device type, const. */
struct virtio_device_ops {
	const char *name;
	uint16_t device_id;
	uint16_t legacy_id; /* transitional PCI device id, 0: the type has none */
	uint32_t pci_class; /* 24 bits, as common guests expect of the type */
	uint64_t
		features; /* what the type offers (see virtio_device.features); the core adds its own */
	uint64_t lacks; /* of the core's bits, those that the type cannot offer */
	const struct virtio_feature_dep *deps;
	unsigned int deps_nr;

	/* Control path, under the device's lock. Offset and length are inside config_len. */
	void (*config_read)(struct virtio_device *vd, uint32_t off, void *buf, uint32_t len);
	void (*config_write)(struct virtio_device *vd, uint32_t off, const void *buf,
			     uint32_t len); /* NULL: read-only */
	/* DRIVER_OK: `features` are what was negotiated. Failure breaks the device (GEN-8). May be NULL. */
	int (*start)(struct virtio_device *vd, uint64_t features);
	/*
	 * Reset, after every queue was stopped: cancel what can be cancelled. Requests still out come back
	 * through vq_push(), which then only counts them. May be NULL.
	 */
	void (*stop)(struct virtio_device *vd);
	/* The registers are as after power-on. Under the device's lock. May be NULL. */
	void (*reset)(struct virtio_device *vd);
	/*
	 * On the queue's owner thread: the ring may have something. The core flushes afterwards. True: all
	 * that could be taken was taken, call again when there is more; false: what is left waits for
	 * something else (a packet, a free request), and the type then calls virtio_queue_serve(); kicks
	 * that it turned off stay off until then.
	 */
	bool (*kick)(struct virtio_device *vd, struct virtqueue *vq);
	/* After it, in place of vq_flush(). May be NULL. */
	void (*flush)(struct virtio_device *vd, struct virtqueue *vq);
	/*
	 * On the queue's owner thread: the queue begins, before its first kick, or has stopped (a reset of
	 * the device or of the queue), and chains that the type holds are pushed back now. One that the kernel
	 * serves also stops, perhaps twice, without bus mastering and in a broken device. May be NULL.
	 */
	void (*queue_state)(struct virtio_device *vd, struct virtqueue *vq, bool on);
	/* Under the device's lock: whether queue `n` is there with the features in force. NULL: all are. */
	bool (*has_queue)(const struct virtio_device *vd, uint16_t n);
};

/* Of a queue that the kernel serves. Both are the transport's, from plug to unplug. */
struct virtio_queue_fds {
	int kick; /* the driver's kicks are written here; so may be the device's own */
	int call; /* a write is an interrupt of the queue, by the rules of its vector */
};

/* One per transport, const. Calls come on any thread, without the device's lock unless noted. */
struct virtio_transport_ops {
	void (*irq_queue)(struct virtio_device *vd, uint16_t queue);
	void (*irq_config)(struct virtio_device *vd);
	/* All doorbells of the device, or none; under the device's lock. May be NULL: kicks trap. */
	int (*doorbells_on)(struct virtio_device *vd);
	void (*doorbells_off)(struct virtio_device *vd);
	/* Of a queue with `vhost` set. NULL: the transport cannot have such queues. */
	void (*queue_fds)(struct virtio_device *vd, uint16_t queue, struct virtio_queue_fds *fds);
	/* The device's registers were reset; the transport's own (vectors, ISR) follow; under the lock. */
	void (*reset)(struct virtio_device *vd);
};

/* In in_flight, from the beginning of a reset to its end: more than there can be chains. */
#define VIRTIO_RESET_AT_WORK (1u << 31)

struct virtio_device {
	const struct virtio_device_ops *ops;
	const struct virtio_transport_ops *transport;
	const struct gmem *gm;
	const struct log *log;
	struct log_limit log_limit;
	uint64_t
		features; /* what the type offers; an instance may change it before virtio_plug() */
	uint64_t lacks;   /* of the core's bits, those that this one cannot offer; likewise */
	void *priv;       /* the device type's */
	void *transport_priv; /* the transport's; it sets it before virtio_plug() */

	_Atomic uint8_t state;       /* enum virtio_state */
	_Atomic uint8_t status;      /* as the driver reads it */
	_Atomic uint32_t in_flight;  /* chains of all queues, and VIRTIO_RESET_AT_WORK */
	_Atomic bool config_changed; /* since the generation was last read */

	pthread_mutex_t lock;    /* everything below */
	bool doorbells;          /* armed */
	uint64_t offered;        /* through the modern interface */
	uint32_t offered_legacy; /* through the legacy one */
	uint64_t accepted;       /* what the driver wrote, valid or not */
	uint64_t
		accepted_wild; /* feature words that do not exist and hold a bit; the last stands for all beyond */
	enum virtio_iface iface; /* that drives it since the last reset (LEG-34) */
	bool bus_master;
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
	uint8_t generation;
	uint32_t config_len;
	uint16_t queues_nr;
	struct virtqueue vqs[VIRTIO_QUEUES_MAX];
};

/* --- for the machine and device types --- */

/* ABSENT to REALIZED; the type adds its queues and its config_len next. */
void virtio_device_init(struct virtio_device *vd, const struct virtio_device_ops *ops,
			const struct gmem *gm, const struct log *log, void *priv);
/* Any state but RESETTING with its transport gone; back to ABSENT. */
void virtio_device_release(struct virtio_device *vd);
/* While REALIZED. -ENOSPC beyond VIRTIO_QUEUES_MAX; `size` is a power of two up to VQ_SIZE_MAX. */
int virtio_add_queue(struct virtio_device *vd, uint16_t size, struct loop *loop);
/* All that the device offers, the core's bits too. */
uint64_t virtio_all_features(const struct virtio_device *vd);
/*
 * REALIZED to PLUGGED: fixes what is offered. ERR_INTERNAL when the type offers an unmet dependency, or has a queue
 * that the kernel serves on a transport that cannot.
 */
int virtio_plug(struct virtio_device *vd, const struct virtio_transport_ops *transport,
		struct err *err);
void virtio_unplug(struct virtio_device *vd);

/* The negotiated set: frozen from FEATURES_OK on. */
bool virtio_has(const struct virtio_device *vd, unsigned int feature);

/* The driver broke a rule that only a reset can mend: NEEDS_RESET, one config interrupt, quiet. */
void virtio_fault(struct virtio_device *vd, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A field of the configuration space changed by itself. */
void virtio_config_changed(struct virtio_device *vd);

/* --- for transports; each is one access by the driver --- */

uint8_t virtio_get_status(struct virtio_device *vd);
void virtio_set_status(struct virtio_device *vd, uint8_t status);
void virtio_reset(struct virtio_device *vd);

void virtio_select_device_features(struct virtio_device *vd, uint32_t word);
uint32_t virtio_get_device_feature_select(struct virtio_device *vd);
uint32_t virtio_get_device_features(struct virtio_device *vd);
void virtio_select_driver_features(struct virtio_device *vd, uint32_t word);
uint32_t virtio_get_driver_feature_select(struct virtio_device *vd);
uint32_t virtio_get_driver_features(struct virtio_device *vd);
void virtio_set_driver_features(struct virtio_device *vd, uint32_t bits);

uint16_t virtio_queues_nr(const struct virtio_device *vd);
void virtio_queue_select(struct virtio_device *vd, uint16_t n);
uint16_t virtio_get_queue_select(struct virtio_device *vd);
/* All of the selected queue; one that does not exist reads 0 and takes no write. */
enum virtio_queue_addr { VIRTIO_QUEUE_DESC, VIRTIO_QUEUE_AVAIL, VIRTIO_QUEUE_USED };
uint16_t virtio_get_queue_size(struct virtio_device *vd);
void virtio_set_queue_size(struct virtio_device *vd, uint16_t size);
uint64_t virtio_get_queue_addr(struct virtio_device *vd, enum virtio_queue_addr which);
void virtio_set_queue_addr(struct virtio_device *vd, enum virtio_queue_addr which, uint64_t gpa);
uint16_t virtio_get_queue_enable(struct virtio_device *vd);
void virtio_set_queue_enable(struct virtio_device *vd, uint16_t value);
uint16_t virtio_get_queue_reset(struct virtio_device *vd);
void virtio_set_queue_reset(struct virtio_device *vd, uint16_t value);

/* Which interface owns the device now. */
enum virtio_iface virtio_get_iface(struct virtio_device *vd);
/*
 * Bus mastering was turned off or on (PLT-5). Off: no ring is read or written and nobody is interrupted; chains that
 * come back meanwhile are held. On: they go to the driver, and every queue is looked at. A back end's transfer
 * that was under way is not called back. On when it is not told otherwise; a reset changes nothing.
 */
void virtio_set_bus_master(struct virtio_device *vd, bool on);

/* The driver rang: queues that do not exist or do not run are ignored. Any thread. */
void virtio_queue_notify(struct virtio_device *vd, uint32_t n);

uint8_t virtio_get_generation(struct virtio_device *vd);
/* Bytes beyond config_len read 0 and are not written. */
void virtio_config_read(struct virtio_device *vd, uint64_t off, void *buf, uint32_t len);
void virtio_config_write(struct virtio_device *vd, uint64_t off, const void *buf, uint32_t len);

/* --- for queue.c --- */

/* A chain came back. Ends a reset that waited for it. */
void virtio_drain_one(struct virtio_device *vd);
/* On the owner's thread: look at the ring. What a doorbell's eventfd calls. */
void virtio_queue_serve(struct virtqueue *vq);

/* --- the legacy interface (2.2.3, 3.1.2, 4.1.4.10) --- */

uint32_t virtio_legacy_features(const struct virtio_device *vd);
void virtio_legacy_set_features(struct virtio_device *vd, uint32_t bits);
uint32_t virtio_legacy_get_driver_features(struct virtio_device *vd);
/* Page frame number of the selected queue's ring; 0 gives the queue back. Starts the device. */
uint32_t virtio_legacy_get_pfn(struct virtio_device *vd);
void virtio_legacy_set_pfn(struct virtio_device *vd, uint32_t pfn);
void virtio_legacy_notify(struct virtio_device *vd, uint32_t n);
void virtio_legacy_set_status(struct virtio_device *vd, uint8_t status);

#endif
