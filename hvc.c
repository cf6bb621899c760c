/* SPDX-License-Identifier: GPL-2.0 */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <lkvm/chr-port.h>
#include <lkvm/hvc.h>
#include <lkvm/util.h>

/* A terminal that does not know its size says 0. */
static void read_size(struct hvc *h)
{
	struct winsize ws = { 0 };

	if (h->tty < 0 || ioctl(h->tty, TIOCGWINSZ, &ws) || !ws.ws_col || !ws.ws_row)
		return;
	h->cfg.cols = ws.ws_col;
	h->cfg.rows = ws.ws_row;
}

static void on_winch(struct loop_fd *lf, uint32_t events)
{
	struct hvc *h = container_of(lf, struct hvc, winch);
	struct signalfd_siginfo si;

	(void)events;
	if (read(lf->fd, &si, sizeof(si)) != sizeof(si))
		return;
	read_size(h);
	if (h->port->resize)
		h->port->resize(h->port, h->cfg.cols, h->cfg.rows);
}

static int follow_size(struct hvc *h, struct err *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	h->winch = (struct loop_fd){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
				     .fn = on_winch,
				     .events = EPOLLIN };
	if (h->winch.fd < 0)
		return err_host(err, errno, "signalfd");
	int ret = loop_fd_add(h->loop, &h->winch);
	return ret ? err_host(err, -ret, "cannot watch the size of the terminal") : 0;
}

int hvc_init(struct hvc *h, const struct machine_config *cfg, const struct chr_config *chr,
	     struct loop *loop, struct err *err)
{
	*h = (struct hvc){ .loop = loop,
			   .tty = cfg->follow_size ? cfg->out_fd : -1,
			   .winch.fd = -1 };
	h->chr = chr_new(chr, loop, &cfg->log, err);
	if (!h->chr)
		return -ENOMEM;
	h->port = chr_console_port_new(h->chr, err);
	if (!h->port)
		return -ENOMEM;
	h->cfg.ports[0].port = h->port;
	h->cfg.nr = 1;
	read_size(h);
	h->spec = (struct virtio_spec){ .type = &virtio_console_type,
					.common.vectors = VIRTIO_VECTORS_AUTO,
					.opts = &h->cfg };
	return h->tty < 0 ? 0 : follow_size(h, err);
}

void hvc_release(struct hvc *h)
{
	if (!h->loop)
		return;
	if (h->winch.added)
		loop_fd_del(h->loop, &h->winch);
	if (h->winch.fd >= 0)
		close(h->winch.fd);
	chr_console_port_free(h->port);
	chr_free(h->chr, 0);
}
