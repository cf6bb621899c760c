/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/i8042.h>
#include <lkvm/stop.h>
#include <lkvm/util.h>

/* Status, read from the command port. */
#define STATUS_OBF     0x01 /* a byte waits */
#define STATUS_SYS     0x04 /* the command byte's system flag */
#define STATUS_COMMAND 0x08
#define STATUS_UNLOCK  0x10 /* no keylock */
#define STATUS_AUX     0x20

/* Controller commands. */
#define CMD_RAM_READ  0x20 /* to 0x3f: which byte is in the low five bits */
#define CMD_RAM_WRITE 0x60 /* to 0x7f */
#define CMD_AUX_OFF   0xa7
#define CMD_AUX_ON    0xa8
#define CMD_AUX_TEST  0xa9
#define CMD_SELF_TEST 0xaa
#define CMD_KBD_TEST  0xab
#define CMD_KBD_OFF   0xad
#define CMD_KBD_ON    0xae
#define CMD_IN_READ   0xc0
#define CMD_OUT_READ  0xd0
#define CMD_OUT_WRITE 0xd1
#define CMD_KBD_LOOP  0xd2
#define CMD_AUX_LOOP  0xd3
#define CMD_AUX_WRITE 0xd4
#define CMD_PULSE     0xf0 /* to 0xff: pulses the output lines whose bits are 0 */

#define SELF_TEST_OK  0x55
#define PORT_OK       0x00
#define PORT_CLK_LOW  0x01

/* The command byte. */
#define CTR_KBD_INT 0x01
#define CTR_AUX_INT 0x02
#define CTR_SYS     0x04
#define CTR_KBD_OFF 0x10
#define CTR_AUX_OFF 0x20
#define CTR_XLATE   0x40
/* As firmware leaves it. */
#define CTR_INIT (CTR_KBD_INT | CTR_SYS | CTR_AUX_OFF | CTR_XLATE)

/* The output port. */
#define OUT_NO_RESET 0x01
#define OUT_A20      0x02
#define OUT_KBD_OBF  0x10
#define OUT_AUX_OBF  0x20
#define IN_UNLOCK    0x80 /* the input port */

/* The keyboard's commands and answers. */
#define KBD_LEDS      0xed
#define KBD_ECHO      0xee
#define KBD_SET       0xf0
#define KBD_ID        0xf2
#define KBD_RATE      0xf3
#define KBD_ENABLE    0xf4
#define KBD_DISABLE   0xf5
#define KBD_DEFAULT   0xf6
#define KBD_KEYS_ALL  0xf7 /* to 0xfa: key types of all keys */
#define KBD_KEYS_LAST 0xfa
#define KBD_RESET     0xff
#define KBD_ACK       0xfa
#define KBD_RESEND    0xfe
#define KBD_PASSED    0xaa

#define AUX_TIMEOUT   0xfe /* the controller's answer for a device that does not reply */

/* System control port A. */
#define A20_RESET 0x01
#define A20_OPEN  0x02

static void queue_push(struct i8042_queue *q, uint8_t data, bool aux)
{
	if (q->nr == I8042_QUEUE_LEN)
		return;
	unsigned int at = (q->head + q->nr++) % I8042_QUEUE_LEN;
	q->data[at] = data;
	q->aux[at] = aux;
}

static uint8_t queue_pop(struct i8042_queue *q)
{
	uint8_t data = q->data[q->head];

	q->head = (q->head + 1) % I8042_QUEUE_LEN;
	q->nr--;
	return data;
}

/* The queue that the next read takes from, NULL when none has a byte. */
static struct i8042_queue *ready_locked(struct i8042 *k)
{
	if (k->out.nr)
		return &k->out;
	return k->kbd.nr && !(k->ram[0] & CTR_KBD_OFF) ? &k->kbd : NULL;
}

static void settle_locked(struct i8042 *k)
{
	struct i8042_queue *q = ready_locked(k);
	bool aux = q && q->aux[q->head];

	irq_line_set(&k->kbd_irq, q && !aux && (k->ram[0] & CTR_KBD_INT));
	irq_line_set(&k->aux_irq, aux && (k->ram[0] & CTR_AUX_INT));
}

static uint8_t status_locked(struct i8042 *k)
{
	struct i8042_queue *q = ready_locked(k);
	uint8_t v = STATUS_UNLOCK | (k->ram[0] & CTR_SYS ? STATUS_SYS : 0);

	if (q)
		v |= STATUS_OBF | (q->aux[q->head] ? STATUS_AUX : 0);
	if (k->after_command)
		v |= STATUS_COMMAND;
	return v;
}

