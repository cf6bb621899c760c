/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio-console: ports between the guest and the host (VIRTIO 1.3, 5.3).
 *
 * A device is made from a struct virtio_console_cfg, a list of ports. Port i has the number i in the guest:
 *
 *   struct port *in, *out;             (port.h; chr-port.h makes them from descriptors)
 *   struct virtio_console_cfg cfg = {
 *           .ports = { { .name = "lkvm.stdin", .port = in }, { .name = "lkvm.stdout", .port = out } },
 *           .nr = 2,
 *   };
 *   struct virtio_spec spec = { .type = &virtio_console_type, .opts = &cfg, ... };   (types.h, devices_new())
 *
 * A named port is /dev/virtio-ports/NAME in the guest, if its udev has the usual rule; the name is in
 * /sys/class/virtio-ports/vportNpM/name. A console is /dev/hvcN. It gets no input before its driver says that it is open,
 * which it can with MULTIPORT alone: Linux discards what comes earlier. The size is a message then (Linux
 * had its two numbers in the wrong order for long). The end of a console's input is not told, as it may print further.
 *
 * End of input (port.h: read() returns 0) is told by PORT_OPEN 0, after the last byte. It closes the port as a whole: a
 * process in Linux then reads end of file, but one that writes to the same port waits for ever. So a stream that
 * goes on when the other direction has ended needs a port of its own: stdin and stdout are two ports.
 *
 * What a guest writes stays in its ring while the host's side is full. What the host has stays there while the guest
 * has no buffers, or does not have the port open, but for PORT_BUF_LEN bytes that were read ahead. What it wrote before
 * it powered off is taken as long as the host's side takes it. Chains in hand at a reset go back; bytes that were read ahead stay for the driver that comes next.
 *
 * All queues are served by one loop. EMERG_WRITE is not offered: the machine has a serial port for that.
 */
#ifndef LKVM_VIRTIO_CONSOLE_H
#define LKVM_VIRTIO_CONSOLE_H

#include <lkvm/port.h>
#include <lkvm/virtio/type.h>

#define VIRTIO_CONSOLE_ID         3      /* 5.3.1 */
#define VIRTIO_CONSOLE_LEGACY_ID  0x1003 /* 4.1.2.1 */
#define VIRTIO_CONSOLE_CONFIG_LEN 8      /* cols, rows, max_nr_ports (5.3.4) */
#define VIRTIO_CONSOLE_QUEUE_SIZE 64
#define VIRTIO_CONSOLE_PORTS_MAX                                                                   \
	16 /* two queues each and two for control are fewer than VIRTIO_QUEUES_MAX */
#define VIRTIO_CONSOLE_NAME_MAX 64 /* bytes of a name */
#define PORT_BUF_LEN            32768

/* 5.3.3 */
enum virtio_console_feature { VIRTIO_CONSOLE_F_SIZE = 0, VIRTIO_CONSOLE_F_MULTIPORT = 1 };

/* 5.3.6.2 */
enum virtio_console_event {
	VIRTIO_CONSOLE_DEVICE_READY = 0,
	VIRTIO_CONSOLE_DEVICE_ADD = 1,
	VIRTIO_CONSOLE_DEVICE_REMOVE = 2,
	VIRTIO_CONSOLE_PORT_READY = 3,
	VIRTIO_CONSOLE_CONSOLE_PORT = 4,
	VIRTIO_CONSOLE_RESIZE = 5,
	VIRTIO_CONSOLE_PORT_OPEN = 6,
	VIRTIO_CONSOLE_PORT_NAME = 7,
};

struct virtio_console_port {
	const char *name; /* 1 to VIRTIO_CONSOLE_NAME_MAX bytes; NULL: a console, which is port 0 */
	struct port *port; /* outlives the device */
};

/* All of it outlives the device. */
struct virtio_console_cfg {
	struct virtio_console_port ports[VIRTIO_CONSOLE_PORTS_MAX];
	unsigned int nr;     /* at least 1 */
	uint16_t cols, rows; /* of the console; 0: not known, and not told */
};

/* Its options are a struct virtio_console_cfg. There is no option on the command line: the embedder makes the spec. */
extern const struct virtio_type virtio_console_type;
/* What a device of that type was made from. */
const struct virtio_console_cfg *virtio_console_cfg_of(struct virtio_device *vd);

#endif
