/* SPDX-License-Identifier: GPL-2.0 */
#include <lkvm/acpi-pm.h>
#include <lkvm/stop.h>
#include <lkvm/util.h>

#define PM1_PWRBTN 0x0100
/* Enable bits a driver may set and reads back: timer, global lock, power and sleep button, RTC. */
#define PM1_ENABLE    0x0721

#define CNT_SCI_EN    0x0001
#define CNT_KEPT      0x1c02 /* BM_RLD and SLP_TYP; GBL_RLS and SLP_EN are write-only */
#define CNT_TYP_SHIFT 10
#define CNT_TYP_MASK  7
#define CNT_SLP_EN    0x2000

static uint32_t timer_value(const struct acpi_pm *pm)
{
	uint64_t ns = util_now_ns() - pm->start_ns;

	/* In two steps: the product of nanoseconds alone would wrap after an hour and a half. */
	return (uint32_t)(ns / NSEC_PER_SEC * ACPI_PM_TMR_HZ +
			  ns % NSEC_PER_SEC * ACPI_PM_TMR_HZ / NSEC_PER_SEC);
}

static void settle_locked(struct acpi_pm *pm)
{
	irq_line_set(&pm->sci, pm->status & pm->enable);
}

static uint64_t pm_bus_read(struct bus_region *r, uint64_t off, unsigned int width)
{
	struct acpi_pm *pm = container_of(r, struct acpi_pm, region);
	uint8_t image[ACPI_PM_LEN + sizeof(uint64_t)] = {
		0
	}; /* any access that starts inside fits */

	if (off + width > ACPI_PM_TMR)
		put_le32(image + ACPI_PM_TMR, timer_value(pm));
	if (off < ACPI_PM_TMR) {
		pthread_mutex_lock(&pm->lock);
		put_le16(image + ACPI_PM_EVT, pm->status);
		put_le16(image + ACPI_PM_EVT + 2, pm->enable);
		put_le16(image + ACPI_PM_CNT, pm->control | CNT_SCI_EN);
		pthread_mutex_unlock(&pm->lock);
	}
	return get_le64(image + off) & (UINT64_MAX >> (64 - 8 * width));
}

/* Replaces one byte of a register. */
static uint16_t with_byte(uint16_t reg, unsigned int high, uint8_t value)
{
	return high ? (reg & 0x00ff) | value << 8 : (reg & 0xff00) | value;
}

/* Returns true for a power-off. */
static bool control_write_locked(struct acpi_pm *pm, unsigned int high, uint8_t value)
{
	uint16_t v = with_byte(pm->control, high, value);

	pm->control = v & CNT_KEPT;
	return (v & CNT_SLP_EN) && (v >> CNT_TYP_SHIFT & CNT_TYP_MASK) == ACPI_PM_S5;
}

/* Byte by byte: drivers may use any width, and no rule spans two bytes of a register. */
static bool byte_write_locked(struct acpi_pm *pm, uint64_t off, uint8_t value)
{
	switch (off) {
	case ACPI_PM_EVT:
	case ACPI_PM_EVT + 1:
		pm->status &= ~with_byte(0, off & 1, value);
		break;
	case ACPI_PM_EVT + 2:
	case ACPI_PM_EVT + 3:
		pm->enable = with_byte(pm->enable, off & 1, value) & PM1_ENABLE;
		break;
	case ACPI_PM_CNT:
	case ACPI_PM_CNT + 1:
		return control_write_locked(pm, off & 1, value);
	default: /* the timer is read-only */
		break;
	}
	return false;
}

static void pm_bus_write(struct bus_region *r, uint64_t off, unsigned int width, uint64_t value)
{
	struct acpi_pm *pm = container_of(r, struct acpi_pm, region);
	bool poweroff = false;

	pthread_mutex_lock(&pm->lock);
	for (unsigned int i = 0; i < width; i++)
		poweroff |= byte_write_locked(pm, off + i, (uint8_t)(value >> (8 * i)));
	settle_locked(pm);
	pthread_mutex_unlock(&pm->lock);
	if (poweroff)
		stop_request(pm->stop, STOP_POWEROFF, 0, "ACPI S5");
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= PM1_PWRBTN;
	settle_locked(pm);
	pthread_mutex_unlock(&pm->lock);
}

int acpi_pm_init(struct acpi_pm *pm, struct bus *pio, uint16_t port, struct kvm *kvm,
		 uint32_t sci_gsi, struct stop *stop, struct err *err)
{
	*pm = (struct acpi_pm){ .pio = pio, .stop = stop, .start_ns = util_now_ns() };
	pm->region = (struct bus_region){
		.name = "acpi-pm",
		.base = port,
		.size = ACPI_PM_LEN,
		.max_width = 4,
		.read = pm_bus_read,
		.write = pm_bus_write,
	};
	pthread_mutex_init(&pm->lock, NULL);
	irq_line_init(&pm->sci, kvm, sci_gsi);
	if (bus_add(pio, &pm->region)) {
		pthread_mutex_destroy(&pm->lock);
		return err_internal(err, "acpi-pm: the ports at 0x%x are taken", port);
	}
	return 0;
}

void acpi_pm_release(struct acpi_pm *pm)
{
	bus_remove(pm->pio, &pm->region);
	pthread_mutex_destroy(&pm->lock);
}