static uint8_t out_port_locked(struct i8042 *k)
{
	uint8_t status = status_locked(k), v = OUT_NO_RESET | OUT_A20;

	if (status & STATUS_OBF)
		v |= status & STATUS_AUX ? OUT_AUX_OBF : OUT_KBD_OBF;
	return v;
}

static uint8_t data_read_locked(struct i8042 *k)
{
	struct i8042_queue *q = ready_locked(k);

	if (q)
		k->last = queue_pop(q);
	/* The inputs are edge-triggered: the next byte raises its line anew. */
	irq_line_set(&k->kbd_irq, false);
	irq_line_set(&k->aux_irq, false);
	return k->last;
}

static void kbd_param_locked(struct i8042 *k, uint8_t command, uint8_t value)
{
	queue_push(&k->kbd, KBD_ACK, false);
	if (command == KBD_SET && value == 0)
		queue_push(&k->kbd, 2, false); /* the scan code set in use */
}

/* A byte for the keyboard. */
static void kbd_write_locked(struct i8042 *k, uint8_t value)
{
	uint8_t command = k->kbd_command;

	k->kbd_command = 0;
	if (command && value < KBD_LEDS) {
		kbd_param_locked(k, command, value);
		return;
	}
	switch (value) {
	case KBD_ECHO:
		queue_push(&k->kbd, KBD_ECHO, false);
		break;
	case KBD_LEDS:
	case KBD_SET:
	case KBD_RATE:
		k->kbd_command = value;
		queue_push(&k->kbd, KBD_ACK, false);
		break;
	case KBD_ID:
		queue_push(&k->kbd, KBD_ACK, false);
		queue_push(&k->kbd, 0xab, false); /* an MF2 keyboard */
		queue_push(&k->kbd, 0x83, false);
		break;
	case KBD_ENABLE:
	case KBD_DISABLE:
	case KBD_DEFAULT:
	case KBD_KEYS_ALL ... KBD_KEYS_LAST:
		queue_push(&k->kbd, KBD_ACK, false);
		break;
	case KBD_RESET:
		k->kbd = (struct i8042_queue){ 0 };
		queue_push(&k->kbd, KBD_ACK, false);
		queue_push(&k->kbd, KBD_PASSED, false);
		break;
	default:
		queue_push(&k->kbd, KBD_RESEND, false);
		break;
	}
}

/* A byte at the data port: a command's parameter, or for the keyboard. Returns true for a reset. */
static bool data_write_locked(struct i8042 *k, uint8_t value)
{
	uint8_t command = k->command;

	k->command = 0;
	k->after_command = false;
	switch (command) {
	case CMD_RAM_WRITE ... CMD_RAM_WRITE + I8042_RAM_LEN - 1:
		k->ram[command - CMD_RAM_WRITE] = value;
		break;
	case CMD_OUT_WRITE:
		return !(value & OUT_NO_RESET);
	case CMD_KBD_LOOP:
	case CMD_AUX_LOOP: /* see i8042.h: never marked as auxiliary */
		queue_push(&k->out, value, false);
		break;
	case CMD_AUX_WRITE:
		queue_push(&k->out, AUX_TIMEOUT, true);
		break;
	default:
		/* A byte for the keyboard opens its interface. */
		k->ram[0] &= ~CTR_KBD_OFF;
		kbd_write_locked(k, value);
		break;
	}
	return false;
}

/* What the controller answers to a command by itself, -1 for the commands that it does not answer. */
static int answer_locked(struct i8042 *k, uint8_t command)
{
	switch (command) {
	case CMD_RAM_READ ... CMD_RAM_READ + I8042_RAM_LEN - 1:
		return k->ram[command - CMD_RAM_READ];
	case CMD_AUX_TEST:
		return PORT_CLK_LOW;
	case CMD_SELF_TEST:
		k->out = (struct i8042_queue){ 0 };
		k->ram[0] |= CTR_SYS;
		return SELF_TEST_OK;
	case CMD_KBD_TEST:
		return PORT_OK;
	case CMD_IN_READ:
		return IN_UNLOCK;
	case CMD_OUT_READ:
		return out_port_locked(k);
	default:
		return -1;
	}
}

