/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/cmd-status.h>
#include <lkvm/util.h>

/* The bus takes words apart: one way in and out, whatever the width. */
static uint64_t cmd_status_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct cmd_status *c = container_of(r, struct cmd_status, region);
	uint8_t regs[CMD_REGS_LEN] = { 0 };

	(void)width;
	put_le32(regs + CMD_REG_ID, CMD_ID);
	pthread_mutex_lock(&c->lock);
	put_le32(regs + CMD_REG_STATE, c->state);
	put_le64(regs + CMD_REG_LEN, c->len);
	pthread_mutex_unlock(&c->lock);
	return regs[off];
}

/* Puts a byte into its word. Returns true when that made it whole: `off` is that of its highest byte. */
static bool put_byte(uint8_t word[4], uint64_t off, uint64_t reg, uint8_t value)
{
	if (off < reg || off - reg >= 4)
		return false;
	word[off - reg] = value;
	return off - reg == 3;
}

static void cmd_status_bus_write(struct bus_region *r, uint64_t off, unsigned int width,
				 uint64_t value)
{
	struct cmd_status *c = container_of(r, struct cmd_status, region);

	(void)width;
	pthread_mutex_lock(&c->lock);
	bool credit = put_byte(c->credit, off, CMD_REG_CREDIT, (uint8_t)value);
	bool status = put_byte(c->status, off, CMD_REG_STATUS, (uint8_t)value) && !c->reported;
	uint32_t bytes = get_le32(c->credit), number = get_le32(c->status);
	c->reported |= status;
	pthread_mutex_unlock(&c->lock);
	if (credit)
		c->ops->credit(c->arg, bytes);
	if (status)
		c->ops->status(c->arg, number);
}

void cmd_status_init(struct cmd_status *c, const struct cmd_status_ops *ops, void *arg)
{
	*c = (struct cmd_status){ .ops = ops, .arg = arg };
	pthread_mutex_init(&c->lock, NULL);
}

void cmd_status_release(struct cmd_status *c)
{
	pthread_mutex_destroy(&c->lock);
}

int cmd_status_plug(struct cmd_status *c, struct bus *bus, uint64_t base, struct err *err)
{
	c->bus = bus;
	c->region = (struct bus_region){
		.name = "cmd-status",
		.base = base,
		.size = CMD_REGS_LEN,
		.max_width = 1,
		.read = cmd_status_bus_read,
		.write = cmd_status_bus_write,
	};
	if (bus_add(bus, &c->region))
		return err_internal(err, "command registers: the address 0x%llx is taken",
				    (unsigned long long)base);
	return 0;
}

void cmd_status_unplug(struct cmd_status *c)
{
	bus_remove(c->bus, &c->region);
}

void cmd_status_stdin_ended(struct cmd_status *c, uint64_t len)
{
	pthread_mutex_lock(&c->lock);
	c->len = len;
	c->state |= CMD_STATE_ENDED;
	pthread_mutex_unlock(&c->lock);
}

void cmd_status_gone(struct cmd_status *c, enum cmd_stream stream)
{
	pthread_mutex_lock(&c->lock);
	c->state |= CMD_STATE_GONE(stream);
	pthread_mutex_unlock(&c->lock);
}