/* Returns true for a reset. */
static bool command_locked(struct i8042 *k, uint8_t value)
{
	int answer = answer_locked(k, value);

	k->command = 0;
	k->after_command = true;
	if (answer >= 0)
		queue_push(&k->out, (uint8_t)answer, false);
	switch (value) {
	case CMD_RAM_WRITE ... CMD_RAM_WRITE + I8042_RAM_LEN - 1:
	case CMD_OUT_WRITE:
	case CMD_KBD_LOOP:
	case CMD_AUX_LOOP:
	case CMD_AUX_WRITE:
		k->command = value;
		return false;
	case CMD_AUX_OFF:
		k->ram[0] |= CTR_AUX_OFF;
		return false;
	case CMD_AUX_ON:
		k->ram[0] &= ~CTR_AUX_OFF;
		return false;
	case CMD_KBD_OFF:
		k->ram[0] |= CTR_KBD_OFF;
		return false;
	case CMD_KBD_ON:
		k->ram[0] &= ~CTR_KBD_OFF;
		return false;
	case CMD_PULSE ... 0xff:
		return !(value & OUT_NO_RESET);
	default:
		return false;
	}
}

static uint64_t data_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct i8042 *k = container_of(r, struct i8042, data);

	(void)off;
	(void)width;
	pthread_mutex_lock(&k->lock);
	uint8_t v = data_read_locked(k);
	settle_locked(k);
	pthread_mutex_unlock(&k->lock);
	return v;
}

static void data_bus_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct i8042 *k = container_of(r, struct i8042, data);

	(void)off;
	(void)width;
	pthread_mutex_lock(&k->lock);
	bool reset = data_write_locked(k, (uint8_t)value);
	settle_locked(k);
	pthread_mutex_unlock(&k->lock);
	if (reset)
		stop_request(k->stop, STOP_RESET, 0, "the keyboard controller's output port");
}

static uint64_t cmd_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct i8042 *k = container_of(r, struct i8042, cmd);

	(void)off;
	(void)width;
	pthread_mutex_lock(&k->lock);
	uint8_t v = status_locked(k);
	pthread_mutex_unlock(&k->lock);
	return v;
}

static void cmd_bus_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct i8042 *k = container_of(r, struct i8042, cmd);

	(void)off;
	(void)width;
	pthread_mutex_lock(&k->lock);
	bool reset = command_locked(k, (uint8_t)value);
	settle_locked(k);
	pthread_mutex_unlock(&k->lock);
	if (reset)
		stop_request(k->stop, STOP_RESET, 0, "the keyboard controller's reset pulse");
}

/* Nothing is stored: A20 is open whatever is written, and the reset bit acts at once. */
static uint64_t a20_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	(void)r;
	(void)off;
	(void)width;
	return A20_OPEN;
}

static void a20_bus_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct i8042 *k = container_of(r, struct i8042, a20);

	(void)off;
	(void)width;
	if (value & A20_RESET)
		stop_request(k->stop, STOP_RESET, 0, "port 0x%x", (unsigned int)r->base);
}

static struct bus_region byte_region(const char *name, uint16_t port)
{
	return (struct bus_region){ .name = name, .base = port, .size = 1, .max_width = 1 };
}

int i8042_init(struct i8042 *k, struct bus *pio, const struct i8042_config *cfg, struct kvm *kvm,
	       struct stop *stop, struct err *err)
{
	*k = (struct i8042){ .pio = pio, .stop = stop, .ram[0] = CTR_INIT };
	k->data = byte_region("i8042 data", cfg->data_port);
	k->data.read = data_bus_read;
	k->data.write = data_bus_write;
	k->cmd = byte_region("i8042 command", cfg->cmd_port);
	k->cmd.read = cmd_bus_read;
	k->cmd.write = cmd_bus_write;
	k->a20 = byte_region("system control A", cfg->a20_port);
	k->a20.read = a20_bus_read;
	k->a20.write = a20_bus_write;
	pthread_mutex_init(&k->lock, NULL);
	irq_line_init(&k->kbd_irq, kvm, cfg->kbd_gsi);
	irq_line_init(&k->aux_irq, kvm, cfg->aux_gsi);
	if (bus_add(pio, &k->data) || bus_add(pio, &k->cmd) || bus_add(pio, &k->a20)) {
		i8042_release(k); /* what was not added is not removed */
		return err_internal(err, "i8042: one of the ports 0x%x, 0x%x and 0x%x is taken",
				    cfg->data_port, cfg->cmd_port, cfg->a20_port);
	}
	return 0;
}

void i8042_release(struct i8042 *k)
{
	bus_remove(k->pio, &k->a20);
	bus_remove(k->pio, &k->cmd);
	bus_remove(k->pio, &k->data);
	pthread_mutex_destroy(&k->lock);
}
